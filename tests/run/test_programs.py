"""Changes to a program before a command starts under it, by the independent interpreter."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import interpreter
import pytest
from running_kernel import ALLOW, ERRNO, KILL_PROCESS, LOG, NEW_LISTENER, TRACE, USER_NOTIF
from seccompgen.core.abis import ABIS
from seccompgen.core.model import U32, U64, ActionKind
from seccompgen.core.program import RET_K, Instruction, encode
from seccompgen.core.word import ARCH, ARGS, NR
from seccompgen.pipeline.build import build_policy, shipped_tables
from seccompgen.run.launch_token import LaunchToken, with_token
from seccompgen.run.notify_rewrite import asking, asking_about, lets_through
from seccompgen.run.steps import INSTALLERS
from seccompgen.verify import Code, Meaning, Proof, kernel_objections, meaning, prove
from seccompgen.verify.oracle import Case, FieldTest

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = shipped_tables()
WIDE, NARROW = ("x86_64", "aarch64", "s390x", "mips64el"), ("i386", "arm", "ppc", "mips")
POLICY = """
default_action: kill_process
syscalls:
- {action: allow, names: [read, close]}
- {action: log, names: [getpid]}
- {action: errno(EACCES), names: [execve]}
- action: allow
  names_with_args:
  - {name: write, arguments: [{argument: 0, operation: Equal, value: 1}]}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Instruction, ...]]:
    path = tmp_path_factory.mktemp("policy") / "policy.yml"
    path.write_text(POLICY)
    abis = [ABIS[name] for name in (*WIDE, *NARROW)]
    return {p.abi.name: p.instructions for p in build_policy(path, TABLES, abis).programs}


def answer(
    code: tuple[Instruction, ...], abi: str, nr: int, args: tuple[int, ...], arch: int
) -> int:
    order = ABIS[abi].byte_order
    program = encode(code, ABIS[abi])
    interpreter.check(program, order)
    return interpreter.run(
        program, interpreter.seccomp_data(nr, arch, args, 77, order), order
    ).value


def near_misses(words: tuple[int, ...], bits: int) -> Iterator[tuple[int, ...]]:
    """Yield every triple that differs from ``words`` in one bit."""
    for at in range(3):
        for bit in range(bits):
            yield (*words[:at], words[at] ^ 1 << bit, *words[at + 1 :])


@pytest.mark.few(3, "runs programs under a tracer again and again")
@pytest.mark.parametrize("abi", [*WIDE, *NARROW])
def test_the_token_opens_the_calls_it_is_for_and_nothing_else(
    abi: str, programs: dict[str, tuple[Instruction, ...]]
) -> None:
    numbers, arch = TABLES.tables[abi].numbers, ABIS[abi].audit_arch
    token = LaunchToken.new(ABIS[abi])
    opened = [numbers["execve"], numbers["exit_group"], numbers["write"]]
    plain = programs[abi]
    code = with_token(plain, ABIS[abi], token, opened, asks_for_listeners=numbers["seccomp"])
    for nr in opened:
        assert answer(code, abi, nr, (5, 6, 7, *token.words), arch) == ALLOW
        for words in near_misses(token.words, ABIS[abi].bits):
            args = (2, 6, 7, *words)
            refused = answer(plain, abi, nr, args, arch)
            assert answer(code, abi, nr, args, arch) == refused != ALLOW
    for nr in {*numbers.values(), 0xFFFFFFFF, 5000} - {*opened, numbers["seccomp"]}:
        for way in (arch, arch ^ 1):
            args = (1, 6, 7, *token.words)
            assert answer(code, abi, nr, args, way) == answer(plain, abi, nr, args, way)
    # Through another ABI no number is the one that was meant.
    assert answer(code, abi, opened[0], (0, 0, 0, *token.words), arch ^ 1) == KILL_PROCESS


