"""The system calls that kafel knows: its own names, numbers and arguments on each ABI.

They are not the kernel's: kafel's ``chown`` of i386 is 212, which the kernel calls ``chown32``. The
table is ``calls.csv``, made from ``src/syscalls`` of google/kafel by
``tests/helpers/kafel_sources.py``.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_name("calls.csv")

ARCHITECTURES = {
    "arm": "arm", "aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64",
    "x86": "i386", "i386": "i386", "mips": "mips", "mipso32": "mips", "mips64": "mips64",
    "riscv64": "riscv64", "rv64": "riscv64", "m68k": "m68k",
}  # fmt: skip
"""ABIs by kafel's lower-case names for them; kafel ignores case (src/syscall.c)."""


class KafelArgument(NamedTuple):
    """An argument of a call: its name, and its size in bytes.

    kafel compares 64 bits of an argument of 8 bytes, and 32 bits of a smaller one.
    """

    name: str
    size: int


class KafelCall(NamedTuple):
    """A call of kafel's table: its number, and its arguments in their order."""

    nr: int
    arguments: tuple[KafelArgument, ...]


@lru_cache(maxsize=1)
def kafel_calls() -> Mapping[str, Mapping[str, KafelCall]]:
    """Return kafel's calls by name, for each ABI that kafel knows, by our name for the ABI."""
    found: dict[str, dict[str, KafelCall]] = {}
    with _FILE.open(encoding="ascii", newline="") as file:
        for abi, name, nr, arguments in csv.reader(file):
            pairs = (one.split(":") for one in arguments.split())
            listed = tuple(KafelArgument(argument, int(size)) for argument, size in pairs)
            found.setdefault(abi, {})[name] = KafelCall(int(nr), listed)
    return found
