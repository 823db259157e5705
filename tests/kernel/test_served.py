"""The functions that serve calls: rows of tables, and the macros that came before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kernel_trees import read_tree
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.kernel.parse import assemble
from seccompgen.kernel.parse.expressions import Macro
from seccompgen.kernel.parse.served import Served, served_by_header, served_by_table
from seccompgen.kernel.parse.sources import VIEWS
from seccompgen.kernel.parse.tbl import read_rows
from seccompgen.kernel.parse.tree import Tree
from upstream import MINIATURE, NEW

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE = """\
0 common read sys_read
1 common open sys_open - noreturn
2 common ioctl sys_ioctl compat_sys_ioctl
3 common gone
4 common sync_file_range sys_sync_file_range
"""
HEADER = r"""
#define __NR_read 0
__SYSCALL(__NR_read, sys_read)
#define __NR3264_fcntl 25
__SC_COMP_3264(__NR3264_fcntl, sys_fcntl64, \
               sys_fcntl, compat_sys_fcntl64)
#define __NR_ioctl 29
__SC_COMP(__NR_ioctl, sys_ioctl, compat_sys_ioctl)
#define __NR3264_lseek 62
__SC_3264(__NR3264_lseek, sys_llseek, sys_lseek)
#define __NR_absent 77
__SYSCALL(__NR_absent, sys_absent)
"""


def test_rows_of_a_table() -> None:
    rows = read_rows("t.tbl", TABLE)
    numbers = {"read": 4000, "open": 4001, "ioctl": 4002, "gone": 4003, "again": 4002, "other": 9}
    assert served_by_table(numbers, rows) == {
        "read": Served("sys_read"),
        "open": Served("sys_open"),
        "ioctl": Served("sys_ioctl", "compat_sys_ioctl"),
        "gone": Served(""),
        "again": Served("sys_ioctl", "compat_sys_ioctl"),  # another name of the number
    }


def test_a_name_that_a_header_gives_a_row() -> None:
    """csky undefines ``sync_file_range``, and defines ``sync_file_range2`` as 84."""
    found = served_by_table({"sync_file_range2": 4}, read_rows("t.tbl", TABLE))
    assert found == {"sync_file_range2": Served("sys_sync_file_range")}


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (
            64,
            {
                "read": Served("sys_read"),
                "fcntl": Served("sys_fcntl", "compat_sys_fcntl64"),
                "ioctl": Served("sys_ioctl", "compat_sys_ioctl"),
                "lseek": Served("sys_lseek"),
            },
        ),
        (
            32,
            {
                "read": Served("sys_read"),
                "fcntl": Served("sys_fcntl64", "compat_sys_fcntl64"),
                "ioctl": Served("sys_ioctl", "compat_sys_ioctl"),
                "lseek": Served("sys_llseek"),
            },
        ),
    ],
)
def test_macros_of_a_header(bits: int, expected: Mapping[str, Served]) -> None:
    values = {"__NR_read": 0, "__NR3264_fcntl": 25, "__NR_ioctl": 29, "__NR3264_lseek": 62}
    macros = {name: Macro(name, str(nr), Position("h")) for name, nr in values.items()}
    numbers = {"read": 0, "fcntl": 25, "ioctl": 29, "lseek": 62, "none": 63}
    assert served_by_header(numbers, macros, (None, HEADER), bits) == expected


def test_arms_calls_have_entries_on_the_kernel_of_arm64_as_well() -> None:
    made = assemble._table(NEW, ABIS["arm"], VIEWS["arm"], Tree(read_tree(MINIATURE, NEW)))
    assert made
    assert made[1]["clone"] == Served("sys_clone", "compat_sys_clone")
    assert made[1]["getpid"] == Served("sys_getpid", "")
