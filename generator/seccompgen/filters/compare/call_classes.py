"""All calls that two filters answer differently: in classes, each with a condition.

Both filters are followed on sets of calls, the right one within each part to which the left one has
one answer. So the parts are disjoint and cover everything. Parts with the same answers, from the
same rules, are united where one condition describes them. The result is for people to read; the
proof is `verify`'s, which does not use the sets here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32, All
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, NOTHING
from seccompgen.core.spelling import number
from seccompgen.core.value_conditions import Tests, alternatives, intervals, united
from seccompgen.core.word import ARCH, ARGS, INSTRUCTION_POINTER, NR
from seccompgen.filters.find.box_walk import ALL_CALLS, BoxWalk, with_field
from seccompgen.verify import Meaning
from seccompgen.verify.call import ZERO_HIGH_WORDS, Call
from seccompgen.verify.followers import follower

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Table, Tables
    from seccompgen.filters.find.box_walk import CallBox
    from seccompgen.verify import Relation
    from seccompgen.verify.stack import FilterSemantics

_MOST_NAMES = 6
_MOST_SPANS = 4

Origins: TypeAlias = "tuple[Origin | None, Origin | None]"
"""The parts of two policies that answer a call; None for a program."""


@dataclass(frozen=True)
class CallClass:
    """Calls that the left filter answers ``left``, and the right one ``right``.

    They come under the audit value ``arch``, None for several. Their numbers are in ``numbers``,
    spans of first and last, and one of ``conditions`` holds for them. ``named`` says whether the
    numbers are those of calls. ``pointers`` are spans of instruction pointers; empty: any.
    ``example`` is one of the calls. ``rules`` are the parts of policies that answer them, in pairs;
    there is one pair if classes are divided by rule.
    """

    arch: int | None
    numbers: tuple[tuple[int, int], ...]
    named: bool
    conditions: tuple[Tests, ...]
    pointers: tuple[tuple[int, int], ...]
    left: int
    right: int
    rules: tuple[Origins, ...]
    example: Call

    @property
    def origins(self) -> Origins:
        """The parts of the policies that answer the first of the calls."""
        return self.rules[0]

    def names(self, tables: Tables) -> list[str]:
        """Return the names of the calls, in the order of their numbers."""
        names = _names(self.arch, tables) if self.arch is not None and self.named else {}
        return [names[nr] for nr, _ in self.numbers if nr in names]

    def condition(self, tables: Tables) -> str:
        """Return the condition for these calls, in names; empty if it always holds.

        Instruction pointers are no part of it.
        """
        if () in self.conditions:
            return ""
        table = tables.table_of(self.arch, self.example.nr) if self.arch is not None else None
        if table is None:
            groups = (" and ".join(map(str, tests)) for tests in self.conditions)
            return " or ".join(groups)
        call = table.names.get(self.example.nr, "")
        return tables.naming.alternatives([All(one) for one in self.conditions], call, table.abi)

    def subject(self, tables: Tables) -> str:
        """Describe the calls: ``socket where family == AF_ALG``."""
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
        return f"{text} {pointers}" if (pointers := self.origin_in_memory()) else text

    def origin_in_memory(self) -> str:
        """Return from where in memory the calls are made: ``from 0x1000-0x1fff``; empty if any."""
        if not self.pointers:
            return ""
        spans = ", ".join(f"{a:#x}-{b:#x}" for a, b in self.pointers[:_MOST_SPANS])
        more = len(self.pointers) - _MOST_SPANS
        return f"from {spans}" + (f" and {more} stretches more" if more > 0 else "")


class _Answers(NamedTuple):
    """The answers to a part, and the rules behind them if parts are divided by rule."""

    left: int
    right: int
    rules: Origins | None


class _RuledPart(NamedTuple):
    """Some calls, and the rules that answer them."""

    box: CallBox
    rules: tuple[Origins, ...]


def differing_calls(
    sides: tuple[FilterSemantics, FilterSemantics],
    abi: Abi,
    relation: Relation,
    tables: Tables,
    *,
    by_rule: bool = True,
) -> tuple[CallClass, ...]:
    """Return all calls for which ``relation`` fails between two filters for ``abi``.

    With ``by_rule``, calls that different rules answer are in different classes. Calls that no
    kernel makes (`Call.exists`) are left out. Raises UndecidedError if the calls cannot be
    described by sets, or only by too many.
    """
    return tuple(_DifferenceSearch(sides, abi, relation, tables).classes(by_rule=by_rule))


class _DifferenceSearch:
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
        self._walk = BoxWalk()
        self._sets = self._walk.sets

    def classes(self, *, by_rule: bool) -> Iterator[CallClass]:
        """Yield the classes: calls of the program's own ABI first, by number."""
        parts: dict[tuple[int, _Answers], list[_RuledPart]] = defaultdict(list)
        for box, left, right in self._differing():
            for part in self._split(box):
                if NOTHING in part:
                    continue
                rules = self._origins(self._walk.example(part))
                answers = _Answers(left, right, rules if by_rule else None)
                parts[part[ARCH], answers].append(_RuledPart(part, (rules,)))
        found = [
            one
            for (arch, answers), those in parts.items()
            for one in self._told(arch, answers, those)
        ]
        home = self._abi.audit_arch
        return iter(
            sorted(
                found, key=lambda one: (one.arch != home, not one.named, one.numbers[0], one.left)
            )
        )

    def _differing(self) -> Iterator[tuple[CallBox, int, int]]:
        left, right = map(follower, self._sides)
        for outer, answer in self._walk.parts(left):
            for box, other in self._walk.parts(right, outer):
                if not self._relation.holds(answer, other):
                    yield box, answer, other

    # --- from parts to classes ---------------------------------------------------------------

    def _split(self, box: CallBox) -> Iterator[CallBox]:
        """Yield the parts of ``box`` by audit values: the program's own, and the others.

        High words of arguments that are always 0 are dropped from conditions.
        """
        home = self._sets.masked(U32, self._abi.audit_arch)
        for arches in (self._sets.both(box[ARCH], home), self._sets.minus(box[ARCH], home)):
            if box[ARGS:] == ALL_CALLS[ARGS:]:
                yield with_field(box, ARCH, arches)
                continue
            others = arches
            for audit_arch in ZERO_HIGH_WORDS:
                one = self._sets.masked(U32, audit_arch)
                if self._sets.both(arches, one) != NOTHING:
                    others = self._sets.minus(others, one)
                    yield (
                        *with_field(box, ARCH, one)[:ARGS],
                        *map(self._walk.low_word, box[ARGS:]),
                    )
            yield with_field(box, ARCH, others)

    def _origins(self, call: Call) -> tuple[Origin | None, Origin | None]:
        left, right = (
            side.case(call).origin if isinstance(side, Meaning) else None for side in self._sides
        )
        return left, right

    def _told(
        self, arches: int, answers: _Answers, parts: Iterable[_RuledPart]
    ) -> Iterator[CallClass]:
        first = self._sets.least(arches)
        arch = first if arches == self._sets.masked(U32, first) else None
        names = _names(arch, self._tables) if arch is not None else {}
        known = sorted(names)
        all_known = self._sets.among(known)
        of_number: dict[int, list[_RuledPart]] = defaultdict(list)
        unnamed: list[_RuledPart] = []
        for box, rules in parts:
            for nr in self._among(known, box[NR]):
                of_number[nr].append(_RuledPart(with_field(box, NR, ALL), rules))
            rest = self._sets.minus(box[NR], all_known)
            if rest != NOTHING:
                unnamed.append(_RuledPart(with_field(box, NR, rest), rules))
        alike: dict[_RuledPart, list[int]] = defaultdict(list)
        for nr, its_parts in of_number.items():
            of_pointers: dict[int, list[_RuledPart]] = defaultdict(list)
            for part in self._united(its_parts):
                box, rules = part
                if box[ARGS:] == ALL_CALLS[ARGS:]:
                    alike[part].append(nr)
                else:
                    here = _RuledPart(with_field(box, NR, self._number(nr)), rules)
                    of_pointers[box[INSTRUCTION_POINTER]].append(here)
            for here_parts in of_pointers.values():
                yield self._class(arch, answers, here_parts)
        for (box, rules), numbers in alike.items():
            here_parts = [_RuledPart(with_field(box, NR, self._number(n)), rules) for n in numbers]
            yield self._class(arch, answers, here_parts)
        for part in self._united(unnamed):
            yield self._class(arch, answers, [part], named=False)

    def _united(self, parts: Sequence[_RuledPart]) -> Iterator[_RuledPart]:
        """Yield as few boxes as possible, each with the rules of all parts in it."""
        for box in united(self._sets, [part.box for part in parts]):
            inside = (part for part in parts if self._meets(part.box, box))
            yield _RuledPart(
                box, tuple(dict.fromkeys(pair for part in inside for pair in part.rules))
            )

    def _meets(self, box: CallBox, other: CallBox) -> bool:
        return all(self._sets.both(a, b) != NOTHING for a, b in zip(box, other, strict=True))

    def _number(self, nr: int) -> int:
        return self._sets.masked(U32, nr)

    def _among(self, known: list[int], numbers: int) -> list[int]:
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
        self, arch: int | None, answers: _Answers, parts: list[_RuledPart], *, named: bool = True
    ) -> CallClass:
        numbers: set[tuple[int, int]] = set()
        conditions: dict[Tests, None] = {}
        pointers: set[tuple[int, int]] = set()
        rules: dict[Origins, None] = {}
        for box, its_rules in parts:
            rules |= dict.fromkeys(its_rules)
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
            answers.left,
            answers.right,
            tuple(rules),
            self._walk.example(parts[0].box),
        )

    def _stretches(self, values: int, width: int) -> list[tuple[int, int]]:
        found = intervals(self._sets, values, width)
        if not found:
            raise UndecidedError("numbers are scattered", kind=Problem.TOO_MANY_CASES)
        return found


def _names(arch: int, tables: Tables) -> dict[int, str]:
    """Return the names of all numbers of calls that come under an audit value."""
    served: Iterable[Table] = tables.under(arch)
    return {nr: name for table in served for nr, name in table.names.items()}
