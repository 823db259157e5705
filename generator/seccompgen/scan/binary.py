"""Parse an ELF file: its segments, sections and dynamic section, by address."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import read_file
from seccompgen.scan.image import AddressRange, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.scan.debug_files import SymbolTable

_MAX_BYTES = 1 << 30
_DF_1_PIE = 0x08000000
_MACHINES = {
    ("EM_X86_64", 64): "x86_64",
    ("EM_AARCH64", 64): "aarch64",
    ("EM_386", 32): "i386",
}
_UNREAD_TABLES = frozenset(
    {"DT_ANDROID_REL", "DT_ANDROID_RELA", "DT_ANDROID_RELR", "DT_CREL", 0x40000026}
    | {0x6000000F, 0x60000011, 0x6FFFE000}
)
"""Packed relocations of Android, and LLVM's CREL: by name, or by number if pyelftools has none."""


def read_binary(path: Path, shown: str = "") -> Binary:
    """Read the ELF file at ``path``; errors and results call it ``shown``, or by its path.

    Raises InputError, with one line, if it cannot be read, is not an ELF program or library, is
    truncated or corrupt, or is for an unsupported machine.
    """
    shown = shown or str(path)
    where = Position(shown)
    try:
        content = read_file(path, _MAX_BYTES)
    except OSError as error:
        # BINARY is a path, as for a compiler, but many first type the name of a command.
        command = "" if "/" in shown else shutil.which(shown)
        there = f" (did you mean {command}?)" if command else ""
        raise InputError(Diagnostic(f"cannot be read: {error.strerror}{there}", where)) from None
    if content[:4] != b"\x7fELF":
        raise InputError(Diagnostic(f"is {_instead(content)}", where))
    with broken_is_refused(shown):
        return Binary(content, shown, path)


def _instead(content: bytes) -> str:
    """Return words for a file that is not in ELF, and what to scan in its place."""
    if not content.startswith(b"#!"):
        return "no ELF file"
    words = content[2:256].split(b"\n")[0].decode(errors="replace").split()
    which = f", {' '.join(words)}" if words else ""
    return f"a script: scan its interpreter{which}, and the programs that it starts"


@contextlib.contextmanager
def broken_is_refused(path: str) -> Iterator[None]:
    """Turn every exception that the broken file ``path`` causes into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # pyelftools raises anything
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(Diagnostic(f"is a broken ELF file: {reason}", Position(path))) from None


class _ElfFile(Protocol):
    """The part of pyelftools' ELFFile that is used; the package has no useful types."""

    elfclass: int
    little_endian: bool
    header: Any

    def iter_segments(self) -> Iterator[Any]: ...
    def iter_sections(self) -> Iterator[Any]: ...
    def get_dwarf_info(self) -> Any: ...


