"""Releases in order, and what is known of a call's first one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seccompgen.core.errors import InputError
from seccompgen.core.releases import Introduced, Release, Since


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("v6.1", "6.1"),
        ("6.1", "6.1"),
        ("v6.1.176", "6.1"),
        ("v7.4-rc1", "7.4"),
        ("3.0", "3.0"),
        ("2.6.32", "2.6.32"),
        ("v2.6.32", "2.6.32"),
    ],
)
def test_a_release_is_the_mainline_one(text: str, shown: str) -> None:
    assert str(Release.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "6", "v6.", "6.1.0-26-amd64", "6.1x", " 6.1", "-6.1", "V6.1", "6.1.2.3", "\u0666.\u0661"],
)
def test_whatever_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"write it like v6\.1"):
        Release.parse(text)


def test_releases_follow_each_other() -> None:
    """Numbers go round where Linux's did, and never back."""
    shown = {}
    one = Release.parse("2.6.27")
    while one < Release.parse("7.4"):
        assert one.next > one
        shown[str(one)] = str(one.next)
        one = one.next
    assert one == Release.parse("7.4")
    assert shown["2.6.39"] == "3.0"
    assert shown["3.19"] == "4.0"
    assert shown["4.20"] == "5.0"
    assert (shown["5.19"], shown["6.19"]) == ("6.0", "7.0")
    assert len(shown) == 13 + 20 + 21 + 20 + 20 + 4


@pytest.mark.parametrize("text", ["5.11", "5.3-5.4", "<=4.9", "2.6.28-2.6.31", "2.6.37-3.0"])
def test_what_is_known_is_written_as_it_was_read(text: str) -> None:
    assert str(Introduced.parse(text)) == text


@pytest.mark.parametrize("text", ["", "<5.1", "5.4-5.3", "5.3-5.4-5.5", "<=5.3-5.4", "new"])
def test_what_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Introduced.parse(text)


@pytest.mark.parametrize(
    ("text", "release", "after", "by"),
    [
        ("5.11", "5.10", True, False),
        ("5.11", "5.11", False, True),
        ("5.3-5.4", "5.2", True, False),
        ("5.3-5.4", "5.3", False, False),
        ("5.3-5.4", "5.4", False, True),
        ("<=4.9", "4.8", False, False),
        ("<=4.9", "4.9", False, True),
    ],
)
def test_a_range_says_only_what_is_certain(text: str, release: str, after: bool, by: bool) -> None:
    one = Introduced.parse(text)
    assert one.surely_after(Release.parse(release)) == after
    assert one.surely_by(Release.parse(release)) == by


RELEASES = st.builds(Release, st.integers(3, 9), st.integers(0, 20))


@given(RELEASES, RELEASES, RELEASES)
def test_no_release_is_both_too_old_and_new_enough(a: Release, b: Release, at: Release) -> None:
    one = Introduced(min(a, b), max(a, b))
    assert not (one.surely_after(at) and one.surely_by(at))
    assert Introduced.parse(str(one)) == one
    unknown = not one.surely_after(at) and not one.surely_by(at)
    assert unknown == (min(a, b) <= at < max(a, b))


def test_a_call_that_nobody_knows_has_none() -> None:
    since = Since({"arm": {"read": Introduced.parse("<=4.9")}})
    assert str(since.of("arm", "read")) == "<=4.9"
    assert since.of("arm", "write") is None
    assert since.of("x86_64", "read") is None