@pytest.mark.parametrize("abi", ["x86_64", "s390x", "ppc"])
def test_a_filter_with_a_listener_is_asked_about(
    abi: str, programs: dict[str, tuple[Instruction, ...]]
) -> None:
    nr, arch = TABLES.tables[abi].numbers["seccomp"], ABIS[abi].audit_arch
    code = with_token(programs[abi], ABIS[abi], LaunchToken((1, 2, 3)), [], asks_for_listeners=nr)
    assert answer(code, abi, nr, (1, NEW_LISTENER | 1), arch) == USER_NOTIF
    assert answer(code, abi, nr, (1, 1), arch) == KILL_PROCESS
    assert answer(code, abi, nr, (1, NEW_LISTENER), arch ^ 1) == KILL_PROCESS


def test_the_kernel_answers_by_its_bitmap_what_it_answered_before(
    programs: dict[str, tuple[Instruction, ...]],
) -> None:
    abi = ABIS["x86_64"]
    numbers = TABLES.tables["x86_64"].numbers
    plain = encode(programs["x86_64"], abi)
    opened = [numbers["execve"], numbers["exit_group"]]
    code = with_token(programs["x86_64"], abi, LaunchToken.new(abi), opened, numbers["seccomp"])
    cached = [
        (
            interpreter.constant_allow(plain, nr, abi.audit_arch, "little"),
            interpreter.constant_allow(encode(code, abi), nr, abi.audit_arch, "little"),
        )
        for nr in range(500)
    ]
    assert all(before == after for before, after in cached)
    assert sum(before for before, _ in cached) == 2  # read, close


def test_a_program_that_relies_on_an_accumulator_of_zero_still_has_it() -> None:
    abi = ABIS["x86_64"]
    # A is 0 at first, so that this allows everything.
    plain = (
        Instruction(0x15, 0, 1, 0),
        Instruction(0x06, 0, 0, ALLOW),
        Instruction(0x06, 0, 0, KILL_PROCESS),
    )
    for code in (
        with_token(plain, abi, LaunchToken.new(abi), [59]),
        asking_about(INSTALLERS, [TABLES.tables["x86_64"]], plain, ActionKind.TRACE),
    ):
        for nr in (0, 59, 60):
            assert answer(code, "x86_64", nr, (), abi.audit_arch) == ALLOW


def test_tokens_do_not_repeat_and_fit_the_abi() -> None:
    tokens = {LaunchToken.new(ABIS["x86_64"]) for _ in range(50)}
    assert len(tokens) == 50
    assert all(word < 1 << 31 for _ in range(50) for word in LaunchToken.new(ABIS["i386"]).words)


@pytest.mark.parametrize(
    ("question", "asked"), [(ActionKind.USER_NOTIF, USER_NOTIF), (ActionKind.TRACE, TRACE)]
)
def test_what_is_refused_is_asked_and_what_is_let_through_is_not(
    question: ActionKind, asked: int, programs: dict[str, tuple[Instruction, ...]]
) -> None:
    plain = programs["x86_64"]
    code = asking(plain, question)
    arch = ABIS["x86_64"].audit_arch
    seen = set()
    for nr in range(500):
        for way in (arch, arch ^ 1):
            before = answer(plain, "x86_64", nr, (1,), way)
            seen.add(before)
            expected = before if before in {ALLOW, LOG} else asked
            assert answer(code, "x86_64", nr, (1,), way) == expected
    assert seen == {ALLOW, LOG, ERRNO | 13, KILL_PROCESS}


def test_calls_are_asked_about_on_each_abi_and_no_others(
    programs: dict[str, tuple[Instruction, ...]],
) -> None:
    names, abis = ("seccomp", "prctl"), ("x86_64", "i386", "x32")
    tables = [TABLES.tables[name] for name in abis]
    plain = programs["x86_64"]
    code = asking_about(names, tables, plain, ActionKind.TRACE)
    pairs = {(ABIS[abi].audit_arch, TABLES.tables[abi].numbers[n]) for abi in abis for n in names}
    assert len(pairs) == 6
    for bit in (0, 1 << 30):
        for nr in (bit + small for small in range(500)):
            for arch in {table.abi.audit_arch for table in tables}:
                expected = TRACE if (arch, nr) in pairs else answer(plain, "x86_64", nr, (1,), arch)
                assert answer(code, "x86_64", nr, (1,), arch) == expected


