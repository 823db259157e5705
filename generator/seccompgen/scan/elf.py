"""Read an ELF file, as an `image.Image`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.text import printable
from seccompgen.scan.binary import broken_is_refused
from seccompgen.scan.fixed_words import words_anywhere, words_into_code
from seccompgen.scan.frames import UnreadFramesError, read_frames, read_landings
from seccompgen.scan.image import AddressRange, FunctionSymbol, Image, Landing, name_in
from seccompgen.scan.objects import divided
from seccompgen.scan.pclntab import go_functions
from seccompgen.scan.relocations import Relocated, relocate
from seccompgen.scan.symbol_tables import read_debug_symbols, read_symbols
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.io.elf_symbols import ElfSymbol
    from seccompgen.scan.binary import Binary
    from seccompgen.scan.frames import Frame
    from seccompgen.scan.objects import DataMap

_MAPPING = re.compile(r"\$[xd](?:\..*)?")
"""Names of Arm's symbols that tell disassemblers code from data (AAELF64): these are no functions.

The value of those in sections that are not loaded is no address.
"""
_DATA_MARK = re.compile(r"\$d(?:\..*)?")
_SHF_ALLOC = 2
"""The flag of a section that is loaded."""
_NOP = bytes.fromhex("1f2003d5")
"""The nop of aarch64."""
_GO_MAGIC = b"\xff Go buildinf:"
"""The beginning of the build information of Go programs (Go's debug/buildinfo)."""


def image_of(binary: Binary) -> Image:
    """Return ``binary`` as an image; raise InputError, with one line, if it is broken."""
    with broken_is_refused(binary.path):
        return _image(binary)


def _image(binary: Binary) -> Image:
    dynamic, others = read_symbols(binary)
    named = _named(binary, (*others, *dynamic))
    exports: dict[str, list[int]] = {}
    for symbol in dynamic:
        if symbol.defined and not symbol.is_local and binary.in_code(symbol.value):
            exports.setdefault(symbol.name, []).append(symbol.value)
    relocated = relocate(binary, dynamic)
    unread = list(relocated.unread)
    frames: list[Frame] = []
    landings: dict[int, tuple[Landing, ...]] = {}
    try:
        frames = [one for one in read_frames(binary) if binary.in_code(one.start)]
        landings = _landings(binary, frames)
    except UnreadFramesError:
        unread.append((binary.code[0].start, Why.FRAMES, ""))
    starts = frozenset(frame.start for frame in frames)
    words = relocated.words
    if not binary.relocatable:
        words.update(words_into_code(binary))
    # Targets of these slots are reached only by code that refers to the slots.
    tables = binary.spans_of(lambda name: name in {".got", ".got.plt"})
    own_slots = {place: words[place] for place in words if _inside(place, tables)}
    pointers = relocated.pointers | relocated.starters
    pointers |= {
        symbol.value for symbol in (*others, *dynamic) if symbol.defined and symbol.is_resolver
    }
    go_table = binary.section_data("gopclntab")
    # Some builds leave the build information out; the table is needed to run.
    is_go = bool(go_table[1]) or _GO_MAGIC in binary.content
    static = () if is_go else others or read_debug_symbols(binary)
    objects = divided(binary, static, relocated, own_slots)
    standing_words = {
        value
        for place, value in words.items()
        if place not in own_slots and not objects.holder(place)
    }
    standing = pointers | standing_words
    pointers |= {value for place, value in words.items() if place not in own_slots}
    of_go = go_functions(go_table, binary.section_data(".go.module"), words)
    if of_go:
        for address, name in of_go.items():
            if binary.in_code(address):
                named.setdefault(address, FunctionSymbol(address, 0, printable(name)))
        # All functions are known, so any other value is a number that looks like an address.
        pointers &= set(named) | starts
    if not binary.relocatable and (frames or not of_go):
        pointers |= words_anywhere(binary, (named.keys() | starts) - of_go.keys())
    if not objects:
        standing = pointers
    unread += [
        (segment.address, Why.WRITABLE, "")
        for segment in binary.segments
        if segment.executable and segment.writable
    ]
    return Image(
        path=binary.path,
        abi=binary.abi,
        sha256=binary.sha256,
        is_go=is_go,
        lists_functions=bool(of_go),
        relocatable=binary.relocatable,
        segments=binary.segments,
        code=binary.code,
        functions=tuple(sorted(named.values())),
        exports={name: tuple(dict.fromkeys(found)) for name, found in exports.items()},
        slots=relocated.slots,
        own_slots=own_slots,
        slot_tables=tables,
        thread_words=frozenset(relocated.thread_words),
        weak=frozenset(one.name for one in dynamic if one.is_weak),
        unread=tuple(unread),
        pointers=frozenset(filter(binary.in_code, pointers)),
        imported_pointers=frozenset(relocated.imported.values()),
        standing=frozenset(filter(binary.in_code, standing)),
        standing_words=frozenset(standing_words) if objects else frozenset(),
        standing_imports=frozenset(
            name for place, name in relocated.imported.items() if not objects.holder(place)
        ),
        objects=objects,
        named_objects=_named_objects(objects, dynamic),
        roots=tuple(filter(binary.in_code, _roots(binary))),
        frames=starts,
        landings=landings,
        names=_names(binary),
        pointed_texts=frozenset(
            filter(None, (name_in(binary.segments, value) for value in set(words.values())))
        ),
        interpreter=binary.interpreter,
        key=binary.key,
        starters=_starters(binary, relocated),
        lost_calls=frozenset(_lost_calls(binary, frames)),
        data_marks=_data_marks(binary, others),
    )


def _named_objects(objects: DataMap, dynamic: Sequence[ElfSymbol]) -> dict[str, frozenset[int]]:
    """Return the starts of ``objects`` by the names by which other files may import them."""
    found: dict[str, set[int]] = {}
    for symbol in dynamic:
        if symbol.defined and not symbol.is_local and symbol.may_be_data and objects:
            starts = {one.start for one in objects.at(symbol.value)}
            if starts:
                found.setdefault(symbol.name, set()).update(starts)
    return {name: frozenset(starts) for name, starts in found.items()}


def _named(binary: Binary, symbols: Sequence[ElfSymbol]) -> dict[int, FunctionSymbol]:
    named: dict[int, FunctionSymbol] = {}
    for symbol in symbols:
        if binary.abi.name == "aarch64" and _MAPPING.fullmatch(symbol.name):
            continue
        if symbol.defined and symbol.may_be_code and symbol.name and binary.in_code(symbol.value):
            known = named.get(symbol.value)
            if not known or (not known.size and symbol.size):
                named[symbol.value] = FunctionSymbol(symbol.value, symbol.size, symbol.name)
    return named


def _data_marks(binary: Binary, symbols: Sequence[ElfSymbol]) -> tuple[int, ...]:
    """Return the addresses, outside of code, at which ``symbols`` say that data begins."""
    if binary.abi.name != "aarch64":
        return ()
    loaded = {i for i, one in enumerate(binary.sections) if one["sh_flags"] & _SHF_ALLOC}
    marks = (one for one in symbols if one.section in loaded and _DATA_MARK.fullmatch(one.name))
    return tuple(sorted({one.value for one in marks if not binary.in_code(one.value)}))


def _starters(binary: Binary, relocated: Relocated) -> frozenset[int]:
    """Return the initialisers to which nothing else points.

    Without relocations any word could be an address, and so could be unaligned ones: none.
    """
    if not binary.relocatable:
        return frozenset()
    values = binary.dynamic
    spans = [
        AddressRange(values[name], values[name] + values.get(f"{name}SZ", 0))
        for name in ("DT_INIT_ARRAY", "DT_PREINIT_ARRAY")
        if name in values
    ]
    words = {value for place, value in relocated.words.items() if not _inside(place, spans)}
    started = relocated.starters | ({values["DT_INIT"]} if "DT_INIT" in values else set())
    return frozenset(started - words - relocated.pointers)


def _lost_calls(binary: Binary, frames: Sequence[Frame]) -> Iterator[int]:
    """Yield the last instructions of ``frames`` that were calls, which the linker made into nops.

    In programs that are not relocatable, the linker does so to calls of weak functions that nothing
    defines. Compilers end a function with a call only if it never returns, and no compiler runs on
    from one function into the next. A nop that aligns the next one is behind the frame.
    """
    if binary.abi.name != "aarch64" or binary.relocatable:
        return
    starts = {one.start for one in frames}
    for start, size, _ in frames:
        last = start + size - len(_NOP)
        if size > len(_NOP) and start + size in starts and binary.read(last, len(_NOP)) == _NOP:
            yield last


def _inside(address: int, spans: Sequence[AddressRange]) -> bool:
    return any(span.start <= address < span.end for span in spans)


def _roots(binary: Binary) -> Iterator[int]:
    yield binary.elf.header["e_entry"]
    for tag in ("DT_INIT", "DT_FINI"):
        if tag in binary.dynamic:
            yield binary.dynamic[tag]


def _names(binary: Binary) -> AddressRange:
    """Return the range of the dynamic symbols' names: these are there without being looked up."""
    start = binary.dynamic.get("DT_STRTAB", 0)
    return AddressRange(start, start + binary.dynamic.get("DT_STRSZ", 0))


def _landings(binary: Binary, frames: Sequence[Frame]) -> dict[int, tuple[Landing, ...]]:
    """Return, by the start of a frame, the addresses at which it continues after exceptions."""
    return {frame.start: tuple(read_landings(binary, frame)) for frame in frames if frame.handlers}
