"""``explain --audit`` on what kernels of eight architectures logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from told_records import DATA, assert_kernel_told

if TYPE_CHECKING:
    from pathlib import Path


def guests() -> dict[str, list[str]]:
    """Return the lines of each guest by its name."""
    found: dict[str, list[str]] = {}
    for line in (DATA / "kernels.txt").read_text().splitlines():
        if line.startswith("# "):
            lines = found[line[2:]] = []
        else:
            lines.append(line)
    return found


@pytest.mark.few(3, "runs commands on many filters")
@pytest.mark.parametrize("guest", guests())
def test_each_line_comes_back_as_the_rule_that_refused(tmp_path: Path, guest: str) -> None:
    abi = guest.removesuffix("-newest").removesuffix("-6.1").partition("-on-")[0]
    assert_kernel_told(guests()[guest], abi, tmp_path)
