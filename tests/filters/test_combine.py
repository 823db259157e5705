"""Filters made into one program answer what the three operations say, also in the kernel."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import in_child
import interpreter
import pytest
import running_kernel as kernel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from interpreter import ABS, JA, JEQ, JGE, JGT, JMP, JSET, LD, RET, W
from oracle import ABIS, RETURN_VALUES, U32, Meaning, action_value
from seccompgen.compile import ProgramBuilder
from seccompgen.core.abis import ABIS as REAL_ABIS
from seccompgen.core.errors import InputError, Position
from seccompgen.core.model import Action, Origin
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.filters.combine import combine, parts_of, stack_of
from seccompgen.filters.lift import lift
from seccompgen.filters.load import load_filter
from seccompgen.pipeline.build import PLAIN_OPTIONS, shipped_tables
from seccompgen.verify import Code, Difference, Operation, Proof, prove
from seccompgen.verify.kernel import translated_length
from strategies import (
    ACTIONS,
    Call,
    argument_vectors,
    chains,
    compiled,
    interesting_calls,
    plain_tables,
    policies,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.program import CompiledProgram, Instruction

ROOT = Path(__file__).parents[2]
TABLES = shipped_tables()
ALLOW, LOG = 0x7FFF0000, 0x7FFC0000

bounded = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Few names, so that policies that are drawn from them speak of the same calls.
NAMES = ("read", "ioctl", "openat", "socket")
FEW = {
    abi: {name: table[name] for name in NAMES if name in table}
    for abi, table in plain_tables().items()
}


# --- the operations, once more -------------------------------------------------------------------

STRICTEST_FIRST = list(RETURN_VALUES.values())
"""seccomp(2): if there are several filters, "the first-seen action value of highest precedence"."""


def strictness(answer: int) -> int:
    """Return the place of an answer's action among all actions, 0 for the strictest."""
    return STRICTEST_FIRST.index(answer & 0xFFFF0000)


def stacked(answers: Sequence[int]) -> int:
    """Return what the kernel does: it asks the newest first, and only a stricter one displaces."""
    newest, *older = reversed(answers)
    for answer in older:
        if strictness(answer) < strictness(newest):
            newest = answer
    return newest


def in_words(operation: Operation, answers: Sequence[int], refusal: int) -> int:
    """Return what ``operation`` makes of the answers to one call, the oldest first."""
    if operation is Operation.INTERSECT:
        return stacked(answers)
    if operation is Operation.UNION:
        laxest = max(map(strictness, answers))
        return [answer for answer in answers if strictness(answer) == laxest][-1]
    first, *others = answers
    let_through = [answer for answer in others if answer & 0xFFFF0000 in {ALLOW, LOG}]
    return stacked([refusal, first]) if let_through else first


# --- parts, and what they answer -----------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A part by what made it: a policy, or the bytes of a program."""

    abi: str
    made: dict[str, Any] | bytes

    def write(self, path: Path) -> Path:
        if isinstance(self.made, bytes):
            path = path.with_suffix(".bpf")
            path.write_bytes(self.made)
        else:
            path = path.with_suffix(".json")
            path.write_text(json.dumps(self.made))
        return path

    def answers(self, calls: Sequence[Call]) -> list[int]:
        if isinstance(self.made, bytes):
            return [ran(self.made, call, self.abi) for call in calls]
        meaning = Meaning(self.made, plain_tables(), self.abi)
        return [meaning.decide(*call) for call in calls]

    def calls(self) -> list[Call]:
        """Return calls on which a mistake about this part would show."""
        if not isinstance(self.made, bytes):
            return list(interesting_calls(self.made, FEW, self.abi))
        rng = random.Random(0)
        order = ABIS[self.abi].byte_order
        values = {
            one.k + near & U32
            for one in interpreter.decode(self.made, order)
            for near in (-1, 0, 1)
        }
        words = sorted(values | {0, U32})
        numbers = [*FEW[self.abi].values(), *words]
        own = ABIS[self.abi].audit_arch
        return [
            Call(
                rng.choice([own] * 4 + [rng.choice(words)]),
                rng.choice(numbers),
                tuple(rng.choice(words) << 32 | rng.choice(words) for _ in range(6)),
            )
            for _ in range(250)
        ]


