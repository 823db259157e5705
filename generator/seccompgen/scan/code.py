"""The code of one image: divided into functions, which are decoded on demand, with their ways."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.endless import LEAVING, Endless, last_of
from seccompgen.scan.image import AddressRange
from seccompgen.scan.index_bounds import targets_near_label
from seccompgen.scan.jumps import is_whole, jump_targets
from seccompgen.scan.layout import Layout, machine_for
from seccompgen.scan.lookups import LOOKUPS, names_looked_up
from seccompgen.scan.paths import FunctionBody
from seccompgen.scan.pointer_uses import only_calls
from seccompgen.scan.processor import Effect, EffectKind, KnownValue, Register
from seccompgen.scan.touches import touched
from seccompgen.scan.unknown import Why
from seccompgen.scan.unreached import unreached
from seccompgen.scan.ways import (
    PAGE,
    Context,
    Goes,
    Harmless,
    Imports,
    Pointer,
    Reaches,
    Takes,
    Unclear,
    Way,
    slots_between,
    ways_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction

_OVERLAY_BYTES = 256
_ONLY_COMPARED = {"__syscall_cancel_arch", "__syscall_cancel_arch_start"}
"""Symbols whose addresses glibc only compares, to see if a signal interrupted their code (nptl)."""
_GO_PANICS = (
    "runtime.throw",
    "runtime.fatal",
    "runtime.gopanic",
    "runtime.goPanic",
    "runtime.panic",
)
"""Beginnings of the names of Go's functions that end in a panic, and so never return."""
_ENTRANCES = frozenset({EffectKind.ENTER, EffectKind.FOREIGN})
_MAKING = frozenset({EffectKind.REFERENCE, EffectKind.PAGE})
_INDIRECT = frozenset({EffectKind.INDIRECT_CALL, EffectKind.INDIRECT_JUMP})
_AS_CALLED = {EffectKind.LOAD: EffectKind.CALL_SLOT, EffectKind.REFERENCE: EffectKind.CALL}
"""The effect of a call of what an effect puts into a register."""


class DecodedCode(NamedTuple):
    """The instructions of a function, their addresses, and the mnemonics that are among them."""

    code: list[Instruction]
    addresses: list[int]
    mnemonics: frozenset[str]


class DecodedFunction(NamedTuple):
    """A decoded function: its instructions, their addresses, and the ways of each.

    ``inner`` maps targets within the function to the jumps and calls that go there: address, and
    True for a call. ``entrances`` are the addresses at which it enters the kernel, and True if by a
    foreign ABI.
    """

    code: list[Instruction]
    addresses: list[int]
    ways: list[tuple[int, Way]]
    inner: dict[int, list[tuple[int, bool]]]
    entrances: tuple[tuple[int, bool], ...]
    leaves: bool
    """True if something other than a call may lead out of it"""
    dead: tuple[tuple[int, int], ...]
    texts: frozenset[str]
    touches: tuple[int, ...]
    lookups: frozenset[str]
    """for all four, see ``FunctionFacts``"""


class FunctionFacts(NamedTuple):
    """All that a function leads to; these facts are the same in every program.

    ``endless`` is True if only calls lead out of it. ``goes`` are addresses outside it that it
    jumps to or calls, ``imports`` the same by name. ``takes`` and ``takes_imports`` are functions
    whose address it makes; ``reaches`` are addresses that may run without being handed out. If the
    function ends in a call, ``after`` is the callee, by address or name, "" if that is unknown;
    else it is None. ``dead`` are the ranges that are not code: nothing in the function leads to
    them. ``texts`` are the words of text whose addresses it makes, ``touches`` the starts of the
    data objects that it may reach. ``lookups`` are the names that it looks up with dlsym(), among
    them `ANY_NAME` if some are unknown.
    """

    start: int
    end: int
    endless: bool
    goes: tuple[int, ...]
    takes: tuple[int, ...]
    reaches: tuple[int, ...]
    imports: tuple[str, ...]
    takes_imports: tuple[str, ...]
    entrances: tuple[tuple[int, bool], ...]
    unclear: tuple[tuple[int, Why, str], ...]
    """address, reason and detail of each"""
    after: int | str | None
    dead: tuple[tuple[int, int], ...]
    texts: tuple[str, ...]
    touches: tuple[int, ...]
    lookups: tuple[str, ...]


def _inside(address: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= address < end for start, end in spans)


@lru_cache(maxsize=256)
def code_of(image: Image) -> ImageCode:
    """Return the code of ``image``, cached."""
    return ImageCode(image)


def forget_images() -> None:
    """Drop the cached images, which a process that scans many programs would keep."""
    code_of.cache_clear()
    _decoded.cache_clear()
    _read.cache_clear()
    slots_between.cache_clear()


