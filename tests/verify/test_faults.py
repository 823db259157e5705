"""Compilers that make the mistakes compilers make: both provers catch each of them.

A fault changes what goes into the compiler or what comes out of it, so that it does not depend on
how the compiler is written. The calls that the provers show are tried with the interpreter and the
oracle of the tests, which share no code with seccompgen.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from longer import long_but
from proving import TABLES, decided, ran
from seccompgen.__main__ import main
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo
from seccompgen.pipeline import proved
from seccompgen.pipeline.build import build_policy
from seccompgen.verify import Code, Difference, Method, Proof, kernel_objections, meaning, prove
from strategies import loaded, plain_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.program import Instruction, Program

    Rules = list[dict[str, Any]]


def condition(name: str, action: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"action": action, "names_with_args": [{"name": name, "arguments": list(arguments)}]}


def compare(operation: str, value: int, argument: int = 0, **more: int) -> dict[str, Any]:
    return {"argument": argument, "operation": operation, "value": value, **more}


class Fault(NamedTuple):
    """A wrong compiler, and a policy of ``rules`` for ``abi`` of which it makes a wrong program.

    It compiles the policy as ``misread`` changes it, for the ABI that ``mistaken`` returns, and
    makes one instruction another: ``miswritten`` returns that, or None for what it leaves alone.
    """

    abi: str
    rules: Rules
    misread: Callable[[dict[str, Any]], dict[str, Any]] = lambda policy: policy
    mistaken: Callable[[Abi], Abi] = lambda abi: abi
    miswritten: Callable[[Instruction], Instruction | None] = lambda instruction: None  # noqa: ARG005 -- it leaves all alone
    default: str = "errno(1)"

    @property
    def policy(self) -> dict[str, Any]:
        return {"arches": [self.abi], "default_action": self.default, "syscalls": self.rules}

    def compile(self) -> Program:
        """Return the wrong program."""
        policy = loaded(self.misread(json.loads(json.dumps(self.policy))))
        program = compile_policy(policy, self.mistaken(ABIS[self.abi]), TABLES)
        instructions = list(program.instructions)
        for place, instruction in enumerate(instructions):
            if wrong := self.miswritten(instruction):
                instructions[place] = wrong
                break
        return replace(program, instructions=tuple(instructions))


def other_byte_order(abi: Abi) -> Abi:
    return replace(abi, byte_order="big" if abi.byte_order == "little" else "little")


def every_condition(change: Callable[[dict[str, Any]], object]) -> Callable[..., dict[str, Any]]:
    """Return what changes each condition of a policy in place."""

    def misread(policy: dict[str, Any]) -> dict[str, Any]:
        for group in policy["syscalls"]:
            for entry in group["names_with_args"]:
                for argument in entry["arguments"]:
                    change(argument)
        return policy

    return misread


def action(spelled: str) -> Callable[..., dict[str, Any]]:
    """Return what gives a policy's first rule another action."""

    def misread(policy: dict[str, Any]) -> dict[str, Any]:
        policy["syscalls"][0]["action"] = spelled
        return policy

    return misread


JGE, JGT, JEQ, JA = 0x35, 0x25, 0x15, 0x05
"""BPF_JMP with BPF_JGE, BPF_JGT, BPF_JEQ, each with BPF_K, and BPF_JA (linux/bpf_common.h)."""


LONE = [condition("prctl", "allow", compare("Equal", 0x100000002, argument=1))]
BORDERS = [condition("socket", "allow", compare("GreaterOrEqual", 1000))]
ORDERED = [
    condition("prctl", "errno(2)", compare("BitsSet", 4)),
    condition("prctl", "allow", compare("LessThan", 100)),
]
ALIKE = [
    condition("socket", "allow", compare("Equal", 2, width=32)),
    condition("ioctl", "allow", compare("Equal", 3, argument=1, width=32)),
]
# All calls, at random, lead to one of six tests of an argument: across more tests of the number
# than a jump can cross.
NAMES = sorted({nr: name for name, nr in sorted(plain_tables()["x86_64"].items())}.values())
random.Random(0).shuffle(NAMES)
LONG = [
    condition(name, "allow", compare("Equal", 0x55 + place % 7, place % 6))
    for place, name in enumerate(NAMES)
]

