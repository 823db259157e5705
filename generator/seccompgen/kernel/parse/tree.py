"""The files of a kernel tree that were fetched, decoded once each."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from seccompgen.core.errors import Diagnostic, OutsideError, Position
from seccompgen.io.reading import undecodable
from seccompgen.kernel.parse.cpp import Included, Source, preprocess
from seccompgen.kernel.parse.kbuild import read_assignments
from seccompgen.kernel.parse.sources import AUDIT, ELF_MACHINES, EMPTY_HEADERS, LINKS
from seccompgen.kernel.parse.tbl import Row, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seccompgen.kernel.parse.expressions import Macro

_T = TypeVar("_T")

_GENERIC_VARIABLES = re.compile(r"syscall_abis_(32|64)|syscalltbl|syshdr-args.*")
_LINK_TEXT = re.compile(r"[A-Za-z0-9_.+-]*(/[A-Za-z0-9_.+-]+)+\n?")
_MAX_LINKS = 4


def lacks(path: str, why: str = "") -> Diagnostic:
    """Return the diagnostic that the source lacks the file ``path``, followed by ``why``."""
    return Diagnostic(f"the source lacks this file{', ' + why if why else ''}", Position(path))


class Tree:
    """The files of the source, decoded once each."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self._memory: dict[tuple[str, str], object] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.files

    def source(self, path: str, why: str = "") -> Source:
        """Return the text of the file; raise OutsideError if it is missing or no source text."""
        return self._once("text", path, lambda: self._read(path, why))

    def text(self, path: str) -> str | None:
        """Return the text of the file; None if it is missing."""
        return self.source(path).text if path in self.files else None

    def rows(self, path: str, why: str = "") -> tuple[Row, ...]:
        """Return the rows of a ``.tbl`` file."""
        return self._once("rows", path, lambda: read_rows(path, self.source(path, why).text))

    def assignments(self, path: str, why: str = "") -> dict[str, tuple[str, ...]]:
        """Return the variables of a makefile that concern tables of system calls."""
        wanted = re.compile(f"{_GENERIC_VARIABLES.pattern}|syscall-y")
        return self._once(
            "make", path, lambda: read_assignments(path, self.source(path, why).text, wanted)
        )

    def follow(self, path: str) -> str:
        """Return the path of the file that ``path`` links to, or ``path`` if it is no link."""
        for _ in range(_MAX_LINKS):
            content = self.files.get(path)
            if content is None:
                return LINKS.get(path, path)
            text = content[:4096].decode("utf-8", "replace")
            if not _LINK_TEXT.fullmatch(text):
                break
            path = _join(path, text.strip())
        return path

    @cached_property
    def audit(self) -> Mapping[str, Macro]:
        """The macros of audit.h."""

        def include(name: str, position: Position) -> Included:
            if name in EMPTY_HEADERS:
                return None
            if name == "linux/elf-em.h":
                return self.source(ELF_MACHINES)
            message = f"<{name}> is not known to seccompgen; a newer version may know it"
            raise OutsideError(Diagnostic(message, position))

        return preprocess(self.source(AUDIT), {"__linux__": "1"}, include)

    def _once(self, kind: str, path: str, make: Callable[[], _T]) -> _T:
        key = (kind, path)
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]  # type: ignore[return-value] # the kind decides the type

    def _read(self, path: str, why: str) -> Source:
        content = self.files.get(path)
        if content is None:
            raise OutsideError(lacks(path, why))
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            where = undecodable(error, path)
            raise OutsideError(Diagnostic("this is not UTF-8 text", where)) from None
        if not text.strip():
            raise OutsideError(Diagnostic("the file is empty", Position(path)))
        if "\0" in text:
            where = Position.after(path, text[: text.index("\0")])
            raise OutsideError(Diagnostic("this is not a text file", where))
        if text.lstrip("\ufeff \t\r\n")[:14].lower().startswith(("<!doctype", "<html", "<?xml")):
            raise OutsideError(Diagnostic("this is a web page, not a source file", Position(path)))
        if not text.endswith("\n"):
            # A makefile that is cut off still parses, and would silently select fewer calls.
            where = Position.after(path, text)
            message = "the file does not end with a line break; is it cut off?"
            raise OutsideError(Diagnostic(message, where))
        return Source(path, text)


def _join(path: str, link: str) -> str:
    """Resolve a symbolic link at ``path``; return a link that leaves the tree as it is."""
    parts = path.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            if not parts:
                return link
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
