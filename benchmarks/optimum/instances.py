"""Small pieces of programs: parts of number lines, and what single calls do with their arguments.

The compiler makes each for shortness (``--optimize size``), as it does within a whole program.
Half of them come from production policies (the corpus; the stock policies where that is absent),
the other half is random.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import interpreter
from corpus import translated
from seccompgen.compile.arguments import Arguments, constants_of
from seccompgen.compile.assemble import assemble
from seccompgen.compile.diagram import Diagram
from seccompgen.compile.dispatch import dispatch
from seccompgen.compile.functions import ArgumentFunction
from seccompgen.compile.lower import Answer, NumberRange, number_lines
from seccompgen.compile.plans import Plans
from seccompgen.compile.prices import Measure, prices
from seccompgen.compile.rejoin import rejoined
from seccompgen.compile.tree import UNBOUNDED
from seccompgen.compile.weights import samples, span_weights
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.objective import Objective, Optimize
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.compile.diagram import NodeId

    from benchmarks.policies import Entry

Program: TypeAlias = "tuple[interpreter.Instruction, ...]"

SIZE = Objective(Optimize.SIZE)
X86_64 = ABIS["x86_64"]
U32 = 0xFFFFFFFF
SPANS = 8
"""In a part of a number line."""
WINDOWS = 2
"""Of each policy."""
LEAST_INSTRUCTIONS = 3
MOST_INSTRUCTIONS = 10
"""Longer pieces take the solver too long."""
RANDOM = 60
"""Instances of each random kind."""
CALL = "ioctl"
LABELS = (0x7FFF0000, 0x00050001, 0x00050026)


@dataclass(frozen=True, slots=True)
class Instance:
    """``program`` is the compiler's, for a piece of the given ``kind``."""

    kind: str
    name: str
    program: Program


KINDS = (
    "numbers of real policies",
    "random numbers",
    "arguments of real policies",
    "random arguments",
)


def instances(
    entries: Mapping[str, Entry], rng: random.Random, most: int | None = None
) -> Iterator[Instance]:
    """Yield the instances, equal programs once, at most ``most`` of each kind."""
    makers = (_windows(entries, rng), _random_lines(rng), _calls(entries), _random_rules(rng))
    for kind, maker in zip(KINDS, makers, strict=True):
        yield from islice(_fit(kind, maker), most)


def _fit(kind: str, made: Iterable[tuple[str, Program]]) -> Iterator[Instance]:
    """Yield those of ``made`` that are no trifle, and not too long for the solver."""
    seen = set()
    for name, program in made:
        if LEAST_INSTRUCTIONS < len(program) <= MOST_INSTRUCTIONS and program not in seen:
            seen.add(program)
            yield Instance(kind, name, program)


_LENGTH = Measure(0.0, 1.0)
"""Of plans the shorter one is the better one."""


