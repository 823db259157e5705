"""Rules for operations of rings that follow from a policy's rules for system calls (`mirror`).

A ring is never permitted more than the calls: an operation is permitted where the calls that can do
all that it does are allowed, whatever those of their arguments are that no filter for rings sees.
So a condition on such an argument permits nothing here, and one that refuses something refuses all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic
from seccompgen.core.model import ActionKind, Op, Origin, comparisons, condition_for
from seccompgen.core.problems import Problem
from seccompgen.core.ring import OPERATION_FIELDS, ContextTest, RingOperation, RingRule
from seccompgen.core.text import listed
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.policy.ring_conditions import LARGE_FILE, comparable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Action, Comparison, ResolvedPolicy, Rule
    from seccompgen.core.ring import RingField, RingSection
    from seccompgen.core.tables import Tables

OWN_OPERATIONS = frozenset(
    (
        *("ASYNC_CANCEL", "LINK_TIMEOUT", "NOP", "NOP128", "POLL_REMOVE", "PROVIDE_BUFFERS"),
        *("REMOVE_BUFFERS", "TIMEOUT", "TIMEOUT_REMOVE"),
    )
)
"""Operations that concern their ring alone; io_uring_enter can wait for a time as well."""
_COMMANDS = frozenset({"URING_CMD", "URING_CMD128"})
"""Operations that do more than any call: drivers define their commands."""
_SOCKET_FLAGS = ("SOCK_CLOEXEC", "SOCK_NONBLOCK")
_RELATIONS = {Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}


def mirrored(
    policy: ResolvedPolicy, named: Collection[str], tables: Tables, notes: list[Diagnostic]
) -> RingSection:
    """Return the section of ``policy`` with rules for the operations that are not ``named``."""
    assert policy.io_uring
    mirror = _Mirror(policy, named, tables)
    rules = tuple(
        (abi.name, tuple(mirror.rules(abi, policy.io_uring.rules_for(abi))))
        for abi in policy.arches
    )
    notes += mirror.notes()
    return replace(policy.io_uring, rules=rules)


class _Case(NamedTuple):
    """A rule about a call as one about an operation; without tests, it decides the rest."""

    tests: tuple[ContextTest, ...]
    permits: bool
    origin: Origin


class _Loss(NamedTuple):
    """A part of a policy that a ring cannot do, and the reason."""

    position: Position
    reason: str


class _CallAnswer(NamedTuple):
    """The answers to a call, as far as an operation can have them.

    ``allowed`` is the position of the first rule that allows the call with any arguments.
    """

    call: str
    cases: tuple[_Case, ...]
    losses: tuple[_Loss, ...]
    allowed: Position | None

    @property
    def is_whole(self) -> bool:
        """True if the call is allowed with all arguments."""
        return self.cases[0].permits and not self.cases[0].tests


class _Mirror:
    """The rules of a policy as rules for rings."""

    def __init__(self, policy: ResolvedPolicy, named: Collection[str], tables: Tables) -> None:
        self._policy = policy
        self._named = named
        self._tables = tables
        self._lost: dict[_Loss, dict[str, None]] = {}
        """Losses, and the operations that are refused for each."""

    def rules(self, abi: Abi, written: tuple[RingRule, ...]) -> list[RingRule]:
        """Return the ``written`` rules for ``abi``, and those that follow, by opcode."""
        assert self._policy.io_uring
        found = list(written)
        by_number = self._by_number(abi)
        for name, one in ring_numbers().operations.items():
            operation = RingOperation(name, one.nr)
            if name in self._named:
                continue
            if name in OWN_OPERATIONS:
                origin = self._policy.io_uring.origin
                found.append(RingRule(operation, (), True, origin, mirrored=True))
            elif one.needed:
                found += self._rules(operation, one.needed, abi, by_number)
        return sorted(found, key=lambda rule: rule.operation.opcode)

    def notes(self) -> Iterator[Diagnostic]:
        """Yield a note for each loss, with all operations that it concerns."""
        for (position, reason), operations in self._lost.items():
            names = listed(list(operations))
            one = len(operations) == 1
            text = (
                f"{reason}: io_uring refuses {names} then; to permit {'it' if one else 'them'} "
                f"nevertheless, name {'it' if one else 'them'} in 'operations'"
            )
            yield Diagnostic(text, position, Problem.NOT_MIRRORED)

    def _by_number(self, abi: Abi) -> dict[int, list[Rule]]:
        table = self._tables.tables[abi.name]
        found: dict[int, list[Rule]] = {}
        for rule in self._policy.rules:
            number = table.number_of(rule.name)
            if number is not None and rule.applies_to(abi):
                found.setdefault(number, []).append(rule)
        return found

    def _rules(
        self,
        operation: RingOperation,
        needed: tuple[tuple[str, ...], ...],
        abi: Abi,
        by_number: Mapping[int, list[Rule]],
    ) -> Iterator[RingRule]:
        """Yield the rules for an operation that is permitted where ``needed`` calls are."""
        numbers = self._tables.tables[abi.name].numbers
        fields = OPERATION_FIELDS.get(operation.name, ())
        answers: list[_CallAnswer] = []
        for choices in needed:
            found = [
                self._answer(call, by_number.get(numbers[call], []), fields, abi)
                for call in choices
                if call in numbers
            ]
            if found:
                allowed = sorted(found, key=lambda one: (not one.is_whole, one.allowed is None))
                answers.append(allowed[0])
        first = next((one for one in answers if one.allowed), None)
        if first is None or first.allowed is None:
            return
        losses = [loss for one in answers for loss in one.losses]
        if operation.name in _COMMANDS:
            reason = f"{first.call} is allowed here, but a ring's commands do more than any call"
            losses = [_Loss(first.allowed, reason)]
        elif len(answers) == 1:
            yield from self._of_cases(operation, first.cases)
        elif all(one.is_whole for one in answers):
            yield from self._of_cases(operation, first.cases[:1])
        elif lacking := [one.call for one in answers if not one.allowed]:
            verb = "is" if len(lacking) == 1 else "are"
            reason = (
                f"{first.call} is allowed here, but {listed(lacking)} {verb} not, which a ring "
                "does as well"
            )
            losses = [_Loss(first.allowed, reason)]
        for loss in losses:
            self._lost.setdefault(loss, {})[operation.name] = None

    def _of_cases(self, operation: RingOperation, cases: tuple[_Case, ...]) -> Iterator[RingRule]:
        """Yield ``cases`` as rules, without those at the end that refuse, as all the rest is."""
        last = max((i for i, one in enumerate(cases) if one.permits), default=-1)
        for tests, permits, of in cases[: last + 1]:
            origin = Origin(f"mirror of {of.label}", of.position)
            yield RingRule(operation, tests, permits, origin, mirrored=True)

    def _answer(
        self, call: str, rules: list[Rule], fields: tuple[RingField, ...], abi: Abi
    ) -> _CallAnswer:
        """Return the answers to ``call``; an operation has the same arguments in ``fields``."""
        facts = self._tables.facts
        prototype = facts.prototype(call, abi)
        shown = {
            place: comparable(field, facts, abi)
            for field in fields
            if prototype and (place := prototype.index(field.name)) is not None
        }
        cases: list[_Case] = []
        losses: list[_Loss] = []
        allowed: Position | None = None
        decided = False
        default = self._policy.default_action, self._policy.default_origin
        for rule in (*rules, None):
            action, origin = (rule.action, rule.origin) if rule else default
            position = rule.position if rule else origin.position
            permits = action.kind is ActionKind.ALLOW
            if (permits or _is_odd(action)) and allowed is None:
                allowed = position
            if _is_odd(action):
                losses.append(_Loss(position, f"{call} gets {action} here, which no ring can do"))
            condition = condition_for(rule.condition, abi.argument_bits) if rule else None
            tests: list[ContextTest] = []
            unseen: list[str] = []
            holds: bool | ContextTest = True
            for test in comparisons(condition):
                field = shown.get(test.argument)
                hidden = self._hidden(field, abi) if field else 0
                if field is None or _mask(test) & hidden:
                    unseen.append(self._unseen(call, test, field, abi))
                holds = _as_seen(test, field, hidden, permits=permits) if field else not permits
                if holds is False:
                    break
                if holds is not True:
                    tests.append(holds)
            if unseen and not _is_odd(action):
                own = [one.condition for one in rules if one.position == position and one.condition]
                where = self._tables.naming.alternatives(own, call, abi)
                losses.append(
                    _Loss(
                        position,
                        f"{call} is {'allowed' if permits else 'refused'} here where {where}, but "
                        f"no filter for rings sees {listed(list(dict.fromkeys(unseen)))}",
                    )
                )
            if holds is not False and not decided:
                cases.append(_Case(tuple(tests), permits, origin))
                decided = not tests
            if condition is None:
                break
        found = _CallAnswer(call, tuple(cases), tuple(losses), allowed)
        return found._replace(losses=()) if found.is_whole or allowed is None else found

    def _hidden(self, field: RingField, abi: Abi) -> int:
        """Return the bits of an argument that may be set or not, unseen in ``field``.

        A 64-bit kernel opens every file with O_LARGEFILE, so it means nothing for 64-bit programs.
        """
        names = {"type": _SOCKET_FLAGS, "flags": (LARGE_FILE,) if abi.bits == 32 else ()}
        values = [self._tables.facts.value(one, abi) for one in names.get(field.name, ())]
        return sum(value or 0 for value in values)

    def _unseen(self, call: str, test: Comparison, field: RingField | None, abi: Abi) -> str:
        if field is None:
            return self._tables.naming.argument(call, test.argument, abi)
        if field.name == "type":
            return f"{listed(_SOCKET_FLAGS)} in type (compare type & {field.bits:#x})"
        return f"{LARGE_FILE} in {field.name}"


def _is_odd(action: Action) -> bool:
    """Return True for an action that neither refuses a call nor simply allows it."""
    return action.kind in {ActionKind.LOG, ActionKind.TRACE, ActionKind.USER_NOTIF}


def _mask(test: Comparison) -> int:
    """Return the bits that a comparison is about."""
    whole = (1 << test.width) - 1
    return test.value if test.op in {Op.ANY_BITS, Op.NO_BITS} else test.mask & whole


def _as_seen(
    test: Comparison, field: RingField, hidden: int, *, permits: bool
) -> bool | ContextTest:
    """Return a comparison of an argument as a test of ``field``, or its outcome.

    The argument's other bits are 0, but for those ``hidden``, which may be anything. With
    ``permits`` the test holds only if the comparison does with any of them, else if it does with
    some.
    """
    seen = field.full & field.bits
    mask = _mask(test)
    doubtful = bool(mask & hidden)
    match test.op:
        case Op.ANY_BITS | Op.NE:
            value = 0 if test.op is Op.ANY_BITS else test.value
            if doubtful and not permits:
                return True
            if value & ~(mask & (seen | hidden)):
                return True
            if not mask & seen:
                return False
            return ContextTest(field, "!=", value & seen, mask & seen)
        case Op.NO_BITS | Op.EQ | Op.MASKED_EQ:
            value = 0 if test.op is Op.NO_BITS else test.value
            if (doubtful and permits) or value & ~(mask & (seen | hidden)):
                return False
            if not mask & seen:
                return True
            return ContextTest(field, "==", value & seen, mask & seen)
    if doubtful:
        return not permits
    if test.value > mask & seen:
        return test.op in {Op.LT, Op.LE}
    return ContextTest(field, _RELATIONS[test.op], test.value, mask & seen)
