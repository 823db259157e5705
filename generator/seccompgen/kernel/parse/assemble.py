"""Put the tables of one tag together, ABI by ABI, and refuse what does not add up."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from seccompgen.core.abis import ABIS, Abi
from seccompgen.core.errors import Diagnostic, OutsideError, Position
from seccompgen.core.facts import Facts
from seccompgen.core.tables import Table, Tables, UpstreamFile, release
from seccompgen.io.reading import undecodable
from seccompgen.kernel.parse.cpp import Included, Macro, Source, evaluate, preprocess
from seccompgen.kernel.parse.kbuild import read_assignments
from seccompgen.kernel.parse.prototypes import entry_points
from seccompgen.kernel.parse.served import arm_compat, served_by_header, served_by_table
from seccompgen.kernel.parse.sources import (
    AUDIT,
    ELF_MACHINES,
    EMPTY_HEADERS,
    GENERIC_HEADER,
    GENERIC_MAKEFILE,
    LINKS,
    PLAIN_HEADERS,
    REQUIRED,
    VIEWS,
    View,
)
from seccompgen.kernel.parse.tbl import Row, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seccompgen.kernel.parse.served import Served

_T = TypeVar("_T")

_CALL = re.compile(r"__(?:ARM_)?NR_([a-z_][a-z0-9_]*)")
_BOOKKEEPING = frozenset({"__NR_syscalls", "__NR_arch_specific_syscall"})
"""Macros that look like calls and are none; all others of the kind have capital letters.

