"""Read an ELF file, as an `image.Image`."""

from __future__ import annotations

import hashlib
import struct
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from seccompgen.architectures import ABIS
from seccompgen.errors import Diagnostic, InputError, Position
from seccompgen.reading import read_file
from seccompgen.scan.image import Function, Image, Segment, Span
from seccompgen.scan.pclntab import go_functions
from seccompgen.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from seccompgen.architectures import Abi

_MAX_BYTES = 1 << 30
_MACHINES = {
    ("EM_X86_64", 64): "x86_64",
    ("EM_AARCH64", 64): "aarch64",
    ("EM_386", 32): "i386",
}
_GO_MAGIC = b"\xff Go buildinf:"
"""Heads the build information of every Go program (Go's debug/buildinfo)."""

_UNREAD_TABLES = frozenset(
    {"DT_ANDROID_REL", "DT_ANDROID_RELA", "DT_ANDROID_RELR", "DT_CREL", 0x40000026}
    | {0x6000000F, 0x60000011, 0x6FFFE000}
)
"""Packed relocations: of Android, and LLVM's CREL. By name or by number, as pyelftools knows."""

_STT_FUNC, _STT_GNU_IFUNC, _STT_NOTYPE = 2, 10, 0
_STB_LOCAL, _STB_WEAK = 0, 2


class _Relocations(NamedTuple):
    """Relocation types of one machine (its ELF psABI)."""

    absolute: int
    slots: frozenset[int]
    relative: int
    irelative: int
    no_code: frozenset[int]
    """put no address of code anywhere: of thread-local data, copies, and what does nothing"""


_RELOCATIONS = {
    "x86_64": _Relocations(1, frozenset({6, 7}), 8, 37, frozenset({0, 5, 16, 17, 18, 36})),
    "aarch64": _Relocations(
        257, frozenset({1025, 1026}), 1027, 1032, frozenset({0, 1024, 1028, 1029, 1030, 1031})
    ),
    "i386": _Relocations(1, frozenset({6, 7}), 8, 42, frozenset({0, 5, 14, 35, 36, 37, 41})),
}


def read_image(path: Path) -> Image:
    """Read the ELF file at ``path``.

    Raises InputError, a line, if it cannot be read, is no ELF program or library, is cut off or
    corrupt, or is for a machine whose code is not understood.
    """
    where = Position(str(path))
    try:
        content = read_file(path, _MAX_BYTES)
    except OSError as error:
        raise InputError(Diagnostic(f"cannot be read: {error.strerror}", where)) from None
    if content[:4] != b"\x7fELF":
        what = "a script: scan its interpreter" if content[:2] == b"#!" else "no ELF file"
        raise InputError(Diagnostic(f"is {what}", where))
    try:
        return _Reader(content, str(path)).image()
    except InputError:
        raise
    except Exception as error:  # pyelftools raises whatever its steps meet in a broken file
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(Diagnostic(f"is a broken ELF file: {reason}", where)) from None


class _ElfFile(Protocol):
    """What is used of pyelftools' ELFFile, which has no types of its own worth having."""

    elfclass: int
    little_endian: bool
    header: Any

    def iter_segments(self) -> Iterator[Any]: ...
    def iter_sections(self) -> Iterator[Any]: ...
    def get_dwarf_info(self) -> Any: ...


class _Symbol(NamedTuple):
    name: str
    kind: int
    binding: int
    defined: bool
    value: int
    size: int


