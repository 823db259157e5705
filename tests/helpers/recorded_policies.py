"""Recordings written by hand, the policies made of them, and what these answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS, apart_by_kernel
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.allowlist_text import write_policy
from seccompgen.run.record.exact_calls import allowed_calls, merge
from seccompgen.run.record.observations import CallNumber, Recording, RunEnd
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy

TABLES = shipped_tables()
X86_64, I386, AARCH64 = (ABIS[name] for name in ("x86_64", "i386", "aarch64"))
ALLOW, EPERM = 0x7FFF0000, 0x00050001


def load(policy: Path) -> ResolvedPolicy:
    return load_policy(policy, TABLES)[0]


def python(source: str) -> list[str]:
    return [sys.executable, "-I", "-c", source]


def recorded(abi_name: str, **calls_made: list[dict[int, int]]) -> Recording:
    """Return a recording of calls with these arguments."""
    table = TABLES.tables[abi_name]
    return Recording(
        {
            CallNumber(table.abi.audit_arch, table.numbers[name]): frozenset(
                tuple(sorted(arguments.items())) for arguments in made
            )
            for name, made in calls_made.items()
        },
        RunEnd(),
    )


def written(tmp_path: Path, *several: Recording) -> ResolvedPolicy:
    """Write what is made of several recordings, with arguments, and read it back."""
    calls = merge([allowed_calls(one, TABLES, constrained=True) for one in several])
    arches, compat_arches = apart_by_kernel(calls)
    from seccompgen.core.model import Action

    text = write_policy(
        "",
        calls,
        Action.parse("errno"),
        TABLES,
        arches=arches,
        compat_arches=compat_arches,
    )
    path = tmp_path / "merged.yml"
    path.write_text(text)
    policy, notes = load_policy(path, TABLES)
    assert not [note for note in notes if "repeats" in str(note)]
    return policy


def answer(policy: ResolvedPolicy, name: str, *args: int) -> int:
    table = TABLES.tables["x86_64"]
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    a, b, c, d, e, f = padded
    call = Call(table.numbers[name], X86_64.audit_arch, (a, b, c, d, e, f))
    return meaning(policy, X86_64, TABLES).answer(call)


MARKER = "import ctypes, os; call = ctypes.CDLL(None).syscall\n"
HARMLESS = "call(317, 1, 0, None)\n"
