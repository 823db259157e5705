"""Conditions on operations of a ring in numbers, for one ABI.

A condition becomes alternatives, each a conjunction of tests of fields. An address of a family is a
test of the family, and of that family's field.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import Diagnostic, did_you_mean
from seccompgen.core.model import Op
from seccompgen.core.problems import Problem
from seccompgen.core.ring import FAMILY, IPV4, IPV6, OPERATION_FIELDS, SQE_FLAGS, ContextTest
from seccompgen.core.ring_wording import ADDRESS
from seccompgen.policy.condition_faults import near_constant
from seccompgen.policy.conditions import ALWAYS, NEVER, Alternatives, Lookup, normal_form
from seccompgen.policy.expressions import Cast

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.facts import Facts
    from seccompgen.core.ring import RingField, RingOperation
    from seccompgen.policy.expressions import ArgumentTest, ValueExpression
    from seccompgen.policy.ring_expressions import Network, RingExpression

_Alternatives: TypeAlias = "Alternatives[ContextTest]"

AF_INET, AF_INET6 = 2, 10
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", "<=": ">", ">": "<="}
LARGE_FILE = "O_LARGEFILE"


def names_of(operation: RingOperation) -> list[str]:
    """Return the names of the fields that conditions on ``operation`` can have."""
    own = [one.name for one in OPERATION_FIELDS.get(operation.name, ()) if one not in {IPV4, IPV6}]
    return [*own, *([ADDRESS] if FAMILY.name in own and len(own) == 2 else []), SQE_FLAGS.name]


def comparable(field: RingField, facts: Facts, abi: Abi) -> RingField:
    """Return ``field`` with the bits that mean the same on every kernel of ``abi``."""
    if field.name != "flags":
        return field
    # The kernel adds it, and which programs ask for it depends on the ABI.
    return field._replace(bits=field.full & ~(facts.value(LARGE_FILE, abi) or 0))


class RingLookup:
    """A resolver of conditions on ``operation`` for ``abi``; it adds errors to ``problems``."""

    def __init__(
        self, facts: Facts, abi: Abi, operation: RingOperation, problems: list[Diagnostic]
    ) -> None:
        self._facts = facts
        self._abi = abi
        self._operation = operation
        self._problems = problems
        self._networks: dict[str, Network] = {}

    def alternatives(self, condition: RingExpression) -> _Alternatives:
        """Return the alternatives of ``condition``; parts with an error never hold.

        Raises TooLargeError.
        """
        self._networks = {**condition.networks}
        return normal_form(condition.expression, self._tested)

    def _tested(self, test: ArgumentTest, positive: bool) -> _Alternatives:
        if test.reading is not Cast.KERNEL:
            return self._fault(test.at, "a field has one width: write its name alone")
        if test.argument == ADDRESS and ADDRESS in names_of(self._operation):
            return self._address(test, positive=positive)
        field = self._field(test)
        value = self._value(test.value, test.value_at)
        mask = None if test.mask is None else self._value(test.mask, test.value_at)
        if field is None or value is None or (test.mask is not None and mask is None):
            return NEVER
        relation = "==" if test.op is Op.MASKED_EQ else str(test.op.value)
        if test.op in {Op.ANY_BITS, Op.NO_BITS}:
            mask, value, relation = value, 0, "!=" if test.op is Op.ANY_BITS else "=="
        comparable = field.full & field.bits
        if mask is not None and mask < 0:
            mask &= comparable  # a complement, such as ~O_CREAT: all other bits
        strange = (value | (mask or 0)) & ~comparable
        if strange:
            return self._fault(test.value_at, self._strange(field, strange))
        mask = comparable if mask is None else mask
        if value & ~mask and relation in {"==", "!="}:
            return ALWAYS if (relation == "!=") is positive else NEVER
        return ((ContextTest(field, relation if positive else _OPPOSITE[relation], value, mask),),)

    def _field(self, test: ArgumentTest) -> RingField | None:
        if test.argument == SQE_FLAGS.name:
            return SQE_FLAGS
        for field in OPERATION_FIELDS.get(self._operation.name, ()):
            if field.name == test.argument:
                return comparable(field, self._facts, self._abi)
        known = names_of(self._operation)
        name = f"arg{test.argument}" if isinstance(test.argument, int) else test.argument
        hint = did_you_mean(name, known) or f": a filter sees {', '.join(known)} of it"
        self._fault(test.at, f"{self._operation.name} has no field {name!r}{hint}")
        return None

    def _value(self, value: ValueExpression, at: Position) -> int | None:
        if str(value) in self._networks:
            self._fault(at, f"an address is compared with {ADDRESS}")
            return None
        lookup = Lookup(self._facts, self._abi)
        found = lookup.value(value)
        for lack in lookup.lacks:
            if lack.kind is Problem.UNKNOWN_CONSTANT:
                hint = near_constant(lack.name, self._facts.constants)
                where = "" if hint or lack.name not in self._facts.constants else self._abi.name
                text = f"unknown constant {lack.name!r}{f' on {where}' if where else hint}"
            else:
                text = f"{lack.name} takes more than 64 bits"
            self._problems.append(Diagnostic(text, lack.at, lack.kind))
        return found

    def _strange(self, field: RingField, bits: int) -> str:
        """Return the error for comparing ``bits``, which do not mean the same on every kernel."""
        if bits < 0 or bits & ~field.full:
            return f"{field.name} has {8 * field.size} bits, which the value does not fit into"
        if field.name == "flags":
            return f"{LARGE_FILE} is not to be compared: the kernel adds it to flags by itself"
        if field == SQE_FLAGS:
            return f"{bits:#x} is not to be compared: the kernel sets it in sqe_flags by itself"
        return (
            f"{bits:#x} is not to be compared: some kernels show it in {field.name}, others do not"
        )

    def _address(self, test: ArgumentTest, *, positive: bool) -> _Alternatives:
        network = self._networks.get(str(test.value))
        if network is None:
            return self._fault(test.value_at, "write an address or a network, such as 10.0.0.0/8")
        if test.op not in {Op.EQ, Op.NE} or test.mask is not None:
            return self._fault(test.at, "an address can be compared by ==, != and in alone")
        family, field = (AF_INET, IPV4) if isinstance(network, IPv4Network) else (AF_INET6, IPV6)
        of_family = ContextTest(FAMILY, "==", family, FAMILY.full)
        inside = ContextTest(field, "==", int(network.network_address), int(network.netmask))
        if (test.op is Op.EQ) is positive:
            return ((of_family, inside) if inside.mask else (of_family,),)
        outside = ((_opposite(inside),),) if inside.mask else NEVER
        return ((_opposite(of_family),), *outside)

    def _fault(self, at: Position, text: str) -> _Alternatives:
        self._problems.append(Diagnostic(text, at, Problem.WRONG_EXPRESSION))
        return NEVER


def _opposite(test: ContextTest) -> ContextTest:
    return ContextTest(test.field, _OPPOSITE[test.relation], test.value, test.mask)
