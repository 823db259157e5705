"""The answers of a filter to the calls through one ABI, as exact sets of arguments.

Checks ask for the answer to a call by its name. The view also has the filter's default and the
declarations of arguments, and makes example calls.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32, U64, ActionKind
from seccompgen.core.sets import EVERYTHING, NOTHING, Box, Sets
from seccompgen.lint.answers import BoxedAnswer, CodeAnswers, MeaningAnswers, permits, refuses
from seccompgen.lint.finding import Witness
from seccompgen.lint.ring_view import ring_of_policy
from seccompgen.verify import Code, Meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts, Prototype
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Table
    from seccompgen.lint.ring_view import RingView

_UNKNOWN_NUMBER = 0x3FFF_FF00
"""A number that no ABI has, without the bit that marks x32."""
_PERMITTED_BY_DEFAULT = 0.9
"""A filter that permits this share of all calls is a blocklist. Docker's allowlist permits 0.78."""


class FilterView:
    """The answers of the program for ``program`` to calls that are made through ``abi``.

    ``arch`` is the audit value of these calls; ``table`` has their numbers. ``ring`` is None if the
    filter has no section for rings.
    """

    def __init__(
        self,
        side: Meaning | Code,
        program: Abi,
        table: Table,
        sets: Sets,
        facts: Facts,
        policy: ResolvedPolicy | None = None,
        arch: int | None = None,
        ring: RingView | None = None,
    ) -> None:
        self.side = side
        self.ring = ring or ring_of_policy(policy, program)
        self.program = program
        self.abi = table.abi
        self.table = table
        self.sets = sets
        self.facts = facts
        self.policy = policy
        self.arch = self.abi.audit_arch if arch is None else arch
        self.undecided: dict[str, UndecidedError] = {}
        # The results of `library_calls` by call and constant: a refusal or None.
        self.refusals: dict[tuple[str, str], tuple[Box, int] | None] = {}
        self._answers: dict[int, BoxedAnswer | UndecidedError] = {}
        self._plain: dict[int, int] = {}
        self._enosys = ActionKind.ERRNO.value | errno_number("ENOSYS", self.abi)

    # --- answers -----------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Return True if the ABI has a call of that name."""
        return name in self.table.numbers

    def answer(self, name: str) -> BoxedAnswer | None:
        """Return the answers to a call; None if the ABI lacks it, or if they are undecided."""
        number = self.table.numbers.get(name)
        if number is None or name in self.undecided:
            return None
        try:
            return self.answer_to(number)
        except UndecidedError as error:
            self.undecided[name] = error
            return None

    def answer_to(self, number: int) -> BoxedAnswer:
        """Return the answers to the call ``number``. Raises UndecidedError."""
        found = self._answers.get(number)
        if found is None:
            try:
                found = BoxedAnswer(tuple(self._source.to(number)))
            except UndecidedError as error:
                found = error
            self._answers[number] = found
        if isinstance(found, UndecidedError):
            raise found
        return found

    def permits(self, name: str) -> bool:
        """Return True if a call is permitted with some arguments; False if that is undecided."""
        answer = self.answer(name)
        return answer is not None and bool(answer.permitted)

    def within(self, name: str, /, **values: int) -> tuple[tuple[Box, int], ...]:
        """Return the answers to a call whose arguments have ``values``, by the kernel's names.

        Empty if the ABI lacks the call or such an argument, or if the answers are undecided.
        """
        answer, prototype = self.answer(name), self.prototype(name)
        inside = list(EVERYTHING)
        for argument, value in values.items():
            n = prototype.index(argument) if prototype else None
            if n is None:
                return ()
            low = min((1 << self.bits(name, n)) - 1, U64)
            inside[n] = self.sets.masked(low, value & low)
        return tuple(
            (both, ret)  # type: ignore[misc] # six
            for box, ret in (answer.parts if answer else ())
            if NOTHING not in (both := tuple(map(self.sets.both, box, inside)))
        )

    def refusal(self, name: str, /, **values: int) -> tuple[Box, int] | None:
        """Return arguments with which a call is refused, and the answer to them.

        None if the call is permitted with ``values`` and some other arguments.
        """
        parts = self.within(name, **values)
        if any(permits(ret) for _, ret in parts):
            return None
        return next((part for part in parts if refuses(part[1])), None)

    # --- the filter as a whole ---------------------------------------------------------------

    @cached_property
    def default(self) -> int:
        """The answer to calls that the filter does not name.

        Without a policy it is guessed: see the constants above.
        """
        if self.policy:
            return self.policy.default_action.ret(self.abi)
        unknown = self._whole(_UNKNOWN_NUMBER)
        if unknown is not None and permits(unknown):
            return unknown
        answers = [self._whole(number) for number in self.table.names]
        counted = Counter(ret for ret in answers if ret is not None)
        most = [ret for ret, _ in counted.most_common()]
        permitted = [ret for ret in most if permits(ret)]
        if permitted and sum(map(counted.__getitem__, permitted)) >= _PERMITTED_BY_DEFAULT * len(
            answers
        ):
            return permitted[0]
        if unknown is not None and unknown != self._enosys:
            return unknown
        return next((ret for ret in most if refuses(ret)), self._enosys)

    def _whole(self, number: int) -> int | None:
        try:
            return self.answer_to(number).only
        except UndecidedError:
            return None

    @property
    def is_allowlist(self) -> bool:
        """True if calls that the filter does not name are refused."""
        return refuses(self.default)

    def is_enosys(self, ret: int) -> bool:
        """Return True if ``ret`` is the answer of a kernel that lacks the call."""
        return ret == self._enosys

    def refused_on_purpose(self, name: str) -> tuple[Box, ...]:
        """Return the arguments with which the filter refuses a call on purpose.

        Empty for a call that gets the default of an allowlist, and for one that gets ENOSYS with
        any arguments, which leads libraries to an older call.
        """
        answer = self.answer(name)
        if answer is None or not answer.refused:
            return ()
        if answer.only is not None and self.is_enosys(answer.only):
            return ()
        if answer.permitted or not self.is_allowlist or answer.only is None:
            return answer.refused
        return (
            answer.refused if self.is_refused_by_rule(name) or answer.only != self.default else ()
        )

    def is_refused_by_rule(self, name: str) -> bool:
        """Return True if a rule names a call to refuse it; False without a policy."""
        return name in self._refused_by_rules

    @cached_property
    def _refused_by_rules(self) -> frozenset[str]:
        return frozenset(
            rule.name
            for rule in (self.policy.own_rules if self.policy else ())
            if rule.applies_to(self.abi) and refuses(rule.action.ret(self.abi))
        )

    # --- arguments ---------------------------------------------------------------------------

    def prototype(self, name: str) -> Prototype | None:
        """Return the kernel's declaration of a call's arguments, or None."""
        return self.facts.prototype(name, self.abi)

    def bits(self, name: str, argument: int) -> int:
        """Return how many low bits of an argument the kernel reads, as far as that is known."""
        prototype = self.prototype(name)
        if prototype and argument < len(prototype.parameters):
            return min(prototype.parameters[argument].bits or 64, self.abi.argument_bits)
        return self.abi.argument_bits

    def plain_values(self, bits: int) -> int:
        """Return the values of an argument of ``bits`` once it is extended to 64 bits."""
        found = self._plain.get(bits)
        if found is None:
            sets, high = self.sets, U64 >> bits << bits
            negative = sets.above(U64, U64 - (1 << (bits - 1))) if bits < 64 else NOTHING
            found = self._plain[bits] = sets.either(sets.masked(high, 0), negative)
        return found

    def constant(self, name: str) -> int | None:
        """Return a constant of the kernel's headers; None if the ABI lacks it."""
        return self.facts.value(name, self.abi)

    # --- witnesses ---------------------------------------------------------------------------

    def call(self, name: str, box: Iterable[int]) -> Call:
        """Return a call whose arguments are in ``box``."""
        args = tuple(self.sets.least(part) & U64 for part in box)
        return Call(self.table.numbers[name] & U32, self.arch, args)  # type: ignore[arg-type] # six

    def witness(self, call: Call) -> Witness:
        """Return ``call`` with the filter's answer to it."""
        return Witness(call, self.side.answer(call))

    def shown(self, name: str, box: Iterable[int]) -> Witness:
        """Return a call whose arguments are in ``box``, with the filter's answer to it."""
        return self.witness(self.call(name, box))

    @cached_property
    def _source(self) -> MeaningAnswers | CodeAnswers:
        made = MeaningAnswers if isinstance(self.side, Meaning) else CodeAnswers
        return made(self.side, self.arch, self.sets)  # type: ignore[arg-type] # as just asked

    def conditional(self) -> Iterator[tuple[str, BoxedAnswer]]:
        """Yield the calls whose answer depends on their arguments."""
        numbers = self.table.names
        if isinstance(self._source, MeaningAnswers):
            asked = self._source.conditional
            numbers = {nr: name for nr, name in numbers.items() if nr in asked}
        for name in numbers.values():
            answer = self.answer(name)
            if answer is not None and answer.only is None:
                yield name, answer
