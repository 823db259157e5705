"""Assemble the tables of one tag, ABI by ABI, and refuse inconsistent ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS, Abi
from seccompgen.core.errors import Diagnostic, OutsideError, Position
from seccompgen.core.tables import Table, Tables, UpstreamFile, release
from seccompgen.kernel.parse.cpp import Included, evaluate, preprocess
from seccompgen.kernel.parse.expressions import Macro
from seccompgen.kernel.parse.gather import gather
from seccompgen.kernel.parse.served import arm_compat, served_by_header, served_by_table
from seccompgen.kernel.parse.sources import (
    AUDIT,
    ELF_MACHINES,
    EMPTY_HEADERS,
    GENERIC_HEADER,
    GENERIC_MAKEFILE,
    PLAIN_HEADERS,
    REQUIRED,
    VIEWS,
    View,
)
from seccompgen.kernel.parse.tree import Tree, lacks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.kernel.parse.served import Served
    from seccompgen.kernel.parse.tbl import Row

_CALL = re.compile(r"__(?:ARM_)?NR_([a-z_][a-z0-9_]*)")
_BOOKKEEPING = frozenset({"__NR_syscalls", "__NR_arch_specific_syscall"})
"""Macros that look like calls and are not; all other such macros contain capital letters.

Placeholders of the tables (``reserved177``, ``unused59``) are kept: the headers that user space
compiles against define them, and a table here names exactly what those headers name.
"""


def parse(tag: str, files: Mapping[str, bytes]) -> Tables:
    """Return the tables of every ABI that ``tag`` has, with the tag's facts.

    ``files`` contains those of ``CANDIDATES`` that the source has; an ABI is left out if none of
    its architecture's files is there. Raises InputError for an invalid tag, and OutsideError, with
    every problem found, for files that are missing or malformed, or that contradict each other or
    ``architectures``.
    """
    tree = Tree(files)
    tables, served = _read(tag, tree)
    return Tables(tag, tables, gather(tables, served, tree))


def parse_numbers(tag: str, files: Mapping[str, bytes]) -> Tables:
    """Return the tables like ``parse``, but without facts; this needs fewer files."""
    return Tables(tag, _read(tag, Tree(files))[0])


def _read(tag: str, tree: Tree) -> tuple[dict[str, Table], dict[str, dict[str, Served]]]:
    release(tag)
    files = tree.files
    missing = [path for path in REQUIRED if path not in files]
    if len(missing) == len(REQUIRED):
        raise OutsideError(f"the source has no {missing[0]}: does it have {tag}?")
    if missing:
        raise OutsideError(*(lacks(path) for path in missing))
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
    return tables, served


def _table(tag: str, abi: Abi, view: View, tree: Tree) -> tuple[Table, dict[str, Served]] | None:
    """Return the table of ``abi`` and the functions that serve its calls; None without a table."""
    there = [path for path in view.own_files if path in tree]
    if not there:
        return None
    if view.header not in tree:
        raise OutsideError(lacks(view.header, f"though it has {there[0]}"))
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
        served = arm_compat(served, tree)
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


def _check(abi: Abi, view: View, numbers: Mapping[str, int], tree: Tree) -> None:
    """Raise OutsideError for an incomplete table, or an audit value other than upstream's."""
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


class _Resolver:
    """The includes of one ABI's view; it records the paths and rows that were used."""

    def __init__(self, abi: Abi, view: View, tree: Tree) -> None:
        self.used: set[str] = set()
        self.rows: list[Row] = []
        self._abi = abi
        self._view = view
        self._tree = tree

    def exists(self) -> bool:
        """Return True if the tag, which has the architecture, has this ABI as well."""
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
        """Return the headers that the build of a generic architecture makes from a table."""
        if self._view.kbuild not in self._tree:
            return ()
        return self._tree.assignments(self._view.kbuild).get("syscall-y", ())

    def _generic_macros(self, why: str) -> tuple[Macro, ...]:
        """Return a generic architecture's numbers, as ``scripts/Makefile.asm-headers`` does."""
        view, tree = self._view, self._tree
        header = f"unistd_{view.generic}.h"
        if view.kbuild not in tree:
            raise OutsideError(lacks(view.kbuild, why))
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
        """Return the rows of ``abis`` as macros; if ``ignored`` is None, ignore all other rows."""
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
