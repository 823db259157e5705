"""The section ``io_uring`` of a recorded policy: what rings did, and what known sections permit.

Operations come with those that do the same, and with the operations that concern their ring alone.
Conditions say what decides: files read or written, the family of a socket or connection. With
``--exact`` operations are alone, and with ``--args`` they have what was seen of their fields.

A section is live only if all that rings did was seen. Otherwise it is offered as a comment, for
people to complete, and the policy lets no ring be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import Op, comparisons
from seccompgen.core.ring import PORT, RING_CALLS, SQE_FLAGS, Without
from seccompgen.core.ring_wording import condition_text, context_text
from seccompgen.core.text import printable, some
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.policy.groups import MARK
from seccompgen.policy.ring_keys import ALLOW, DENY
from seccompgen.policy.ring_mirror import OWN_OPERATIONS
from seccompgen.policy.ring_section import KEY, ring_groups
from seccompgen.policy.yaml_text import ring_lines
from seccompgen.run.record.seen_conditions import ALWAYS, SeenConditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.ring import RingRule, RingSection
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.observations import RingFields, RingsSeen
    from seccompgen.run.record.seen_conditions import Tests

SETUP, _, REGISTER = RING_CALLS
WAY = "read from memory by the tracer"
"""The way by which operations are seen."""
_BASIC = "basic"
_MOST_SHOWN = 4


class RingPart(NamedTuple):
    """The part of a policy that is about rings.

    ``text`` is its section, or the offer of one. ``decides`` is True unless the calls of rings are
    permitted as others are. ``refuses`` is True if no ring was made, so that programs do without.
    """

    text: str = ""
    decides: bool = False
    refuses: bool = False


def ring_part(
    seen: RingsSeen | None,
    known: Sequence[ResolvedPolicy],
    tables: Tables,
    *,
    tried: bool,
    exact: bool,
    constrained: bool,
) -> RingPart:
    """Return the part about rings; ``tried`` is True if the run called io_uring_setup.

    Raises InputError for known sections that refuse operations, or cannot be added to.
    """
    sections = [one for one in known if one.io_uring]
    if any(_permits_all(one) for one in known):
        return RingPart()
    made = seen is not None and seen.made > 0
    if not made and not sections and (seen is None or not seen.operations):
        whole = seen is None or not seen.unseen
        return RingPart(_not_whole(seen) if seen and not whole else "", tried, tried and whole)
    writer = _Writer(tables, exact=exact, constrained=constrained)
    for policy in sections:
        writer.add_known(policy, seen)
    if seen is None or not seen.unseen:
        if seen:
            writer.add_seen(seen)
        return RingPart(writer.text(seen), decides=True)
    live = writer.text(None) if sections else ""
    writer.add_seen(seen)
    offered = "".join(f"#{line}\n" for line in writer.text(seen).splitlines())
    return RingPart(f"{live}{_not_whole(seen)}{offered}", decides=True)


def _not_whole(seen: RingsSeen) -> str:
    lines = [
        "Rings did more than was seen, so they are refused:",
        *(f"  {printable(one)}." for one in seen.unseen),
        "Below is what was seen. Add what is missing, and remove the # before it.",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _permits_all(policy: ResolvedPolicy) -> bool:
    """Return True if a policy lets rings be made that nothing filters."""
    return policy.io_uring is None and any(
        rule.name == SETUP and rule.action.kind.lets_through for rule in policy.own_rules
    )


def covers(policy: ResolvedPolicy, seen: RingsSeen) -> bool:
    """Return True if a policy permits all that rings did."""
    if seen.unseen:
        return False
    if policy.io_uring is None:
        return not seen.made or _permits_all(policy)
    registered = set(seen.registered) <= set(_registers(policy))
    return registered and not any(refused_operations(policy.io_uring, seen))


def refused_operations(
    section: RingSection, seen: RingsSeen
) -> Iterator[tuple[str, int, RingFields, Position]]:
    """Yield ABI, opcode and fields of each operation that a section refuses, and the place there.

    An operation with too many different fields is refused unless it is permitted with any.
    """
    by_abi = dict(section.rules)
    for (abi, opcode), several in seen.operations.items():
        for fields in sorted(several, key=str) if several else [()]:
            permits, origin = _answer(by_abi.get(abi, ()), opcode, fields, section)
            if not permits:
                yield abi, opcode, fields, origin.position


def _answer(
    rules: Iterable[RingRule], opcode: int, fields: RingFields, section: RingSection
) -> tuple[bool, Origin]:
    values = {(field.name, field.offset): value for field, value in fields}
    for rule in rules:
        if (
            rule.operation.opcode == opcode
            and (fields or not rule.tests)
            and all(
                test.holds(values.get((test.field.name, test.field.offset), 0))
                for test in rule.tests
            )
        ):
            return rule.permits, rule.origin
    return False, section.origin


def _registers(policy: ResolvedPolicy) -> Iterator[int]:
    """Yield the opcodes of io_uring_register that a policy's section permits."""
    for rule in policy.own_rules:
        if rule.name == REGISTER and rule.action.kind.lets_through:
            for test in comparisons(rule.condition):
                yield 0 if test.op is Op.NO_BITS else test.value


