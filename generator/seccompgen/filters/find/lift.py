"""Any filter lifted: its answers, as the number lines that the compiler starts from.

The filter is followed for each audit value that it compares, for one number of each class that it
distinguishes, and for all arguments at once. At each answer, the comparisons on the path make a box
of arguments. Only feasible paths are followed, so the boxes of one number are disjoint, and
together they cover everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.compile import Answer, ArgumentFunction, NumberLine, NumberRange, WordDiagrams
from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import RET_DATA_MAX, U32, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.word import ARCH, ARGS, INSTRUCTION_POINTER, NR, Word
from seccompgen.filters.find.box_walk import BoxWalk, too_many_cases
from seccompgen.verify.classes import MOST_CLASSES
from seccompgen.verify.followers import Ask, follower
from seccompgen.verify.partition import Classes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.compile import Constants, Functions, Masks
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.verify.followers import Follower, Question, State
    from seccompgen.verify.stack import FilterSemantics

_NR, _ARCH = Word.low(NR), Word.low(ARCH)
_ACTIONS = {kind.value for kind in ActionKind}
_MOST_BOXES = 5_000
_MOST_NODES = 100_000
"""The most boxes of one call, and the most new nodes of their sets; real filters have dozens."""
_MOST_SPANS = 2000


class Lifted(NamedTuple):
    """``lines`` for the audit values that the filter compares, and the answer under all others."""

    lines: list[NumberLine]
    otherwise: int
    constants: Constants


def lift(
    side: FilterSemantics,
    answered: Iterable[Abi],
    functions: Functions,
    tables: Tables,
    origin: Origin,
) -> Lifted:
    """Return the answers of ``side``, the audit values of ``answered`` first.

    The origin of everything is ``origin``. Raises UndecidedError if boxes cannot describe the
    filter, or would be too many.
    """
    return _Lift(side, functions, tables, origin).result(answered)


class _Lift:
    def __init__(
        self, side: FilterSemantics, functions: Functions, tables: Tables, origin: Origin
    ) -> None:
        self._follower: Follower = follower(side)
        self._functions = functions
        self._walk = BoxWalk(functions.sets)
        self._tables = tables
        self._origin = origin
        self._asked: set[Question] = set()
        self._ask_all()
        self._numbers = Classes((q for q in self._asked if q.word == _NR), MOST_CLASSES)

    def result(self, answered: Iterable[Abi]) -> Lifted:
        arches = dict.fromkeys(abi.audit_arch for abi in answered)
        arches |= dict.fromkeys(
            k
            for question in sorted(self._asked, key=str)
            for k in question.constants
            if question.word == _ARCH
        )
        lines = [NumberLine(arch, (), self._spans(arch)) for arch in arches]
        strange = next(arch for arch in range(U32) if arch not in arches)
        other = self._spans(strange)
        if len(other) > 1 or other[0].answer.function.rules:
            text = (
                "it answers calls through unknown architectures by their number or arguments; "
                "combine it with a filter that looks at the architecture"
            )
            raise UndecidedError(text, kind=Problem.ARCH_UNCHECKED)
        otherwise = other[0].answer.function.default
        kept = [
            line
            for line in lines
            if len(line.spans) > 1 or line.spans[0].answer.function != other[0].answer.function
        ]
        return Lifted(kept or lines[:1], otherwise, self._constants())

    def _ask_all(self) -> None:
        """Collect every question, whether calls reach it or not."""
        seen: set[State] = {self._follower.start}
        waiting: list[State] = [self._follower.start]
        while waiting:
            step = self._follower.step(waiting.pop())
            if isinstance(step, Ask):
                question = step.question
                self._asked.add(question)
                if question.word == _ARCH and (question.more or question.mask != U32):
                    text = "it compares the architecture other than for equality"
                    raise UndecidedError(text, kind=Problem.ARCH_COMPARED)
                if question.word.field == INSTRUCTION_POINTER:
                    text = "it looks at the instruction pointer"
                    raise UndecidedError(text, kind=Problem.POINTER_COMPARED)
                new = [way for way in (step.true, step.false) if way not in seen]
                seen.update(new)
                waiting += new
                self._walk.count()

    def _spans(self, arch: int) -> tuple[NumberRange, ...]:
        answers: dict[ArgumentFunction, Answer] = {}
        words = WordDiagrams()
        of_class = [0] * len(self._numbers.members)
        left = self._numbers.all
        while left:
            with self._walk.sets.attempt(_MOST_NODES):
                alike, boxes, asked = self._answers(arch, left)
            left ^= alike
            answer = self._answer(boxes, asked)
            answers.setdefault(answer.function, answer)
            end = words.constant(answer.function)
            while alike:
                of_class[(alike & -alike).bit_length() - 1] = end
                alike &= alike - 1
        line = self._numbers.fold(of_class, words.node)
        names = self._names(arch)
        spans: list[NumberRange] = []
        for first, last, function in words.intervals(line):
            if len(spans) == _MOST_SPANS:
                # Every other number may be answered otherwise: that is billions of spans.
                text = "it tells calls apart by the lowest bits of their numbers"
                raise UndecidedError(text, kind=Problem.SCATTERED_NUMBERS)
            assert isinstance(function, ArgumentFunction)
            calls = tuple(names[nr] for nr in sorted(n for n in names if first <= n <= last))
            spans.append(NumberRange(first, last, answers[function], calls))
        return tuple(spans)

    def _names(self, arch: int) -> dict[int, str]:
        tables = self._tables.under(arch)
        return {nr: name for table in tables for nr, name in table.names.items()}

    def _answer(self, boxes: list[tuple[Box, int]], asked_for: Iterable[Question]) -> Answer:
        """Return the answer made of disjoint ``boxes``, divided by questions ``asked_for``."""
        often = [ret for _, ret in boxes]
        # The commonest answer becomes the default; of equally common ones, a refusal.
        default = max(dict.fromkeys(often), key=lambda ret: (often.count(ret), -ret))
        derived = self._functions.derive(
            [(box, ret) for box, ret in sorted(boxes, key=lambda part: part[1]) if ret != default],
            default,
        )
        rules = derived.function.rules
        asked = tuple((box, ret == ActionKind.ALLOW.value) for box, ret in rules)
        origins = (self._origin,)
        masks = _masks(asked_for)
        return Answer(derived.function, (origins,) * len(rules), origins, (), asked, masks)

    # --- following ---------------------------------------------------------------------------

    def _answers(self, arch: int, numbers: int) -> tuple[int, list[tuple[Box, int]], set[Question]]:
        """Return the answers for the calls of the least of ``numbers``, as boxes of arguments.

        The first result has all of ``numbers``, classes as bits of an int, that take the same path;
        the last has the questions about arguments on it.
        """
        least = numbers & -numbers
        asked: set[Question] = set()

        def known(question: Question) -> bool | None:
            nonlocal numbers
            if question.word == _ARCH:
                return question.holds(arch)
            if question.word != _NR:
                asked.add(question)
                return None
            yes = self._numbers.true(question)
            numbers &= yes if least & yes else ~yes
            return bool(least & yes)

        found: list[tuple[Box, int]] = []
        for box, ret in self._walk.parts(self._follower, known=known):
            found.append((box[ARGS:], _known(ret)))  # type: ignore[arg-type] # six
            if len(found) > _MOST_BOXES:
                raise too_many_cases()
        return numbers, found[::-1], asked

    def _constants(self) -> Constants:
        constants: dict[Word, dict[int, list[Origin]]] = {}
        for question in self._asked:
            if question.word.field >= ARGS:
                constants.setdefault(question.word, {})[question.k] = [self._origin]
        return constants


def _masks(questions: Iterable[Question]) -> Masks:
    """Return the masks of arguments under which ``questions`` compare for equality."""
    masks: dict[Word, dict[tuple[int, int], None]] = {}
    for question in sorted(questions, key=str):
        if question.mask not in {0, U32} and not question.more:
            masks.setdefault(question.word, {})[question.mask, question.k] = None
    return {word: tuple(found) for word, found in masks.items()}


def _known(ret: int) -> int:
    """Return ``ret``; raise UndecidedError if no kernel would know its action."""
    if ret & ~RET_DATA_MAX not in _ACTIONS:
        text = f"it answers {ret:#010x}, which is no action"
        raise UndecidedError(text, kind=Problem.UNKNOWN_ACTION)
    return ret
