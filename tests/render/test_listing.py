"""Names of jump targets, and the lines of the policy above the blocks of calls."""

from __future__ import annotations

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.model import Origin
from seccompgen.core.program import JMP_JEQ_K, JMP_JGE_K, JMP_JSET_K, LD_W_ABS, RET_K, Instruction
from seccompgen.pipeline.build import shipped_tables
from seccompgen.render import listing

ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000
X86_64 = ABIS["x86_64"]
TABLES = shipped_tables()


def program(last: int) -> list[Instruction]:
    """Return one that looks at an argument of mprotect, and treats calls from ``last`` on alike."""
    return [
        Instruction(LD_W_ABS, 0, 0, 4),
        Instruction(JMP_JEQ_K, 0, 9, X86_64.audit_arch),
        Instruction(LD_W_ABS, 0, 0, 0),
        Instruction(JMP_JGE_K, 4, 0, 20),
        Instruction(JMP_JEQ_K, 1, 0, 10),
        Instruction(RET_K, 0, 0, ALLOW),
        Instruction(LD_W_ABS, 0, 0, 32),
        Instruction(JMP_JSET_K, 2, 1, 4),
        Instruction(JMP_JGE_K, 1, 0, last),
        Instruction(RET_K, 0, 0, ALLOW),
        Instruction(RET_K, 0, 0, EPERM),
        Instruction(RET_K, 0, 0, KILL),
    ]


def test_a_range_is_named_after_its_first_call() -> None:
    lines = listing(program(30), X86_64, TABLES)
    assert [line.label for line in lines if line.label] == ["mprotect", "from writev"]
    assert lines[3].text.split() == ["jge", "20", "writev", "->", "from", "writev"]


def test_a_name_stays_where_only_what_comes_later_changes() -> None:
    first, second = (listing(program(last), X86_64, TABLES) for last in (30, 31))
    differ = [a.text for a, b in zip(first, second, strict=True) if a != b]
    assert [text.split()[0:2] for text in differ] == [["jge", "30"]]


def test_the_block_of_a_call_has_the_lines_of_the_policy_above_it() -> None:
    code = program(30)
    here, there = Position("/home/somebody/base.yml", 7, 3), Position("web.yml", 12, 3)
    origins: list[tuple[Origin, ...]] = [(Origin("rule 1", here),)] * len(code)
    origins[6] = (Origin("rule 2", there), Origin("rule 1", here))
    origins[7] = (Origin("rule 3", Position("web.yml", 9)), Origin("made", Position("a.bpf")))
    lines = listing(code, X86_64, TABLES, origins)
    heads = [line.head for line in lines if line.head]
    assert heads == ["mprotect: base.yml:7; web.yml:9, 12", "from writev:"]
    assert all(line.head == "" for line in lines if not line.label)
