"""Our groups beside systemd's of the same name: docs/groups.md explains every difference."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
from functools import cache

import pytest
from command import ROOT
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.groups import calls_of, find_stock_group, stock_groups

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd"),
]

KNOWN = {name for table in shipped_tables().tables.values() for name in table.numbers}
PAGE = (ROOT / "docs" / "groups.md").read_text()
NOT_OURS = {"known"}
"""Of systemd's groups: it has all calls, and is of no use in a policy."""


@cache
def listed() -> dict[str, list[str]]:
    """Return the groups of the installed systemd, as it lists them."""
    words = ["systemd-analyze", "syscall-filter", "--no-pager"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    groups: dict[str, list[str]] = {}
    for line in re.sub("\x1b[^m]*m", "", text).splitlines():
        if line.startswith("@"):
            members = groups[line.strip("@")] = []
        elif re.fullmatch(r"    @?[a-z0-9_-]+", line):
            members.append(line.strip())
    return groups


def theirs(name: str) -> set[str]:
    calls: set[str] = set()
    for member in listed()[name]:
        calls |= theirs(member[1:]) if member.startswith("@") else {member}
    return calls


def parts(name: str) -> set[str]:
    """Return our group and those in it."""
    found = {name}
    group = find_stock_group(name)
    for member in group.members if group else ():
        found |= parts(member.name[1:]) if member.name.startswith("@") else set()
    return found


def explained(name: str) -> set[str]:
    """Return the patterns of names that the page's rows for a group, and for its parts, have."""
    rows = re.findall(
        r"^\| (`@.*?`) \| (.*?) \| .*\|$", PAGE.partition("## Compared with systemd")[2], re.M
    )
    patterns = set()
    for groups, difference in rows:
        if set(re.findall(r"`@([a-z-]+)`", groups)) & parts(name):
            patterns |= set(re.findall(r"`([a-z0-9_*]+)`", difference))
            for other in re.findall(r"all of `@([a-z-]+)`", difference):
                group = find_stock_group(other)
                patterns |= {one.name for one in calls_of(group)} if group else set()
    return patterns


def test_there_is_something_to_compare() -> None:
    assert len(listed()) > 25
    assert {"read", "write"} <= theirs("system-service")


@pytest.mark.parametrize(
    "name", sorted(set(listed() if shutil.which("systemd-analyze") else ()) - NOT_OURS)
)
def test_every_difference_is_explained(name: str) -> None:
    group = stock_groups()[name]
    known_there = theirs("known") | {call for one in listed() for call in theirs(one)}
    differ = ({one.name for one in calls_of(group)} & known_there) ^ (theirs(name) & KNOWN)
    patterns = explained(name)
    left = {
        call
        for call in differ
        if not call.startswith("osf_") and not any(fnmatch.fnmatch(call, one) for one in patterns)
    }
    assert left == set()