class _Reader:
    """Takes one file apart; every error that it raises is about the file."""

    def __init__(self, content: bytes, path: str) -> None:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - in an extra

        self.content = content
        self.path = path
        self.elf: _ElfFile = ELFFile(BytesIO(content))
        self.abi = self._abi()
        self.word = self.abi.bits // 8
        self.segments = self._segments()
        self.sections = self._sections()
        self.code = self._code()
        self.dynamic, self.lists = self._dynamic()
        self.unread: list[tuple[int, str]] = []

    def image(self) -> Image:
        """Return the whole."""
        header = self.elf.header
        exports: dict[str, list[int]] = {}
        named: dict[int, Function] = {}
        pointers: set[int] = set()
        imported: set[str] = set()
        slots: dict[int, str] = {}
        words: dict[int, int] = {}
        dynamic_symbols, symbols = self._symbols()
        for symbol in (*symbols, *dynamic_symbols):
            # Code written in assembly often has symbols of no type.
            callable_ = symbol.kind in {_STT_FUNC, _STT_GNU_IFUNC, _STT_NOTYPE}
            if symbol.defined and callable_ and symbol.name and self._in_code(symbol.value):
                function = Function(symbol.value, symbol.size, symbol.name)
                known = named.get(symbol.value)
                if not known or (not known.size and symbol.size):
                    named[symbol.value] = function
                if symbol.kind == _STT_GNU_IFUNC:
                    pointers.add(symbol.value)
        for symbol in dynamic_symbols:
            if symbol.defined and symbol.binding != _STB_LOCAL and self._in_code(symbol.value):
                exports.setdefault(symbol.name, []).append(symbol.value)
        self._relocate(dynamic_symbols, pointers, imported, slots, words)
        if not self._is_relocatable():
            words.update(self._words_that_point_into_code())
        # What only code refers to, by its address, is reached when that code is.
        own_slots = {place: words[place] for place in words if self._in_table_of_slots(place)}
        pointers |= {value for place, value in words.items() if place not in own_slots}
        frames = frozenset(filter(self._in_code, self._frames()))
        is_go = _GO_MAGIC in self.content
        if is_go:
            for address, name in go_functions(self._section_data("gopclntab"), words):
                if self._in_code(address):
                    named.setdefault(address, Function(address, 0, printable(name)))
            # All functions are known, so an address between is a number that looks like one.
            pointers &= set(named) | frames
        return Image(
            path=self.path,
            abi=self.abi,
            sha256=hashlib.sha256(self.content).hexdigest(),
            is_go=is_go,
            relocatable=self._is_relocatable(),
            segments=self.segments,
            code=self.code,
            stubs=self._spans_of(lambda name: name.startswith((".plt", ".iplt"))),
            functions=tuple(sorted(named.values())),
            exports={name: tuple(dict.fromkeys(found)) for name, found in exports.items()},
            slots=slots,
            own_slots=own_slots,
            slot_tables=self._tables_of_slots,
            weak=frozenset(one.name for one in dynamic_symbols if one.binding == _STB_WEAK),
            unread=tuple(self.unread),
            pointers=frozenset(address for address in pointers if self._in_code(address)),
            imported_pointers=frozenset(imported),
            roots=tuple(address for address in self._roots(header) if self._in_code(address)),
            frames=frames,
            soname=next(iter(self.lists.get("DT_SONAME", ())), ""),
            needed=tuple(self.lists.get("DT_NEEDED", ())),
            runpath=tuple(
                part
                for key in ("DT_RPATH", "DT_RUNPATH")
                for whole in self.lists.get(key, ())
                for part in whole.split(":")
                if part
            ),
            interpreter=self._interpreter(),
        )

    def refuse(self, reason: str) -> InputError:
        """Return the error that says ``reason``."""
        return InputError(Diagnostic(reason, Position(self.path)))

    def _abi(self) -> Abi:
        header = self.elf.header
        machine, bits = header["e_machine"], self.elf.elfclass
        name = _MACHINES.get((machine, bits))
        if machine == "EM_X86_64" and bits == 32:
            raise self.refuse("is an x32 program; scan reads x86_64, aarch64 and i386 ones")
        if name is None or not self.elf.little_endian:
            shown = str(machine).removeprefix("EM_").lower()
            order = "" if self.elf.little_endian else ", big-endian"
            raise self.refuse(
                f"is for {shown} ({bits} bits{order}); scan reads x86_64, aarch64 and i386 code"
            )
        if header["e_type"] not in {"ET_EXEC", "ET_DYN"}:
            kind = {"ET_REL": "an object file: link it first", "ET_CORE": "a core dump"}
            raise self.refuse(f"is {kind.get(header['e_type'], 'no program or library')}")
        return ABIS[name]

    def _segments(self) -> tuple[Segment, ...]:
        found = []
        for segment in self.elf.iter_segments():
            header = segment.header
            if header["p_type"] != "PT_LOAD":
                continue
            start, size = header["p_offset"], header["p_filesz"]
            if start + size > len(self.content):
                raise self.refuse(
                    f"is cut off: {len(self.content)} bytes, where its headers speak of "
                    f"{start + size}"
                )
            data = self.content[start : start + size]
            found.append(Segment(header["p_vaddr"], data, bool(header["p_flags"] & 1)))
        if not any(segment.executable and segment.data for segment in found):
            raise self.refuse("has no code to load: is it a file of debug information?")
        return tuple(found)

    def _sections(self) -> tuple[Any, ...]:
        """Return the sections; a file needs none to run, so broken ones are as good as none."""
        header = self.elf.header
        end = header["e_shoff"] + header["e_shnum"] * header["e_shentsize"]
        if not header["e_shoff"]:
            return ()
        if end > len(self.content):
            raise self.refuse(
                f"is cut off: {len(self.content)} bytes, where its headers speak of {end}"
            )
        return tuple(self.elf.iter_sections())

    def _code(self) -> tuple[Span, ...]:
        """Return what holds instructions: what sections call so, else whole segments."""
        executable = [one for one in self.segments if one.executable and one.data]
        spans = []
        for segment in executable:
            inside = [
                Span(section["sh_addr"], section["sh_addr"] + section["sh_size"])
                for section in self.sections
                if section["sh_flags"] & 4  # SHF_EXECINSTR
                and segment.address <= section["sh_addr"]
                and section["sh_addr"] + section["sh_size"] <= segment.end
                and section["sh_size"]
            ]
            spans += inside or [Span(segment.address, segment.end)]
        return tuple(sorted(spans))

    def _in_code(self, address: int) -> bool:
        return any(span.start <= address < span.end for span in self.code)

    def _is_relocatable(self) -> bool:
        return bool(self.elf.header["e_type"] == "ET_DYN")

    def _dynamic(self) -> tuple[dict[str, int], dict[str, list[str]]]:
        """Return the dynamic section: values by tag, and the tags that are texts."""
        values: dict[str, int] = {}
        texts: dict[str, list[str]] = {}
        for segment in self.elf.iter_segments():
            if segment.header["p_type"] != "PT_DYNAMIC":
                continue
            for tag in segment.iter_tags():
                name = tag.entry.d_tag
                if name in _UNREAD_TABLES:
                    raise self.refuse(f"has relocations of a form that scan does not read ({name})")
                if not isinstance(name, str):
                    continue
                values[name] = tag.entry.d_val
                for key in ("needed", "soname", "rpath", "runpath"):
                    if name == f"DT_{key.upper()}":
                        text = getattr(tag, key)
                        if not text.isprintable():
                            raise self.refuse(f"is a broken ELF file: {name} is {text!r}")
                        texts.setdefault(name, []).append(text)
        return values, texts

    def _interpreter(self) -> str:
        for segment in self.elf.iter_segments():
            if segment.header["p_type"] == "PT_INTERP":
                name: str = segment.get_interp_name()
                if not name.isprintable():
                    raise self.refuse(f"is a broken ELF file: its interpreter is {name!r}")
                return name
        return ""

    def _read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` mapped bytes; raise ValueError where they are not all there."""
        for segment in self.segments:
            if segment.address <= address and address + size <= segment.end:
                offset = address - segment.address
                return segment.data[offset : offset + size]
        raise ValueError(f"nothing is mapped at {address:#x} where {size} bytes should be")

    def _word_at(self, address: int) -> int:
        return int.from_bytes(self._read(address, self.word), "little")

    def _roots(self, header: Any) -> Iterator[int]:
        yield header["e_entry"]
        for tag in ("DT_INIT", "DT_FINI"):
            if tag in self.dynamic:
                yield self.dynamic[tag]

    def _symbols(self) -> tuple[list[_Symbol], list[_Symbol]]:
        """Return the dynamic symbols, in the order that relocations count, and all others."""
        others: list[_Symbol] = []
        dynamic: list[_Symbol] = []
        for section in self.sections:
            if section["sh_type"] in {"SHT_SYMTAB", "SHT_DYNSYM"}:
                strings = section.stringtable.data()
                found = list(self._symbol_table(section.data(), strings))
                if section["sh_type"] == "SHT_SYMTAB":
                    others = found
                else:
                    dynamic = found
        if not dynamic and "DT_SYMTAB" in self.dynamic:
            size = self._dynamic_symbol_count() * (24 if self.word == 8 else 16)
            strings = self._read(self.dynamic["DT_STRTAB"], self.dynamic["DT_STRSZ"])
            table = self._read(self.dynamic["DT_SYMTAB"], size)
            dynamic = list(self._symbol_table(table, strings))
        return dynamic, others

    def _dynamic_symbol_count(self) -> int:
        """Without sections nothing says it but the hash tables, which pyelftools can count."""
        for segment in self.elf.iter_segments():
            if segment.header["p_type"] == "PT_DYNAMIC":
                count: int = segment.num_symbols()
                return count
        return 0

    def _symbol_table(self, table: bytes, strings: bytes) -> Iterator[_Symbol]:
        form = struct.Struct("<IBBHQQ" if self.word == 8 else "<IIIBBH")
        whole = len(table) - len(table) % form.size
        for fields in form.iter_unpack(table[:whole]):
            if self.word == 8:
                name, info, _, index, value, size = fields
            else:
                name, value, size, info, _, index = fields
            end = strings.find(b"\0", name)
            text = strings[name : end if end >= 0 else None].decode("utf-8", "replace")
            yield _Symbol(printable(text), info & 15, info >> 4, index != 0, value, size)

    def _relocate(
        self,
        symbols: list[_Symbol],
        pointers: set[int],
        imported: set[str],
        slots: dict[int, str],
        words: dict[int, int],
    ) -> None:
        """Fill in what the loader puts into data: code addresses, names, slots of imports."""
        kinds = _RELOCATIONS[self.abi.name]
        for address, kind, index, addend in self._relocations():
            if kind == kinds.relative:
                words[address] = addend
            elif kind == kinds.irelative:
                pointers.add(addend)
            elif kind in kinds.slots or kind == kinds.absolute:
                if index >= len(symbols):
                    raise ValueError(f"a relocation names symbol {index} of {len(symbols)}")
                symbol = symbols[index]
                if kind in kinds.slots:
                    slots[address] = symbol.name
                elif symbol.name:
                    imported.add(symbol.name)
                if symbol.defined and (kind == kinds.absolute or not symbol.name):
                    pointers.add(symbol.value + addend)
            elif kind not in kinds.no_code:
                self.unread.append((address, f"its relocation has the type {kind}"))
        self._relative_words(words)
        for tag in ("DT_INIT_ARRAY", "DT_FINI_ARRAY", "DT_PREINIT_ARRAY"):
            if tag in self.dynamic:
                start, size = self.dynamic[tag], self.dynamic.get(f"{tag}SZ", 0)
                for offset in range(0, size, self.word):
                    pointers.add(self._word_at(start + offset))

    def _relocations(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield address, type, symbol and addend of each; the word in place where none is given."""
        for data, has_addend in self._relocation_tables():
            form = struct.Struct(
                {
                    (8, True): "<QQq",
                    (8, False): "<QQ",
                    (4, True): "<IIi",
                    (4, False): "<II",
                }[self.word, has_addend]
            )
            whole = len(data) - len(data) % form.size
            for fields in form.iter_unpack(data[:whole]):
                address, info = fields[:2]
                kind = info & (0xFFFFFFFF if self.word == 8 else 0xFF)
                index = info >> (32 if self.word == 8 else 8)
                addend = fields[2] if has_addend else self._addend_in_place(address)
                yield address, kind, index, addend

    def _addend_in_place(self, address: int) -> int:
        try:
            return self._word_at(address)
        except ValueError:
            return 0  # in what is zero at first

    def _relocation_tables(self) -> Iterator[tuple[bytes, bool]]:
        if not self.dynamic:  # a static program may have some of its own
            for section in self.sections:
                if section["sh_type"] in {"SHT_RELA", "SHT_REL"} and section["sh_flags"] & 2:
                    yield section.data(), section["sh_type"] == "SHT_RELA"
            return
        for tag, size in (("DT_RELA", "DT_RELASZ"), ("DT_REL", "DT_RELSZ")):
            if tag in self.dynamic:
                yield self._read(self.dynamic[tag], self.dynamic[size]), tag == "DT_RELA"
        if "DT_JMPREL" in self.dynamic:
            table = self._read(self.dynamic["DT_JMPREL"], self.dynamic["DT_PLTRELSZ"])
            yield table, self.dynamic.get("DT_PLTREL") == 7

    def _relative_words(self, words: dict[int, int]) -> None:
        """Add the words that DT_RELR relocates: addresses, and bitmaps of what follows them."""
        if "DT_RELR" not in self.dynamic:
            return
        table = self._read(self.dynamic["DT_RELR"], self.dynamic["DT_RELRSZ"])
        address = 0
        for i in range(0, len(table) - self.word + 1, self.word):
            entry = int.from_bytes(table[i : i + self.word], "little")
            if entry & 1:
                places = [
                    address + bit * self.word
                    for bit in range(self.word * 8 - 1)
                    if entry >> (bit + 1) & 1
                ]
                address += (self.word * 8 - 1) * self.word
            else:
                places = [entry]
                address = entry + self.word
            for place in places:
                words[place] = self._word_at(place)

    def _in_table_of_slots(self, address: int) -> bool:
        return any(span.start <= address < span.end for span in self._tables_of_slots)

    @cached_property
    def _tables_of_slots(self) -> tuple[Span, ...]:
        return self._spans_of(lambda name: name in {".got", ".got.plt"})

    def _spans_of(self, wanted: Callable[[str], bool]) -> tuple[Span, ...]:
        return tuple(
            Span(section["sh_addr"], section["sh_addr"] + section["sh_size"])
            for section in self.sections
            if section["sh_addr"] and wanted(section.name)
        )

    def _words_that_point_into_code(self) -> dict[int, int]:
        """Return all words of data that could be code addresses, where no relocations tell them.

        But for the headers, where parts of the file begin, and Go's table of functions, which has
        distances, and so many that some look like it.
        """
        low, high = self.code[0].start, self.code[-1].end
        form = struct.Struct("<Q" if self.word == 8 else "<I")
        found: dict[int, int] = {}
        table, content = self._section_data("gopclntab")
        header = self.elf.header
        headers = max(
            header["e_ehsize"], header["e_phoff"] + header["e_phnum"] * header["e_phentsize"]
        )
        first = min(self.segments, key=lambda one: one.address)
        for segment in self.segments:
            skip = -segment.address % self.word
            whole = (len(segment.data) - skip) // self.word * self.word
            if whole <= 0:
                continue
            words = form.iter_unpack(segment.data[skip : skip + whole])
            for i, (value,) in enumerate(words):
                if low <= value < high:
                    place = segment.address + skip + i * self.word
                    in_headers = segment is first and place < first.address + headers
                    if not in_headers and not table <= place < table + len(content):
                        found[place] = value
        return found

    def _frames(self) -> list[int]:
        """Return where the functions that .eh_frame describes start.

        Its index says so at once, but a static program may have none.
        """
        found = list(self._indexed_frames())
        if found or not self._section_data(".eh_frame")[1]:
            return found
        from elftools.dwarf.callframe import FDE  # noqa: PLC0415 - in an extra

        information = self.elf.get_dwarf_info()
        entries = information.EH_CFI_entries() if information.has_EH_CFI() else ()
        return [entry.header["initial_location"] for entry in entries if isinstance(entry, FDE)]

    def _indexed_frames(self) -> Iterator[int]:
        """Yield what .eh_frame_hdr lists (LSB, "Exception Frames")."""
        for segment in self.elf.iter_segments():
            header = segment.header
            if header["p_type"] != "PT_GNU_EH_FRAME" or header["p_filesz"] < 12:
                continue
            base = header["p_vaddr"]
            data = self._read(base, header["p_filesz"])
            # The one form that linkers write: counts as udata4, entries as sdata4 from here.
            if data[0] != 1 or data[2] != 0x03 or data[3] != 0x3B:
                continue
            (count,) = struct.unpack_from("<I", data, 8)
            for i in range(min(count, (len(data) - 12) // 8)):
                yield base + struct.unpack_from("<i", data, 12 + 8 * i)[0]

    def _section_data(self, ending: str) -> tuple[int, bytes]:
        """Return address and content of the section whose name ends so; nothing without one."""
        for section in self.sections:
            if section.name.endswith(ending):
                return section["sh_addr"], section.data()
        return 0, b""
