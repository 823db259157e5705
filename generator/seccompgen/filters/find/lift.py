"""Any filter lifted: its answers, as the number lines that the compiler starts from.

The filter is followed for each audit value that it compares, for one number of each class that it
distinguishes, and for all arguments at once. At each answer, the comparisons on the path make a box
of arguments. Only feasible paths are followed, so the boxes of one number are disjoint, and
together they cover everything.

Of several filters combined each is lifted alone. Their answers are functions of the arguments in
canonical form, combined two at a time: filters that have much in common have few different pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile import Answer, ArgumentFunction, NumberLine, NumberRange, WordDiagrams
from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import RET_DATA_MAX, U32, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING
from seccompgen.core.word import ARCH, ARGS, INSTRUCTION_POINTER, NR, Word
from seccompgen.filters.find.box_walk import BoxWalk, too_many_cases
from seccompgen.verify.classes import MOST_CLASSES
from seccompgen.verify.followers import Ask, follower
from seccompgen.verify.partition import Classes
from seccompgen.verify.stack import Stack

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


_Line: TypeAlias = "dict[ArgumentFunction, tuple[int, frozenset[Question]]]"
"""Functions of arguments, each with the classes of numbers that it answers, as bits of an int.

With them go the questions about arguments that it is made of.
"""


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
        parts = side.different if isinstance(side, Stack) else (side,)
        self._combine = side.combine if isinstance(side, Stack) else None
        self._followers: list[Follower] = [follower(part) for part in parts]
        self._functions = functions
        self._pairs: dict[tuple[ArgumentFunction, ArgumentFunction], ArgumentFunction] = {}
        self._walk = BoxWalk(functions.sets)
        self._tables = tables
        self._origin = origin
        self._asked: set[Question] = set()
        for one in self._followers:
            self._walk = BoxWalk(functions.sets)  # whose steps are limited for each filter
            self._ask_all(one)
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

    def _ask_all(self, side: Follower) -> None:
        """Collect every question of ``side``, whether calls reach it or not."""
        seen: set[State] = {side.start}
        waiting: list[State] = [side.start]
        while waiting:
            step = side.step(waiting.pop())
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
        oldest, *newer = self._followers
        found = self._line(oldest, arch)
        for side in newer:
            found = self._folded(found, self._line(side, arch))
        answers = {
            function: self._answer(function, asked) for function, (_, asked) in found.items()
        }
        words = WordDiagrams()
        of_class = [0] * len(self._numbers.members)
        for made, (alike, _) in found.items():
            end, left = words.constant(made), alike
            while left:
                of_class[(left & -left).bit_length() - 1] = end
                left &= left - 1
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

    def _answer(self, function: ArgumentFunction, asked_for: Iterable[Question]) -> Answer:
        """Return an answer, whose tests are divided by questions ``asked_for``."""
        asked = tuple((box, ret == ActionKind.ALLOW.value) for box, ret in function.rules)
        origins = (self._origin,)
        masks = _masks(asked_for)
        return Answer(function, (origins,) * len(asked), origins, (), asked, masks)

    def _line(self, side: Follower, arch: int) -> _Line:
        """Return the answers of one filter to all numbers under ``arch``."""
        line: _Line = {}
        self._walk = BoxWalk(self._functions.sets)
        left = self._numbers.all
        while left:
            with self._walk.sets.attempt(_MOST_NODES):
                alike, boxes, asked = self._answers(side, arch, left)
            left ^= alike
            function = self._function(boxes)
            before, by = line.get(function, (0, frozenset(asked)))
            line[function] = before | alike, by
        return line

    def _function(self, boxes: list[tuple[Box, int]]) -> ArgumentFunction:
        """Return the function that disjoint ``boxes``, which cover everything, make up."""
        often = [ret for _, ret in boxes]
        # The commonest answer becomes the default; of equally common ones, a refusal.
        default = max(dict.fromkeys(often), key=lambda ret: (often.count(ret), -ret))
        rules = [
            (box, ret) for box, ret in sorted(boxes, key=lambda part: part[1]) if ret != default
        ]
        return self._functions.derive(rules, default).function

    # --- combining ---------------------------------------------------------------------------

    def _folded(self, line: _Line, newer: _Line) -> _Line:
        """Return the common answers of two filters to each number."""
        found: _Line = {}
        for function, (numbers, asked) in line.items():
            for other, (others, more) in newer.items():
                if alike := numbers & others:
                    both = self._both(function, other)
                    before, by = found.get(both, (0, asked))
                    found[both] = before | alike, by | asked | more
        return found

    def _both(self, function: ArgumentFunction, newer: ArgumentFunction) -> ArgumentFunction:
        """Return the common answers of two functions; each pair is worked out once.

        The first box that matches decides in both, so it does among the pairs of their boxes.
        """
        found = self._pairs.get((function, newer))
        if found is None:
            assert self._combine
            rules = []
            for box, ret in (*function.rules, (EVERYTHING, function.default)):
                for other, new in (*newer.rules, (EVERYTHING, newer.default)):
                    self._walk.count()
                    rules.append((self._walk.sets.common(box, other), self._combine((ret, new))))
            found = self._functions.derive(rules[:-1], rules[-1][1]).function
            if len(found.rules) > _MOST_BOXES:
                raise too_many_cases()
            self._pairs[function, newer] = found
        return found

    # --- following ---------------------------------------------------------------------------

    def _answers(
        self, side: Follower, arch: int, numbers: int
    ) -> tuple[int, list[tuple[Box, int]], set[Question]]:
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
        for box, ret in self._walk.parts(side, known=known):
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