class _Pieces:
    """The compiler, stopped half-way: a policy lowered, its pieces not yet put together."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "policy.json")
            path.write_text(json.dumps(policy))
            self._policy = load_policy(path, shipped_tables())[0]
        self._plans = Plans()
        lines = number_lines(self._policy, X86_64, shipped_tables(), self._plans.functions)
        self.spans = lines[0].spans

    def line(self, spans: Sequence[NumberRange]) -> Program:
        """Return the tests on the number that find the answers of ``spans``."""
        graph, arguments = self._arguments()
        plans = arguments.plans([(span.answer, (), _LENGTH) for span in spans])
        weights = span_weights(spans, SIZE)
        return _assembled(graph, dispatch(spans, plans, weights, arguments, graph, prices(SIZE)))

    def call(self, span: NumberRange) -> Program:
        """Return the tests on the arguments of the call of ``span``."""
        graph, arguments = self._arguments()
        seen = samples(span.answer, self._plans.functions.sets).several
        plans = arguments.plans([(span.answer, seen, _LENGTH)])
        return _assembled(graph, arguments.build(plans[0], UNBOUNDED))

    def _arguments(self) -> tuple[Diagram, Arguments]:
        graph, constants = (
            Diagram(),
            constants_of((rule.condition, rule.origin) for rule in self._policy.rules),
        )
        paid = prices(SIZE)
        return graph, Arguments(self._plans, graph, X86_64, paid, constants)


def _assembled(graph: Diagram, root: NodeId) -> Program:
    (root,) = rejoined(graph, [root], (), None)
    instructions, _ = assemble(graph, root)
    return tuple(interpreter.Instruction(i.code, i.jt, i.jf, i.k) for i in instructions)


def _windows(entries: Mapping[str, Entry], rng: random.Random) -> Iterator[tuple[str, Program]]:
    for name, entry in sorted(entries.items()):
        pieces = _Pieces(translated(entry))
        spans = pieces.spans[:-4]  # behind them is what tells x32 apart
        starts = range(max(len(spans) - SPANS, 1))
        for start in rng.sample(starts, min(WINDOWS, len(starts))):
            part = _closed(spans[start : start + SPANS])
            yield f"{name} from {part[1].first}", pieces.line(part)


def _closed(spans: Sequence[NumberRange]) -> list[NumberRange]:
    """Let the ``spans`` cover all numbers; what looks at arguments becomes one answer each."""
    part = [replace(span, answer=_constant(span.answer)) for span in spans]
    part[0] = replace(part[0], first=0)
    part[-1] = replace(part[-1], last=U32)
    return part


def _constant(answer: Answer) -> Answer:
    rules = answer.function.rules
    if not rules:
        return answer
    # Calls with the same rules go on at the same place.
    place = sum(ret + sum(box) for box, ret in rules) & 0xFFFF
    return Answer(ArgumentFunction((), 0x00050000 | place), (), answer.default_origins)


def _random_lines(
    rng: random.Random,
) -> Iterator[tuple[str, Program]]:
    group = {"action": "errno", "names": [CALL]}
    pieces = _Pieces({"default_action": "allow", "arches": ["x86_64"], "syscalls": [group]})
    origins = pieces.spans[0].answer.default_origins
    for number in range(RANDOM):
        labels = LABELS[: rng.choice((2, 2, 3))]
        firsts = [0, *sorted(rng.sample(range(1, rng.choice((32, 64, 512))), rng.randrange(5, 9)))]
        spans, before = [], None
        for first, last in zip(firsts, [*(f - 1 for f in firsts[1:]), U32], strict=True):
            before = rng.choice([label for label in labels if label != before])
            spans.append(
                NumberRange(first, last, Answer(ArgumentFunction((), before), (), origins), ())
            )
        yield f"line {number}", pieces.line(spans)


def _calls(
    entries: Mapping[str, Entry],
) -> Iterator[tuple[str, Program]]:
    for name, entry in sorted(entries.items()):
        pieces = _Pieces(translated(entry))
        for span in pieces.spans:
            if span.answer.function.rules:
                yield f"{name} {span.calls[0]}", pieces.call(span)


def _random_rules(
    rng: random.Random,
) -> Iterator[tuple[str, Program]]:
    for number in range(RANDOM):
        rules = [
            [_argument(rng, argument) for argument in rng.sample((0, 1), rng.choice((1, 1, 2)))]
            for _ in range(rng.randrange(2, 5))
        ]
        named = [{"name": CALL, "arguments": rule} for rule in rules]
        policy = {
            "default_action": "errno",
            "arches": ["x86_64"],
            "syscalls": [{"action": "allow", "names_with_args": named}],
        }
        try:
            pieces = _Pieces(policy)
        except InputError:  # a rule that an earlier one hides
            continue
        span = next(span for span in pieces.spans if CALL in span.calls)
        yield f"rules {number}", pieces.call(span)


def _argument(rng: random.Random, argument: int) -> dict[str, Any]:
    bits = rng.choice((4, 8))
    value, mask = rng.randrange(1, 1 << bits), rng.randrange(1, 1 << bits)
    operation = rng.choice(("Equal", "GreaterOrEqual", "BitsSet", "BitsNotSet", "MaskedEqual"))
    test = {"argument": argument, "operation": operation, "value": value, "width": 32}
    if operation == "MaskedEqual":
        return test | {"value": value & mask, "mask": mask}
    return test
