"""The data objects to which code, and data outside of objects, refers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.scan.processor import EffectKind
from seccompgen.scan.ways import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.objects import DataObject
    from seccompgen.scan.processor import Effect, Instruction

_MAKING = frozenset({EffectKind.REFERENCE, EffectKind.COMPARISON})
_FIXED = frozenset({EffectKind.LOAD, EffectKind.CALL_SLOT, EffectKind.JUMP_SLOT})
_TOUCHING = _MAKING | _FIXED | {EffectKind.PAGE}


def touched(image: Image, code: Sequence[Instruction], events: Sequence[Effect]) -> tuple[int, ...]:
    """Return the starts of the objects of ``image`` that a function may reach.

    ``events`` are all effects of its ``code``. Bytes that are not decoded may reach any.
    """
    if not image.objects:
        return ()
    if any(one[2] == ".byte" for one in code):
        return tuple(one.start for one in image.objects)
    starts: set[int] = set()
    for kind, value in {(one.kind, one.value) for one in events if one.kind in _TOUCHING}:
        starts.update(one.start for one in _reached(image, kind, value))
        if kind in _MAKING or kind in _FIXED:
            starts |= _by_slot(image, kind, value)
    return tuple(sorted(starts))


def _reached(image: Image, kind: EffectKind, value: int) -> Iterator[DataObject]:
    if kind in _MAKING:
        yield from image.objects.near(value)
    elif kind in _FIXED:
        holder = image.objects.holder(value)
        yield from (holder,) if holder else ()
    elif kind is EffectKind.PAGE:
        yield from image.objects.between(value, value + PAGE)


def _by_slot(image: Image, kind: EffectKind, value: int) -> set[int]:
    """Return the starts of the objects whose addresses are in the slot, or slots, at ``value``."""
    slots = {value}
    if kind is EffectKind.REFERENCE:
        tables = [one for one in image.slot_tables if one.contains(value)]
        every = (*image.slots, *image.own_slots)
        slots = {slot for slot in every if any(one.contains(slot) for one in tables)}
    return {start for slot in slots for start in _in_slot(image, slot)}


def _in_slot(image: Image, slot: int) -> Iterator[int]:
    if slot in image.slots:
        yield from image.named_objects.get(image.slots[slot], ())
    if slot in image.own_slots:
        yield from (one.start for one in image.objects.near(image.own_slots[slot]))


def standing_objects(image: Image) -> frozenset[int]:
    """Return the starts of the objects to which data outside of objects and slots points."""
    found = (one for value in image.standing_words for one in image.objects.at(value))
    return frozenset(one.start for one in found)
