"""A whole filter in words: the answers to every call, merged where ABIs answer alike.

Answers are those of the policy's meaning, or of the program if there is no policy; both are
followed exactly, for all arguments at once. The cost of a call, and whether the kernel's bitmap
answers it, come from the programs.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.compile import Functions, WordDiagrams
from seccompgen.core.abis import ABIS
from seccompgen.core.call_kinds import Kind
from seccompgen.core.errors import Position, UndecidedError
from seccompgen.core.filter_summary import (
    AnswerSummary,
    CallPlace,
    CallRoute,
    CallSummary,
    FilterSummary,
    RestSummary,
)
from seccompgen.core.model import U32, Origin
from seccompgen.core.number_spans import common, numbers_of, without
from seccompgen.core.sets import Sets
from seccompgen.core.spelling import stretches
from seccompgen.core.value_conditions import conditions_of
from seccompgen.core.word import ARCH
from seccompgen.filters.find.execution import executed_for
from seccompgen.filters.find.lift import lift
from seccompgen.filters.tell.linting import views_on
from seccompgen.filters.tell.shown_kinds import kind_of_call
from seccompgen.render.listing import ret_action
from seccompgen.verify import Code, Meaning
from seccompgen.verify.call import Call
from seccompgen.verify.kernel import constant_allow, rank
from seccompgen.verify.oracle import OneOf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.number_spans import Span
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.lint import FilterView
    from seccompgen.verify.oracle import Case

_UNTOLD = "it depends on the arguments, too intricately to be shown"
_MOST_NODES = 20_000
"""The most nodes that the sets of one answer may need."""
_X32_NUMBERS = "numbers of x32, which have bit 30"


def summarize(loaded: LoadedFilter, tables: Tables) -> FilterSummary:
    """Return what a filter does, for every ABI that it answers for.

    If it was compiled, or is a program, that includes which calls the bitmap answers, and how many
    instructions run.
    """
    return _Summarizer(loaded, tables).summary()


_Parts: TypeAlias = dict[tuple[int, Origin | None], list["Box"]]
"""Boxes of arguments by their answer and by the part of the policy that decides."""


class _Cases:
    """The cases of a policy under one audit value, to look up the one that answers a call.

    This is faster than a meaning, which tries all of its hundreds of cases for each call.
    """

    def __init__(self, side: Meaning, arch: int) -> None:
        self.last = {case.origin: n for n, case in enumerate(side.cases)}
        self._of: list[tuple[Case, frozenset[int] | None]] = []
        for case in side.cases:
            if all(test.field != ARCH or test.holds(Call(0, arch)) for test in case.tests):
                named = (test.values for test in case.tests if isinstance(test, OneOf))
                self._of.append((case, next(named, None)))

    def origin(self, call: Call) -> Origin:
        """Return the part of the policy that answers ``call``, which is under the audit value."""
        return next(
            case.origin
            for case, numbers in self._of
            if (numbers is None or call.nr in numbers)
            and all(test.holds(call) for test in case.tests)
        )


class _Summarizer:
    def __init__(self, loaded: LoadedFilter, tables: Tables) -> None:
        self._loaded = loaded
        self._tables = tables
        self._sets = Sets()
        self._undecided: dict[str, None] = {}
        self._cases: dict[FilterView, _Cases | None] = {}

    def summary(self) -> FilterSummary:
        alike: dict[tuple[str, tuple[AnswerSummary, ...]], list[CallPlace]] = defaultdict(list)
        order: dict[str, None] = {}
        rest: dict[tuple[str, AnswerSummary], list[CallRoute]] = defaultdict(list)
        ways: list[CallRoute] = []
        for abi_name in self._loaded.sides:
            abi = ABIS[abi_name]
            views = views_on(self._loaded, abi_name, self._tables, self._sets)
            for view in views:
                way = CallRoute(abi.name, view.abi.name)
                ways.append(way)
                for name, nr in self._calls(view):
                    order[name] = None
                    alike[name, self._answers(view, name, nr)].append(self._place(view, way, nr))
            for subject, answer in self._rest(abi, views):
                rest[subject, answer].append(CallRoute(abi.name, abi.name))
        calls = [
            CallSummary(name, kind_of_call(name), answers, tuple(places))
            for (name, answers), places in alike.items()
        ]
        kinds = list(Kind)
        calls.sort(key=lambda one: (kinds.index(one.kind), one.name, ways.index(one.places[0].way)))
        return FilterSummary(
            tuple(ways),
            tuple(calls),
            tuple(RestSummary(*key, tuple(where)) for key, where in rest.items()),
            tuple(self._undecided),
        )

    def _calls(self, view: FilterView) -> Iterator[tuple[str, int]]:
        """Yield the calls of an ABI, then unnamed numbers that the policy has rules for."""
        yield from sorted(view.table.numbers.items())
        rules = view.policy.rules if view.policy else ()
        for name in dict.fromkeys(rule.name for rule in rules if rule.applies_to(view.abi)):
            nr = view.table.number_of(name)
            if nr is not None and name not in view.table.numbers and nr not in view.table.names:
                yield name, nr

    def _place(self, view: FilterView, way: CallRoute, nr: int) -> CallPlace:
        code = self._loaded.sides[way.program]
        if not isinstance(code, Code):
            return CallPlace(way, nr)
        # The bitmap has the numbers of x86_64 and i386, and none with x32's bit.
        bitmap = view.abi.name != "x32" and constant_allow(code.instructions, nr, view.arch)
        return CallPlace(way, nr, bitmap, executed_for(code, nr, view.arch))

    # --- answers -----------------------------------------------------------------------------

    def _answers(self, view: FilterView, name: str, nr: int) -> tuple[AnswerSummary, ...]:
        try:
            parts = self._parts(view, nr)
            with self._sets.attempt(_MOST_NODES):
                return self._told(parts, view, name)
        except UndecidedError as error:
            reason = error.diagnostics[0].message
            self._undecided[f"{name} on {view.abi.name}: {_UNTOLD} ({reason})"] = None
            return ()

    def _cases_of(self, view: FilterView) -> _Cases | None:
        """Return the cases of the policy for an ABI; None without a policy."""
        if view not in self._cases:
            side = view.side
            self._cases[view] = _Cases(side, view.arch) if isinstance(side, Meaning) else None
        return self._cases[view]

    def _parts(self, view: FilterView, nr: int) -> _Parts:
        parts: _Parts = defaultdict(list)
        cases = self._cases_of(view)
        for box, ret in view.answer_to(nr & U32).parts:
            origin = None
            if cases:
                args = tuple(map(self._sets.least, box))
                origin = cases.origin(Call(nr & U32, view.arch, args))  # type: ignore[arg-type] # six
            parts[ret, origin].append(box)
        return parts

    def _told(self, parts: _Parts, view: FilterView, name: str) -> tuple[AnswerSummary, ...]:
        """Return the answers, each with its condition, except for the one that remains."""
        rest = self._left(parts, view)
        answers = []
        for (ret, origin), boxes in parts.items():
            left = (ret, origin) == rest
            condition = "" if left else self._condition(boxes, origin, view, name)
            otherwise = left and len(parts) > 1
            action = ret_action(ret, view.abi)
            answers.append(AnswerSummary(action, ret, condition, otherwise, origin))
        return tuple(sorted(answers, key=lambda one: (one.otherwise, -rank(one.ret))))

    def _left(self, parts: _Parts, view: FilterView) -> tuple[int, Origin | None]:
        """Return the answer that needs no condition because it remains.

        It is that of the policy's last case, or the answer of a program with most boxes.
        """
        if cases := self._cases_of(view):
            return max(parts, key=lambda part: cases.last[part[1]] if part[1] else -1)
        return max(parts, key=lambda part: (len(parts[part]), -rank(part[0])))

    def _condition(
        self, boxes: Sequence[Box], origin: Origin | None, view: FilterView, name: str
    ) -> str:
        """Return the condition of ``boxes``, in the words of the rules if these are equivalent."""
        rules = (
            rule
            for rule in (view.policy.rules if view.policy else ())
            if rule.origin == origin and rule.name == name and rule.applies_to(view.abi)
        )
        tests = conditions_of(self._sets, boxes, rules, view.abi)
        return self._tables.naming.alternatives(tests, name, view.abi)

    # --- calls without a name ----------------------------------------------------------------

    def _rest(self, abi: Abi, views: Sequence[FilterView]) -> Iterator[tuple[str, AnswerSummary]]:
        policy = self._loaded.policy
        unnamed = f"numbers that Linux {self._tables.tag} does not name"
        others = "calls through any other ABI of the kernel"
        if policy:
            yield unnamed, _plain(policy.unknown_action.ret(abi), abi, policy.unknown_origin)
            yield others, _plain(policy.bad_arch_action.ret(abi), abi, policy.bad_arch_origin)
            return
        side = self._loaded.sides[abi.name]
        nowhere = Origin("", Position(""))
        try:
            served = [view.abi for view in views]
            lifted = lift(
                side, served, Functions(self._sets, WordDiagrams()), self._tables, nowhere
            )
        except UndecidedError as error:
            reason = f"calls without a name on {abi.name}: {error.diagnostics[0].message}"
            self._undecided[reason] = None
            return
        found: dict[str, dict[int | None, list[Span]]] = {unnamed: {}, _X32_NUMBERS: {}}
        for line in lifted.lines:
            here = [view for view in views if view.arch == line.audit_arch]
            known = sorted(set().union(*(view.table.names for view in here)))
            regions: dict[str, tuple[Span, ...]] = {unnamed: ((0, U32),)}
            if {view.abi.name for view in here} == {"x86_64"}:
                of_x32 = numbers_of(ABIS["x32"])
                regions = {unnamed: numbers_of(ABIS["x86_64"]), _X32_NUMBERS: of_x32}
            for span in line.spans if here else ():
                function = span.answer.function
                ret = None if function.rules else function.default
                for subject, region in regions.items():
                    if left := list(without(common([(span.first, span.last)], region), known)):
                        found[subject].setdefault(ret, []).extend(left)
        for subject, answers in found.items():
            for ret, spans in answers.items():
                which = subject if len(answers) == 1 else f"{subject}: {stretches(spans)}"
                yield which, AnswerSummary(_UNTOLD, 0) if ret is None else _plain(ret, abi, None)
        yield others, _plain(lifted.otherwise, abi, None)


def _plain(ret: int, abi: Abi, origin: Origin | None) -> AnswerSummary:
    return AnswerSummary(ret_action(ret, abi), ret, origin=origin)
