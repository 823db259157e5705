"""Lines that the kernels of the guests log of calls that filters refuse.

``python -m guests.kernel_records`` boots the guests and writes tests/data/audit/kernels.txt anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from guests.emulator import boot
from guests.machines import GUESTS
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy import load_policy

if TYPE_CHECKING:
    from guests.machines import Guest

DATA = Path(__file__).parents[1] / "data" / "audit"

CALLS = (
    *(("mkdirat",), ("unlinkat",), ("symlinkat",), ("linkat",), ("fchmodat",), ("renameat2",)),
    *(("personality", 8), ("personality", 0x40000)),
)
"""The calls that are made, with their arguments, in the order of the rules that refuse them."""

LOGGING = tuple(one for one in GUESTS if one.abi != "mips64el" and "5.10" not in one.name)
"""Debian's kernel for MIPS logs nothing, and 5.10 as 6.1 does."""


def lines(guest: Guest, processor: int | None = None) -> list[str]:
    """Return what the guest's kernel logged, as /dev/kmsg has it. Raises what ``boot`` does."""
    tables = shipped_tables()
    numbers = tables.tables[guest.abi].numbers
    policy, _ = load_policy(DATA / "kernels.yml", tables)
    files = {
        "main.py": (Path(__file__).parent / "inside" / "kernel_records.py").read_bytes(),
        "program": compile_policy(policy, ABIS[guest.abi], tables).to_bytes(),
        "calls.json": json.dumps(
            [numbers["seccomp"], [[numbers[name], *given] for name, *given in CALLS]]
        ).encode(),
    }
    found: list[str] = json.loads(boot(guest, files, processor=processor))
    return found


if __name__ == "__main__":
    (DATA / "kernels.txt").write_text("")
    for guest in LOGGING:
        logged = lines(guest)
        with (DATA / "kernels.txt").open("a") as file:
            file.write("\n".join([f"# {guest.name}", *logged, ""]))
