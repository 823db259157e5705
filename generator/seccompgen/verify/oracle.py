"""The oracle: what a policy means, defined once more, for comparison with docs/policy.md.

A meaning is a list of cases: the first whose tests all hold has the answer. It is made straight
from the model and the tables, shares no code with the compiler, and knows nothing of
instructions, word orders or trees. It is used in two ways: `Meaning.case` looks up one call; the
two provers read the cases themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.core.model import U32, U64, All, Comparison, Op
from seccompgen.core.releases import Release
from seccompgen.core.word import ARCH, ARGS, NR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action, Origin, Predicate, ResolvedPolicy, Rule
    from seccompgen.core.tables import Table, Tables
    from seccompgen.verify.call import Call

_MINUS_ONE = U32
_X32_BIT = 1 << 30


@dataclass(frozen=True, slots=True)
class FieldTest:
    """The test that ``field & mask`` is in ``relation`` to ``value``, unsigned.

    ``relation`` is one of ``== != < <= > >=``.
    """

    field: int
    relation: str
    value: int
    mask: int = U64

    def holds(self, call: Call) -> bool:
        """Return True if the test holds for ``call``."""
        left, right = call.fields[self.field] & self.mask, self.value
        match self.relation:
            case "==":
                return left == right
            case "!=":
                return left != right
            case "<":
                return left < right
            case "<=":
                return left <= right
            case ">":
                return left > right
            case ">=":
                return left >= right
        raise AssertionError(f"no such relation: {self.relation}")


@dataclass(frozen=True, slots=True)
class OneOf:
    """The test that ``field`` is one of ``values``."""

    field: int
    values: frozenset[int]

    def holds(self, call: Call) -> bool:
        """Return True if the test holds for ``call``."""
        return call.fields[self.field] in self.values


@dataclass(frozen=True, slots=True)
class Case:
    """Calls for which all ``tests`` hold get the answer ``ret``, a SECCOMP_RET value.

    ``origin`` is the part of the policy that determines it.
    """

    tests: tuple[FieldTest | OneOf, ...]
    ret: int
    origin: Origin


@dataclass(frozen=True)
class Meaning:
    """The answers that a program for ``abi`` must give: the first case that holds decides."""

    abi: Abi
    cases: tuple[Case, ...]

    @property
    def answers(self) -> tuple[tuple[tuple[FieldTest | OneOf, ...], int], ...]:
        """The cases without their origins: equal meanings, from any files, have equal ones."""
        return tuple((case.tests, case.ret) for case in self.cases)

    def case(self, call: Call) -> Case:
        """Return the case that answers ``call``."""
        return next(case for case in self.cases if all(test.holds(call) for test in case.tests))

    def answer(self, call: Call) -> int:
        """Return the SECCOMP_RET value for ``call``."""
        return self.case(call).ret


def meaning(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Meaning:
    """Return what ``policy`` means for the program of ``abi``, one of its ``arches``."""
    answered = (abi, *policy.compat_of(abi))
    cases: list[Case] = []
    for other in answered:
        # An audit value that two ABIs share counts as that of the first where no table decides.
        first = next(one for one in answered if one.audit_arch == other.audit_arch)
        through = FieldTest(ARCH, "==", other.audit_arch)
        cases += (
            Case((through, *tests), _ret(policy.bad_arch_action, first), policy.bad_arch_origin)
            for tests in _through_another_abi(other, answered, tables)
        )
        cases += _rules(policy, tables.tables[other.name], tables, through, first)
    for other in answered:
        first = next(one for one in answered if one.audit_arch == other.audit_arch)
        through = FieldTest(ARCH, "==", other.audit_arch)
        cases.append(Case((through,), _ret(policy.unknown_action, first), policy.unknown_origin))
    cases.append(Case((), _ret(policy.bad_arch_action, abi), policy.bad_arch_origin))
    return Meaning(abi, tuple(cases))


def _rules(
    policy: ResolvedPolicy, table: Table, tables: Tables, through: FieldTest, first: Abi
) -> Iterator[Case]:
    """Yield the rules for the calls that ``table`` names, then the default action for the rest.

    Adjacent rules that differ only in the call's name, such as those of one list, are one case.
    A rule may also be for a number without a name; if no rule matches, that number is unknown. So
    is a call that is newer than the policy's ``kernel`` and that no rule names. The rules that
    were generated for such calls are not read here.
    """
    abi = table.abi
    here = [
        rule
        for rule in policy.rules
        if (rule.abis is None or abi.name in rule.abis) and rule.origin != policy.kernel_origin
    ]
    known = [rule for rule in here if rule.name in table.numbers or _is_number(rule.name)]
    named = frozenset(table.numbers.values())
    mentioned: set[int] = set()
    for (condition, action, origin), rules in groupby(known, key=_apart_from_the_name):
        numbers = frozenset(
            int(rule.name) % (U32 + 1) if _is_number(rule.name) else table.numbers[rule.name]
            for rule in rules
        )
        mentioned |= numbers
        tests = _tests(condition, abi.argument_bits)
        yield Case((through, OneOf(NR, numbers), *tests), _ret(action, abi), origin)
    nameless = OneOf(NR, frozenset(mentioned - named))
    if nameless.values:
        unknown = _ret(policy.unknown_action, first)
        yield Case((through, nameless), unknown, policy.unknown_origin)
    if policy.kernel and policy.kernel_origin:
        late = OneOf(NR, named - mentioned - _old_numbers(policy.kernel, table, tables))
        if late.values:
            unknown = _ret(policy.unknown_action, first)
            yield Case((through, late), unknown, policy.kernel_origin)
    default = _ret(policy.default_action, abi)
    yield Case((through, OneOf(NR, named)), default, policy.default_origin)


def _old_numbers(kernel: Release, table: Table, tables: Tables) -> frozenset[int]:
    """Return the numbers of ``table`` with a call that is known to exist in ``kernel``."""
    known, abi = tables.since.calls, table.abi.name
    born = min((one.latest for one in known.get(abi, {}).values()), default=kernel)
    old = set()
    for call, number in table.numbers.items():
        if call not in known.get(abi, {}):
            is_old = Release.parse(table.tag) <= kernel
        elif born <= kernel:
            is_old = known[abi][call].latest <= kernel
        elif known[abi][call].latest <= born:  # the ABI came later, and began with this call
            first = min(column[call].latest for column in known.values() if call in column)
            is_old = first <= kernel
        else:
            is_old = False
        if is_old:
            old.add(number)
    return frozenset(old)


def _is_number(name: str) -> bool:
    return name.isdecimal() or (name[:1] == "-" and name[1:].isdecimal())


def _apart_from_the_name(rule: Rule) -> tuple[Predicate | None, Action, Origin]:
    return rule.condition, rule.action, rule.origin


def _tests(condition: Predicate | None, argument_bits: int) -> Iterator[FieldTest]:
    """Yield the tests that must all hold for ``condition`` to hold.

    If arguments have 32 bits, only the low word is compared.
    """
    match condition:
        case All(parts):
            for part in parts:
                yield from _tests(part, argument_bits)
        case Comparison(argument, op, value, mask, width):
            field, counts = ARGS + argument, U64 if width == argument_bits == 64 else U32
            match op:
                case Op.EQ | Op.MASKED_EQ:
                    yield FieldTest(field, "==", value, mask & counts)
                case Op.ANY_BITS:
                    yield FieldTest(field, "!=", 0, value & counts)
                case Op.NO_BITS:
                    yield FieldTest(field, "==", 0, value & counts)
                case _:
                    yield FieldTest(field, op.value, value, mask & counts)


def _through_another_abi(
    abi: Abi, answered: Iterable[Abi], tables: Tables
) -> Iterator[tuple[FieldTest, ...]]:
    """Yield tests for the numbers under the audit value of ``abi`` that belong to another ABI.

    On x86 only if that ABI is not answered for; on MIPS in any case.
    """
    names = {one.name for one in answered}
    if abi.name in {"x86_64", "x32"}:
        # Bit 30 marks x32, except in -1, which no ABI has: it is an unknown number.
        if "x32" not in names:
            yield FieldTest(NR, "!=", _MINUS_ONE), FieldTest(NR, "!=", 0, _X32_BIT)
        if "x86_64" not in names:
            yield (FieldTest(NR, "==", 0, _X32_BIT),)
    if abi.name.startswith("mips"):
        # The handler is found by the number; the audit value is the task's.
        for name, table in tables.tables.items():
            same_kernel = name.startswith("mips") and table.abi.byte_order == abi.byte_order
            if same_kernel and name != abi.name:
                numbers = table.numbers.values()
                yield FieldTest(NR, ">=", min(numbers)), FieldTest(NR, "<=", max(numbers))


def _ret(action: Action, abi: Abi) -> int:
    """Return the SECCOMP_RET value; deliberately without the method that the compiler uses."""
    data = errno_number(action.errno_name, abi) if action.errno_name else action.data
    return action.kind.value + data
