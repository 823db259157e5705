"""Names of jump targets and of tests, and the lines of the policy above the blocks of calls."""

from __future__ import annotations

from known_facts import KNOWN_TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.model import U32, Comparison, Op, Origin
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    RET_K,
    Instruction,
)
from seccompgen.pipeline.build import shipped_tables
from seccompgen.render.listing import JUMPS, comparison_of, listing

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


# --- tests in names ------------------------------------------------------------------------------


def jumps(code: list[Instruction], name: str = "x86_64") -> list[str]:
    """Return what is said behind the jumps of a program for ``name`` that look at arguments."""
    head = [
        Instruction(LD_W_ABS, 0, 0, 4),
        Instruction(JMP_JEQ_K, 0, len(code) + 2, ABIS[name].audit_arch),
        Instruction(LD_W_ABS, 0, 0, 0),
    ]
    tail = [Instruction(RET_K, 0, 0, ALLOW), Instruction(RET_K, 0, 0, KILL)]
    lines = listing([*head, *code, *tail], ABIS[name], KNOWN_TABLES)
    texts = [line.text for line, one in zip(lines[3:], code, strict=False) if one.code in JUMPS]
    return [text.partition(" ; ")[2] for text in texts]


def only(call: int, skip: int) -> Instruction:
    """Return the jump that lets call number ``call`` alone through, over ``skip`` instructions."""
    return Instruction(JMP_JEQ_K, 0, skip, call)


def load(argument: int, half: int = 0) -> Instruction:
    """Return the load of a word of an argument, the first one for ``half`` 0."""
    return Instruction(LD_W_ABS, 0, 0, 16 + 8 * argument + 4 * half)


IOCTL, SOCKET, OPENAT, SETSOCKOPT = 16, 41, 257, 54


def test_a_test_of_an_argument_is_named_by_its_constant() -> None:
    code = [only(IOCTL, 2), load(1), Instruction(JMP_JEQ_K, 0, 1, 0x541B)]
    assert jumps(code) == ["", "cmd == FIONREAD"]
    # A number without a name, and one of another ABI.
    assert jumps([*code[:2], Instruction(JMP_JEQ_K, 0, 1, 0x777)]) == ["", ""]
    mips = [only(4054, 2), load(1, 1), Instruction(JMP_JEQ_K, 0, 1, 0x541B)]
    assert jumps(mips, "mips") == ["", ""]
    mips[2] = Instruction(JMP_JEQ_K, 0, 1, 0x467F)
    assert jumps(mips, "mips") == ["", "cmd == FIONREAD"]


def test_the_high_word_has_no_name() -> None:
    assert jumps([only(IOCTL, 2), load(1, 1), Instruction(JMP_JEQ_K, 0, 1, 0x541B)]) == ["", ""]


def test_other_comparisons_and_masks_are_named() -> None:
    jset = [only(OPENAT, 2), load(2), Instruction(JMP_JSET_K, 1, 0, 0o101)]
    assert jumps(jset)[-1] == "flags & (O_WRONLY|O_CREAT)"
    masked = [only(OPENAT, 3), load(2), Instruction(ALU_AND_K, 0, 0, 3)]
    assert jumps([*masked, Instruction(JMP_JEQ_K, 0, 1, 1)])[-1] == "flags & O_ACCMODE == O_WRONLY"
    family = [only(SOCKET, 2), load(0)]
    assert jumps([*family, Instruction(JMP_JGE_K, 0, 1, 2)])[-1] == "family >= AF_INET"
    assert jumps([*family, Instruction(JMP_JGT_K, 0, 1, 2)])[-1] == "family > AF_INET"


def test_a_value_that_is_known_tells_what_another_one_means() -> None:
    code = [only(SETSOCKOPT, 4), load(1), Instruction(JMP_JEQ_K, 0, 2, 1)]
    code += [load(2), Instruction(JMP_JEQ_K, 0, 1, 2)]
    assert jumps(code) == ["", "level == SOL_SOCKET", "optname == SO_REUSEADDR"]
    # Where the level is another one, the option is none of these.
    code[2] = Instruction(JMP_JEQ_K, 2, 0, 1)
    assert jumps(code) == ["", "level == SOL_SOCKET", ""]
    # Where two levels meet, it may be one of either.
    code[2:3] = [Instruction(JMP_JEQ_K, 1, 0, 1), Instruction(JMP_JEQ_K, 0, 2, 6)]
    code[0] = only(SETSOCKOPT, 5)
    code[-1] = Instruction(JMP_JEQ_K, 0, 1, 1)  # of TCP it would be TCP_NODELAY
    assert jumps(code) == ["", "level == SOL_SOCKET", "level == IPPROTO_TCP", ""]


def test_calls_share_a_name_only_if_it_is_the_same() -> None:
    def shared(*calls: int, bits: int = 4) -> str:
        count = len(calls)
        ways = [
            Instruction(JMP_JEQ_K, count - n - 1, 3 if n == count - 1 else 0, call)
            for n, call in enumerate(calls)
        ]
        return jumps([*ways, load(2), Instruction(JMP_JSET_K, 1, 0, bits)])[-1]

    assert shared(9, 10) == "prot & PROT_EXEC"  # mmap, mprotect
    assert shared(9, OPENAT) == ""
    assert shared(OPENAT, bits=1) == "flags & O_WRONLY"
    assert shared(9, OPENAT, bits=1) == ""
    assert shared(10, 400) == ""  # no such call


def test_a_masked_word_is_compared_under_its_mask() -> None:
    test = comparison_of(Instruction(JMP_JEQ_K, 0, 0, 1), 2, 3)
    assert test == Comparison(2, Op.MASKED_EQ, 1, 3, 32)
    test = comparison_of(Instruction(JMP_JSET_K, 0, 0, 6), 2, 3)
    assert test == Comparison(2, Op.ANY_BITS, 2, U32, 32)


def test_what_all_calls_come_to_has_no_name() -> None:
    lines = listing(
        [load(1), Instruction(JMP_JEQ_K, 0, 0, 0x541B), Instruction(RET_K, 0, 0, ALLOW)],
        X86_64,
        KNOWN_TABLES,
    )
    assert " ; " not in lines[1].text


def test_one_word_of_two_has_no_name() -> None:
    code = [only(SETSOCKOPT, 4), load(1), Instruction(JMP_JEQ_K, 0, 1, 1)]
    code += [load(2), Instruction(JMP_JEQ_K, 0, 1, 1)]
    assert jumps(code)[-1] == ""