def changed(means: Meaning, *before: Case, question: ActionKind | None = None) -> Meaning:
    """Return a meaning in which ``before`` comes first, and refusals are a question."""
    cases = [
        replace(case, ret=question.value) if question and not lets_through(case.ret) else case
        for case in means.cases
    ]
    return Meaning(means.abi, (*before, *cases))


@pytest.mark.few(12, "runs programs under a tracer again and again")
@pytest.mark.parametrize(
    "name", [name for name, table in TABLES.tables.items() if table.has_filters]
)
def test_what_is_made_of_a_program_is_proved_on_each_abi(name: str, tmp_path: Path) -> None:
    """The programs of `run` and `record` for a filter whose answers are of all kinds."""
    abi, table = ABIS[name], TABLES.tables[name]
    path = tmp_path / "policy.yml"
    path.write_text(f"arches: [{name}]\nbad_arch_action: log\n{POLICY}")
    built = build_policy(path, TABLES)
    means, program = meaning(built.policy, abi, TABLES), built.programs[0].instructions
    origin = means.cases[-1].origin

    def proved(instructions: tuple[Instruction, ...], expected: Meaning) -> None:
        assert not kernel_objections(instructions)
        found = prove(expected, Code(instructions, abi.byte_order))
        assert isinstance(found, Proof), found

    def when(nr: int, *tests: FieldTest) -> tuple[FieldTest, ...]:
        return FieldTest(ARCH, "==", abi.audit_arch), FieldTest(NR, "==", nr), *tests

    trace, notify = ActionKind.TRACE, ActionKind.USER_NOTIF
    everything = (Instruction(RET_K, 0, 0, trace.value),)
    proved(everything, Meaning(abi, (Case((), trace.value, origin),)))
    for question in (trace, notify):
        proved(asking(program, question), changed(means, question=question))
    asked = [Case(when(table.numbers[one]), trace.value, origin) for one in INSTALLERS]
    questions = asking(program, trace)
    proved(
        asking_about(INSTALLERS, [table], questions, trace),
        changed(means, *asked, question=trace),
    )
    token = LaunchToken.new(abi)
    word = U64 if abi.bits == 64 else U32
    holds = [FieldTest(ARGS + n, "==", value, word) for n, value in enumerate(token.words, 3)]
    calls = [table.numbers[one] for one in ("execve", "write", "exit_group")]
    opens = [Case(when(nr, *holds), ALLOW, origin) for nr in calls]
    nr = table.numbers["seccomp"]
    wants = Case(when(nr, FieldTest(ARGS + 1, "!=", 0, NEW_LISTENER)), USER_NOTIF, origin)
    proved(with_token(program, abi, token, calls), changed(means, *opens))
    proved(
        with_token(asking(program, notify), abi, token, calls, asks_for_listeners=nr),
        changed(means, *opens, wants, question=notify),
    )


def test_a_computed_answer_is_asked_unless_it_lets_the_call_through() -> None:
    # ld args[0].lo; ret a
    plain = (Instruction(0x20, 0, 0, 16), Instruction(0x16, 0, 0, 0))
    code = asking(plain, ActionKind.USER_NOTIF)
    rng = random.Random(1)
    values = [ALLOW, ALLOW | 9, LOG, LOG | 5, ERRNO, KILL_PROCESS, 0, 0xFFFFFFFF]
    for value in [*values, *(rng.getrandbits(32) for _ in range(200))]:
        kind = value & 0xFFFF0000
        expected = kind if kind in {ALLOW, LOG} else USER_NOTIF
        assert answer(code, "x86_64", 1, (value,), ABIS["x86_64"].audit_arch) == expected


def test_the_package_has_no_module_that_its_drawing_does_not_name() -> None:
    import seccompgen.run

    drawing = seccompgen.run.__doc__ or ""
    for path in Path(seccompgen.run.__file__).parent.glob("[!_]*.py"):
        assert f" {path.stem} " in f"{drawing} ", path.stem
