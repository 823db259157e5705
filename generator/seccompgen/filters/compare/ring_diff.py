"""Operations of rings that two filters answer differently: which, where, and an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.filter_changes import ChangedOperation, ChangeEffect
from seccompgen.core.model import ActionKind
from seccompgen.core.ring import CONTEXT_SIZE, FAMILY, IPV4, IPV6, OPERATION_FIELDS, SQE_FLAGS
from seccompgen.core.ring_wording import context_text, operation_text
from seccompgen.filters.compare.ring_sides import about_operation
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.verify import Difference, Meaning, Proof, Relation, prove

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.ring import RingField
    from seccompgen.verify.call import Call
    from seccompgen.verify.stack import FilterSemantics

Policies: TypeAlias = "tuple[ResolvedPolicy | None, ResolvedPolicy | None]"
"""The policies of two filters; None for programs."""
_PERMITS = Relation(ActionKind.ALLOW)
_NEWER = "operations of newer kernels"
_LOOSER = ((ChangeEffect.PERMITTED, (1, 0)), (ChangeEffect.REFUSED, (0, 1)))


def changed_operations(
    sides: tuple[FilterSemantics, FilterSemantics],
    policies: Policies,
    abi: Abi,
    facts: Facts,
) -> Iterator[ChangedOperation]:
    """Yield for each operation what only one of ``sides``, those of ``policies``, permits.

    Raises UndecidedError.
    """
    known = {name: one.nr for name, one in ring_numbers().operations.items()}
    asked: list[tuple[str, int | None]] = [*known.items(), (_NEWER, None)]
    if isinstance(prove(*sides), Proof):
        return
    for name, opcode in asked:
        if _same_rules(policies, abi, name):
            continue
        both = [about_operation(side, abi, opcode) for side in sides]
        texts = [
            _text(side, policy, abi, name, facts)
            for side, policy in zip(sides, policies, strict=True)
        ]
        for effect, (looser, stricter) in _LOOSER:
            found = prove(both[looser], both[stricter], relation=_PERMITS)
            if isinstance(found, Difference):
                example = operation_of(found.call, abi, facts) if opcode is not None else name
                rules = [_rules(side, found.call) for side in sides]
                yield ChangedOperation(
                    effect, (name,), (abi.name,), texts[0], texts[1], (rules[0], rules[1]), example
                )


def grouped_operations(found: Sequence[ChangedOperation]) -> tuple[ChangedOperation, ...]:
    """Return the changes with those merged that differ in the operation or in the ABI alone."""
    by_abi: dict[object, ChangedOperation] = {}
    for one in found:
        key = (one.operations, one.effect, one.before, one.after, one.rules)
        first = by_abi.setdefault(key, one)
        by_abi[key] = first._replace(abis=tuple(dict.fromkeys((*first.abis, *one.abis))))
    alike: dict[object, ChangedOperation] = {}
    for one in by_abi.values():
        key = (one.abis, one.effect, one.before, one.after, one.rules)
        first = alike.setdefault(key, one)
        names = tuple(dict.fromkeys((*first.operations, *one.operations)))
        alike[key] = first._replace(operations=names)
    effects = list(ChangeEffect)
    return tuple(sorted(alike.values(), key=lambda one: effects.index(one.effect)))


def operation_of(call: Call, abi: Abi, facts: Facts) -> str:
    """Return the operation that ``call``, five words of a context, is: ``CONNECT to ...``."""
    content = b"".join(word.to_bytes(8, abi.byte_order) for word in call.args[:5])
    names = {one.nr: name for name, one in ring_numbers().operations.items()}
    opcode = content[8]
    name = names.get(opcode, f"operation {opcode}")
    own = list(OPERATION_FIELDS.get(name, ()))
    values = {field: _read(content, field, abi) for field in (*own, SQE_FLAGS)}
    if FAMILY in values and len(own) > 3:
        values.pop(IPV6 if values[FAMILY] == 2 else IPV4)
    return context_text(name, values, abi, facts)


def _read(content: bytes, field: RingField, abi: Abi) -> int:
    assert len(content) == CONTEXT_SIZE
    order: Literal["little", "big"] = "big" if field.network else abi.byte_order
    return int.from_bytes(content[field.offset : field.offset + field.size], order) & field.bits


def _same_rules(policies: Policies, abi: Abi, name: str) -> bool:
    """Return True if both policies have the same tests for an operation."""
    found = [
        [
            (one.tests, one.permits)
            for one in policy.io_uring.rules_for(abi)
            if one.operation.name == name
        ]
        for policy in policies
        if policy and policy.io_uring
    ]
    return len(found) == len(policies) and found[0] == found[1]


def _text(
    side: FilterSemantics, policy: ResolvedPolicy | None, abi: Abi, name: str, facts: Facts
) -> str:
    """Return in words what a filter answers to the operation ``name``."""
    if policy and policy.io_uring:
        rules = [r for r in policy.io_uring.rules_for(abi) if r.operation.name == name]
        return operation_text(rules, abi, facts)
    if isinstance(side, Meaning):
        return "permitted" if side.cases[-1].ret == ActionKind.ALLOW.value else "refused"
    return "by its program"


def _rules(side: FilterSemantics, call: Call) -> tuple[Origin, ...]:
    return (side.case(call).origin,) if isinstance(side, Meaning) else ()
