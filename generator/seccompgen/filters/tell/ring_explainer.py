"""Explain a filter's answer to one operation of a ring: the rule behind it, and the path.

A field that is left out may have any value. A policy has an answer for each of its rules that may
then decide; a program needs the fields that it reads.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.core.program import LD_W_ABS
from seccompgen.core.ring import (
    FAMILY,
    IPV4,
    IPV6,
    OPERATION_FIELDS,
    PORT,
    REFUSE,
    SQE_FLAGS,
    RingOperation,
)
from seccompgen.core.ring_wording import ADDRESS, condition_text, context_text
from seccompgen.filters.find.ring_programs import ring_programs_of
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.pipeline.rings import context_call, proved_operation, rules_of
from seccompgen.policy.conditions import Lookup
from seccompgen.policy.expressions import ExpressionError, parse_value
from seccompgen.policy.ring_conditions import names_of
from seccompgen.render.ring_explanation import OperationAnswer, OperationExplanation
from seccompgen.render.ring_listing import ring_listing
from seccompgen.verify import Code
from seccompgen.verify.call import Structure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Instruction
    from seccompgen.core.ring import ContextTest, RingField, RingRule
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter

RINGS = "io_uring"
"""The word for operations of rings in place of a call's name."""
_INET, _INET6 = 2, 10


class WrittenOperation(NamedTuple):
    """An operation as it was written, and the values of fields by name."""

    operation: RingOperation
    values: Mapping[str, str]


