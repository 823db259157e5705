"""Run programs that use rings under sections `io_uring` in guests, and judge what they said.

What cannot be had here, such as a compiler, is not tried, and the result says why.
"""

from __future__ import annotations

import errno
import functools
import json
import platform
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

from guests import emulator, escapes, ring_builds
from guests.inside.ring_programs import FILE, ROWS
from guests.machines import RING_GUESTS, Software
from guests.packages import Unavailable
from guests.ring_builds import PACKAGE
from guests.run import RESULTS, write
from oracle import ABIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from guests.machines import Guest

FOLDER = RESULTS / PACKAGE
"""Where there is a file of JSON for each guest."""

GUESTS = tuple(
    replace(one, user=Software("sid", one.user.architecture), memory=max(one.memory, 1024))
    if one.abi == "x86_64"
    else one
    for one in RING_GUESTS
    if one.name in {"x86_64-sid", "x86_64-7.3", "s390x-sid"}
)
"""Guests with a PostgreSQL server and node, and one of the other byte order."""

_REFUSED, _CALL_REFUSED = str(-errno.EACCES), str(-errno.EPERM)

_CLIENT = {
    **dict.fromkeys(("read", "socket", "connect", "write", "answer"), "0"),
    "its answer": "R",
    **dict.fromkeys(("another socket", "socket of IPv4"), "0"),
    **dict.fromkeys(("another port", "another address", "datagrams", "unix"), _REFUSED),
    **dict.fromkeys(("send", "openat", "openat2", "unlinkat", "accept"), _REFUSED),
    **dict.fromkeys(("call open", "call socket", "call connect", "call sendto"), _CALL_REFUSED),
    "call register": str(-errno.EINVAL),
}
"""What a client of one database reports: it also gets the first letter of the server's answer."""


def _files(refused: str, *, by_node: bool) -> dict[str, str]:
    """Return what a program reports that reads, and then changes a file that it renames last."""
    reads = ("read", "stat") if by_node else ("open", "read", "stat", "close")
    writes = ("write" if by_node else "open to write", "create", "mkdir", "rename")
    gone = "ENOENT" if by_node else str(-errno.ENOENT)
    return {
        **dict.fromkeys(reads, "0"),
        **dict.fromkeys(writes, refused or "0"),
        "unlink": refused or gone,
    }


