"""Where arguments are the low words of ``seccomp_data.args``, programs look at nothing else."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from interpreter import ABS, ARGS, LD, W, decode
from libseccomp_abis import random_policy
from oracle import ABIS, LOW_WORDS
from seccompgen.core import abis as architectures
from seccompgen.core.abis import HighWords
from strategies import compiled, plain_tables

KERNEL = Path(__file__).parents[3] / "shared" / "kernel"
SEEDS = range(3)
NARROW = sorted(LOW_WORDS & plain_tables().keys())
OTHERS = ("arm", "mips", "mips64n32", "x32", "x86_64")


def of_64_bits(policy: dict[str, Any]) -> dict[str, Any]:
    """Return ``policy`` without what it says of widths."""
    groups = []
    for group in policy["syscalls"]:
        listed = [
            {
                **entry,
                "arguments": [
                    {key: value for key, value in one.items() if key != "width"}
                    for one in entry["arguments"]
                ],
            }
            for entry in group.get("names_with_args", ())
        ]
        groups.append({**group, "names_with_args": listed} if listed else group)
    return {**policy, "syscalls": groups}


def words_looked_at(program: bytes, abi: str) -> list[tuple[int, bool]]:
    """Return (argument, whether it is the high word) of each load of an argument."""
    order = ABIS[abi].byte_order
    loads = [one.k for one in decode(program, order) if one.code == LD | W | ABS and one.k >= ARGS]
    return [((k - ARGS) // 8, (k % 8 == 4) == (order == "little")) for k in loads]


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize("abi", NARROW)
def test_a_comparison_is_one_of_32_bits_and_costs_as_much(abi: str) -> None:
    for seed in SEEDS:
        policy = random_policy(abi, random.Random(seed), 20, 6)
        program = compiled(of_64_bits(policy))[abi]
        assert program == compiled(policy)[abi]
        looked_at = words_looked_at(program, abi)
        assert len(looked_at) >= 6
        assert not any(high for _, high in looked_at)


@pytest.mark.few(2, "compiles many programs")
@pytest.mark.parametrize("abi", OTHERS)
def test_where_all_64_bits_count_they_are_looked_at(abi: str) -> None:
    policy = of_64_bits(random_policy(abi, random.Random(0), 20, 6))
    assert {high for _, high in words_looked_at(compiled(policy)[abi], abi)} == {True, False}


def test_a_program_for_two_abis_looks_at_the_high_words_of_one() -> None:
    entry = {"name": "prctl", "arguments": [{"operation": "Equal", "value": 2}]}
    policy = {
        "arches": ["x86_64"],
        "default_action": "errno",
        "syscalls": [{"action": "allow", "names_with_args": [entry]}],
    }
    wide = words_looked_at(compiled(policy)["x86_64"], "x86_64")
    both = words_looked_at(compiled({**policy, "compat_arches": ["i386"]})["x86_64"], "x86_64")
    assert sorted(wide) == sorted(both) == [(0, False), (0, True)]  # the low one is shared


# --- the kernel's sources -------------------------------------------------------------------------


def test_ours_are_the_oracles() -> None:
    for name in ABIS:
        bits = architectures.ABIS[name].argument_bits
        assert bits == (32 if name in LOW_WORDS else 64), name
    # What the kernel shows is told by the audit value alone.
    shown: dict[int, set[HighWords]] = {}
    for abi in architectures.ABIS.values():
        shown.setdefault(abi.audit_arch, set()).add(abi.high_words)
    assert all(len(found) == 1 for found in shown.values())


_ARCHITECTURES = {
    "ppc": "powerpc",
    "s390": "s390",
    "riscv32": "riscv",
    "loongarch32": "loongarch",
    "sheb": "sh",
}
_MASKED = re.compile(r"unsigned long (val, )?mask = -1UL;.*mask = 0xffffffff;.*& mask;", re.DOTALL)


@pytest.mark.skipif(not KERNEL.is_dir(), reason=f"no kernel sources at {KERNEL}")
@pytest.mark.parametrize("tag", ["v6.1.176", "v7.3.4"])
@pytest.mark.parametrize("abi", sorted(LOW_WORDS - {"i386"}))
def test_the_kernel_shows_high_words_as_zero(abi: str, tag: str) -> None:
    """High words are zero where registers have 32 bits, or are masked.

    Where an architecture has kernels of 64 bits, either mask, or call the 32-bit tasks of these
    something else.
    """
    assert architectures.ABIS[abi].high_words is HighWords.ZERO
    name = _ARCHITECTURES.get(abi, abi)
    root = KERNEL / tag / "arch" / name
    text = (root / "include/asm/syscall.h").read_text()
    shown = set(re.findall(r"AUDIT_ARCH_\w+", text))
    own = f"AUDIT_ARCH_{abi.upper()}"
    if own not in shown and abi in {"s390", "riscv32", "loongarch32"}:
        return  # that kernel does not have it any more, or not yet
    if abi in {"ppc", "s390"}:
        assert _MASKED.search(text)
    elif abi == "riscv32":
        wide = r"#ifdef CONFIG_64BIT\s+return AUDIT_ARCH_RISCV64;"
        assert re.search(rf"{wide}\s+#else\s+return {own};", text)
    elif abi == "loongarch32":
        assert re.search(rf"#ifdef CONFIG_32BIT\s+return {own};", text)
    else:
        assert "config 64BIT" not in (root / "Kconfig").read_text()


@pytest.mark.skipif(not KERNEL.is_dir(), reason=f"no kernel sources at {KERNEL}")
@pytest.mark.parametrize("tag", ["v6.1.176", "v7.3.4"])
def test_the_kernel_shows_registers_of_i386_as_they_are(tag: str) -> None:
    assert architectures.ABIS["i386"].high_words is HighWords.IGNORED
    text = (KERNEL / tag / "arch/x86/include/asm/syscall.h").read_text()
    assert re.search(r"TS_COMPAT\) \{\s+\*args\+\+ = regs->bx;", text)


@pytest.mark.skipif(not KERNEL.is_dir(), reason=f"no kernel sources at {KERNEL}")
def test_the_kernel_shows_registers_of_o32_as_they_are_or_their_low_words() -> None:
    """A call gets the registers in any case, so no low word alone may decide: see HighWords.COUNT.

    tests/guests/foreign.py has a kernel show it.
    """
    assert architectures.ABIS["mips"].high_words is HighWords.COUNT
    old, new = (
        (KERNEL / tag / "arch/mips/include/asm/syscall.h").read_text()
        for tag in ("v6.1.176", "v7.3.4")
    )
    assert re.search(r"case 0: case 1: case 2: case 3:\s+\*arg = regs->regs\[4 \+ n\];", old)
    assert "(unsigned int)" not in old
    assert re.search(r"TIF_32BIT_REGS\)\)\)\s+\*arg = \(unsigned int\)\*arg;", new)
