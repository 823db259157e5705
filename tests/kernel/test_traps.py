"""A parser that falls into one of the traps of the miniature gives other tables, or none.

The tables of a parser that is whole are compared in test_against_facts and test_against_gcc.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest
from breaking import Edit, break_functions
from kernel_trees import read_tree
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import OutsideError
from seccompgen.kernel.parse import assemble, parse_numbers, tbl
from seccompgen.kernel.parse.assemble import _numbers, _Resolver
from seccompgen.kernel.parse.cpp import Reader, _without_comments
from seccompgen.kernel.parse.kbuild import read_assignments
from seccompgen.kernel.parse.sources import VIEWS, View
from seccompgen.kernel.parse.tbl import read_rows
from seccompgen.kernel.parse.tree import Tree
from upstream import MINIATURE, NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Break = Callable[[pytest.MonkeyPatch], None]

ARM64_TABLE = "arch/arm64/tools/syscall_64.tbl"
APPEND = "rows.append(Row(int(nr), abi, name, position, *entries))"
ROWS = "if not fields:"


class Trap(NamedTuple):
    """``abi`` is one that a parser misreads which is broken so."""

    abi: str
    break_parser: Break


def edit(function: Callable[..., object], old: str, new: str) -> Break:
    return lambda patch: break_functions([Edit(function, old, new)], patch)


def pattern(module: object, name: str, new: str) -> Break:
    return lambda patch: patch.setattr(module, name, re.compile(new))


def view(abi: str, change: Callable[[View], View]) -> Break:
    return lambda patch: patch.setitem(VIEWS, abi, change(VIEWS[abi]))


def columns(abi: str, more: str = "", less: str = "") -> Break:
    """Take other columns of an ABI's tables; more ``*`` takes every row."""

    def change(old: View) -> View:
        generated = {
            name: replace(
                header,
                abis=None
                if more == "*"
                else frozenset((header.abis or frozenset()) | set(more.split())) - {less},
                ignored=header.ignored | {"common", less},
            )
            for name, header in old.generated.items()
        }
        return replace(old, generated=generated)

    return view(abi, change)


def macros(abi: str, **more: str) -> Break:
    return view(abi, lambda old: replace(old, predefined={**old.predefined, **more}))


