"""The operations of io_uring and the opcodes of io_uring_register at the pin, with first releases.

The table is ``io_uring.csv``. Sources: include/uapi/linux/io_uring.h of each release. Its column
``calls`` has the system calls that do the same as an operation. Of ``a|b`` either does all that the
operation does; ``<a`` does less than another call there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.releases import Release

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_name("io_uring.csv")


class RingNumber(NamedTuple):
    """An operation or an opcode of io_uring_register: its number, and its first release.

    ``calls`` are the system calls that do the same as an operation. Who may make one call of each
    tuple in ``needed`` can do all that the operation does.
    """

    nr: int
    since: Release
    calls: tuple[str, ...] = ()
    needed: tuple[tuple[str, ...], ...] = ()


class RingNumbers(NamedTuple):
    """All operations, and all opcodes of io_uring_register, by name, in the order of numbers.

    The names are the kernel's without ``IORING_OP_`` and ``IORING_REGISTER_``; what takes
    something back begins with ``UNREGISTER_``.
    """

    operations: Mapping[str, RingNumber]
    register: Mapping[str, RingNumber]


@lru_cache(maxsize=1)
def ring_numbers() -> RingNumbers:
    """Return the numbers that come with seccompgen."""
    found: dict[str, dict[str, RingNumber]] = {"op": {}, "register": {}}
    for line in _FILE.read_text().splitlines()[1:]:
        kind, name, nr, since, *_, calls = line.split(",")
        found[kind][name] = RingNumber(
            int(nr),
            Release.parse(f"v{since}"),
            tuple(re.findall(r"\w+", calls)),
            tuple(tuple(one.split("|")) for one in calls.split() if one[0] != "<"),
        )
    return RingNumbers(found["op"], found["register"])
