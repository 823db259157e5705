"""LXC's calls of libseccomp for machines not at hand, made as src/lxc/seccomp.c makes them.

A context of each ABI gets the rules whose name has a number there; then all are merged.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TOKENS = {
    "x86_64": 0xC000003E, "x32": 0x4000003E, "i386": 0x40000003, "arm": 0x40000028,
    "aarch64": 0xC00000B7, "ppc64": 0x80000015, "ppc64le": 0xC0000015, "ppc": 0x14,
    "mips": 8, "mipsel": 0x40000008, "s390x": 0x80000016, "riscv64": 0xC00000F3,
    "loongarch64": 0xC0000102,
}  # fmt: skip
OPERATORS = {"==": 4, "&=": 7}
ALLOW, ERRNO, TSKIP = 0x7FFF0000, 0x50000, 5

Rule = tuple[str, int, tuple[tuple[int, str, int, int], ...]]
"""A name, an errno, and tests: an argument, an operator, a value and a mask."""


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


@cache
def _library() -> ctypes.CDLL | None:
    try:
        found = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    here = os.uname().machine == "x86_64"
    return found if here else None


def is_here() -> bool:
    return _library() is not None


def program(machine: str, others: Iterable[str], rules: Sequence[Rule]) -> bytes:
    """Return the program of a denylist for a machine and ``others`` of its ABIs."""
    library = _library()
    assert library
    whole = _context(library, machine, rules)
    for abi in others:
        assert library.seccomp_merge(whole, _context(library, abi, rules)) == 0
    with tempfile.TemporaryFile() as file:
        assert library.seccomp_export_bpf(whole, file.fileno()) == 0
        file.seek(0)
        return file.read()


def _context(library: ctypes.CDLL, abi: str, rules: Sequence[Rule]) -> ctypes.c_void_p:
    context, token = ctypes.c_void_p(library.seccomp_init(ALLOW)), ctypes.c_uint32(TOKENS[abi])
    if abi != "x86_64":
        assert library.seccomp_arch_remove(context, ctypes.c_uint32(TOKENS["x86_64"])) == 0
        assert library.seccomp_arch_add(context, token) == 0
    assert library.seccomp_attr_set(context, TSKIP, 1) == 0
    for name, errno, tests in rules:
        if library.seccomp_syscall_resolve_name_arch(token, name.encode()) < 0:
            continue
        number = library.seccomp_syscall_resolve_name(name.encode())
        made = (_Comparison * 6)(
            *(
                _Comparison(argument, OPERATORS[op], *((value, 0) if op == "==" else (mask, value)))
                for argument, op, value, mask in tests
            )
        )
        action = ctypes.c_uint32(ERRNO | errno)
        added = library.seccomp_rule_add_exact_array(context, action, number, len(tests), made)
        assert added == 0, (abi, name)
    return context