TRAPS = {
    "only tabs are between fields": Trap("x86_64", pattern(tbl, "_FIELD", "[^\t]+")),
    "only blanks are between fields": Trap("parisc", pattern(tbl, "_FIELD", "[^ ]+")),
    "a row has an entry point": Trap("i386", edit(read_rows, ROWS, "if len(fields) < 4:")),
    "a row has five fields at most": Trap(
        "x86_64", edit(read_rows, ROWS, "if not fields or len(fields) > 5:")
    ),
    "a call that does nothing has no number": Trap(
        "ppc64", edit(read_rows, ROWS, "if not fields or fields[-1][0] == 'sys_ni_syscall':")
    ),
    "a row in a comment counts": Trap(
        "arm",
        edit(
            read_rows,
            'content.partition("#")[0]',
            '(content[2:] if content[2:5].isdecimal() else content.partition("#")[0])',
        ),
    ),
    "numbers only rise": Trap(
        "aarch64", edit(read_rows, APPEND, f"if not rows or int(nr) >= rows[-1].nr: {APPEND}")
    ),
    "a number has one row": Trap(
        "arc",
        edit(read_rows, APPEND, f"rows[:] = [r for r in rows if r.nr != int(nr)]; {APPEND}"),
    ),
    "a name has one row": Trap(
        "arc", edit(read_rows, APPEND, f"rows[:] = [r for r in rows if r.name != name]; {APPEND}")
    ),
    "columns replace the defaults": Trap(
        "aarch64",
        edit(
            _Resolver._generic_macros,
            "(*defaults[variable], *own.get(variable, ()))",
            "own.get(variable) or defaults[variable]",
        ),
    ),
    "the defaults are all": Trap(
        "csky", edit(_Resolver._generic_macros, "*own.get(variable, ())", "")
    ),
    "the last assignment is all": Trap(
        "csky",
        edit(
            read_assignments,
            '(values.get(match[1], ()) if match[2] == "+=" else ()) + words',
            "words",
        ),
    ),
    "a makefile's lines do not go on": Trap(
        "aarch64", edit(read_assignments, 'content.replace("\\0", "")', 'content.split("\\0")[0]')
    ),
    "commas are no blanks": Trap("aarch64", edit(read_assignments, '.replace(",", " ")', "")),
    "a link is a table": Trap(
        "aarch64", edit(Tree.follow, "not _LINK_TEXT.fullmatch(text)", "True")
    ),
    "links are always served": Trap("aarch64", edit(Tree.follow, "LINKS.get(path, path)", "path")),
    "numbers have no base": Trap(
        "mips", edit(_Resolver._macros, 'f"({offset} + {row.nr})" if offset else ', "")
    ),
    "rows of n64 say so": Trap("mips64", columns("mips64", more="n64")),
    "placeholders are no calls": Trap(
        "mips",
        edit(_numbers, "in _BOOKKEEPING", 'in _BOOKKEEPING or "reserved" in macro.name'),
    ),
    "unused numbers are no calls": Trap(
        "mips", edit(_numbers, "in _BOOKKEEPING", 'in _BOOKKEEPING or "unused" in macro.name')
    ),
    "spu is for 32 bits": Trap("ppc", columns("ppc", more="spu")),
    "spu is for 64 bits": Trap("ppc64le", columns("ppc64le", more="spu")),
    "nospu is for nobody": Trap("ppc64", columns("ppc64", less="nospu")),
    "every row of s390 is for 64 bits": Trap("s390x", columns("s390x", more="*")),
    "31-bit programs are still here": Trap(
        "s390", view("s390", lambda old: replace(old, needs=""))
    ),
    "oabi is for eabi": Trap("arm", columns("arm", more="oabi")),
    "private calls are none": Trap("arm", pattern(assemble, "_CALL", "__NR_([a-z_][a-z0-9_]*)")),
    "aliases are no calls": Trap(
        "alpha",
        edit(_numbers, "in _BOOKKEEPING", 'in _BOOKKEEPING or macro.body.startswith("__NR_")'),
    ),
    "an alias follows what it stands for": Trap(
        "alpha",
        edit(
            Reader._define,
            "known = self.macros",
            'known = macro if macro.body[:5] == "__NR_" and macro.body not in self.macros'
            " else self.macros",
        ),
    ),
    "a name stays": Trap("csky", edit(Reader._directive, "self.macros.pop(rest, None)", "pass")),
    "user space sees what the kernel sees": Trap("sparc64", macros("sparc64", __KERNEL__="1")),
    "x32 has the rows of 64": Trap("x32", columns("x32", more="64")),
    "x32 has no rows of its own": Trap("x32", columns("x32", less="x32")),
    "x86_64 has the rows of x32": Trap("x86_64", columns("x86_64", more="x32")),
    "x32 looks like x86_64": Trap("x32", view("x32", lambda _: VIEWS["x86_64"])),
    "alpha counts as all do": Trap(
        "alpha", view("alpha", lambda old: replace(old, faccessat2=439))
    ),
    "nobody has a wish": Trap(
        "aarch64",
        edit(
            Reader._holds,
            "(rest in self.macros)",
            '(rest in self.macros and "_WANT_" not in rest)',
        ),
    ),
    "every wish is granted": Trap(
        "loongarch64",
        edit(
            Reader._holds,
            "(rest in self.macros)",
            '(rest in self.macros or rest.startswith("__ARCH_WANT_"))',
        ),
    ),
    "names that depend on the width are plain": Trap(
        "csky", pattern(assemble, "_CALL", "__(?:ARM_)?NR(?:3264)?_([a-z_][a-z0-9_]*)")
    ),
    "a long has 64 bits": Trap("csky", macros("csky", __BITS_PER_LONG="64")),
    "a long has 32 bits": Trap("riscv64", macros("riscv64", __BITS_PER_LONG="32")),
    "bookkeeping is a call": Trap(
        "arc", lambda patch: patch.setattr(assemble, "_BOOKKEEPING", frozenset())
    ),
    "comments of headers are text": Trap(
        "x86_64",
        edit(_without_comments, "_COMMENT.sub(blank, source.text)", "source.text"),
    ),
    "a Kbuild lists headers of calls": Trap(
        "openrisc", edit(_Resolver.exists, " if listed else view.before_tables", "")
    ),
    "loongarch32 was there from the first": Trap(
        "loongarch32", view("loongarch32", lambda old: replace(old, before_tables=True))
    ),
}


def numbers(tag: str, tree: Mapping[str, bytes]) -> dict[str, Mapping[str, int]]:
    return {abi: table.numbers for abi, table in parse_numbers(tag, tree).tables.items()}


def trees() -> list[tuple[str, dict[str, bytes]]]:
    """Both tags, and what a server gives that answers a link with its text."""
    link = {ARM64_TABLE: b"../../../scripts/syscall.tbl"}
    old, new = (read_tree(MINIATURE, tag) for tag in (OLD, NEW))
    return [(OLD, old), (NEW, new), (NEW, new | link)]


@cache
def right() -> list[dict[str, Mapping[str, int]]]:
    return [numbers(tag, tree) for tag, tree in trees()]


@pytest.mark.parametrize("name", TRAPS)
def test_whoever_falls_into_a_trap_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    abi, break_parser = TRAPS[name]
    wanted = [tables.get(abi) for tables in right()]
    with monkeypatch.context() as patch:
        break_parser(patch)
        patch.setattr(assemble, "ABIS", {abi: ABIS[abi]})  # the others take time, and show nothing
        found = []
        for tag, tree in trees():
            try:
                found.append(numbers(tag, tree).get(abi))
            except OutsideError as error:
                assert error.diagnostics
                found.append({})
    assert found != wanted


def test_the_two_worlds_are_told_apart_by_their_files_and_not_by_the_tag() -> None:
    assert numbers("v9.9", read_tree(MINIATURE, OLD)) == right()[0]
    assert numbers("v5.10", read_tree(MINIATURE, NEW)) == right()[1]