def ran(program: bytes, call: Call, abi: str) -> int:
    order = ABIS[abi].byte_order
    data = interpreter.seccomp_data(call.nr, call.arch, call.args, 0xABCDEF, order)
    return interpreter.run(program, data, order).value


def calls_to_try(parts: Sequence[Drawn], most: int = 1200) -> list[Call]:
    """Return calls for each of ``parts``, and mixtures of them that several have an opinion on."""
    rng = random.Random(0)
    each = [sorted(set(part.calls())) for part in parts]
    every = [call for calls in each for call in (rng.sample(calls, min(len(calls), most // 2)))]
    by_number: dict[tuple[int, int], list[Call]] = {}
    for call in every:
        by_number.setdefault((call.arch, call.nr), []).append(call)
    for _ in range(most // 3):
        one = rng.choice(every)
        other = rng.choice(by_number[one.arch, one.nr])
        every.append(
            one._replace(args=tuple(map(rng.choice, zip(one.args, other.args, strict=True))))
        )
    return every


@st.composite
def hand_made(draw: st.DrawFn, abi: str) -> bytes:
    """Draw a program with jumps, masks and comparisons of all kinds, not as the compiler writes it.

    Most look at the architecture first.
    """
    rng = random.Random(draw(st.integers(0, 2**16)))
    data = [action_value(action, abi) for action in ACTIONS]
    constants = [0, 1, 2, 7, 0x80000000, U32, *FEW[abi].values()]
    offsets = [0, 0, 16, 20, 24, 28, 4]
    length = draw(st.integers(2, 14))
    load = LD | W | ABS
    body: list[tuple[int, int, int, int]] = [(load, 0, 0, rng.choice(offsets[:-1]))]
    for behind in range(length, 0, -1):
        jt, jf = (rng.randrange(min(behind, 5)) for _ in range(2))
        kind = rng.random()
        if kind < 0.2:
            body.append((load, 0, 0, rng.choice(offsets[:-1])))
        elif kind < 0.3:
            body.append((0x54, 0, 0, rng.choice([0xF, U32 - 1, 0x80000001])))
        elif kind < 0.4:
            body.append((RET, 0, 0, rng.choice(data)))
        elif kind < 0.45:
            body.append((JMP | JA, 0, 0, jt))
        else:
            operation = rng.choice([JEQ, JEQ, JGT, JGE, JSET])
            body.append((JMP | operation, jt, jf, rng.choice(constants)))
    body += [(RET, 0, 0, rng.choice(data)), (RET, 0, 0, rng.choice(data))]
    if draw(st.sampled_from([True, True, True, False])):
        arch = ABIS[abi].audit_arch
        body = [(load, 0, 0, 4), (JMP | JEQ, 1, 0, arch), (RET, 0, 0, rng.choice(data)), *body]
    return interpreter.assemble(body, ABIS[abi].byte_order)


@st.composite
def drawn_parts(draw: st.DrawFn, abi: str) -> list[Drawn]:
    """Draw two or three parts, a policy among them."""
    few = {other: FEW[other] for other in (abi, *ABIS[abi].same_kernel) if other in FEW}
    policy = policies(few, abi).map(with_listener)
    others = draw(st.lists(policy | hand_made(abi), min_size=1, max_size=2))
    parts = [Drawn(abi, made) for made in [draw(policy), *others]]
    return draw(st.permutations(parts))


def with_listener(policy: dict[str, Any]) -> dict[str, Any]:
    return {**policy, "flags": ["new_listener"]}


def combined(
    operation: Operation, parts: Iterable[Drawn], refusal: str | None
) -> dict[str, CompiledProgram]:
    """Write ``parts`` to files, and make one program of them for each of their ABIs."""
    with tempfile.TemporaryDirectory() as directory:
        files = [part.write(Path(directory, f"part{n}")) for n, part in enumerate(parts)]
        (only,) = {part.abi for part in parts}
        found = parts_of(files, TABLES, REAL_ABIS[only])
        action = Action.parse(refusal) if refusal else None
        made = combine("all", operation, action, found, TABLES, PLAIN_OPTIONS)
    return {program.abi.name: program for program in made.programs}


REFUSED = (
    "through unknown architectures by their number or arguments",
    "tells calls apart by the lowest bits of their numbers",
    "their conditions do not go together into one program",
)
"""Why some cannot be combined: for what hand-made programs do, and for masks upon masks."""


def assert_answers(
    operation: Operation, parts: Sequence[Drawn], refusal: str, seen: Counter[str]
) -> None:
    """Combine ``parts``, and compare the program with what each of them answers."""
    subtracting = operation is Operation.SUBTRACT
    abi = parts[0].abi
    try:
        programs = combined(operation, parts, refusal if subtracting else None)
    except InputError as error:
        assert any(reason in str(error) for reason in REFUSED), error
        seen["refused"] += 1
        return
    program = programs[abi].to_bytes()
    interpreter.check(program, ABIS[abi].byte_order)
    calls = calls_to_try(parts)
    for call, *answers in zip(calls, *(part.answers(calls) for part in parts), strict=True):
        expected = in_words(operation, answers, action_value(refusal, abi))
        result = ran(program, call, abi)
        assert result == expected, (
            f"{operation.value}: {call}: parts say {[hex(answer) for answer in answers]}, "
            f"together that is {expected:#x}, the program says {result:#x} ({parts})"
        )
        seen["calls"] += 1
        seen["the first decides"] += expected == answers[0] != answers[-1]
        seen["the last decides"] += expected == answers[-1] != answers[0]
        seen["the refusal decides"] += expected not in answers
        kinds = [strictness(answer) for answer in answers]
        seen["a tie of different data"] += len(set(kinds)) < len(set(answers))
        seen["by arguments"] += any(call.args) and expected not in {ALLOW, 0x80000000}
    seen["combined"] += 1


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    ("abis", "examples"),
    [(("x86_64", "i386"), 7), (("s390x", "ppc"), 6), (("mips64",), 4)],
    ids=["x86", "big-endian", "mips64"],
)
def test_the_program_answers_as_its_parts_do_together(
    operation: Operation, abis: tuple[str, ...], examples: int
) -> None:
    seen: Counter[str] = Counter()

    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def try_some(data: st.DataObject) -> None:
        abi = data.draw(st.sampled_from(abis))
        refusal = data.draw(st.sampled_from(["errno(13)", "kill_process", "trap(1)", "log"]))
        assert_answers(operation, data.draw(drawn_parts(abi)), refusal, seen)

    try_some()
    assert seen["combined"] > 2, seen
    assert seen["the first decides"] > 20, seen
    assert seen["by arguments"] > 20, seen
    if operation is Operation.SUBTRACT:
        assert seen["the refusal decides"] > 20, seen
    else:
        assert min(seen["the last decides"], seen["a tie of different data"]) > 20, seen
        assert not seen["the refusal decides"], seen


def named(abi: str, **rules: list[str]) -> dict[str, Any]:
    """Return an allowlist with some calls answered otherwise: ``errno=["read"]``."""
    groups = [{"action": action, "names": names} for action, names in rules.items()]
    return {"arches": [abi], "default_action": "errno", "syscalls": groups}


def test_what_compat_abis_answer_goes_into_the_program() -> None:
    native = named("x86_64", allow=["read", "openat"])
    both = {**named("x86_64", allow=["read"], trap=["openat"]), "compat_arches": ["i386", "x32"]}
    parts = [Drawn("x86_64", native), Drawn("x86_64", both)]
    seen: Counter[str] = Counter()
    assert_answers(Operation.UNION, parts, "errno", seen)
    assert seen["combined"]
    program = combined(Operation.UNION, parts, None)["x86_64"]
    assert [abi.name for abi in program.compat] == ["i386", "x32"]
    for abi in ("x86_64", "i386", "x32"):
        call = Call(ABIS[abi].audit_arch, plain_tables()[abi]["read"], (0,) * 6)
        assert ran(program.to_bytes(), call, "x86_64") == ALLOW
    # Alone, the first kills these.
    stack = combined(Operation.INTERSECT, parts, None)["x86_64"].to_bytes()
    call = Call(ABIS["i386"].audit_arch, plain_tables()["i386"]["read"], (0,) * 6)
    assert ran(stack, call, "x86_64") == 0x80000000


def test_numbers_of_x32_may_be_answered_by_their_arguments() -> None:
    # Four spans at the end of the numbers, as a policy has them; but no policy has rules there.
    x32 = [(JMP | JSET, 0, 3, 0x40000000)]
    arg = (LD | W | ABS, 0, 0, 16)
    program = [
        *((LD | W | ABS, 0, 0, 4), (JMP | JEQ, 1, 0, 0xC000003E), (RET, 0, 0, 0x80000000)),
        *((LD | W | ABS, 0, 0, 0), (JMP | JEQ, 8, 0, 0), (JMP | JEQ, 4, 0, U32)),
        *(*x32, arg, (JMP | JEQ, 5, 0, 1), (RET, 0, 0, 0x50003)),
        *(arg, (JMP | JEQ, 2, 0, 1), (RET, 0, 0, 0x50002), (RET, 0, 0, ALLOW)),
        (RET, 0, 0, 0x50001),
    ]
    parts = [Drawn("x86_64", interpreter.assemble(program, "little"))] * 2
    made = combined(Operation.INTERSECT, parts, None)["x86_64"].to_bytes()
    for nr in (0, 1, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xC0000000, U32 - 1, U32):
        answers = [ran(made, Call(0xC000003E, nr, (n, *(0,) * 5)), "x86_64") for n in (1, 2)]
        other = 0x50003 if nr & 0x40000000 and nr != U32 else 0x50002
        assert answers == ([0x50001, other] if nr else [ALLOW] * 2), hex(nr)


def test_numbers_that_are_told_apart_bit_by_bit_are_refused_at_once() -> None:
    odd = [
        *((LD | W | ABS, 0, 0, 4), (JMP | JEQ, 1, 0, 0xC000003E), (RET, 0, 0, 0x80000000)),
        *((LD | W | ABS, 0, 0, 0), (JMP | JSET, 0, 1, 1), (RET, 0, 0, ALLOW), (RET, 0, 0, 0)),
    ]
    policy = named("x86_64", allow=["read"])
    parts = [Drawn("x86_64", policy), Drawn("x86_64", interpreter.assemble(odd, "little"))]
    with pytest.raises(InputError, match=r"part1\.bpf: x86_64: .*lowest bits of their numbers"):
        combined(Operation.UNION, parts, None)


# --- the order of the parts ----------------------------------------------------------------------


@pytest.mark.parametrize("operation", [Operation.INTERSECT, Operation.UNION])
def test_the_order_of_parts_matters_only_for_data_of_ties(operation: Operation) -> None:
    one = named("aarch64", **{"errno(2)": ["read"], "allow": ["openat"], "trap(7)": ["ioctl"]})
    other = named("aarch64", **{"errno(3)": ["read"], "log": ["openat"], "errno(4)": ["ioctl"]})
    parts = [Drawn("aarch64", one), Drawn("aarch64", other)]
    there, back = (
        combined(operation, order, None)["aarch64"].to_bytes() for order in (parts, parts[::-1])
    )
    different = set()
    for call in calls_to_try(parts):
        answers = [ran(program, call, "aarch64") for program in (there, back)]
        assert strictness(answers[0]) == strictness(answers[1])
        if answers[0] != answers[1]:
            different.add((call.nr, *answers))
    assert different == {(plain_tables()["aarch64"]["read"], 0x50003, 0x50002)}


# --- in the running kernel -----------------------------------------------------------------------


def of_getppid(rules: Sequence[Sequence[dict[str, Any]]], actions: Sequence[str]) -> dict[str, Any]:
    """Return a policy that allows everything but getppid, which it answers by ``rules``."""
    groups = []
    for rule, action in zip(rules, actions, strict=False):
        entry = {"name": "getppid", "arguments": rule}
        what = {"names_with_args": [entry]} if rule else {"names": ["getppid"]}
        groups.append({"action": action, **what})
    policy = {"arches": ["x86_64"], "default_action": "allow", "syscalls": groups}
    return {**policy, "compat_arches": ["i386", "x32"]}


def observed(programs: Sequence[bytes], args: Sequence[int]) -> tuple[Any, ...]:
    """Return what becomes of getppid(*args) in a thread of a child under ``programs``."""
    note = in_child.Notes()

    def child() -> object:
        parent = kernel.syscall(kernel.NR_GETPPID)[0]
        caught = in_child.catch_sigsys()
        for program in programs:
            kernel.install_raw(program)
        results: list[tuple[int, int]] = []

        def call() -> None:
            results.append(kernel.syscall(kernel.NR_GETPPID, *args))

        survived = in_child.survives_in_thread(call)
        note.leave(b"returned")
        return survived, [(r == parent, e) for r, e in results], [one.data for one in caught]

    outcome = kernel.run(child)
    assert outcome.error is None, outcome.error
    value = outcome.value
    return outcome.signal, note.read(), value and (value[0], *map(str, value[1:]))


needs_x86_64 = pytest.mark.skipif(
    not kernel.IS_X86_64, reason="needs a 64-bit Python on Linux x86_64"
)
KERNEL_ACTIONS = ("errno(7)", "errno(9)", "allow", "log", "trap(3)", "kill_thread", "kill_process")


def observed_twice(
    made: Sequence[dict[str, Any]], vectors: Iterable[Sequence[int]]
) -> Counter[tuple[Any, ...]]:
    """Return what was observed, having asserted that stack and single program do the same."""
    stack = [compiled(policy)["x86_64"] for policy in made]
    parts = [Drawn("x86_64", policy) for policy in made]
    single = combined(Operation.INTERSECT, parts, None)["x86_64"].to_bytes()
    seen: Counter[tuple[Any, ...]] = Counter()
    for args in vectors:
        together, alone = observed(stack, args), observed([single], args)
        assert together == alone, (made, args)
        seen[together] += 1
    return seen


@needs_x86_64
def test_the_kernel_does_the_same_with_the_stack_and_with_the_one_program() -> None:
    def below(value: int, argument: int = 0) -> list[dict[str, Any]]:
        return [{"operation": "LessThan", "argument": argument, "value": value}]

    first = of_getppid(
        [below(1), below(2), below(3), below(2**32, 1)],
        ["kill_process", "kill_thread", "trap(3)", "errno(7)"],
    )
    second = of_getppid(
        [below(1, 1), below(2, 1), below(3, 1), below(2**33, 2), []],
        ["log", "errno(9)", "trap(4)", "errno(11)", "allow"],
    )
    values = ((0, 1, 2, 3), (0, 1, 2, 2**32 - 1, 2**32), (2**33 - 1, 2**33))
    every = [(one, two, three) for one in values[0] for two in values[1] for three in values[2]]
    seen = observed_twice([first, second], every)
    ends = {
        *("(31, b'', None)", "(None, b'returned', (False, '[]', '[]'))"),  # a process; a thread
        *(f"(None, b'returned', (True, '[[False, {n}]]', '[]'))" for n in (7, 9, 11)),
        "(None, b'returned', (True, '[[True, 0]]', '[]'))",
    }
    assert ends <= {str(one) for one in seen}, seen
    # SIGSYS tells the data of the trap: of two, the newest filter's.
    assert {one[2][2] for one in seen if one[2]} == {"[]", "[3]", "[4]"}


@needs_x86_64
@settings(bounded, max_examples=4)
@given(data=st.data())
def test_the_kernel_does_the_same_under_random_policies(data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(KERNEL_ACTIONS), min_size=6, max_size=6)
    rules = [data.draw(chains()) or [[]] for _ in range(2)]
    made = [of_getppid(chain, data.draw(some)) for chain in rules]
    try:
        observed_twice(made, argument_vectors([*rules[0], *rules[1]], random.Random(0), 8)[:8])
    except InputError as error:
        assert REFUSED[-1] in str(error), error


# --- a stock of filters --------------------------------------------------------------------------


def stock(abi: str) -> dict[str, tuple[Instruction, ...]]:
    """Return the committed programs for ``abi`` by the name of the filter."""
    found = {}
    for policy in sorted((ROOT / "policies").glob("*.yml")):
        path = ROOT / "generated" / "seccomp_filters" / policy.stem
        with contextlib.suppress(InputError):  # not for this ABI
            loaded = load_filter(path, TABLES, REAL_ABIS[abi])
            found[policy.stem] = loaded.programs[abi].instructions
    return found


def test_the_stock_policies_are_one_program_shorter_than_their_stack() -> None:
    parts = parts_of(sorted((ROOT / "policies").glob("*.yml")), TABLES, REAL_ABIS["x86_64"])
    made = combine("all", Operation.INTERSECT, None, parts, TABLES, PLAIN_OPTIONS)
    (program,) = made.programs
    lengths = [translated_length(instructions) for instructions in stock("x86_64").values()]
    assert len(lengths) == len(parts) == 4
    # Each further filter in force counts four instructions besides its own: fits().
    in_force = sum(lengths) + 4 * (len(lengths) - 1)
    assert translated_length(program.instructions) < 0.5 * in_force


def again(code: Code, abi: str) -> CompiledProgram:
    """Take ``code`` apart, and compile what comes of it."""
    making = ProgramBuilder(REAL_ABIS[abi], (), DEFAULT_OBJECTIVE)
    origin = Origin("code", Position("code"))
    apart = lift(code, [REAL_ABIS[abi]], making.functions, TABLES, origin)
    return making.program(apart.lines, (apart.otherwise, origin), origin, apart.hints)


@pytest.mark.parametrize("abi", ["x86_64", "s390x", "mips64"])
def test_a_stock_program_taken_apart_makes_one_that_is_proved_equal(abi: str) -> None:
    order = ABIS[abi].byte_order
    programs = stock(abi)
    assert len(programs) >= 2
    for name, instructions in programs.items():
        if name == "web_worker" and abi != "x86_64":
            continue  # it takes seconds
        code = Code(instructions, order)
        found = again(code, abi).instructions
        assert isinstance(prove(code, Code(found, order)), Proof), name
        assert len(found) <= len(instructions) + 5, name


@pytest.mark.parametrize("abi", ["x86_64", "ppc64"])
@settings(bounded, max_examples=4)
@given(data=st.data())
def test_a_random_program_taken_apart_makes_one_that_is_proved_equal(
    abi: str, data: st.DataObject
) -> None:
    order = ABIS[abi].byte_order
    (program,) = compiled(data.draw(policies({abi: FEW[abi]}, abi))).values()
    fields = interpreter.decode(program, order)
    code = Code(tuple(as_instruction(one) for one in fields), order)
    found = again(code, abi).instructions
    assert isinstance(prove(code, Code(found, order)), Proof)


def as_instruction(one: tuple[int, int, int, int]) -> Instruction:
    from seccompgen.core.program import Instruction

    return Instruction(*one)


# --- the proof of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
def test_the_proof_refutes_a_combined_program_that_was_tampered_with(operation: Operation) -> None:
    condition = [{"argument": 1, "operation": "GreaterThan", "value": 2**33, "width": 64}]
    limited = {"action": "allow", "names_with_args": [{"name": "ioctl", "arguments": condition}]}
    first = named("s390x", allow=["read", "openat"])
    second = named("s390x", allow=["openat"], trap=["read"])
    for policy in (first, second):
        policy["syscalls"].append(limited if policy is first else {**limited, "action": "errno(5)"})
    parts = [Drawn("s390x", policy) for policy in (first, second)]
    refusal = "errno(9)" if operation is Operation.SUBTRACT else None
    with tempfile.TemporaryDirectory() as directory:
        files = [part.write(Path(directory, f"part{n}")) for n, part in enumerate(parts)]
        found = parts_of(files, TABLES, None)
    action = Action.parse(refusal) if refusal else None
    stack = stack_of(operation, action, found, REAL_ABIS["s390x"])
    program = combined(operation, parts, refusal)["s390x"]
    assert isinstance(prove(stack, Code(program.instructions, "big")), Proof)
    calls = calls_to_try(parts, 400)
    right = [ran(program.to_bytes(), call, "s390x") for call in calls]
    for place, one in enumerate(program.instructions):
        wrong = _changed(one)
        code = (*program.instructions[:place], wrong, *program.instructions[place + 1 :])
        fields = [(i.code, i.jt, i.jf, i.k) for i in code]
        raw = interpreter.assemble(fields, "big")
        verdict = prove(stack, Code(code, "big"))
        shows = any(
            ran(raw, call, "s390x") != answer for call, answer in zip(calls, right, strict=True)
        )
        assert isinstance(verdict, Difference) == shows, (place, one, wrong)
        if isinstance(verdict, Difference):
            call = Call(verdict.call.arch, verdict.call.nr, verdict.call.args)
            answers = [part.answers([call])[0] for part in parts]
            expected = in_words(operation, answers, action_value(refusal or "allow", "s390x"))
            assert (verdict.left, verdict.right) == (expected, ran(raw, call, "s390x"))


def _changed(one: Instruction) -> Instruction:
    """Return ``one`` with its two ways exchanged, another constant, or another word to load."""
    jumps = one.code & 7 == JMP and one.jt != one.jf
    k = one.k if jumps else one.k ^ (4 if one.code == LD | W | ABS else 1)
    return type(one)(one.code, one.jf, one.jt, k)
