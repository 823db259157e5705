"""The assumption of proofs for some ABIs: that arguments are as their kernels show them.

The programs are those that a compiler makes that compares all 64 bits, as ours did.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from command import seccompgen
from oracle import ABIS, LOW_WORDS, U32
from proving import TABLES, both, decided, meaning_of, ran
from seccompgen.compile import compile_policy
from seccompgen.core import abis as architectures
from seccompgen.core.abis import HighWords
from seccompgen.core.program import encode
from seccompgen.verify import Code, Difference, Method, Operation, Proof, Stack, prove
from seccompgen.verify.call import Call
from strategies import loaded, plain_tables

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.verify.stack import FilterSemantics

ZERO = [
    name
    for name in sorted(LOW_WORDS & plain_tables().keys())
    if architectures.ABIS[name].high_words is HighWords.ZERO
]
ALLOWED = 0x7FFF0000


def policy_of(abi: str, *compat: str, value: int = 2) -> dict[str, Any]:
    entry = {"name": "prctl", "arguments": [{"argument": 1, "operation": "Equal", "value": value}]}
    return {
        "arches": [abi],
        "compat_arches": list(compat),
        "default_action": "allow",
        "syscalls": [{"action": "errno(7)", "names_with_args": [entry]}],
    }


def wide(policy: dict[str, Any]) -> Code:
    """Compile ``policy`` as if the high words of all ABIs counted."""
    tables = {
        name: dataclasses.replace(
            table, abi=dataclasses.replace(table.abi, high_words=HighWords.COUNT)
        )
        for name, table in TABLES.tables.items()
    }
    model = loaded(policy)
    abi = model.arches[0]
    program = compile_policy(model, abi, dataclasses.replace(TABLES, tables=tables))
    return Code(program.instructions, abi.byte_order)


def found(left: FilterSemantics, right: FilterSemantics, *assuming: str) -> Proof | Difference:
    """Return what both methods find; a proof must assume just ``assuming``."""
    verdicts, reason = both(left, right, assuming)
    assert not reason
    return verdicts[Method.CLASSES]


def assert_proved(left: FilterSemantics, right: FilterSemantics, *assuming: str) -> None:
    assert found(left, right, *assuming) == Proof((Method.CLASSES,), assuming)


def assert_differ(verdict: Proof | Difference, policy: dict[str, Any], code: Code) -> Call:
    """Assert that the policy and the program do answer the call shown differently."""
    assert isinstance(verdict, Difference)
    assert verdict.left == decided(policy, policy["arches"][0], verdict.call)
    assert verdict.right == ran(code, verdict.call).value
    assert verdict.left != verdict.right
    return verdict.call


@pytest.mark.parametrize("abi", sorted(LOW_WORDS & plain_tables().keys()))
def test_our_programs_are_proved_without_assuming_anything(abi: str) -> None:
    policy = policy_of(abi)
    program = compile_policy(loaded(policy), architectures.ABIS[abi], TABLES)
    code = Code(program.instructions, program.abi.byte_order)
    assert_proved(meaning_of(policy, abi), code)


@pytest.mark.few(5, "proves many programs")
@pytest.mark.parametrize("abi", ZERO)
def test_a_test_of_a_word_that_is_always_zero_is_no_difference(abi: str) -> None:
    policy = policy_of(abi)
    means = meaning_of(policy, abi)
    assert_proved(means, wide(policy), abi)
    # Another difference is found all the same, at a call that exists.
    code = wide(policy_of(abi, value=3))
    call = assert_differ(found(means, code), policy, code)
    assert call.exists
    assert max(call.args) <= U32


def test_an_i386_program_that_looks_at_high_words_can_be_passed_by() -> None:
    policy = policy_of("i386")
    code = wide(policy)
    call = assert_differ(found(meaning_of(policy, "i386"), code), policy, code)
    assert call.args[1] & U32 == 2
    assert call.args[1] > U32
    assert ran(code, call).value == ALLOWED


@pytest.mark.parametrize("abi", ["x86_64", "x32", "arm", "mips", "mips64n32", "parisc"])
def test_where_high_words_count_nothing_is_assumed(abi: str) -> None:
    policy, narrow = policy_of(abi), policy_of(abi)
    narrow["syscalls"][0]["names_with_args"][0]["arguments"][0]["width"] = 32
    code = wide(policy)
    assert_proved(meaning_of(policy, abi), code)
    assert_differ(found(meaning_of(narrow, abi), code), narrow, code)


def test_of_two_abis_of_a_kernel_each_has_its_own() -> None:
    policy = policy_of("ppc64", "ppc")
    means, code = meaning_of(policy, "ppc64"), wide(policy)
    assert_proved(means, code, "ppc")
    # The same word of ppc64's argument counts.
    verdict = found(means, wide(policy_of("ppc64", "ppc", value=1 << 32 | 2)))
    assert isinstance(verdict, Difference)
    assert verdict.call.arch == ABIS["ppc64"].audit_arch


def test_a_stack_needs_the_assumption_only_where_it_matters() -> None:
    policy = policy_of("m68k")
    parts, means = (wide(policy), meaning_of(policy, "m68k")), meaning_of(policy, "m68k")
    assert_proved(Stack(Operation.UNION, parts), means, "m68k")
    assert_proved(Stack(Operation.INTERSECT, parts), means)  # the other part refuses it


def test_one_method_may_find_what_does_not_exist_first() -> None:
    policy = policy_of("ppc")
    for method in Method:
        verdict = prove(meaning_of(policy, "ppc"), wide(policy), [method])
        assert verdict == Proof((method,), ("ppc",))


def test_calls_that_do_not_exist() -> None:
    arch = ABIS["ppc"].audit_arch
    assert Call(0, arch, (0, U32, 0, 0, 0, U32)).exists
    for argument in range(6):
        args = [0] * 6
        args[argument] = U32 + 1
        a, b, c, d, e, f = args
        assert not Call(0, arch, (a, b, c, d, e, f)).exists
        assert Call(0, ABIS["ppc64"].audit_arch, (a, b, c, d, e, f)).exists
        assert Call(0, ABIS["i386"].audit_arch, (a, b, c, d, e, f)).exists


@pytest.mark.long("proves many programs")
def test_verify_and_equiv_say_what_is_assumed(tmp_path: Path) -> None:
    for abi in ("ppc", "m68k", "i386"):
        program = encode(wide(policy_of(abi)).instructions, architectures.ABIS[abi])
        (tmp_path / f"{abi}.bpf").write_bytes(program)
        (tmp_path / f"{abi}.json").write_text(json.dumps(policy_of(abi)))
    assumed = ", assuming that the kernel shows the high words of arguments as 0 on ppc\n"
    run = seccompgen("verify", "ppc.bpf", "--policy", "ppc.json", "--arch", "ppc", cwd=tmp_path)
    assert run.code == 0
    assert run.out == (
        f"ppc.bpf: proved for ppc (classes and z3), against ppc.json{assumed}"
        "calls that the kernel cannot tell apart get one answer\n"
    )
    run = seccompgen("equiv", "ppc.bpf", "ppc.json", "--arch", "ppc", cwd=tmp_path)
    assert run.out == f"ppc.bpf = ppc.json: proved for ppc (classes and z3){assumed}"
    run = seccompgen("equiv", "ppc.bpf", "ppc.json", "--arch", "ppc", "--json", cwd=tmp_path)
    assert json.loads(run.out)["programs"][0]["assuming"] == ["ppc"]
    run = seccompgen("verify", "ppc.json", "--json", cwd=tmp_path)
    assert json.loads(run.out)["programs"][0]["assuming"] == []
    run = seccompgen("verify", "i386.bpf", "--policy", "i386.json", "--arch", "i386", cwd=tmp_path)
    assert run.code == 1
    assert "prctl(0, 0x100000002) on i386: policy says errno(E2BIG), program says allow" in run.out
