"""Build packages that filter rings, and judge what their install() came to in a guest.

What is in force on a kernel follows from its release: below, filters are lost at exec, or addresses
are not shown, and then rings are refused. A program that is changed in the package must be noticed
by the trials of install().
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command import inside
from guests.inside.ring_packages import LIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ring_context import Release

PACKAGE = "rings_in_force"
"""The package that holds all of them."""

ONE_FILE = "one_file"
"""A single file with the first of them."""

KEPT, ADDRESSES = (7, 1, 8), (7, 2, -1)
"""The first releases, or candidates, that keep filters at exec, and show CONNECT's fields."""

_NO_EXEC = "[{action: errno, names: [execve, execveat]}]"
_POLICIES: dict[str, tuple[str, list[str]]] = {
    "database": (
        "[]",
        [
            "{action: allow, names: ['@read', '@write', CLOSE]}",
            "{action: allow, names: [CONNECT], when: addr in 10.0.0.0/8 and port == 5432}",
            "{action: allow, names: [CONNECT], when: addr == ::1}",
        ],
    ),
    "sockets": (
        "[]",
        [
            "{action: allow, names: [SOCKET], "
            "when: 'family in {AF_INET, AF_INET6} and type == SOCK_STREAM'}",
        ],
    ),
    "ports": (
        "[]",
        [
            "{action: deny, names: [CONNECT], when: 'port in {25, 587}'}",
            "{action: deny, names: [CONNECT], when: 'addr in {169.254.0.0/16, fd00::/8}'}",
            "{action: allow, names: [CONNECT]}",
        ],
    ),
    "files": (
        _NO_EXEC,
        [
            "{action: allow, names: [OPENAT2], when: resolve & RESOLVE_BENEATH}",
            "{action: allow, names: [OPENAT], when: flags & O_ACCMODE == O_RDONLY}",
        ],
    ),
}
_ONE_AFTER_THE_OTHER = {
    # It has filters already for what the second permits, and for more.
    "first": "['@read', '@write', '@nop']",
    "second": "['@read']",
    # More than the second permits.
    "third": "['@read', '@write']",
}
_NOT_LET_THROUGH = (0, 3, 4)
"""Outcomes of trials: all as meant, no ring, and no answer."""
_CONDITIONS = {"database": [16], "sockets": [45], "ports": [16], "files": [18, 28]}
"""The operations of each that have conditions."""
_EXECUTES = ("database", "sockets", "ports")
_ADDRESSES = ("database", "ports")
NAMES = [*_POLICIES]
_IN_TURN = {"first": True, "second": True, "third": False, "database": False}
IN_TURN = [*_IN_TURN]
"""Packages that are put in force one after the other: the third lets none register filters."""


def _texts(abi: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each policy for one ABI."""
    head = f"arches: [{abi}]\ndefault_action: allow\n"
    for name, (calls, operations) in _POLICIES.items():
        lines = "".join(f"  - {one}\n" for one in operations)
        section = f"io_uring:\n  default_action: deny\n  operations:\n{lines}"
        yield name, f"{head}syscalls: {calls}\n{section}"
    for name, names in _ONE_AFTER_THE_OTHER.items():
        registers = "" if name == "third" else "register: ['@basic', BPF_FILTER], "
        section = f"{{default_action: deny, {registers}operations: [{{action: allow, names: %s}}]}}"
        yield name, f"{head}syscalls: {_NO_EXEC}\nio_uring: {section % names}\n"


def files(abi: str) -> dict[str, bytes]:
    """Return all that is built, by path."""
    texts = dict(_texts(abi))
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as temporary:
        place = Path(temporary)
        for name, text in texts.items():
            (place / f"{name}.yml").write_text(text)
        run = inside("build", *(f"{name}.yml" for name in texts), "-o", PACKAGE, cwd=place)
        assert run.code == 0, run.err
        words = ("vendor", "database.yml", f"{PACKAGE}/{ONE_FILE}.py", "--single-file")
        run = inside(*words, cwd=place)
        assert run.code == 0, run.err
        made = {
            str(path.relative_to(place)): path.read_bytes()
            for path in sorted((place / PACKAGE).rglob("*.py"))
        }
    return {f"{PACKAGE}/__init__.py": b"", **made}


def wanted(of: Release) -> dict[str, Any]:
    """Return the report of a release that does what it should."""
    lied = [[call, answer, [False, 3]] for call in range(3) for answer in LIES]
    return {
        **{name: _of_package(name, of) for name in NAMES},
        # Of the package whose programs, and whose refusal of exec, every release takes.
        "disabled": [[False, 3], [True, 3]],
        "ignored": [True, 0],
        "one file": _of_package("database", of)["refuse_rings"],
        "lied to": lied,
        # The second refuses what the first permits; the third's trials find what that refuses.
        "in turn": {**_IN_TURN, "ended": "exit 0"},
    }


def _of_package(name: str, of: Release) -> dict[str, Any]:
    obstacle = ""
    if name in _ADDRESSES and of < ADDRESSES:
        obstacle = "ring_fields"
    elif name in _EXECUTES and of < KEPT:
        obstacle = "ring_exec/lost"
    # Fields are asked for before anything is tried, and exec is tried last.
    refused, through = [
        obstacle if obstacle == "ring_fields" else f"ring_trial/{word}"
        for word in ("refused", "let_through")
    ]
    changed = [[one, to, (refused, through)[to]] for one in _CONDITIONS[name] for to in (0, 1)]
    return {
        "refuse_rings": [False, 3] if obstacle else [True, 0],
        "fail": obstacle or [True, 0],
        "unconfined rest": through,
        "changed": changed,
    }


def differences(of: Release, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is otherwise in a report of `inside.ring_packages`, in words."""
    for name, value in wanted(of).items():
        seen = report.get(name)
        if name == "lied to":
            held = [one for one in seen or () if one[2][1:] and one[2][1] in _NOT_LET_THROUGH]
            seen = value if seen and len(held) == len(seen) == len(value) else seen
        if seen != value:
            yield f"packages, {name}: wanted {value}, was {seen}"
