"""Services that newer libraries took down are told of before: the call and the release, by name."""

from __future__ import annotations

import re

import pytest
from command import ROOT
from incidents import (
    FOLDER,
    INCIDENTS,
    Incident,
    incidents_table,
    mended_findings,
    naming,
    release_named,
)
from longer import long_but

NAMED = [one for one in INCIDENTS if not one.missed]
BEYOND = [one for one in INCIDENTS if one.said("beyond")]


def test_there_are_many_and_each_has_a_link() -> None:
    assert len(NAMED) >= 20
    assert {path.suffix for path in FOLDER.iterdir()} == {".yml"}
    for one in INCIDENTS:
        assert re.fullmatch(r"https://\S+", one.said("link")), one.name
        assert one.story.endswith("."), one.name


@pytest.mark.few(4, "asks the running kernel case by case")
@pytest.mark.parametrize("incident", NAMED, ids=lambda one: one.name)
def test_the_call_and_the_release_are_named(incident: Incident) -> None:
    """The release is the first in the table that has what began in the one of the incident."""
    found = naming(incident)
    assert found is not None
    assert release_named(incident, found) == incident.begun
    assert found.witness is not None


@pytest.mark.few(4, "asks the running kernel case by case")
@pytest.mark.parametrize(
    "name",
    long_but(
        [one.name for one in NAMED[::5]],
        [one.name for one in NAMED],
        "that a call which is permitted is none, on each policy",
    ),
)
def test_once_it_is_permitted_nothing_is_said_of_it(name: str) -> None:
    (incident,) = (one for one in NAMED if one.name == name)
    call = incident.words[0]
    assert not [
        one for one in mended_findings(incident) if re.search(rf"\bcalls? {call}\b", one.message)
    ]


@pytest.mark.few(5, "asks the running kernel case by case")
@pytest.mark.parametrize(
    "incident", [one for one in INCIDENTS if one.missed], ids=lambda one: one.name
)
def test_what_is_missed_is_said_so(incident: Incident) -> None:
    assert naming(incident) is None, "it is named by now: remove the line that says why not"


@pytest.mark.long("asks what lint says of every incident")
def test_the_page_has_them_all() -> None:
    """Its table is the one that ``python tests/helpers/incidents.py`` prints."""
    page = (ROOT / "docs" / "drift.md").read_text()
    assert page.endswith(f"\n\n{incidents_table()}")
    compared = len(INCIDENTS) - len(BEYOND)
    assert (
        f"\n{len(NAMED)} of {len(INCIDENTS)} are named. Of {len(BEYOND)} no registry from which "
        "the table is made has the release that broke or one from before; of the other "
        f"{compared}, {len(NAMED)} are named.\n"
    ) in page