class _Writer:
    """A section in the making."""

    def __init__(self, tables: Tables, *, exact: bool, constrained: bool) -> None:
        self._facts = tables.facts
        self._exact = exact
        self._constrained = constrained
        self._by_abi: dict[str, dict[str, dict[Tests, None]]] = {}
        self._register: set[int] = set()
        self._mirror = False
        self._fails = False
        if not exact:
            self._register |= {ring_numbers().register[name].nr for name in _basic()}

    def add_known(self, policy: ResolvedPolicy, seen: RingsSeen | None) -> None:
        """Add what a known section permits."""
        section = policy.io_uring
        assert section
        self._register |= set(_registers(policy))
        self._fails = self._fails or section.without is Without.FAIL
        self._mirror = self._mirror or any(
            rule.mirrored for _, rules in section.rules for rule in rules
        )
        used = {abi for abi, _ in seen.operations} if seen else set()
        by_abi = {abi: self._known_rules(section, rules, seen) for abi, rules in section.rules}
        texts = [
            {name: self._text(tests, ABIS[abi]) for name, tests in found.items()}
            for abi, found in by_abi.items()
        ]
        if any(one != texts[0] for one in texts):
            raise InputError(
                Diagnostic(
                    "this section does not mean the same on all ABIs of the policy, so that it "
                    "cannot be added to: use names of constants instead of numbers",
                    section.position,
                )
            )
        for abi in [abi for abi in by_abi if abi in used] or list(by_abi)[:1]:
            for name, tests in by_abi[abi].items():
                self._add(abi, name, tests)

    def _known_rules(
        self, section: RingSection, rules: Iterable[RingRule], seen: RingsSeen | None
    ) -> dict[str, list[Tests]]:
        """Return the alternatives of a section, without those that follow from its calls."""
        found: dict[str, list[Tests]] = {}
        named = {opcode for _, opcode in seen.operations} if seen else set()
        for rule in rules:
            if rule.mirrored and rule.operation.opcode not in named:
                continue
            if rule.permits:
                found.setdefault(rule.operation.name, []).append(rule.tests)
            elif rule.origin != section.origin and not rule.mirrored:
                text = f"deny for {rule.operation.name}: only rules that allow merge"
                raise InputError(Diagnostic(text, rule.origin.position))
        return found

    def add_seen(self, seen: RingsSeen) -> None:
        """Add what rings did."""
        self._register |= {one for one in seen.registered if one in _register_names()}
        names = {one.nr: name for name, one in ring_numbers().operations.items()}
        for abi in dict.fromkeys(abi for abi, _ in seen.operations):
            found = {
                names[opcode]: fields
                for (by, opcode), fields in seen.operations.items()
                if by == abi and opcode in names
            }
            alternatives = SeenConditions(ABIS[abi], self._facts)
            if self._exact:
                make = alternatives.as_seen if self._constrained else (lambda _, __: ALWAYS)
                for name, fields in found.items():
                    self._add(abi, name, make(name, fields))
                continue
            for name, tests in alternatives.closed(found).items():
                self._add(abi, name, tests)
            for name in sorted(OWN_OPERATIONS):
                self._add(abi, name, ALWAYS)

    def _add(self, abi: str, name: str, tests: Iterable[Tests]) -> None:
        self._by_abi.setdefault(abi, {}).setdefault(name, {}).update(dict.fromkeys(tests))

    def _text(self, tests: Iterable[Tests], abi: Abi) -> str:
        several = list(tests)
        return condition_text(several, abi, self._facts) if all(several) else ""

    def text(self, seen: RingsSeen | None) -> str:
        """Return the section as text, with comments on ``seen``."""
        conditions: dict[str, dict[str, None]] = {}
        for abi, found in self._by_abi.items():
            for name, tests in found.items():
                own = conditions.setdefault(name, {})
                own[self._text(tests, ABIS[abi])] = None
        alike: dict[str, list[str]] = {}
        for name in sorted(conditions, key=lambda one: ring_numbers().operations[one].nr):
            for condition in [""] if "" in conditions[name] else conditions[name]:
                alike.setdefault(condition, []).append(name)
        data: dict[str, object] = {"default_action": DENY}
        if self._fails:
            data["without"] = Without.FAIL.value
        register = _folded("register", _register_names(self._register).values())
        if register != [MARK + _BASIC]:
            data["register"] = register
        if self._mirror:
            data["mirror"] = True
        comments: dict[tuple[str | int, ...], list[str]] = {}
        groups: list[dict[str, object]] = []
        for condition, names in sorted(alike.items(), key=lambda one: bool(one[0])):
            if seen and (shown := self._shown(seen, names, condition)):
                comments[KEY, "operations", len(groups)] = [f"CONNECT was seen to {shown}"]
            group: dict[str, object] = {"action": ALLOW, "names": _folded("operations", names)}
            groups.append(group | ({"when": condition} if condition else {}))
        if groups or not self._mirror:
            data["operations"] = groups
        heading = f"# What rings did, {WAY}\n" if seen else ""
        lines = "".join(f"  {line}\n" for line in ring_lines(data, comments))
        return f"{heading}{KEY}:\n{lines}"

    def _shown(self, seen: RingsSeen, names: Sequence[str], condition: str) -> str:
        """Return what was seen of connections, if ``condition`` lets them be made to others."""
        numbers = {ring_numbers().operations[name].nr for name in names} & _CONNECTS
        if not numbers or "port" in condition:
            return ""
        found = [
            context_text("", dict(fields) | {SQE_FLAGS: 0}, ABIS[abi], self._facts)
            for (abi, opcode), several in seen.operations.items()
            for fields in several or ()
            if opcode in numbers and any(field == PORT for field, _ in fields)
        ]
        return some(sorted({one.removeprefix(" to ") for one in found}), _MOST_SHOWN)


_CONNECTS = frozenset({ring_numbers().operations["CONNECT"].nr})


def _basic() -> Sequence[str]:
    return ring_groups()["register"][_BASIC]


def _register_names(numbers: Iterable[int] | None = None) -> dict[int, str]:
    """Return the names of opcodes of io_uring_register, of all without ``numbers``."""
    names = {one.nr: name for name, one in ring_numbers().register.items()}
    return names if numbers is None else {nr: names[nr] for nr in sorted(numbers)}


def _folded(kind: str, names: Iterable[str]) -> list[str]:
    """Return names, with the group in place of those that make it up."""
    left = dict.fromkeys(names)
    groups = []
    for group, members in ring_groups()[kind].items():
        if len(members) > 1 and all(one in left for one in members):
            groups.append((MARK + group, members))
    taken = {one for _, members in groups for one in members}
    return [*(name for name, _ in groups), *(one for one in left if one not in taken)]