def explain_operation(
    loaded: LoadedFilter, words: Sequence[str], abis: Sequence[Abi], tables: Tables
) -> list[OperationExplanation]:
    """Return the answers to the operation in ``words``, for ``abis`` or all; alike ones together.

    Raises InputError for an unknown operation, field or value, and for a filter without a section.
    """
    written = _parsed(words)
    wanted = [name for name in loaded.sides if not abis or ABIS[name] in abis]
    if not (loaded.settings and loaded.settings.without):
        text = (
            f"{loaded.path} has no section io_uring: if it permits io_uring_setup, rings may do "
            "everything, else nothing"
        )
        raise InputError(text, kind=Problem.MISSING_KEY)
    found: dict[object, OperationExplanation] = {}
    for abi in map(ABIS.__getitem__, wanted):
        fields = _fields(written, abi, tables.facts)
        title = _title(written, fields, abi, tables.facts)
        policy = loaded.policy
        answers = _answers(policy, written.operation, fields, abi, tables.facts) if policy else ()
        instructions = _program(loaded, written.operation, abi)
        path: tuple[int, ...] = ()
        steps: tuple[str, ...] = ()
        if instructions:
            code = Code(instructions, abi.byte_order, Structure.IO_URING_CONTEXT)
            answer, path = code.run(context_call(fields, abi))
            lines = ring_listing(written.operation.name, instructions, abi)
            steps = tuple(f"{at:5}  {lines[at].text}" for at in path)
            whole = all(
                any(field.offset // 4 * 4 <= one.k < field.offset + field.size for field in fields)
                for one in map(instructions.__getitem__, path)
                if one.code == LD_W_ABS
            )
            if not policy:
                answers = (OperationAnswer(answer != REFUSE, "", None),)
                title += "" if whole else ", with 0 in all other fields"
            elif not whole:
                steps = ()
        elif not policy:
            answers = (OperationAnswer(False, "", None),)
        key = (title, answers, bool(instructions))
        since = str(ring_numbers().operations[written.operation.name].since)
        first = found.setdefault(
            key, OperationExplanation((), title, answers, steps, len(instructions), since)
        )
        found[key] = first._replace(abis=(*first.abis, abi.name))
    return list(found.values())


def _parsed(words: Sequence[str]) -> WrittenOperation:
    known = ring_numbers().operations
    if not words:
        text = f"name an operation after {RINGS}, such as CONNECT addr=10.0.0.1 port=80"
        raise InputError(text, kind=Problem.UNKNOWN_OPERATION)
    name, *rest = words
    if name not in known:
        text = f"unknown operation {name!r}{did_you_mean(name.upper(), known)}"
        raise InputError(text, kind=Problem.UNKNOWN_OPERATION)
    operation = RingOperation(name, known[name].nr)
    fields = names_of(operation)
    values: dict[str, str] = {}
    wrong: list[Diagnostic] = []
    for word in rest:
        field, equals, value = word.partition("=")
        if not equals or field not in fields:
            hint = did_you_mean(field, fields) or f": a filter sees {', '.join(fields)} of it"
            text = f"{word}: {name} has no field {field!r}{hint}; write one as {fields[0]}=VALUE"
            wrong.append(Diagnostic(text, kind=Problem.UNKNOWN_ARGUMENT))
        elif field in values:
            text = f"{word}: {field} has a value already"
            wrong.append(Diagnostic(text, kind=Problem.WRONG_VALUE))
        else:
            values[field] = value
    if wrong:
        raise InputError(*wrong)
    return WrittenOperation(operation, values)


def _own(operation: RingOperation) -> tuple[RingField, ...]:
    return (*OPERATION_FIELDS.get(operation.name, ()), SQE_FLAGS)


def _fields(written: WrittenOperation, abi: Abi, facts: Facts) -> dict[RingField, int]:
    """Return the values of fields in numbers.

    An address decides the family; a family other than IPv4 and IPv6 has port 0 and no address.
    """
    by_name = {one.name: one for one in _own(written.operation)}
    found: dict[RingField, int] = {}
    # An address comes first: it decides the family.
    for name, text in sorted(written.values.items(), key=lambda one: one[0] != ADDRESS):
        if name == ADDRESS:
            try:
                address = ip_address(text)
            except ValueError:
                raise _wrong(f"{name}={text}: write an address, such as 10.0.0.1 or ::1") from None
            is_inet = isinstance(address, IPv4Address)
            found[FAMILY] = _INET if is_inet else _INET6
            found[IPV4 if is_inet else IPV6] = int(address)
            continue
        field = by_name[name]
        value = _number(name, text, abi, facts)
        if not 0 <= value <= field.full:
            raise _wrong(f"{name}={text}: {name} has {8 * field.size} bits")
        if found.setdefault(field, value) != value:
            raise _wrong(f"{name}={text}: the address is of another family")
    if PORT.name in by_name and found.get(FAMILY, _INET) not in {_INET, _INET6}:
        if found.get(PORT):
            raise _wrong(f"{PORT.name}={found[PORT]}: only AF_INET and AF_INET6 have ports")
        # So the kernel shows other families.
        found |= dict.fromkeys((PORT, IPV4, IPV6), 0)
    return found


def _number(name: str, text: str, abi: Abi, facts: Facts) -> int:
    try:
        expression = parse_value(text)
    except ExpressionError as error:
        raise _wrong(f"{name}={text}: {error}") from None
    lookup = Lookup(facts, abi)
    value = lookup.value(expression)
    if value is None:
        lacking = ", ".join(lack.name for lack in lookup.lacks)
        raise _wrong(f"{name}={text}: {abi.name} has no {lacking}")
    return value


def _wrong(text: str) -> InputError:
    return InputError(text, kind=Problem.WRONG_VALUE)


def _title(
    written: WrittenOperation, fields: Mapping[RingField, int], abi: Abi, facts: Facts
) -> str:
    name = written.operation.name
    if {FAMILY, PORT} <= fields.keys() and (IPV4 in fields or IPV6 in fields):
        return context_text(name, fields, abi, facts)
    return " ".join([name, *(f"{field}={value}" for field, value in written.values.items())])


def _answers(
    policy: ResolvedPolicy,
    operation: RingOperation,
    fields: Mapping[RingField, int],
    abi: Abi,
    facts: Facts,
) -> tuple[OperationAnswer, ...]:
    """Return the answers that rules may give, with what must hold of the fields left out."""
    assert policy.io_uring
    found: list[tuple[RingRule, list[list[ContextTest]]]] = []
    for rule in rules_of(policy, abi, operation):
        left = _left(rule.tests, fields)
        if left is None:
            continue
        if found and (found[-1][0].origin, found[-1][0].permits) == (rule.origin, rule.permits):
            found[-1][1].append(left)
        else:
            found.append((rule, [left]))
        if not left:
            break
    answers = [
        OperationAnswer(rule.permits, condition_text(parts, abi, facts), rule.origin)
        for rule, parts in found
    ]
    if not answers or answers[-1].condition:
        answers.append(OperationAnswer(False, "", policy.io_uring.origin))
    return tuple(answers)


def _left(
    tests: Sequence[ContextTest], fields: Mapping[RingField, int]
) -> list[ContextTest] | None:
    """Return the tests that ``fields`` do not decide; None if one of them fails."""
    by_name = {field.name: value for field, value in fields.items()}
    left: list[ContextTest] = []
    for test in tests:
        value = by_name.get(test.field.name)
        if value is None:
            family = fields.get(FAMILY)
            if test.field in {IPV4, IPV6} and family is not None:
                shown = {IPV4: _INET, IPV6: _INET6}[test.field]
                if family != shown:
                    # The bytes of another family's address, or 0, which no rule is about.
                    continue
            left.append(test)
        elif not test.holds(value):
            return None
    return left


def _program(loaded: LoadedFilter, operation: RingOperation, abi: Abi) -> tuple[Instruction, ...]:
    """Return the program of an operation; none for one that the filter refuses."""
    if loaded.policy and loaded.policy.io_uring:
        # Only this one is compiled.
        permitted = operation in loaded.policy.io_uring.operations(abi)
        found = proved_operation(loaded.policy, abi, operation) if permitted else None
        return found.instructions if found else ()
    programs = ring_programs_of(loaded, abi)
    return next((one.instructions for one in programs if one.operation == operation), ())
