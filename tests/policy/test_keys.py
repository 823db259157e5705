"""The tables of keys in the documentation are those of the declarations."""

from __future__ import annotations

import pytest
from command import ROOT

from website.key_tables import PAGES, with_tables


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_of_keys_are_those_of_the_code(name: str) -> None:
    page = (ROOT / name).read_text()
    assert "<!-- make pages writes the keys of" in page
    assert with_tables(page) == page, "make pages writes the tables"
