"""Prototypes of the pin, against what the running kernel says of its own calls.

Two witnesses share no line with the parser: the descriptions of traced calls, which the kernel
makes of its definitions (not of the declarations that the parser reads), and BTF, the types that
its compiler saw. The kernel is another release than the pin.
"""

from __future__ import annotations

import platform
from functools import cache

import pytest
from btf import VMLINUX, Btf, BtfParameter
from seccompgen.pipeline.build import shipped_tables
from traced_calls import traced_calls

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not VMLINUX.is_file(),
    reason="the running kernel is not of x86_64, or has no BTF",
)

NARROWER = {
    ("clone", "flags"): (32, False),
    ("exit", "error_code"): (8, True),
    ("exit_group", "error_code"): (8, True),
    ("umask", "mask"): (16, True),
    ("mbind", "mode"): (32, False),
    ("mmap", "fd"): (32, False),
    ("ptrace", "pid"): (32, True),
    ("vmsplice", "nr_segs"): (32, False),
    ("process_madvise", "vlen"): (32, False),
    ("process_vm_readv", "liovcnt"): (32, False),
    ("process_vm_writev", "liovcnt"): (32, False),
} | {
    (call, name): (32, False)
    for call in ("readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2")
    for name in ("fd", "vlen")
}
"""Parameters of which the kernel reads less than their type has; tried by calling it."""
CHANGED = {"bpf"}
"""Calls that have got parameters since."""


@cache
def btf() -> Btf:
    return Btf(VMLINUX.read_bytes())


@cache
def types() -> dict[str, BtfParameter]:
    spelled = {"unsigned": "unsigned int", "long": "long int", "unsigned long": "long unsigned int"}
    named = btf().named()
    return named | {ours: named[btfs] for ours, btfs in spelled.items() if btfs in named}


def width(ctype: str) -> tuple[int, bool, bool]:
    """Return bits, signedness and if it is a pointer, by the compiler's types."""
    plain = ctype.removeprefix("const ").removesuffix(" const").removeprefix("enum ")
    if "*" in plain:
        return 64, False, True
    one = types()[plain]
    return one.bits, one.signed, one.pointer


@pytest.mark.root("reads the kernel's tracing files")
def test_traced_calls() -> None:
    calls = traced_calls()
    if calls is None:
        pytest.skip("tracing files cannot be read: not in this kernel, or root may do little here")
    known = shipped_tables().facts.prototypes["x86_64"]
    compared, names_differ, narrowed = 0, set(), set()
    for call, prototype in known.items():
        fields = calls.get(prototype.entry.removeprefix("sys_"))
        if fields is None or call in CHANGED:
            continue
        assert len(fields) == len(prototype.parameters), call
        for (ctype, name), ours in zip(fields, prototype.parameters, strict=True):
            bits, signed, pointer = width(ctype)
            if (call, ours.name) in NARROWER:
                assert bits > NARROWER[call, ours.name][0], (call, name)
                bits, narrow_signed = NARROWER[call, ours.name]
                assert signed == narrow_signed
                narrowed.add((call, ours.name))
            assert (ours.bits, ours.signed, ours.pointer) == (bits, signed, pointer), (call, name)
            compared += 1
            if name != ours.name:
                names_differ.add((call, name, ours.name))
    assert compared > 1000
    assert narrowed == NARROWER.keys()
    # Definitions name some otherwise than declarations: pathname for path, or u_name for name.
    assert len(names_differ) < 0.1 * compared, sorted(names_differ)


@pytest.mark.long("reads many headers")
def test_types_that_the_compiler_saw() -> None:
    functions = btf().functions()
    compared = 0
    for call, prototype in shipped_tables().facts.prototypes["x86_64"].items():
        theirs = functions.get(prototype.entry.replace("sys_", "__do_sys_", 1))
        if theirs is None or call in CHANGED or not prototype.parameters:
            continue
        expected = [
            (*NARROWER.get((call, ours.name), (one.bits, one.signed)), one.pointer)
            for one, ours in zip(theirs, prototype.parameters, strict=True)
        ]
        found = [(one.bits, one.signed, one.pointer) for one in prototype.parameters]
        assert found == expected, call
        compared += 1
    if not compared:
        pytest.skip("the compiler has put all calls into others")
