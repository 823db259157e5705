"""The ways in which control, or an address, leads from one instruction to code.

Every effect of the code that can run has at least one way. An effect without one was not
understood: it gets ``Unclear``, and so appears as an unknown in the result.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.scan.processor import EffectKind
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seccompgen.scan.image import Image


class ImageAddress(NamedTuple):
    """An address in an image, which is given by its index."""

    image: int
    address: int


class Goes(NamedTuple):
    """Control goes to ``address``; ``is_call`` is True if it may come back."""

    address: int
    is_call: bool


class Takes(NamedTuple):
    """The address is made, and code that gets the address may call it."""

    address: int


class Reaches(NamedTuple):
    """The code at ``address`` may run, but its address is not passed on."""

    address: int


class Imports(NamedTuple):
    """The function ``name`` of any image is called or jumped to, or its address is taken."""

    name: str
    is_call: bool
    is_taken: bool


class Pointer(NamedTuple):
    """Control goes to an address that was made whole, and counts as taken where it was made.

    An address is whole in data, in a relocation, in a slot, or in an instruction. The scan finds
    each of these, in all files, and counts it as taken. So the taken functions cover the target,
    however the pointer got here. An address that is a sum is not whole, and needs a jump table.
    """


class Harmless(NamedTuple):
    """A value that leads to no code: ``why`` is that it is data, a label, or null."""

    why: str


class Unclear(NamedTuple):
    """The way may lead anywhere."""

    why: Why
    detail: str = ""


Way: TypeAlias = Goes | Takes | Reaches | Imports | Pointer | Harmless | Unclear

CALLS = frozenset({EffectKind.CALL, EffectKind.CALL_SLOT, EffectKind.INDIRECT_CALL})


class Context(NamedTuple):
    """The context of an effect: its image, and the start and end of its function."""

    image: Image
    start: int
    end: int


def _direct(context: Context, kind: EffectKind, value: int) -> list[Way]:
    if context.image.in_code(value):
        return [Goes(value, kind in CALLS)]
    if value == 0:
        return [Harmless("a weak function that is not there")]
    return []


def _slot(context: Context, kind: EffectKind, value: int) -> list[Way]:
    image = context.image
    ways: list[Way] = []
    if value in image.slots:
        ways.append(Imports(image.slots[value], kind in CALLS, is_taken=False))
    if value in image.own_slots:
        ways.append(Goes(image.own_slots[value], kind in CALLS))
    # All other words that point into code are among the pointers of the image, and count as taken.
    return ways or [_POINTER]


def _load(context: Context, kind: EffectKind, value: int) -> list[Way]:
    image = context.image
    if value in image.slots:
        return [Imports(image.slots[value], is_call=False, is_taken=True)]
    if value in image.own_slots:
        return _made(context, kind, image.own_slots[value])
    if kind is EffectKind.LOAD:
        return [Harmless("a word that counts as taken if it points to code")]
    return _made(context, kind, value)


def _reference(context: Context, kind: EffectKind, value: int) -> list[Way]:
    """Return the ways of an address; an address in a table of slots leads to all of them.

    The address of thread-local data's module and offset, or of its descriptor, is handed to a
    function that returns the data's address. No slot is reached from there, unless the words are
    the first of their table, whose address stands for the whole.
    """
    image = context.image
    is_word = value % (image.abi.bits // 8) == 0
    tables = [one for one in image.slot_tables if is_word and one.start <= value < one.end]
    if value in image.thread_words and all(value != one.start for one in tables):
        return [Harmless("thread-local data")]
    ways: list[Way] = []
    for table in tables:
        ways += slots_between(image, table.start, table.end)
    return ways or _made(context, kind, value) + _by_distance(image, value)


def _by_distance(image: Image, table: int) -> list[Way]:
    """Return the functions in a table of four-byte offsets, which are relative to ``table``.

    Compilers use such tables of virtual functions to avoid relocations.
    """
    found: list[Way] = []
    if image.in_code(table):
        return found
    first = image.read(table, 4)  # enough for most
    if table + int.from_bytes(first, "little", signed=True) not in image.starts:
        return found
    data = image.read(table, _TABLE_BYTES)
    for i in range(0, len(data) - 3, 4):
        target = table + int.from_bytes(data[i : i + 4], "little", signed=True)
        if target not in image.starts:
            break
        found.append(Takes(target))
    return found


def _page(context: Context, kind: EffectKind, value: int) -> list[Way]:  # noqa: ARG001 - one form
    """Return the ways of all functions and slots in the page at ``value``."""
    image = context.image
    ways: list[Way] = [*slots_between(image, value, value + PAGE)]
    ways += [Takes(one) for one in image.starts_between(value, value + PAGE)]
    return ways or [Harmless("data")]


@lru_cache(maxsize=256)
def slots_between(image: Image, start: int, end: int) -> tuple[Way, ...]:
    """Return the ways of the slots from ``start`` up to but not including ``end``, cached."""
    ways: list[Way] = [
        Takes(target) for slot, target in image.own_slots.items() if start <= slot < end
    ]
    ways += [
        Imports(name, is_call=False, is_taken=True)
        for slot, name in image.slots.items()
        if start <= slot < end
    ]
    return tuple(ways)


def _made(context: Context, kind: EffectKind, value: int) -> list[Way]:
    if not context.image.in_code(value):
        return [Harmless("data")]
    if context.start < value < context.end:
        return [Harmless("a label of the function itself")]
    return [Reaches(value) if kind is EffectKind.COMPARISON else Takes(value)]


def _by_pointer(context: Context, kind: EffectKind, value: int) -> list[Way]:  # noqa: ARG001 - one form
    return [Pointer()]


def _no_code(context: Context, kind: EffectKind, value: int) -> list[Way]:  # noqa: ARG001 - one form
    return [Harmless("it enters the kernel")]


def _unread(context: Context, kind: EffectKind, value: int) -> list[Way]:  # noqa: ARG001 - one form
    return [Unclear(Why.NO_INSTRUCTION)]


def _sum(context: Context, kind: EffectKind, value: int) -> list[Way]:  # noqa: ARG001 - one form
    return [Unclear(Why.SUM)]


_POINTER = Pointer()
PAGE = 4096
_TABLE_BYTES = 4096

WAYS: dict[EffectKind, Callable[[Context, EffectKind, int], list[Way]]] = {
    EffectKind.CALL: _direct,
    EffectKind.JUMP: _direct,
    EffectKind.CALL_SLOT: _slot,
    EffectKind.JUMP_SLOT: _slot,
    EffectKind.INDIRECT_CALL: _by_pointer,
    EffectKind.INDIRECT_JUMP: _by_pointer,
    EffectKind.SUM: _sum,
    EffectKind.LOAD: _load,
    EffectKind.REFERENCE: _reference,
    EffectKind.COMPARISON: _load,
    EffectKind.PAGE: _page,
    EffectKind.ENTER: _no_code,
    EffectKind.FOREIGN: _no_code,
    EffectKind.UNREAD: _unread,
}
"""The ways of each kind of effect; others are unclear. Tests remove each in turn."""


def ways_of(
    context: Context,
    kind: EffectKind,
    value: int,
    known: Mapping[EffectKind, Callable[[Context, EffectKind, int], list[Way]]] = WAYS,
) -> list[Way]:
    """Return all ways of an effect: at least one, ``Unclear`` if nothing else is known."""
    find = known.get(kind)
    ways = find(context, kind, value) if find else []
    image = context.image
    if _POINTER in ways and (value in image.slots or value in image.own_slots):
        ways = []  # the content of a slot does not count as taken
    return ways or [Unclear(Why.NO_WAY)]
