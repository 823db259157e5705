"""Conditions on operations of rings that were seen, and the operations that do the same.

Of files it decides whether they are only read, and which restrictions all paths had; of sockets and
connections, the family, as the table of powers has it for system calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.ring import FAMILY, OPERATION_FIELDS, SQE_FLAGS, ContextTest
from seccompgen.policy.ring_conditions import AF_INET, AF_INET6, comparable
from seccompgen.policy.ring_section import ring_groups
from seccompgen.run.record.constrainable import MOST_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.ring import RingField
    from seccompgen.run.record.observations import RingFields

    Tests = tuple[ContextTest, ...]
    """Tests that must all hold; none always do."""

ALWAYS: tuple[Tests, ...] = ((),)
_FIXED_FILE = 1
_OPENS = ("OPENAT", "OPENAT2")


class SeenConditions:
    """The conditions under which operations are permitted that were seen through ``abi``."""

    def __init__(self, abi: Abi, facts: Facts) -> None:
        self._abi = abi
        self._facts = facts

    def closed(
        self, found: Mapping[str, frozenset[RingFields] | None]
    ) -> dict[str, tuple[Tests, ...]]:
        """Return what is permitted for the operations ``found`` and those that do the same."""
        made: dict[str, tuple[Tests, ...]] = {}
        opens = [fields for name in _OPENS for fields in found.get(name) or ()]
        unknown = any(found.get(name, ()) is None for name in _OPENS)
        for name, fields in found.items():
            if name in _OPENS:
                tests = ALWAYS if unknown else self._opens(opens)
            else:
                tests = self._by_kind(name, fields)
            for twin in _twins(name):
                # OPENAT has no field resolve.
                if not (twin == _OPENS[0] and any(_asks_resolve(one) for one in tests)):
                    made[twin] = tests
        return made

    def _opens(self, several: Sequence[RingFields]) -> tuple[Tests, ...]:
        """Return the condition of files that are only read, and of how all paths are followed."""
        flags, _, resolve = OPERATION_FIELDS["OPENAT2"]
        flags = comparable(flags, self._facts, self._abi)
        mode = self._number("O_ACCMODE")
        makes = self._number("O_CREAT") | self._number("O_TRUNC") | self._number("__O_TMPFILE")
        tests: list[ContextTest] = []
        if not any(_of(fields, flags) & (mode | makes) for fields in several):
            tests.append(ContextTest(flags, "==", 0, mode))
            tests.append(ContextTest(flags, "==", 0, makes))
        common = resolve.full
        for fields in several:
            common &= _of(fields, resolve)
        return ((*tests, *_all_bits(resolve, common)),)

    def _by_kind(self, name: str, several: frozenset[RingFields] | None) -> tuple[Tests, ...]:
        if several is None or name not in {"SOCKET", "CONNECT"}:
            return ALWAYS
        internet = (AF_INET, AF_INET6)
        found: dict[Tests, None] = {}
        for fields in sorted(several, key=str):
            family = _of(fields, FAMILY)
            alike = internet if family in internet else (family,)
            if name == "CONNECT":
                found |= dict.fromkeys((_equal(FAMILY, one),) for one in alike)
                continue
            _, kind, protocol = OPERATION_FIELDS["SOCKET"]
            kinds = (self._number("SOCK_STREAM"), self._number("SOCK_DGRAM"))
            if family in internet and _of(fields, kind) in kinds:
                found |= dict.fromkeys(
                    (_equal(FAMILY, one), _equal(kind, two)) for one in alike for two in kinds
                )
            elif family == self._number("AF_UNIX"):
                found[(_equal(FAMILY, family),)] = None
            else:
                found[tuple(_equal(one, _of(fields, one)) for one in (FAMILY, kind, protocol))] = (
                    None
                )
        return tuple(found) if len(found) <= MOST_VALUES else ALWAYS

    def as_seen(self, name: str, several: frozenset[RingFields] | None) -> tuple[Tests, ...]:
        """Return conditions for the fields that were seen of an operation."""
        if several is None or len(several) > MOST_VALUES:
            return ALWAYS
        fixed = all(_of(fields, SQE_FLAGS) & _FIXED_FILE for fields in several)
        always = _all_bits(SQE_FLAGS, _FIXED_FILE) if fixed else ()
        found = dict.fromkeys(
            (*self._fields(name, fields), *always) for fields in sorted(several, key=str)
        )
        return ALWAYS if () in found else tuple(found)

    def _fields(self, name: str, fields: RingFields) -> Iterator[ContextTest]:
        if name in _OPENS:
            flags, _, resolve = OPERATION_FIELDS[name]
            flags = comparable(flags, self._facts, self._abi)
            yield ContextTest(flags, "==", 0, flags.bits & flags.full & ~_of(fields, flags))
            yield from _all_bits(resolve, _of(fields, resolve))
        elif name in {"SOCKET", "CONNECT"}:
            yield from (_equal(field, value) for field, value in fields if field != SQE_FLAGS)

    def _number(self, name: str) -> int:
        return self._facts.value(name, self._abi) or 0


def _twins(name: str) -> tuple[str, ...]:
    """Return the operations that do the same as ``name``, itself too."""
    groups = [one for one in ring_groups()["operations"].values() if name in one]
    return tuple(groups[0]) if len(groups) == 1 else (name,)


def _of(fields: RingFields, field: RingField) -> int:
    found = next((value for one, value in fields if one.name == field.name), 0)
    return found & field.bits & field.full


def _equal(field: RingField, value: int) -> ContextTest:
    return ContextTest(field, "==", value, field.bits & field.full)


def _all_bits(field: RingField, bits: int) -> tuple[ContextTest, ...]:
    """Return the tests that all of ``bits`` are set."""
    each = (1 << n for n in range(bits.bit_length()) if bits >> n & 1)
    return tuple(ContextTest(field, "==", one, one) for one in each)


def _asks_resolve(tests: Tests) -> bool:
    return any(test.field.name == "resolve" for test in tests)
