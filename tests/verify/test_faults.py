"""The compiler, broken on purpose in one place after another, is caught by both provers.

Each fault is a change to the source of a function of the compiler. The calls that the provers show
are tried with the interpreter and the oracle of the tests, which share no code with seccompgen.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from breaking import Edit, break_functions
from proving import TABLES, decided, loaded, ran
from seccompgen.__main__ import main
from seccompgen.compile import compile_policy, lower
from seccompgen.compile.arguments import Arguments
from seccompgen.compile.assemble import _Code
from seccompgen.compile.chain import _Chain
from seccompgen.compile.diagram import Graph
from seccompgen.compile.dispatch import _Builder
from seccompgen.compile.functions import Functions
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo
from seccompgen.core.model import Action
from seccompgen.core.program import word_offset
from seccompgen.pipeline.build import build_policy
from seccompgen.verify import Code, Difference, Method, Proof, kernel_objections, meaning, prove
from strategies import plain_tables

if TYPE_CHECKING:
    from pathlib import Path

    Rules = list[dict[str, Any]]


def condition(name: str, action: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"action": action, "names_with_args": [{"name": name, "arguments": list(arguments)}]}


def compare(operation: str, value: int, argument: int = 0, **more: int) -> dict[str, Any]:
    return {"argument": argument, "operation": operation, "value": value, **more}


class Fault(NamedTuple):
    """Edits that make a wrong program for ``abi`` of a policy with ``rules``."""

    abi: str
    rules: Rules
    edits: tuple[Edit, ...]
    default: str = "errno(1)"

    @property
    def policy(self) -> dict[str, Any]:
        return {"arches": [self.abi], "default_action": self.default, "syscalls": self.rules}

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Break the compiler."""
        break_functions(self.edits, patch)


LONE = [condition("socket", "allow", compare("Equal", 0x100000002))]
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

OFFSET = "len(self._out) - 1 - self._places[entry]"

FAULTS = {
    "words swapped, little-endian": Fault(
        "x86_64", LONE, (Edit(word_offset, '"little"', '"big"'),)
    ),
    "words swapped, big-endian": Fault("s390x", LONE, (Edit(word_offset, '"little"', '"big"'),)),
    "a jump one short": Fault(
        "x86_64", BORDERS, (Edit(_Code._offset, OFFSET, f"max({OFFSET} - 1, 0)"),)
    ),
    "a long jump one too far": Fault(
        "x86_64",
        LONG,
        (Edit(_Code._bring_near, "self._offset(entry))\n", "self._offset(entry) + 1)\n"),),
    ),
    "jgt for jge": Fault(
        "x86_64",
        BORDERS,
        (
            Edit(
                _Code.emit,
                "_OPCODES[node.relation]",
                "_OPCODES[Relation.GT if node.relation is Relation.GE else node.relation]",
            ),
        ),
    ),
    "x32 taken for x86_64": Fault(
        "x86_64",
        LONE,
        (
            Edit(
                lower._Line._backgrounds,
                "yield bit, 2 * bit - 1, x32",
                "yield bit, 2 * bit - 1, native",
            ),
        ),
    ),
    "-1 taken for x32": Fault(
        "x86_64",
        [{"action": "allow", "names": [name]} for name in ("read", "write", "close")],
        (Edit(_Builder.build, "Relation.EQ, U32, unknown", "Relation.EQ, U32, foreign"),),
    ),
    "no high word": Fault(
        "aarch64",
        [condition("socket", "errno(13)", compare("NotEqual", 1))],
        (Edit(Functions.words, "if bits >> 32:", "if False:"),),
        "allow",
    ),
    "no high word in the plain way": Fault(
        "aarch64",
        LONE,
        (
            Edit(
                _Chain._comparison, "if test.width == 64 else None", "if test.width > 64 else None"
            ),
            Edit(Arguments.plan, "size > self._longest(answer)", "size"),
        ),
    ),
    "rules in the wrong order": Fault(
        "x86_64", ORDERED, (Edit(lower._Line._calls, "tuple(own)", "tuple(own[::-1])"),)
    ),
    "tails that only look alike are shared": Fault(
        "x86_64",
        ALIKE,
        (
            Edit(
                Graph._intern,
                "self._known.get(node)",
                "self._known.get("
                "key := node if isinstance(node, Leaf) else (node.true, node.false))",
            ),
            Edit(Graph._intern, "self._known[node]", "self._known[key]"),
        ),
    ),
    "a mask on the other half": Fault(
        "ppc64",
        [condition("ioctl", "allow", compare("MaskedEqual", 0x50, 1, mask=0xF0))],
        (Edit(Arguments._made, "Value(offset, mask)", "Value(offset ^ 4, mask)"),),
    ),
    "a mask on the other half in the plain way": Fault(
        "ppc64",
        [condition("ioctl", "allow", compare("MaskedEqual", 0x50, 1, mask=0xF0))],
        (
            Edit(
                _Chain._comparison,
                "mask_low, mask_high = test.mask & U32, test.mask >> 32",
                "mask_high, mask_low = test.mask & U32, test.mask >> 32",
            ),
            Edit(Arguments.plan, "size > self._longest(answer)", "size"),
        ),
    ),
    "jumps beyond 255": Fault(
        "x86_64",
        LONG,
        (
            Edit(_Code._bring_near, "> MAX_OFFSET", "> U32"),
            Edit(_Code.emit, "jt, jf, node.k", "jt & 0xFF, jf & 0xFF, node.k"),
        ),
    ),
    "errno of another ABI": Fault(
        "mips",
        [{"action": "errno(ENOSYS)", "names": ["openat2"]}],
        (
            Edit(
                lower._Line._decide,
                "last.action.ret(abi)",
                "last.action.ret(self._tables.tables['x86_64'].abi)",
            ),
        ),
        "allow",
    ),
    "data cut to a byte": Fault(
        "parisc",
        [{"action": "trace(4660)", "names": ["openat2"]}],
        (Edit(Action.ret, "| data", "| data & 0xFF"),),
        "allow",
    ),
}

each = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@each
def test_a_fault_is_found_and_shown(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    abi, policy = ABIS[fault.abi], loaded(fault.policy)
    means = meaning(policy, abi, TABLES)
    good = Code(compile_policy(policy, abi, TABLES).instructions, abi.byte_order)
    fault.apply(monkeypatch)
    bad = Code(compile_policy(policy, abi, TABLES).instructions, abi.byte_order)
    assert meaning(policy, abi, TABLES) == means  # the oracle is not what is broken
    monkeypatch.undo()
    assert Code(compile_policy(policy, abi, TABLES).instructions, abi.byte_order) == good != bad
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
        fault.apply(broken)
        with pytest.raises(AnswerNo, match=r"wrong program for aarch64.*: socket\(0x") as caught:
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