@dataclass(frozen=True, slots=True)
class Program:
    """A program of guests: its file and command, and what it reports, free and confined."""

    name: str
    file: str
    arguments: tuple[str, ...] = (FILE,)
    launcher: tuple[str, ...] = ()
    """Words before its path: a program that starts it."""
    environment: tuple[tuple[str, str], ...] = ()
    policy: str = ""
    """The package that confines it; "" where it does so itself."""
    free: tuple[tuple[str, str], ...] | None = None
    """What it reports without the policy; None where it is not run so."""
    confined: tuple[tuple[str, str], ...] = ()

    def runs(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield for each run its name, its policy, and what it must report."""
        if self.free is not None:
            yield f"{self.name}, free", "", dict(self.free)
        yield self.name, self.policy, dict(self.confined)


LIBURINGS_TEST = "liburing's test"
_MEANT_FOR_LITTLE_ENDIAN = (
    "O_CREAT should be denied after filter",
    "RESOLVE_IN_ROOT should be denied after filter",
)
"""Failures of liburing's test where the first word of 64 bits is the upper one: it asks that one
for flags, and no more of it fails."""

_BY_RING = (("UV_USE_IO_URING", "1"),)

PROGRAMS = (
    Program(LIBURINGS_TEST, "cbpf_filter", arguments=()),
    Program("client in C", "client", confined=(*_CLIENT.items(),)),
    Program("client in Rust", "client_in_rust", confined=(*_CLIENT.items(),)),
    Program(
        "libuv",
        "files",
        environment=_BY_RING,
        policy="files",
        free=(*_files("", by_node=False).items(),),
        confined=(*_files(_REFUSED, by_node=False).items(),),
    ),
    Program(
        "libuv, recorded while it reads",
        "files",
        environment=_BY_RING,
        policy=ring_builds.RECORDED,
        confined=(*_files(_REFUSED, by_node=False).items(),),
    ),
    Program(
        "libuv under run",
        "files",
        launcher=("/usr/bin/python3", "-m", "seccompgen", "run", f"/trial/{PACKAGE}/files", "--"),
        environment=(*_BY_RING, ("PYTHONPATH", "/trial/site"), ("PYTHONHASHSEED", "0")),
        confined=(*_files(_REFUSED, by_node=False).items(),),
    ),
    Program(
        "node",
        "node",
        arguments=("/trial/files.js", FILE),
        environment=_BY_RING,
        policy="files",
        free=(*_files("", by_node=True).items(),),
        confined=(*_files("EACCES", by_node=True).items(),),
    ),
)

_DATABASE = {"free": "", "postgres_less": "postgres_less", "postgres": "postgres"}
_MANY, _ONE = str(ROWS), "1"
_ANSWERS = {
    "free": ["io_uring", f"SELECT {ROWS}", _MANY, _ONE],
    "postgres_less": ["could not read blocks "] * 3,
    "postgres": ["io_uring", _MANY, _ONE],
}
"""Beginnings of a server's answers. One that may not read has nothing to serve with."""
_DRIFTED = "error while loading shared libraries"


def run_guest(guest: Guest, processor: int | None = None) -> dict[str, Any]:
    """Return what was run in a guest and what differed, and write it down.

    Raises what `emulator.boot` does.
    """
    if platform.machine() != "x86_64":
        raise Unavailable("the programs are compiled on x86_64")
    made, untried = programs(guest.abi)
    files = escapes.sources("ring_programs")
    archives, version = [], ""
    if guest.abi == "x86_64":
        try:
            archive, version = ring_builds.postgres()
            archives.append(archive)
        except Unavailable as missing:
            untried["PostgreSQL"] = str(missing)
        files |= ring_builds.packages() | ring_builds.seccompgen()
        files["files.js"] = (ring_builds.SOURCES / "files.js").read_bytes()
        if "files" in made:
            try:
                files |= ring_builds.recorded(made["files"])
            except Unavailable as missing:
                untried[ring_builds.RECORDED] = str(missing)
    tried = [one for one in PROGRAMS if one.file in made and one.policy not in untried]
    planned = plan(tried, database=bool(version))
    files |= {**made, "plan.json": json.dumps(planned).encode()}
    report = json.loads(emulator.boot(guest, files, processor=processor, archives=archives))
    if _DRIFTED in str(report.get("initdb")):
        untried["PostgreSQL"] = report["initdb"][1]
        del report["initdb"], report["database"]
    result = {
        "guest": guest.name,
        "abi": guest.abi,
        "release": report["version"].partition("Debian ")[2].partition(" ")[0],
        "postgres": version,
        "programs": sorted(report["programs"]),
        "untried": untried,
        "differences": [*differences(guest.abi, report)],
        "seconds": report["seconds"],
    }
    write(guest, result, FOLDER)
    return result


def programs(abi: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the programs for an ABI that can be had here by file, and for others why not."""
    made: dict[str, bytes] = {}
    untried: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
        root = Path(folder)
        compiler = functools.cache(ring_builds.native if abi == "x86_64" else ring_builds.s390x)
        makes: dict[str, Callable[[], bytes]] = {
            "cbpf_filter": lambda: ring_builds.liburings_test(compiler(root)),
            "client": lambda: ring_builds.client_in_c(compiler(root)),
        }
        if abi == "x86_64":
            makes |= {
                "client_in_rust": lambda: ring_builds.client_in_rust(root),
                "files": lambda: ring_builds.files_by_libuv(compiler(root), root),
                "node": ring_builds.node,
            }
        for file, make in makes.items():
            try:
                made[file] = make()
            except Unavailable as missing:
                untried[file] = str(missing)
            except CalledProcessError as failed:
                raise RuntimeError(f"{file}: {failed.stderr.decode()}") from failed
    return made, untried


def plan(programs: list[Program], *, database: bool) -> dict[str, Any]:
    """Return what `inside.ring_programs` takes."""
    return {
        "database": {
            name: f"{PACKAGE}.{policy}" if policy else "" for name, policy in _DATABASE.items()
        }
        if database
        else {},
        "programs": [
            [
                name,
                f"{PACKAGE}.{policy}" if policy else "",
                [*one.launcher, f"/trial/{one.file}", *one.arguments],
                dict(one.environment),
            ]
            for one in programs
            for name, policy, _ in one.runs()
        ],
    }


def differences(abi: str, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what programs reported that they should not, in words."""
    wanted = {name: told for one in PROGRAMS for name, _, told in one.runs()}
    for name, (ended, written) in report["programs"].items():
        if name == LIBURINGS_TEST:
            seen = (ended, all(one in written for one in _MEANT_FOR_LITTLE_ENDIAN))
            if seen != ((0, False) if ABIS[abi].byte_order == "little" else (2, True)):
                yield f"{name}: ended with {ended}, reported {written}"
            continue
        told = dict(_line(one) for one in written.splitlines())
        if ended or told != wanted[name]:
            yield f"{name}: ended with {ended}, reported {told}, wanted {wanted[name]}"
    if "initdb" not in report:
        return
    if report["initdb"][0]:
        yield f"initdb: {report['initdb']}"
    for name, answers in _ANSWERS.items():
        seen = report["database"].get(name, [])
        if len(seen) != len(answers) or not all(map(str.startswith, seen, answers)):
            yield f"PostgreSQL, {name}: answered {seen}, wanted {answers}"


def _line(line: str) -> tuple[str, str]:
    what, _, result = line.rpartition(" ")
    return what, result
