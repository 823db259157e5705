"""Combined filters as a policy for one ABI, so that they can be written in any format.

The common answers of the parts are lifted and expressed by rules: one for each call and condition,
with the position of the part that decides there. The policy is proved to answer every call as the
parts do before it is written.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from seccompgen.compile import ArgumentFunction, ProgramBuilder
from seccompgen.core.abis import ABIS, serves_both
from seccompgen.core.errnos import errno_name
from seccompgen.core.errors import Diagnostic, InputError, Position, UndecidedError
from seccompgen.core.model import (
    ERRNO_MAX,
    RET_DATA_MAX,
    U32,
    Action,
    ActionKind,
    All,
    Origin,
    ResolvedPolicy,
    Rule,
)
from seccompgen.core.number_spans import common, numbers_of, without
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING
from seccompgen.core.value_conditions import alternatives
from seccompgen.filters.find.lift import lift
from seccompgen.render.call_names import difference_text
from seccompgen.verify import Difference, Meaning, Operation, meaning, prove
from seccompgen.verify.call import Call
from seccompgen.verify.kernel import rank

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.compile import NumberRange
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.sets import Box
    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.verify import Stack

_MOST_NUMBERS = 4096
"""The most numbers without a call that may get a rule of their own."""
_MOST_CASES = 256
"""The most rules for one call."""


def combined_policy(
    name: str,
    stack: Stack,
    parts: Sequence[LoadedFilter],
    settings: Settings,
    abi: Abi,
    tables: Tables,
) -> ResolvedPolicy:
    """Return a policy for ``abi`` that answers every call as ``stack`` does, made of ``parts``.

    Raises InputError with all that no policy can express.
    """
    try:
        policy = _Policy(name, stack, parts, settings, abi, tables).policy()
    except UndecidedError as error:
        text = f"{abi.name}: cannot be said by rules: {error}"
        raise InputError(text, kind=Problem.NOT_COMBINED) from None
    found = prove(meaning(policy, abi, tables), stack)
    if isinstance(found, Difference):
        text = difference_text(found, ("rules", "the filters"), abi, tables)
        where = Position(str(parts[-1].path))
        text = f"{abi.name}: what these filters answer cannot be said by rules: {text}"
        raise InputError(Diagnostic(text, where, Problem.NOT_COMBINED))
    return policy


class _Policy:
    """Builds the policy, and collects the answers that no rule can express."""

    def __init__(
        self,
        name: str,
        stack: Stack,
        parts: Sequence[LoadedFilter],
        settings: Settings,
        abi: Abi,
        tables: Tables,
    ) -> None:
        self._name, self._stack, self._parts, self._settings = name, stack, parts, settings
        self._abi, self._tables = abi, tables
        self._problems: dict[Diagnostic, None] = {}
        related = [one for one in ABIS.values() if one is not abi and serves_both(abi, one)]
        self._functions = ProgramBuilder(abi, (), DEFAULT_OBJECTIVE).functions
        origin = Origin(stack.operation.value, Position(name))
        lifted = lift(stack, (abi,), self._functions, tables, origin)
        self._spans: Mapping[int, tuple[NumberRange, ...]] = {
            line.audit_arch: line.spans for line in lifted.lines
        }
        self._foreign = ArgumentFunction((), lifted.otherwise)
        self._compat = tuple(one for one in related if self._answers_for(one))

    def policy(self) -> ResolvedPolicy:
        """Return the policy. Raises InputError with all that it cannot express."""
        abi, name = self._abi, self._name
        unknown = self._unknown()
        served = (abi, *self._compat)
        default = unknown.default
        if not any(one.name == "x32" for one in self._compat):
            default = self._refusal(unknown.default)
        rules = [rule for one in served for rule in self._rules(one, default, unknown)]
        strange = next(arch for arch in range(U32) if arch not in self._spans)
        nowhere = self._origin(Call(0, strange), self._foreign.default)
        number = next(nr for nr, _ in self._unnamed(abi) if self._function(abi, nr) == unknown)
        nameless = self._origin(Call(number, abi.audit_arch), unknown.default)
        policy = ResolvedPolicy(
            name=name,
            description="",
            arches=(abi,),
            arches_origin=Origin("arches", Position(str(self._parts[0].path))),
            compat_arches=self._compat,
            default_action=self._action(default, abi, nameless),
            default_origin=nameless,
            unknown_action=self._action(unknown.default, abi, nameless),
            unknown_origin=nameless,
            bad_arch_action=self._action(self._foreign.default, abi, nowhere),
            bad_arch_origin=nowhere,
            no_new_privs=self._settings.no_new_privs,
            flags=self._settings.flags,
            install_on_import=self._settings.install_on_import,
            rules=tuple(rules),
            sources=tuple((str(part.path), part.sha256) for part in self._parts),
        )
        if self._problems:
            raise InputError(*self._problems, kind=Problem.NOT_COMBINED)
        return policy

    # --- numbers -----------------------------------------------------------------------------

    def _function(self, abi: Abi, nr: int) -> ArgumentFunction:
        """Return the function of the arguments that answers a number on ``abi``."""
        spans = self._spans.get(abi.audit_arch, ())
        found = (span.answer.function for span in spans if span.first <= nr <= span.last)
        return next(found, self._foreign)

    def _answers_for(self, other: Abi) -> bool:
        """Return True if some call of ``other`` is not answered like a foreign ABI's."""
        if other.audit_arch != self._abi.audit_arch:
            return other.audit_arch in self._spans
        numbers = self._tables.tables[other.name].names if other.name in self._tables.tables else {}
        return any(self._function(other, nr) != self._foreign for nr in numbers) or any(
            span.answer.function != self._foreign
            for span in self._spans.get(other.audit_arch, ())
            if any(common([(span.first, span.last)], numbers_of(other)))
        )

    def _unnamed(self, abi: Abi) -> Iterator[tuple[int, int]]:
        """Yield spans of numbers without a call; each has one function."""
        spans = self._spans.get(abi.audit_arch, ())
        edges = [(span.first, span.last) for span in spans] or [(0, U32)]
        names = sorted(self._tables.tables[abi.name].names)
        yield from without(common(numbers_of(abi), edges), names)

    def _unknown(self) -> ArgumentFunction:
        """Return the function for most numbers without a call."""
        sizes: Counter[ArgumentFunction] = Counter()
        for first, last in self._unnamed(self._abi):
            sizes[self._function(self._abi, first)] += last - first + 1
        found = max(sizes, key=lambda one: sizes[one])
        if found.rules:
            text = "it answers numbers that no call has by their arguments"
            raise UndecidedError(text, kind=Problem.SCATTERED_NUMBERS)
        return found

    def _refusal(self, unknown: int) -> int:
        """Return the most common unconditional refusal of the ABI's calls, else ``unknown``."""
        found: Counter[int] = Counter()
        for nr in self._tables.tables[self._abi.name].names:
            function = self._function(self._abi, nr)
            kind = ActionKind(function.default & ~RET_DATA_MAX)
            if not function.rules and not kind.lets_through:
                found[function.default] += 1
        return max(found, key=lambda ret: (found[ret], -ret)) if found else unknown

    # --- rules -------------------------------------------------------------------------------

    def _rules(self, abi: Abi, default: int, unknown: ArgumentFunction) -> Iterator[Rule]:
        """Yield the rules for calls of ``abi``, then those for numbers without a call."""
        table = self._tables.tables[abi.name]
        for nr, name in sorted(table.names.items()):
            function = self._function(abi, nr)
            if function != ArgumentFunction((), default):
                yield from self._of_call(abi, name, nr, function, default)
        left = _MOST_NUMBERS
        for first, last in self._unnamed(abi):
            function = self._function(abi, first)
            if function == unknown:
                continue
            left -= last - first + 1
            if left < 0:
                text = f"it answers more than {_MOST_NUMBERS} numbers that no call of {abi.name} "
                text += f"has otherwise than the rest, such as those from {first} to {last}"
                raise UndecidedError(text, kind=Problem.SCATTERED_NUMBERS)
            for nr in range(first, last + 1):
                yield from self._of_call(abi, str(nr), nr, function, unknown.default)

    def _of_call(
        self, abi: Abi, name: str, nr: int, function: ArgumentFunction, default: int
    ) -> Iterator[Rule]:
        """Yield the rules of one call; the first that matches wins."""
        sets, left = self._functions.sets, [EVERYTHING]
        count = 0
        for box, ret in function.rules:
            origin = self._origin(self._call(abi, nr, box), ret)
            for tests in alternatives(sets, box):
                count += 1
                if count > _MOST_CASES:
                    text = f"{name} on {abi.name} would take more than {_MOST_CASES} rules"
                    self._problems[Diagnostic(text, origin.position, Problem.TOO_MANY_CASES)] = None
                    return
                condition = All(tests) if len(tests) > 1 else tests[0]
                yield self._rule(abi, name, condition, ret, origin)
            left = [piece for part in left for piece in sets.without(part, box)]
        if left and (function.default != default or not function.rules):
            origin = self._origin(self._call(abi, nr, left[0]), function.default)
            yield self._rule(abi, name, None, function.default, origin)

    def _rule(
        self, abi: Abi, name: str, condition: Predicate | None, ret: int, origin: Origin
    ) -> Rule:
        action = self._action(ret, abi, origin)
        own = frozenset({abi.name})
        return Rule(name, condition, action, origin.position, origin, abis=own)

    def _action(self, ret: int, abi: Abi, origin: Origin) -> Action:
        kind, data = ActionKind(ret & ~RET_DATA_MAX), ret & RET_DATA_MAX
        if data and (not kind.takes_data or (kind is ActionKind.ERRNO and data > ERRNO_MAX)):
            text = f"{kind.name.lower()} with the number {data} cannot be said by rules"
            self._problems[Diagnostic(text, origin.position, Problem.UNKNOWN_ACTION)] = None
        named = errno_name(data, abi) if kind is ActionKind.ERRNO else None
        return Action(kind, errno_name=named) if named else Action(kind, data)

    # --- places ------------------------------------------------------------------------------

    def _call(self, abi: Abi, nr: int, box: Box) -> Call:
        a, b, c, d, e, f = map(self._functions.sets.least, box)
        return Call(nr, abi.audit_arch, (a, b, c, d, e, f))

    def _origin(self, call: Call, ret: int) -> Origin:
        """Return the part of a policy that decides on ``call``, which is answered ``ret``."""
        answers = [part.answer(call) for part in self._stack.parts]
        # Of equal actions the newest part's counts, but what 'subtract' takes away is the first's.
        order = range(len(answers))
        if self._stack.operation is not Operation.SUBTRACT:
            order = order[::-1]
        own = [n for n in order if answers[n] == ret]
        through = [n for n in order if n and rank(answers[n]) >= rank(ActionKind.LOG.value)]
        decisive = next(iter((*own, *through)), order[0])
        side, part = self._stack.parts[decisive], self._parts[decisive]
        if isinstance(side, Meaning):
            return side.case(call).origin
        return Origin(part.path.name, Position(str(part.path)))