FAULTS = {
    "words swapped, little-endian": Fault("x86_64", LONE, mistaken=other_byte_order),
    "words swapped, big-endian": Fault("s390x", LONE, mistaken=other_byte_order),
    "a jump one short": Fault(
        "x86_64",
        BORDERS,
        miswritten=lambda one: replace(one, jt=one.jt - 1) if one.code == JGE and one.jt else None,
    ),
    "a long jump one too far": Fault(
        "x86_64", LONG, miswritten=lambda one: replace(one, k=one.k + 1) if one.code == JA else None
    ),
    "a long jump cut to a byte": Fault(
        "x86_64",
        LONG,
        miswritten=lambda one: (
            replace(one, k=one.k & 0xFF) if one.code == JA and one.k > 0xFF else None
        ),
    ),
    "jgt for jge": Fault(
        "x86_64",
        BORDERS,
        miswritten=lambda one: (
            replace(one, code=JGT) if one.code == JGE and one.k == 1000 else None
        ),
    ),
    "x32 taken for x86_64": Fault(
        "x86_64", LONE, misread=lambda policy: policy | {"compat_arches": ["x32"]}
    ),
    "-1 taken for x32": Fault(
        "x86_64",
        [{"action": "allow", "names": [name]} for name in ("read", "write", "close")],
        miswritten=lambda one: (
            replace(one, jt=one.jf) if one.code == JEQ and one.k == 0xFFFFFFFF else None
        ),
    ),
    "no high word": Fault(
        "aarch64",
        [condition("prctl", "errno(13)", compare("NotEqual", 1, argument=1))],
        misread=every_condition(lambda argument: argument.update(width=32)),
        default="allow",
    ),
    "rules in the wrong order": Fault(
        "x86_64", ORDERED, misread=lambda policy: policy | {"syscalls": ORDERED[::-1]}
    ),
    "tails that only look alike are shared": Fault(
        "x86_64",
        ALIKE,
        misread=every_condition(lambda argument: argument.update(argument=0, value=2)),
    ),
    "a mask on the other half": Fault(
        "ppc64",
        [condition("ioctl", "allow", compare("MaskedEqual", 0x50, 1, mask=0xF0))],
        misread=every_condition(lambda one: one.update(value=0x50 << 32, mask=0xF0 << 32)),
    ),
    "errno of another ABI": Fault(
        "mips",
        [{"action": "errno(ENOSYS)", "names": ["openat2"]}],
        misread=action("errno(38)"),
        default="allow",
    ),
    "data cut to a byte": Fault(
        "parisc",
        [{"action": "trace(4660)", "names": ["openat2"]}],
        misread=action("trace(52)"),
        default="allow",
    ),
}

each = pytest.mark.parametrize(
    "name",
    long_but(
        FAULTS.keys() - {"a long jump cut to a byte"}, FAULTS, "a second program with long jumps"
    ),
)


@pytest.mark.few(1, "proves many programs")
@each
def test_a_fault_is_found_and_shown(name: str) -> None:
    fault = FAULTS[name]
    abi, policy = ABIS[fault.abi], loaded(fault.policy)
    means = meaning(policy, abi, TABLES)
    good = Code(compile_policy(policy, abi, TABLES).instructions, abi.byte_order)
    bad = Code(fault.compile().instructions, abi.byte_order)
    assert good != bad
    assert not kernel_objections(bad.instructions)
    for method in Method:
        assert prove(means, good, [method]) == Proof((method,))
        found = prove(means, bad, [method])
        assert isinstance(found, Difference), method
        assert found.left == decided(fault.policy, fault.abi, found.call)
        assert found.left == ran(good, found.call).value
        assert found.right == ran(bad, found.call).value
        assert found.left != found.right


def test_nothing_is_built_by_a_broken_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS["no high word"]
    path, output = tmp_path / "policy.json", tmp_path / "out"
    path.write_text(json.dumps(fault.policy))
    command = ["seccompgen", "build", str(path), "-o", str(output), "--format", "bpf"]
    monkeypatch.setattr("sys.argv", command)
    with monkeypatch.context() as broken:
        broken.setattr(proved, "compile_policy", lambda *_: fault.compile())
        with pytest.raises(AnswerNo, match=r"wrong program for aarch64.*: prctl\(") as caught:
            build_policy(path, TABLES)
        assert caught.value.diagnostics[0].position
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == AnswerNo.exit_code
        assert "wrong program" in capsys.readouterr().err
        assert not output.exists() or not list(output.iterdir())
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert [one.name for one in output.iterdir()] == ["policy.aarch64.bpf"]
