"""All calls that two filters answer otherwise than they should: in classes, each with a condition.

Both filters are followed on sets of calls, the right one within each part that the left one gives
one answer to. So the parts are disjoint and leave nothing out. Parts with the same answers, given
by the same rules, are united as far as one condition can tell them. This is for reading: the proof
itself is that of `verify`, which shares nothing with the sets here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32, All
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, NOTHING, Sets
from seccompgen.core.spelling import number
from seccompgen.core.word import ARCH, ARGS, FIELDS, INSTRUCTION_POINTER, NR
from seccompgen.filters.value_conditions import Tests, alternatives, intervals, united
from seccompgen.verify import Meaning
from seccompgen.verify.call import ZERO_HIGH_WORDS, Call
from seccompgen.verify.followers import Ask, follower

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Table, Tables
    from seccompgen.verify import Relation
    from seccompgen.verify.followers import Follower, Question
    from seccompgen.verify.stack import FilterSemantics

_MOST_STEPS = 500_000
_MOST_NAMES = 6
_MOST_SPANS = 4

_Box: TypeAlias = tuple[int, ...]
"""A set for each field of a call."""
_EVERYTHING: _Box = (ALL,) * FIELDS


@dataclass(frozen=True)
class CallClass:
    """Calls that the left filter answers ``left``, and the right one ``right``.

    They come under the audit value ``arch``, None for several. Of ``numbers``, each first and last
    of a stretch, they are those for which one of ``conditions`` holds. ``named`` tells if the
    numbers are those of calls. ``pointers`` are stretches of instruction pointers; none: any.
    ``example`` is one of them; the origins are the parts of policies that answer them all.
    """

    arch: int | None
    numbers: tuple[tuple[int, int], ...]
    named: bool
    conditions: tuple[Tests, ...]
    pointers: tuple[tuple[int, int], ...]
    left: int
    right: int
    origins: tuple[Origin | None, Origin | None]
    example: Call

    def names(self, tables: Tables) -> list[str]:
        """Return the names of the calls, in the order of their numbers."""
        names = _names(self.arch, tables) if self.arch is not None and self.named else {}
        return [names[nr] for nr, _ in self.numbers if nr in names]

    def condition(self, tables: Tables) -> str:
        """Return when it is one of these calls, in names; empty if always."""
        if () in self.conditions:
            return ""
        table = tables.table_of(self.arch, self.example.nr) if self.arch is not None else None
        if table is None:
            groups = (" and ".join(map(str, tests)) for tests in self.conditions)
            return " or ".join(groups)
        call = table.names.get(self.example.nr, "")
        return tables.naming.alternatives([All(one) for one in self.conditions], call, table.abi)

    def subject(self, tables: Tables) -> str:
        """Return which calls they are: ``socket where family == AF_ALG``."""
        names = self.names(tables)
        text = ", ".join(names[:_MOST_NAMES])
        if len(names) > _MOST_NAMES:
            text += f" and {len(names) - _MOST_NAMES} more"
        if not self.named:
            spans = (number(a) if a == b else f"{number(a)}-{number(b)}" for a, b in self.numbers)
            few = list(islice(spans, _MOST_SPANS))
            everything = self.numbers == ((0, U32),)
            text = "any number" if everything else f"numbers {', '.join(few)}"
            if len(self.numbers) > _MOST_SPANS:
                text += f" and {len(self.numbers) - _MOST_SPANS} stretches more"
        if self.arch is None:
            text += " on other architectures"
        elif (table := tables.table_of(self.arch, self.example.nr)) is None:
            text += f" on the unknown architecture {self.arch:#010x}"
        else:
            text += f" on {table.abi.name}"
        if condition := self.condition(tables):
            text += f" where {condition}"
        if self.pointers:
            spans = (f"{a:#x}-{b:#x}" for a, b in self.pointers[:_MOST_SPANS])
            more = len(self.pointers) - _MOST_SPANS
            text += f" from {', '.join(spans)}" + (
                f" and {more} stretches more" if more > 0 else ""
            )
        return text


class _Rules(NamedTuple):
    """The answers to a part, and the parts of policies that give them."""

    left: int
    right: int
    origins: tuple[Origin | None, Origin | None]


def differing_calls(
    sides: tuple[FilterSemantics, FilterSemantics], abi: Abi, relation: Relation, tables: Tables
) -> tuple[CallClass, ...]:
    """Return all calls for which ``relation`` fails between two sides of the program for ``abi``.

    Calls that no kernel makes (`Call.exists`) are left out. Raises UndecidedError where they cannot
    be told in sets, or in too many.
    """
    return tuple(_Search(sides, abi, relation, tables).classes())


class _Search:
    def __init__(
        self,
        sides: tuple[FilterSemantics, FilterSemantics],
        abi: Abi,
        relation: Relation,
        tables: Tables,
    ) -> None:
        self._sides = sides
        self._abi = abi
        self._relation = relation
        self._tables = tables
        self._sets = Sets()
        self._steps = 0
        self._asked: dict[Question, int] = {}
        self._high_words_are_zero = self._sets.masked(U32 << 32, 0)

    def classes(self) -> Iterator[CallClass]:
        """Yield the classes: calls of the program's own ABI first, by number."""
        parts: dict[tuple[int, _Rules], list[_Box]] = defaultdict(list)
        for box, left, right in self._differing():
            for part in self._split(box):
                if NOTHING in part:
                    continue
                example = self._example(part)
                rules = _Rules(left, right, self._origins(example))
                parts[part[ARCH], rules].append(part)
        found = [
            one for (arch, rules), boxes in parts.items() for one in self._told(arch, rules, boxes)
        ]
        home = self._abi.audit_arch
        return iter(
            sorted(
                found, key=lambda one: (one.arch != home, not one.named, one.numbers[0], one.left)
            )
        )

    # --- following ---------------------------------------------------------------------------

    def _differing(self) -> Iterator[tuple[_Box, int, int]]:
        left, right = map(follower, self._sides)
        for outer, answer in self._followed(left, _EVERYTHING):
            for box, other in self._followed(right, outer):
                if not self._relation.holds(answer, other):
                    yield box, answer, other

    def _followed(self, side: Follower, box: _Box) -> Iterator[tuple[_Box, int]]:
        """Yield disjoint parts that make up ``box``, each with the answer of ``side``."""
        waiting: list[tuple[Any, _Box]] = [(side.start, box)]
        while waiting:
            state, box = waiting.pop()
            step = side.step(state)
            if not isinstance(step, Ask):
                yield box, step
                continue
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise UndecidedError("too many cases to tell apart", kind=Problem.TOO_MANY_CASES)
            field = step.question.word.field
            own, asked = box[field], self._values(step.question)
            inside = self._sets.both(own, asked)
            for way, part in ((step.false, self._sets.minus(own, inside)), (step.true, inside)):
                if part != NOTHING:
                    waiting.append((way, _with(box, field, part)))

    def _values(self, question: Question) -> int:
        """Return the values of a field for which the answer is yes."""
        found = self._asked.get(question)
        if found is None:
            shift, mask = question.word.shift, question.mask << question.word.shift
            if question.among is not None:
                found = self._sets.among(question.among, shift)
            elif question.more:
                found = self._sets.above(mask, question.k << shift)
            else:
                found = self._sets.masked(mask, question.k << shift)
            self._asked[question] = found
        return found

    # --- from parts to classes ---------------------------------------------------------------

    def _split(self, box: _Box) -> Iterator[_Box]:
        """Yield the parts of ``box`` by audit values: the program's own, and the others.

        High words of arguments that are always 0 are no part of a condition.
        """
        home = self._sets.masked(U32, self._abi.audit_arch)
        for arches in (self._sets.both(box[ARCH], home), self._sets.minus(box[ARCH], home)):
            if box[ARGS:] == _EVERYTHING[ARGS:]:
                yield _with(box, ARCH, arches)
                continue
            others = arches
            for audit_arch in ZERO_HIGH_WORDS:
                one = self._sets.masked(U32, audit_arch)
                if self._sets.both(arches, one) != NOTHING:
                    others = self._sets.minus(others, one)
                    yield (*_with(box, ARCH, one)[:ARGS], *map(self._low_word, box[ARGS:]))
            yield _with(box, ARCH, others)

    def _low_word(self, values: int) -> int:
        """Return the set of values whose low word is that of one of ``values`` below 2**32."""
        values = self._sets.both(values, self._high_words_are_zero)
        while values > ALL and self._sets.nodes[values][0] < 32:
            values = self._sets.nodes[values][1]
        return values

    def _example(self, box: _Box) -> Call:
        least = list(map(self._sets.least, box))
        a, b, c, d, e, f = least[ARGS:]
        return Call(least[NR], least[ARCH], (a, b, c, d, e, f), least[INSTRUCTION_POINTER])

    def _origins(self, call: Call) -> tuple[Origin | None, Origin | None]:
        left, right = (
            side.case(call).origin if isinstance(side, Meaning) else None for side in self._sides
        )
        return left, right

    def _told(self, arches: int, rules: _Rules, boxes: Iterable[_Box]) -> Iterator[CallClass]:
        """Yield the classes of calls with the same answers by the same rules."""
        first = self._sets.least(arches)
        arch = first if arches == self._sets.masked(U32, first) else None
        names = _names(arch, self._tables) if arch is not None else {}
        known = sorted(names)
        all_known = self._sets.among(known)
        of_number: dict[int, list[_Box]] = defaultdict(list)
        unnamed: list[_Box] = []
        for box in boxes:
            for nr in self._among(known, box[NR]):
                of_number[nr].append(_with(box, NR, ALL))
            rest = self._sets.minus(box[NR], all_known)
            if rest != NOTHING:
                unnamed.append(_with(box, NR, rest))
        alike: dict[_Box, list[int]] = defaultdict(list)
        for nr, its_boxes in of_number.items():
            of_pointers: dict[int, list[_Box]] = defaultdict(list)
            for box in united(self._sets, its_boxes):
                if box[ARGS:] == _EVERYTHING[ARGS:]:
                    alike[box].append(nr)
                else:
                    here = _with(box, NR, self._number(nr))
                    of_pointers[box[INSTRUCTION_POINTER]].append(here)
            for here_boxes in of_pointers.values():
                yield self._class(arch, rules, here_boxes)
        for box, numbers in alike.items():
            yield self._class(arch, rules, [_with(box, NR, self._number(n)) for n in numbers])
        for box in united(self._sets, unnamed):
            yield self._class(arch, rules, [box], named=False)

    def _number(self, nr: int) -> int:
        return self._sets.masked(U32, nr)

    def _among(self, known: list[int], numbers: int) -> list[int]:
        """Return those of ``known``, in order, that are in a set of numbers."""
        if numbers == ALL:
            return known
        spans = intervals(self._sets, numbers, 32)
        if not spans:
            return [nr for nr in known if self._sets.has(numbers, nr)]
        return [
            nr
            for first, last in spans
            for nr in known[bisect_left(known, first) : bisect_right(known, last)]
        ]

    def _class(
        self, arch: int | None, rules: _Rules, boxes: list[_Box], *, named: bool = True
    ) -> CallClass:
        numbers: set[tuple[int, int]] = set()
        conditions: dict[Tests, None] = {}
        pointers: set[tuple[int, int]] = set()
        for box in boxes:
            numbers.update(self._stretches(box[NR], 32))
            conditions |= dict.fromkeys(alternatives(self._sets, box[ARGS:]))
            if box[INSTRUCTION_POINTER] != ALL:
                pointers.update(self._stretches(box[INSTRUCTION_POINTER], 64))
        return CallClass(
            arch,
            tuple(sorted(numbers)),
            named,
            tuple(conditions),
            tuple(sorted(pointers)),
            *rules,
            self._example(boxes[0]),
        )

    def _stretches(self, values: int, width: int) -> list[tuple[int, int]]:
        found = intervals(self._sets, values, width)
        if not found:
            raise UndecidedError("numbers are scattered", kind=Problem.TOO_MANY_CASES)
        return found


def _with(box: _Box, field: int, values: int) -> _Box:
    return (*box[:field], values, *box[field + 1 :])


def _names(arch: int, tables: Tables) -> dict[int, str]:
    """Return the names of all numbers of calls that come under an audit value."""
    served: Iterable[Table] = tables.under(arch)
    return {nr: name for table in served for nr, name in table.names.items()}
