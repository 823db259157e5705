"""The ABIs of raw instructions, as far as their own test of ``arch`` shows them."""

from __future__ import annotations

from seccompgen.core.abis import ABIS, Abi, apart_by_kernel
from seccompgen.core.program import ARCH_OFFSET, JMP_JA, JMP_JEQ_K, LD_W_ABS, decode
from seccompgen.verify import kernel_objections

_SHARED = {"x32"}
"""ABIs whose calls come under another ABI's audit value, and belong to that ABI's programs."""


def abis_of(content: bytes) -> list[Abi]:
    """Return the ABIs with programs of their own that the first instructions compare ``arch`` with.

    The list is empty if the program begins otherwise, is invalid, or compares other values. Further
    ABIs that it answers for, such as i386 on x86_64, are not included.
    """
    found: list[Abi] = []
    for abi in ABIS.values():
        if abi.filters_since is None or abi.name in _SHARED:
            continue
        if abi.audit_arch in _compared(content, abi):
            found.append(abi)
    return list(apart_by_kernel(found)[0])


def _compared(content: bytes, abi: Abi) -> set[int]:
    """Return the values that the program, read as one for ``abi``, first compares ``arch`` with."""
    try:
        program = decode(content, abi)
    except ValueError:
        return set()
    first = program[0] if program else None
    if first is None or (first.code, first.k) != (LD_W_ABS, ARCH_OFFSET):
        return set()
    if kernel_objections(program):
        return set()
    values: set[int] = set()
    at = 1
    while program[at].code in {JMP_JEQ_K, JMP_JA}:
        one = program[at]
        if one.code == JMP_JA:
            at += 1 + one.k
        else:
            values.add(one.k)
            at += 1 + one.jf
    return values
