"""Random stacks of programs, the three operations written once more, and what they must answer."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import interpreter
from hypothesis import strategies as st
from interpreter import ABS, JA, JEQ, JGE, JGT, JMP, JSET, LD, RET, W
from oracle import ABIS, RETURN_VALUES, U32, Meaning, action_value
from probes import Call, interesting_calls
from seccompgen.core.abis import ABIS as REAL_ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.model import Action
from seccompgen.filters.combine.combined import combine, parts_of
from seccompgen.pipeline.build import PLAIN_OPTIONS, shipped_tables
from seccompgen.verify import Operation
from strategies import ACTIONS, plain_tables, policies

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from seccompgen.core.program import CompiledProgram

ROOT = Path(__file__).parents[2]
TABLES = shipped_tables()
ALLOW, LOG = 0x7FFF0000, 0x7FFC0000

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
    "their conditions are too many for one program",
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


def named(abi: str, **rules: list[str]) -> dict[str, Any]:
    """Return an allowlist with some calls answered otherwise: ``errno=["read"]``."""
    groups = [{"action": action, "names": names} for action, names in rules.items()]
    return {"arches": [abi], "default_action": "errno", "syscalls": groups}
