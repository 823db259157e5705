"""The oracle for operations of a ring: what rules about them mean, defined once more.

It lays the bytes of each test where the kernel lays those of the field, and reads them as the
kernel's 64-bit words. It shares no code with the compiler, which works by shifts.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from seccompgen.core.ring import CONTEXT_SIZE, PERMIT, REFUSE
from seccompgen.core.word import ARGS
from seccompgen.verify.oracle import Case, FieldTest, Meaning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.ring import ContextTest, RingRule


def operation_meaning(rules: Sequence[RingRule], abi: Abi, origin: Origin) -> Meaning:
    """Return the meaning of the ``rules`` of one operation for a kernel in ``abi``'s byte order.

    What no rule matches is refused, by ``origin``.
    """
    cases = [
        Case(
            tuple(test for part in parts for test in part),
            PERMIT if rule.permits else REFUSE,
            rule.origin,
        )
        for rule in rules
        for parts in product(*(list(_either(test, abi.byte_order)) for test in rule.tests))
    ]
    return Meaning(abi, (*cases, Case((), REFUSE, origin)))


def _either(
    test: ContextTest, byte_order: Literal["little", "big"]
) -> Iterator[tuple[FieldTest, ...]]:
    """Yield alternatives that together mean ``test``."""
    order: Literal["little", "big"] = "big" if test.field.network else byte_order
    size = test.field.size
    value, mask = test.value.to_bytes(size, order), test.mask.to_bytes(size, order)
    if test.relation in {"==", "!="}:
        if set(mask) == {0xFF}:
            value += bytes(test.field.padding)
            mask += b"\xff" * test.field.padding
        words = list(_laid(test.field.offset, value, mask, byte_order))
        if test.relation == "==":
            yield tuple(FieldTest(word, "==", *own) for word, *own in words)
        else:
            yield from ((FieldTest(word, "!=", *own),) for word, *own in words)
        return
    # Byte by byte from the most significant: the first that differs decides, or that all are equal.
    places = range(size) if order == "big" else range(size - 1, -1, -1)
    strict = test.relation.rstrip("=")
    equal: tuple[FieldTest, ...] = ()
    for place in places:
        own = value[place : place + 1], mask[place : place + 1]
        ((word, number, bits),) = _laid(test.field.offset + place, *own, byte_order)
        yield (*equal, FieldTest(word, strict, number, bits))
        equal += (FieldTest(word, "==", number, bits),)
    if test.relation.endswith("="):
        yield equal


def _laid(
    offset: int, value: bytes, mask: bytes, byte_order: Literal["little", "big"]
) -> Iterator[tuple[int, int, int]]:
    """Yield the field, value and mask of each 64-bit word that has bytes under ``mask``."""
    values, masks = bytearray(CONTEXT_SIZE), bytearray(CONTEXT_SIZE)
    values[offset : offset + len(value)] = value
    masks[offset : offset + len(mask)] = mask
    for begin in range(0, CONTEXT_SIZE, 8):
        bits = int.from_bytes(masks[begin : begin + 8], byte_order)
        if bits or begin == offset // 8 * 8:
            yield ARGS + begin // 8, int.from_bytes(values[begin : begin + 8], byte_order), bits
