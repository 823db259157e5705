"""Units that systemd starts in a guest, and what it made of their settings beside our reading."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests import system
from seccompgen.core.abis import ABIS
from seccompgen.core.foreign import Reading
from seccompgen.core.model import ActionKind
from seccompgen.core.program import JMP_JGE_K, LD_W_ABS, RET_K, Instruction, decode
from seccompgen.formats import load_policy
from seccompgen.formats.systemd import reader as systemd
from seccompgen.pipeline.build import shipped_tables
from seccompgen.render.call_names import difference_text
from seccompgen.verify import Code, Difference, Operation, Stack, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.tables import Tables

_INSIDE = Path(__file__).parent / "inside"
_HEADER = 64 + 56
_BASE = 0x400000


def spin() -> bytes:
    """Return an x86_64 program that makes no system call and never ends: ``jmp .``."""
    entry = _BASE + _HEADER
    code = b"\xeb\xfe"
    size = _HEADER + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return ident + elf + load + code


_NO_CALLS = Code(
    (
        Instruction(LD_W_ABS, 0, 0, 0),  # the number
        Instruction(JMP_JGE_K, 0, 1, 0x80000000),
        Instruction(RET_K, 0, 0, ActionKind.KILL_PROCESS.value),
        Instruction(RET_K, 0, 0, ActionKind.ALLOW.value),
    ),
    "little",
)
"""A program that gives numbers from 2**31 on one answer."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The programs that systemd installed for a unit, the oldest first; None if it failed."""

    programs: tuple[bytes, ...] | None
    no_new_privs: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A guest's systemd: its release, the calls that its libseccomp does not know, what it made of
    units by their names, and what it logged."""

    release: int
    unknown: frozenset[str]
    units: dict[str, Loaded]
    said: str


def loaded(
    files: Mapping[str, list[str]], runs: Mapping[str, list[str]], processor: int | None = None
) -> Report:
    """Have a guest start units with these settings; ``runs`` go by systemd-run.

    Raises what ``boot`` does.
    """
    names = sorted({name for one in shipped_tables().tables.values() for name in one.numbers})
    units: dict[str, Any] = {"files": {}, "runs": {}, "names": names}
    # The last of what the processor has is for processes that do nothing.
    rest = ["Type=exec", "TimeoutStartSec=infinity", "CPUSchedulingPolicy=idle"]
    for name, settings in files.items():
        lines = ["[Service]", *rest, "ExecStart=/trial/spin", *settings, ""]
        units["files"][name] = "\n".join(lines)
    for name, settings in runs.items():
        units["runs"][name] = [*rest, *settings]
    given = {
        "main.py": (_INSIDE / "loaded.py").read_bytes(),
        "spin": spin(),
        "units.json": json.dumps(units).encode(),
    }
    report = json.loads(system.boot(given, timeout=300, processor=processor))
    told = {}
    for name, one in report["units"].items():
        programs = None if one is None else tuple(map(bytes.fromhex, one["programs"]))
        told[name] = Loaded(programs, bool(one and one["no_new_privs"]))
    release, unknown = int(report["release"]), frozenset(report["unknown"])
    return Report(release, unknown, told, report["said"])


def difference(settings: list[str], report: Report, programs: tuple[bytes, ...]) -> str | None:
    """Return where our reading of settings differs from the programs, or None: that is proved.

    systemd leaves out the calls that its libseccomp does not know, as if no table had them. Numbers
    from 2**31 on, which no call has, libseccomp takes for another ABI's on x86_64, and we do not:
    these are left out.
    """
    abi = ABIS["x86_64"]
    tables = _known_tables(report.unknown)
    text = "\n".join(["[Service]", *settings, ""])
    draft = systemd.read(text, "a.service", Reading(systemd=report.release), tables)
    policy, _ = load_policy(draft.document(), tables)
    codes = tuple(Code(decode(one, abi), abi.byte_order) for one in programs)
    ours = Stack(Operation.INTERSECT, (meaning(policy, abi, tables), _NO_CALLS))
    found = prove(ours, Stack(Operation.INTERSECT, (*codes, _NO_CALLS)))
    if isinstance(found, Difference):
        return difference_text(found, ("our reading", "systemd"), abi, tables)
    return None


def _known_tables(unknown: frozenset[str]) -> Tables:
    tables = shipped_tables()
    known = {
        name: replace(
            table, numbers={call: nr for call, nr in table.numbers.items() if call not in unknown}
        )
        for name, table in tables.tables.items()
    }
    return replace(tables, tables=known)
