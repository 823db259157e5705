"""Conditions on operations of rings as text, as the policy language writes them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.argument_families import family_of
from seccompgen.core.constant_families import ConstantFamily
from seccompgen.core.ring import FAMILY, IPV4, IPV6, PORT, SQE_FLAGS
from seccompgen.core.spelling import PLAIN_NUMBERS, Spelling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.ring import ContextTest, RingField, RingRule

ADDRESS = "addr"
"""The name of the address that CONNECT connects to, of either family."""
_FAMILIES: Mapping[str, ConstantFamily | None] = {
    "family": family_of("socket", "family"),
    "type": family_of("socket", "type"),
    "flags": family_of("openat", "flags"),
    "mode": family_of("openat", "mode"),
    "resolve": ConstantFamily(flags="RESOLVE_*"),
    SQE_FLAGS.name: ConstantFamily(
        flags="IOSQE_{FIXED_FILE IO_LINK IO_HARDLINK BUFFER_SELECT CQE_SKIP_SUCCESS}"
    ),
}
"""The constants of each field; ports, protocols and addresses are numbers."""
_AF = {IPV4: 2, IPV6: 10}
_MOST_MERGED = 200


class RingRow(NamedTuple):
    """One line about rings: ``operations`` are permitted or refused where ``condition`` holds.

    An empty condition always holds. Of lines about one operation the first that holds decides.
    """

    permits: bool
    operations: tuple[str, ...]
    condition: str


class _WordingPart(NamedTuple):
    """A test in words: one of ``values`` is compared with ``subject``; none: it is all said."""

    subject: str
    relation: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.values:
            return self.subject
        (first, *others) = self.values
        network = self.subject == ADDRESS and "/" in first
        if self.relation == "==" and (others or network):
            among = f"{{{', '.join(self.values)}}}" if others else first
            return f"{self.subject} in {among}"
        if self.relation == "!=" and network:
            return f"{self.subject} not in {first}"
        return f"{self.subject} {self.relation} {first}"


_Parts: TypeAlias = tuple[_WordingPart, ...]


def ring_rows(rules: Iterable[RingRule], abi: Abi, facts: Facts) -> list[RingRow]:
    """Return the lines about ``rules``; operations that are answered alike share theirs.

    What no line is about is refused.
    """
    alike: dict[tuple[tuple[bool, str], ...], list[str]] = {}
    for operation, own in groupby(rules, key=lambda one: one.operation):
        alike.setdefault(tuple(_answers(list(own), abi, facts)), []).append(operation.name)
    return [
        RingRow(permits, tuple(names), condition)
        for answers, names in alike.items()
        for permits, condition in answers
    ]


def operation_text(rules: Sequence[RingRule], abi: Abi, facts: Facts) -> str:
    """Return, in words, the answers of ``rules``, all about one operation."""
    parts = [
        f"{'permitted' if permits else 'refused'}{f' where {condition}' if condition else ''}"
        for permits, condition in _answers(rules, abi, facts)
    ]
    return "; ".join(parts) or "refused"


def _answers(rules: Sequence[RingRule], abi: Abi, facts: Facts) -> list[tuple[bool, str]]:
    found = []
    for (permits, _), own in groupby(rules, key=lambda one: (one.permits, one.origin)):
        condition = condition_text([one.tests for one in own], abi, facts)
        found.append((permits, condition))
        if not condition:
            break
    if found and not any(permits for permits, _ in found):
        return [(False, "")]
    return found


def condition_text(alternatives: Sequence[Sequence[ContextTest]], abi: Abi, facts: Facts) -> str:
    """Return an expression that holds where all tests of one of ``alternatives`` do."""
    if any(not tests for tests in alternatives):
        return ""
    known = [_parts(tests, abi, facts) for tests in alternatives]
    return " or ".join(" and ".join(map(str, parts)) for parts in _merged(known))


def context_text(operation: str, values: Mapping[RingField, int], abi: Abi, facts: Facts) -> str:
    """Return an operation with its fields: ``CONNECT to 10.0.0.1 port 80``."""
    if PORT not in values:
        shown = [
            f"{field.name}={_value(field, value, abi, facts)}"
            for field, value in values.items()
            if value or field == FAMILY
        ]
        return " ".join([operation, *shown])
    address = {2: IPV4, 10: IPV6}.get(values[FAMILY])
    if address is None:
        return f"{operation} family={_value(FAMILY, values[FAMILY], abi, facts)}"
    text = f"{operation} to {_network(address, values[address], address.full)}"
    flags = values.get(SQE_FLAGS, 0)
    more = f" sqe_flags={_value(SQE_FLAGS, flags, abi, facts)}" if flags else ""
    return f"{text} port {values[PORT]}{more}"


def _parts(tests: Sequence[ContextTest], abi: Abi, facts: Facts) -> _Parts:
    """Return the words of ``tests``; a test of an address includes that of its family."""
    of_address = {_AF[one.field] for one in tests if one.field in _AF and one.relation == "=="}
    return tuple(
        _part(one, abi, facts)
        for one in tests
        if not (one.field == FAMILY and one.relation == "==" and one.value in of_address)
    )


def _part(test: ContextTest, abi: Abi, facts: Facts) -> _WordingPart:
    field, value, mask = test.field, test.value, test.mask
    if field in _AF:
        return _WordingPart(ADDRESS, test.relation, (_network(field, value, mask),))
    if mask == field.full & field.bits:
        return _WordingPart(field.name, test.relation, (_value(field, value, abi, facts),))
    spelling = _spelling(field, abi, facts)
    bits = f"{field.name} & {spelling.bits(mask)}"
    one_bit = value == mask and value.bit_count() == 1
    plain = one_bit or (not value and not spelling.names_zero_under(mask))
    if test.relation in {"==", "!="} and plain:
        holds = (test.relation == "==") is one_bit
        return _WordingPart(bits if holds else f"not {bits}", "")
    return _WordingPart(bits, test.relation, (spelling.under(mask, value),))


def _value(field: RingField, value: int, abi: Abi, facts: Facts) -> str:
    if field == PORT or field.name == "protocol":
        return str(value)
    return _spelling(field, abi, facts).exact(value)


def _spelling(field: RingField, abi: Abi, facts: Facts) -> Spelling:
    family = _FAMILIES.get(field.name)
    if family is None:
        return PLAIN_NUMBERS[8 * min(field.size, 8)]
    return Spelling(family.on(facts, abi), 8 * field.size)


def _network(field: RingField, value: int, mask: int) -> str:
    length = mask.bit_count()
    if field == IPV4:
        return str(IPv4Address(value) if length == 32 else IPv4Network((value, length)))
    return str(IPv6Address(value) if length == 128 else IPv6Network((value, length)))


def _merged(alternatives: Sequence[_Parts]) -> list[_Parts]:
    """Return fewer alternatives: two that differ in a value become one with both values."""
    found = list(dict.fromkeys(alternatives))
    n = 0
    while n < len(found) <= _MOST_MERGED:
        for other in found[n + 1 :]:
            if both := _both(found[n], other):
                found[n] = both
                found.remove(other)
                n = 0  # what was merged may fit what came before
                break
        else:
            n += 1
    return found


def _both(left: _Parts, right: _Parts) -> _Parts | None:
    """Return what holds where one of both does, if they differ in one list of values alone."""
    if len(left) != len(right):
        return None
    places = [n for n, (one, other) in enumerate(zip(left, right, strict=True)) if one != other]
    if len(places) != 1:
        return None
    (place,) = places
    one, other = left[place], right[place]
    if (one.subject, one.relation) != (other.subject, "==") or other.relation != "==":
        return None
    both = _WordingPart(one.subject, "==", tuple(dict.fromkeys((*one.values, *other.values))))
    return (*left[:place], both, *left[place + 1 :])