class ImageCode:
    """The code of one image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.machine = machine_for(image.abi)
        self._stubs: dict[int, str | None] = {}
        self.endless = Endless(self)
        self.decoded = partial(_decoded, self)
        self.read = partial(_read, self)
        # By type as well: Takes(1) and Reaches(1) are equal.
        self._settled = lru_cache(maxsize=1 << 16, typed=True)(self._settle)

    @cached_property
    def layout(self) -> Layout:
        """The division into functions."""
        return Layout(self.image)

    def begins(self, address: int) -> bool:
        """Return True if an instruction of the surrounding function starts at ``address``."""
        cell = self.layout.cell(address)
        if cell is None:
            return False
        addresses = self.decoded(*cell).addresses
        at = bisect_left(addresses, address)
        return at < len(addresses) and addresses[at] == address

    def may_begin(self, address: int) -> bool:
        """Return True unless ``address`` is known to be in the middle of an instruction."""
        cell = self.layout.cell(address)
        if cell is None:
            return False
        return self.begins(address) or ".byte" in self.decoded(*cell).mnemonics

    def overlay_end(self, address: int) -> int:
        """Return the address at which the code at ``address`` meets the surrounding function's.

        The end of the function if it does not.
        """
        cell = self.layout.cell(address)
        assert cell
        code = self.machine.disassemble(self.image, address, min(cell[1], address + _OVERLAY_BYTES))
        reading = self.read(*cell)
        around = {one for one in reading.addresses if not _inside(one, reading.dead)}
        return next((one[0] for one in code if one[0] in around), cell[1])

    def stub(self, address: int) -> str | None:
        """Return the import for which the code at ``address`` is a stub; None if it is none."""
        if address not in self._stubs:
            slots = self.image.slots
            slot = self.machine.stub_slot(self.image, address) if slots else None
            self._stubs[address] = None if slot is None else slots.get(slot)
        return self._stubs[address]

    def taken(self, address: int) -> Way:
        """Return the way of an address that code makes or data contains."""
        image = self.image
        if self._is_no_go_function(address):
            return Harmless("all functions are known, and this is a number that looks like one")
        name = self.stub(address)
        if name is not None:
            return Imports(name, is_call=False, is_taken=True)
        if self._is_number(address):
            return Harmless("a number that looks like an address, in an instruction")
        if image.function_at(address) in _ONLY_COMPARED:
            return Reaches(address)
        return Takes(address)

    def facts(self, start: int, end: int) -> FunctionFacts:
        """Return the facts of the function from ``start`` to ``end``."""
        reading = self._read(start, end)
        goes: set[int] = set()
        takes: set[int] = set()
        reaches: set[int] = set()
        imports: set[str] = set()
        takes_imports: set[str] = set()
        unclear: set[tuple[int, Why, str]] = set()
        said: set[tuple[Why, str]] = set()
        for source, way in reading.ways:
            if type(way) is Goes:  # most are
                if way.address not in reading.inner:
                    goes.add(way.address)
                continue
            match way:
                case Takes(address):
                    takes.add(address)
                case Reaches(address):
                    reaches.add(address)
                case Imports(name, _, is_taken):
                    (takes_imports if is_taken else imports).add(name)
                case Unclear(why, detail):
                    if (why, detail) not in said:
                        unclear.add((source, why, detail))
                    if why is Why.NO_INSTRUCTION:  # the decoding after it is arbitrary
                        said.add((why, detail))
                case Pointer() | Harmless():
                    pass  # taken where it was made, or not code
        reaches.update(pad for _, _, pad in self.image.landings.get(start, ()))
        last = last_of(self.machine, reading.code)
        ends_in_call = last is not None and self.machine.is_call(last)
        stops = last is not None and (self.machine.stops(last) or ends_in_call)
        panics = self.image.is_go and self.image.function_at(start).startswith(_GO_PANICS)
        follows = ends_in_call and self.image.in_code(end) and self.image.starts_function(end)
        return FunctionFacts(
            start,
            end,
            panics or (stops and (not reading.leaves or self.endless.never_returns(start))),
            tuple(sorted(goes)),
            tuple(sorted(takes)),
            tuple(sorted(reaches)),
            tuple(sorted(imports)),
            tuple(sorted(takes_imports)),
            reading.entrances,
            tuple(sorted(unclear)),
            self._called(reading, last[0]) if follows and last else None,
            reading.dead,
            tuple(sorted(reading.texts)),
            reading.touches,
            tuple(sorted(reading.lookups)),
        )

    def _called(self, reading: DecodedFunction, call: int) -> int | str:
        for source, way in reading.ways:
            if source == call and isinstance(way, Goes):
                return way.address
            if source == call and isinstance(way, Imports) and not way.is_taken:
                return way.name
        return ""

    def _decode(self, start: int, end: int) -> DecodedCode:
        code = self.machine.disassemble(self.image, start, end)
        return DecodedCode(code, [one[0] for one in code], frozenset({one[2] for one in code}))

    def _read(self, start: int, end: int) -> DecodedFunction:
        code, addresses, mnemonics = self.decoded(start, end)
        events = list(self.machine.events(self.image, code))
        here = frozenset(addresses)
        inside: list[Effect] = []
        others: list[Effect] = []
        for one in events:
            (inside if one.kind is EffectKind.JUMP and one.value in here else others).append(one)
        function = self._body(AddressRange(start, end), events, inside)
        ways: list[tuple[int, Way]] = []
        ways += ((one.address, Goes(one.value, is_call=False)) for one in inside)
        ways += self._ways(function, others)
        ways += self._onward(function)
        inner: dict[int, list[tuple[int, bool]]] = defaultdict(list)
        for source, way in ways:
            if type(way) is Goes and way.address in here:
                inner[way.address].append((source, way.is_call))
        dead = self._dead(function, here, ways, has_bytes=".byte" in mnemonics)
        if dead:
            ways = [(source, way) for source, way in ways if not _inside(source, dead)]
        span = range(start, end)
        leaves = self.machine.any_returns(mnemonics) or any(
            one.kind in LEAVING or (one.kind is EffectKind.JUMP and one.value not in span)
            for one in others
        )
        entrances = tuple(
            (one.address, one.kind is EffectKind.FOREIGN)
            for one in others
            if one.kind in _ENTRANCES
        )
        texts = frozenset(self._texts(others)) - {""}
        asking = [one for one in ways if isinstance(one[1], Imports) and one[1].name in LOOKUPS]
        return DecodedFunction(
            *(code, addresses, ways, dict(inner), entrances, leaves, dead, texts),
            touched(self.image, code, others),
            frozenset(names_looked_up(self.machine, function, asking)),
        )

    def _texts(self, events: Sequence[Effect]) -> Iterator[str]:
        """Yield the words of text whose addresses ``events`` make."""
        image = self.image
        for address in {one.value for one in events if one.kind is EffectKind.REFERENCE}:
            yield image.text_at(address)
            yield from image.texts_by_distance(address)
        for page in {one.value for one in events if one.kind is EffectKind.PAGE}:
            yield from image.texts_in(AddressRange(page, page + PAGE))

    def _body(
        self, span: AddressRange, events: Sequence[Effect], inside: Sequence[Effect]
    ) -> FunctionBody:
        """Return a function for the analysis of jumps; ``inside`` are the jumps within it."""
        sources: dict[int, list[int]] = defaultdict(list)
        for one in inside:
            sources[one.value].append(one.address)
        own = self.image.own_slots
        called: dict[int, int] = {}
        leads: dict[int, int] = {}
        for kind, address, value in events:
            if kind is EffectKind.JUMP:
                leads[address] = value
            elif kind is EffectKind.CALL:
                called[address] = value
            elif kind is EffectKind.CALL_SLOT and value in own:
                called[address] = own[value]

        def endless(call: int) -> bool:
            return call in called and self.endless.never_returns(called[call])

        code, addresses, _ = self.decoded(span.start, span.end)
        landings = tuple(self.image.landings_in(span))
        return FunctionBody(self.image, span, code, addresses, sources, leads, endless, landings)

    def _ways(self, function: FunctionBody, others: Sequence[Effect]) -> Iterator[tuple[int, Way]]:
        """Yield address and way for each of ``others``, effects of a function."""
        context = Context(self.image, function.span.start, function.span.end)
        targets = self._targets(function, others)
        made: set[tuple[EffectKind, int]] = set()
        for event in others:
            if event.kind in _INDIRECT:
                found = self._indirect(context, function, event, targets)
            else:
                found = ways_of(context, event.kind, event.value)
            called = None
            if event.kind in _AS_CALLED:
                called = self._only_called(function, event, targets)
            if called is not None and not any(type(way) is Unclear for way in found):
                for call in called:
                    for way in ways_of(context, _AS_CALLED[event.kind], event.value):
                        yield call, self._settled(way)
                continue
            if event.kind in _MAKING:
                if (event.kind, event.value) in made:
                    continue  # the same address; the place that makes it is irrelevant
                made.add((event.kind, event.value))
            for way in found:
                if type(way) is not Harmless:
                    yield event.address, self._settled(way)

    def _dead(
        self,
        function: FunctionBody,
        here: frozenset[int],
        ways: Sequence[tuple[int, Way]],
        *,
        has_bytes: bool,
    ) -> tuple[tuple[int, int], ...]:
        """Return the ranges of the function that are not code (see `unreached`)."""
        code, image = function.code, function.image
        strange = {one[0] for one in code if one[2] == ".byte"} if has_bytes else set()
        # Most ways stay within the function, whose instructions are then those of the layout.
        inside = here if function.span.start in self.layout else frozenset()
        strange |= {
            source
            for source, way in ways
            if type(way) is Goes and way.address not in inside and way.address not in self.layout
            if not self.begins(way.address)
        }
        if not strange or image.is_go:  # Go may continue after a return, by recover()
            return ()
        return unreached(self.machine, function, ways, strange)

    def _settle(self, way: Way) -> Way:
        """Return ``way``, redirected to the import itself if it leads to an import's stub."""
        match way:
            case Goes(address, is_call):
                name = self.stub(address)
                return way if name is None else Imports(name, is_call, is_taken=False)
            case Takes(address):
                return self.taken(address)
            case Reaches(address) if self._is_number(address) or self._is_no_go_function(address):
                return Harmless("a number that looks like an address, in a comparison")
        return way

    def _is_no_go_function(self, address: int) -> bool:
        """Return True for a number in a Go program, whose functions are known, if it is none."""
        return self.image.lists_functions and address not in self.layout

    def _is_number(self, address: int) -> bool:
        """Return True if no instruction begins at ``address``, which a file may have as a number.

        Files that are loaded anywhere make addresses otherwise than numbers.
        """
        image = self.image
        return not image.relocatable and bool(image.frames) and not self.may_begin(address)

    def _targets(self, function: FunctionBody, events: Sequence[Effect]) -> dict[int, list[int]]:
        """Return the targets of jumps by tables, by the index of each jump."""
        jumps = (
            bisect_left(function.addresses, event.address)
            for event in events
            if event.kind is EffectKind.INDIRECT_JUMP
        )
        others = [at for at in jumps if not self.machine.returns(function.code[at])]
        return jump_targets(self.machine, function, others, self.begins)

    def _indirect(
        self,
        context: Context,
        function: FunctionBody,
        event: Effect,
        targets: Mapping[int, Sequence[int]],
    ) -> list[Way]:
        """Return the ways of a call or jump through a register, a word of memory, or a table."""
        index = bisect_left(function.addresses, event.address)
        target = self.machine.target(function.code[index])
        whole = is_whole(self.machine, function, index, target)
        ways: list[Way] = [Goes(one, is_call=False) for one in targets.get(index, ())]
        if whole:
            # Any target that is not from the table is a pointer: both cases are covered.
            return [*ways, *ways_of(context, event.kind, 0)]
        if ways:
            return ways
        near = targets_near_label(self.machine, function, index, target)
        if near:
            return [Goes(one, is_call=False) for one in near]
        return ways_of(context, EffectKind.SUM, 0)

    def _only_called(
        self, function: FunctionBody, event: Effect, targets: Mapping[int, Sequence[int]]
    ) -> list[int] | None:
        """Return the calls of a pointer from a slot, or made by ``event``; None for other uses."""
        image, value = self.image, event.value
        if event.kind is EffectKind.LOAD:
            is_pointer = value in image.slots or value in image.own_slots
        else:
            is_pointer = event.kind is EffectKind.REFERENCE and value in self.layout
        if not is_pointer:
            return None
        index = bisect_left(function.addresses, event.address)
        if event.kind is EffectKind.REFERENCE and not self._is_made_whole(function, index, value):
            return None
        return only_calls(self.machine, function, index, targets)

    def _is_made_whole(self, function: FunctionBody, index: int, value: int) -> bool:
        """Return True if an instruction sets a register to ``value``."""
        register = self.machine.sets(function.code[index])
        step = self.machine.before(self.image, function.code, index, Register(register))
        return bool(register) and step == KnownValue(value)

    def _onward(self, function: FunctionBody) -> Iterator[tuple[int, Way]]:
        """Yield the way to the code after the function, if control may run on into it."""
        end = function.span.end
        last = last_of(self.machine, function.code)
        if last is None or self.machine.stops(last) or not self.image.in_code(end):
            return
        if self.machine.is_call(last) and (
            self.image.starts_function(end) or function.endless(last[0])
        ):
            return  # see ``FunctionFacts.after``
        yield last[0], Goes(end, is_call=False)


# Of all images together: the text of instructions is most of what a scan has in memory.
_decoded = lru_cache(maxsize=512)(ImageCode._decode)
_read = lru_cache(maxsize=512)(ImageCode._read)
