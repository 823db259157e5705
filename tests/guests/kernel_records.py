"""Lines that the kernels of the guests log of calls that filters refuse.

``python -m guests.kernel_records`` writes tests/data/audit/kernels.txt anew from what the last
``make test-kernels`` has seen.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests.machines import GUESTS
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from guests.machines import Guest

DATA = Path(__file__).parents[1] / "data" / "audit"

CALLS = (
    *(("mkdirat",), ("unlinkat",), ("symlinkat",), ("linkat",), ("fchmodat",), ("renameat2",)),
    *(("personality", 8), ("personality", 0x40000)),
)
"""The calls that are made, with their arguments, in the order of the rules that refuse them."""


def logs(guest: Guest) -> bool:
    """Say whether the kernel logs what filters do. Debian's for MIPS has no CONFIG_AUDITSYSCALL."""
    return guest.abi != "mips64el"


def plan(guest: Guest) -> list[Any]:
    """Return what ``inside.kernel_records.lines`` takes, [] where the kernel logs nothing."""
    if not logs(guest):
        return []
    tables = shipped_tables()
    numbers = tables.tables[guest.abi].numbers
    policy, _ = load_policy(DATA / "kernels.yml", tables)
    program = compile_policy(policy, ABIS[guest.abi], tables).to_bytes()
    calls = [[numbers[name], *given] for name, *given in CALLS]
    return [numbers["seccomp"], base64.b64encode(program).decode(), calls]


if __name__ == "__main__":
    from guests.run import RESULTS

    text = ""
    for guest in GUESTS:
        if logs(guest) and "5.10" not in guest.name:  # that logs as 6.1 does
            result = json.loads((RESULTS / f"{guest.name}.json").read_text())
            text += "\n".join([f"# {guest.name}", *result["logged"], ""])
    (DATA / "kernels.txt").write_text(text)