class Binary:
    """One parsed file; ``path`` is its name in errors, ``place`` where it is.

    ``debug`` are its static symbols, if these were stripped, but a debug file has them.
    """

    debug: SymbolTable | None = None

    def __init__(self, content: bytes, path: str, place: Path) -> None:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - in an extra

        self.content = content
        self.path = path
        self.place = place
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.elf: _ElfFile = ELFFile(BytesIO(content))
        self.abi = self._abi()
        self.word = self.abi.bits // 8
        self.segments = self._segments()
        self.sections = self._sections()
        self.code = self._code()
        self.dynamic, self.lists = self._dynamic()
        self.interpreter = self._interpreter()
        self.relocatable: bool = self.elf.header["e_type"] == "ET_DYN"

    @property
    def name(self) -> str:
        """The file's own name, without its directory."""
        return Path(self.path).name

    @property
    def key(self) -> str:
        """A hash of all that the file's image depends on."""
        if self.debug is None:
            return self.sha256
        return hashlib.sha256(self.sha256.encode() + b"".join(self.debug)).hexdigest()

    @property
    def is_stripped(self) -> bool:
        """True if it has no static symbols."""
        return all(one["sh_type"] != "SHT_SYMTAB" for one in self.sections)

    @property
    def soname(self) -> str:
        """The name by which other files depend on it; "" if it has none."""
        return next(iter(self.lists.get("DT_SONAME", ())), "")

    @property
    def is_program(self) -> bool:
        """True for a program, False for a library that nobody starts."""
        is_pie = bool(self.dynamic.get("DT_FLAGS_1", 0) & _DF_1_PIE)
        return bool(self.interpreter) or not self.relocatable or is_pie

    @cached_property
    def build_id(self) -> str:
        """The build-id in hexadecimal digits, "" if there is none."""
        for segment in self.elf.iter_segments():
            for note in segment.iter_notes() if segment.header["p_type"] == "PT_NOTE" else ():
                if note["n_type"] == "NT_GNU_BUILD_ID":
                    return str(note["n_desc"])
        return ""

    @property
    def needed(self) -> tuple[str, ...]:
        """The libraries that it depends on directly."""
        return tuple(self.lists.get("DT_NEEDED", ()))

    @property
    def runpath(self) -> tuple[str, ...]:
        """The directories that it lists to be searched first for these."""
        return tuple(
            part
            for key in ("DT_RPATH", "DT_RUNPATH")
            for whole in self.lists.get(key, ())
            for part in whole.split(":")
            if part
        )

    def in_code(self, address: int) -> bool:
        """Return True if ``address`` is in a range of instructions."""
        for start, end in self.code:  # noqa: SIM110 - any() takes twice the time, and it is often
            if start <= address < end:
                return True
        return False

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` mapped bytes; raise ValueError if some are not mapped."""
        for segment in self.segments:
            if segment.address <= address and address + size <= segment.end:
                offset = address - segment.address
                return segment.data[offset : offset + size]
        raise ValueError(f"nothing is mapped at {address:#x} where {size} bytes should be")

    def word_at(self, address: int) -> int:
        """Return the word that the file has at ``address``."""
        return int.from_bytes(self.read(address, self.word), "little")

    def spans_of(self, wanted: Callable[[str], bool]) -> tuple[AddressRange, ...]:
        """Return the address ranges of the sections with ``wanted`` names."""
        return tuple(
            AddressRange(section["sh_addr"], section["sh_addr"] + section["sh_size"])
            for section in self.sections
            if section["sh_addr"] and wanted(section.name)
        )

    def section_data(self, ending: str) -> tuple[int, bytes]:
        """Return address and content of a section whose name ends in ``ending``, or (0, b"")."""
        for section in self.sections:
            if section.name.endswith(ending):
                return section["sh_addr"], section.data()
        return 0, b""

    def refuse(self, reason: str) -> InputError:
        """Return an error about this file, with ``reason``."""
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
            flags = header["p_flags"]
            found.append(Segment(header["p_vaddr"], data, bool(flags & 1), bool(flags & 2)))
        if not any(segment.executable and segment.data for segment in found):
            raise self.refuse("has no code to load: is it a file of debug information?")
        return tuple(found)

    def _sections(self) -> tuple[Any, ...]:
        """Return the sections; none without section headers, which a file can run without."""
        header = self.elf.header
        end = header["e_shoff"] + header["e_shnum"] * header["e_shentsize"]
        if not header["e_shoff"]:
            return ()
        if end > len(self.content):
            raise self.refuse(
                f"is cut off: {len(self.content)} bytes, where its headers speak of {end}"
            )
        return tuple(self.elf.iter_sections())

    def _code(self) -> tuple[AddressRange, ...]:
        """Return the ranges of instructions: executable sections, or whole segments without any."""
        executable = [one for one in self.segments if one.executable and one.data]
        spans = []
        for segment in executable:
            inside = [
                AddressRange(section["sh_addr"], section["sh_addr"] + section["sh_size"])
                for section in self.sections
                if section["sh_flags"] & 4  # SHF_EXECINSTR
                and segment.address <= section["sh_addr"]
                and section["sh_addr"] + section["sh_size"] <= segment.end
                and section["sh_size"]
            ]
            spans += inside or [AddressRange(segment.address, segment.end)]
        return tuple(sorted(spans))

    def _dynamic(self) -> tuple[dict[str, int], dict[str, list[str]]]:
        """Return the dynamic section: values by tag, and strings by tag."""
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