Placeholders of the tables (``reserved177``, ``unused59``) are kept: the headers that user space
compiles against define them, and a table here names exactly what those headers name.
"""

_GENERIC_VARIABLES = re.compile(r"syscall_abis_(32|64)|syscalltbl|syshdr-args.*")
_LINK_TEXT = re.compile(r"[A-Za-z0-9_.+-]*(/[A-Za-z0-9_.+-]+)+\n?")
_MAX_LINKS = 4


def parse(tag: str, files: Mapping[str, bytes]) -> Tables:
    """Return the tables of every ABI that ``tag`` has.

    ``files`` holds those of ``CANDIDATES`` that the source has; an ABI whose architecture has
    none of its files is not there. Raises InputError for a tag that is none, and OutsideError,
    with every problem found, for files that are missing, are not what they should be, or
    contradict each other or ``architectures``.
    """
    release(tag)
    tree = _Tree(files)
    missing = [path for path in REQUIRED if path not in files]
    if len(missing) == len(REQUIRED):
        raise OutsideError(f"the source has no {missing[0]}: does it have {tag}?")
    if missing:
        raise OutsideError(*(_lacks(path) for path in missing))
    errors: list[Diagnostic] = []
    tables: dict[str, Table] = {}
    served: dict[str, dict[str, Served]] = {}
    for name, abi in ABIS.items():
        try:
            found = _table(tag, abi, VIEWS[name], tree)
        except OutsideError as error:
            errors.extend(error.diagnostics)
            continue
        if found:
            tables[name], served[name] = found
    if errors:
        raise OutsideError(*dict.fromkeys(errors))
    return Tables(tag, tables, Facts(prototypes=entry_points(tree.text, served)))


def _table(
    tag: str, abi: Abi, view: View, tree: _Tree
) -> tuple[Table, dict[str, Served]] | None:
    """Return the table of ``abi`` with what serves each of its calls, None if the tag has none."""
    there = [path for path in view.own_files if path in tree]
    if not there:
        return None
    if view.header not in tree:
        raise OutsideError(_lacks(view.header, f"though it has {there[0]}"))
    resolver = _Resolver(abi, view, tree)
    if not resolver.exists():
        return None
    macros = preprocess(tree.source(view.header), view.predefined, resolver.include)
    numbers = _numbers(macros)
    _check(abi, view, numbers, tree)
    paths = {view.header, AUDIT, ELF_MACHINES, *resolver.used}
    inputs = tuple(UpstreamFile.of(path, tree.files[path]) for path in sorted(paths))
    ordered = dict(sorted(numbers.items(), key=lambda item: (item[1], item[0])))
    served = served_by_table(ordered, resolver.rows)
    if GENERIC_HEADER in resolver.used:
        texts = (tree.text(view.header), tree.text(GENERIC_HEADER))
        served |= served_by_header(ordered, macros, texts, abi.bits)
    if view.srcarch == "arm":
        served = arm_compat(ordered, served, tree.text)
    return Table(abi, tag, ordered, inputs), served


def _numbers(macros: Mapping[str, Macro]) -> dict[str, int]:
    """Evaluate every macro that names a system call."""
    numbers: dict[str, int] = {}
    errors: list[Diagnostic] = []
    for macro in macros.values():
        match = _CALL.fullmatch(macro.name)
        if not match or macro.name in _BOOKKEEPING:
            continue
        try:
            nr = evaluate(macros, macro.name)
        except OutsideError as error:
            errors.extend(error.diagnostics)
            continue
        if not 0 <= nr < 1 << 32:
            errors.append(
                Diagnostic(f"{macro.name} is {nr}, not a number of 32 bits", macro.position)
            )
        elif numbers.setdefault(match[1], nr) != nr:
            message = f"{match[1]} is {nr} here, but {numbers[match[1]]} elsewhere"
            errors.append(Diagnostic(message, macro.position))
    if errors:
        raise OutsideError(*errors)
    return numbers


def _check(abi: Abi, view: View, numbers: Mapping[str, int], tree: _Tree) -> None:
    """Refuse a table that is not whole, and an audit value that upstream does not confirm."""
    errors: list[Diagnostic] = []
    nr = numbers.get("faccessat2")
    if nr != view.faccessat2:
        found = "is missing" if nr is None else f"is {nr}"
        message = (
            f"faccessat2 {found} in the table of {abi.name} and should be {view.faccessat2};"
            " is a file cut off, or another file?"
        )
        errors.append(Diagnostic(message, Position(view.header)))
    macro = tree.audit.get(abi.audit_arch_name)
    if macro:  # an architecture may be older than its audit value
        value = evaluate(tree.audit, macro.name)
        if value != abi.audit_arch:
            message = (
                f"{macro.name} is {value:#x} here, but seccompgen takes it for {abi.audit_arch:#x}"
            )
            errors.append(Diagnostic(message, macro.position))
    if errors:
        raise OutsideError(*errors)


def _lacks(path: str, why: str = "") -> Diagnostic:
    return Diagnostic(f"the source lacks this file{', ' + why if why else ''}", Position(path))


class _Tree:
    """The files of the source, decoded once each."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self._memory: dict[tuple[str, str], object] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.files

    def source(self, path: str, why: str = "") -> Source:
        return self._once("text", path, lambda: self._read(path, why))

    def text(self, path: str) -> str | None:
        """Return the content of ``path``, None if the source lacks it."""
        return self.source(path).text if path in self.files else None

    def rows(self, path: str, why: str = "") -> tuple[Row, ...]:
        return self._once("rows", path, lambda: read_rows(path, self.source(path, why).text))

    def assignments(self, path: str, why: str = "") -> dict[str, tuple[str, ...]]:
        wanted = re.compile(f"{_GENERIC_VARIABLES.pattern}|syscall-y")
        return self._once(
            "make", path, lambda: read_assignments(path, self.source(path, why).text, wanted)
        )

    def follow(self, path: str) -> str:
        """Return the path of the file that ``path`` is, or is a link to."""
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
            raise OutsideError(_lacks(path, why))
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
            # A makefile that is cut off still parses, and would quietly select fewer calls.
            where = Position.after(path, text)
            message = "the file does not end with a line break; is it cut off?"
            raise OutsideError(Diagnostic(message, where))
        return Source(path, text)


class _Resolver:
    """Resolves the includes of one ABI's view, and keeps the paths and rows that it used."""

    def __init__(self, abi: Abi, view: View, tree: _Tree) -> None:
        self.used: set[str] = set()
        self.rows: list[Row] = []
        self._abi = abi
        self._view = view
        self._tree = tree

    def exists(self) -> bool:
        """Tell whether the tag has this ABI, given that it has its architecture."""
        view = self._view
        if view.generic:
            listed = self._listed()
            return f"unistd_{view.generic}.h" in listed if listed else view.before_tables
        if view.needs:
            paths = {item.table for item in view.generated.values()}
            why = f"though it has {view.header}"
            return any(
                row.abi == view.needs for path in paths for row in self._tree.rows(path, why)
            )
        return True

    def include(self, name: str, position: Position) -> Included:
        view = self._view
        why = f"which {position} includes"
        if name in EMPTY_HEADERS:
            return None
        if name in PLAIN_HEADERS:
            path = PLAIN_HEADERS[name]
            source = self._tree.source(path, why)
            self.used.add(path)
            return source
        if name in view.generated:
            header = view.generated[name]
            return self._macros(header.table, header.abis, header.offset, header.ignored, why)
        if view.generic and name == f"asm/unistd_{view.generic}.h":
            return self._generic_macros(why)
        message = f"<{name}> is not known to seccompgen; a newer version may know it"
        raise OutsideError(Diagnostic(message, position))

    def _listed(self) -> tuple[str, ...]:
        """Return the headers that a generic architecture has made from a table."""
        if self._view.kbuild not in self._tree:
            return ()
        return self._tree.assignments(self._view.kbuild).get("syscall-y", ())

    def _generic_macros(self, why: str) -> tuple[Macro, ...]:
        """Make the numbers of a generic architecture as ``scripts/Makefile.asm-headers`` does."""
        view, tree = self._view, self._tree
        header = f"unistd_{view.generic}.h"
        if view.kbuild not in tree:
            raise OutsideError(_lacks(view.kbuild, why))
        if header not in self._listed():
            message = f"syscall-y does not list {header}, {why}"
            raise OutsideError(Diagnostic(message, Position(view.kbuild)))
        defaults = tree.assignments(GENERIC_MAKEFILE, why)
        own = tree.assignments(view.makefile, why)
        variable = f"syscall_abis_{view.generic}"
        if not defaults.get(variable) or not defaults.get("syscalltbl"):
            message = f"{variable} or syscalltbl is not set, so no table can be read by it"
            raise OutsideError(Diagnostic(message, Position(GENERIC_MAKEFILE)))
        unknown = [name for name in own if name.startswith("syshdr-args")]
        if unknown:
            message = f"{unknown[0]} changes numbers in a way that seccompgen does not know"
            raise OutsideError(Diagnostic(message, Position(view.makefile)))
        columns = frozenset((*defaults[variable], *own.get(variable, ())))
        words = own.get("syscalltbl") or defaults["syscalltbl"]
        named = "".join(words).replace("%", str(view.generic)).removeprefix("$(srctree)/")
        table = tree.follow(named)
        self.used |= {view.kbuild, view.makefile, GENERIC_MAKEFILE}
        return self._macros(table, columns, "", None, why)

    def _macros(
        self,
        table: str,
        abis: frozenset[str] | None,
        offset: str,
        ignored: frozenset[str] | None,
        why: str,
    ) -> tuple[Macro, ...]:
        """Return the rows of ``abis`` as macros; ``ignored`` None ignores every other row."""
        rows = self._tree.rows(table, why)
        self.used.add(table)
        if abis is not None and ignored is not None:
            known = abis | ignored
            strange = [row for row in rows if row.abi not in known]
            if strange:
                raise OutsideError(
                    *(
                        Diagnostic(
                            f"seccompgen does not know what ABI {row.abi!r} means here",
                            row.position,
                        )
                        for row in strange
                    )
                )
        taken = [row for row in rows if abis is None or row.abi in abis]
        self.rows += taken
        return tuple(
            Macro(
                f"__NR_{row.name}",
                f"({offset} + {row.nr})" if offset else str(row.nr),
                row.position,
            )
            for row in taken
        )


def _join(path: str, link: str) -> str:
    """Resolve the text of a symbolic link at ``path``; one that leaves the tree names nothing."""
    parts = path.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            if not parts:
                return link
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
