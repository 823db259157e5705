"""Find the entry point of each call on each ABI, and its parameters.

A table names the entry point; a header declares it. `undeclared` and `amendments` contain what
these two omit. An entry point without a declaration is unknown: no prototype is guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.kernel.entry_points import (
    AbiPrototypes,
    Declared,
    EntryPoint,
    wide_registers,
    word_bits,
)
from seccompgen.kernel.parse.amendments import (
    ALIASES,
    CLONE_NAMES,
    CLONE_WRAPPERS,
    NAMES,
    NARROWER,
    NOT_IMPLEMENTED,
    PRIVATE_CALLS,
)
from seccompgen.kernel.parse.entry_declarations import Declaration, read_declarations
from seccompgen.kernel.parse.served import Served
from seccompgen.kernel.parse.sources import (
    ARM_COMPAT_HEADER,
    ARM_COMPAT_TABLE,
    DECLARING,
    VIEWS,
)
from seccompgen.kernel.parse.undeclared import DECLARATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.kernel.parse.tree import Tree

_SYMBOL = re.compile(r"CONFIG_(\w+)")
_VARIANTS = frozenset(
    {"CLONE_BACKWARDS", "CLONE_BACKWARDS2", "CLONE_BACKWARDS3"}
    | {"OLD_SIGSUSPEND", "OLD_SIGSUSPEND3"}
)
"""Kconfig symbols that select one of several declarations of an entry point."""
_BLOCK = re.compile(r"^(?:menu)?config[ \t]+(\w+)", re.MULTILINE)
_SELECT = re.compile(r"^[ \t]+select[ \t]+(\w+)(?:[ \t]+if[ \t]+(.+?))?[ \t]*$", re.MULTILINE)
_ONLY_32 = frozenset(
    {"32BIT", "!64BIT", "PPC32", "!PPC64", "SPARC32", "X86_32"}
    | {"COMPAT", "COMPAT_32", "IA32_EMULATION"}
)
_ONLY_64 = frozenset({"64BIT", "PPC64", "!PPC32", "SPARC64", "X86_64"})
_FORM = re.compile(r"(?:compat_)?(sys_\w+?)(?:_time32|_time64|32)?")
"""Variants of an entry point, named by group 1, that differ from it only in types."""


def read_prototypes(
    served: Mapping[str, Mapping[str, Served]], tree: Tree
) -> tuple[dict[str, AbiPrototypes], set[str]]:
    """Return the prototypes of the calls in ``served``, by ABI, and the files read.

    Files that the tag lacks are ignored.
    """
    headers = [read_declarations(tree.text(path) or "") for path in DECLARING]
    found = {
        abi: AbiPrototypes(
            ABIS[abi], _Architecture(ABIS[abi], headers, tree).entry_points(served[abi])
        )
        for abi in served
    }
    files = {*DECLARING, *(path for abi in served for path in VIEWS[abi].declaring)}
    if "arm" in served:
        files.add(ARM_COMPAT_TABLE if ARM_COMPAT_TABLE in tree else ARM_COMPAT_HEADER)
    return found, {path for path in files if path in tree}


def selected(kconfig: str, *, wide: bool) -> dict[str, bool]:
    """Return the symbols of `_VARIANTS` that an architecture selects.

    ``wide`` selects its 64-bit kernel. A symbol is False if it is selected under a condition that
    cannot be decided here.
    """
    found: dict[str, bool] = {}
    blocks = [(match.start(), match[1]) for match in _BLOCK.finditer(kconfig)]
    for match in _SELECT.finditer(kconfig):
        if match[1] not in _VARIANTS:
            continue
        block = next((name for start, name in reversed(blocks) if start < match.start()), "")
        needs = {match[2] or ""} | ({block} & (_ONLY_32 | _ONLY_64))
        needs.discard("")
        if needs & (_ONLY_32 if wide else _ONLY_64):
            continue
        certain = needs <= (_ONLY_64 if wide else _ONLY_32)
        found[match[1]] = found.get(match[1], False) or certain
    return found


class _Architecture:
    """The declarations and Kconfig symbols of the kernel for one ABI."""

    def __init__(self, abi: Abi, headers: list[dict[str, list[Declaration]]], tree: Tree) -> None:
        self._abi = abi
        self._srcarch = VIEWS[abi.name].srcarch
        own = read_declarations(DECLARATIONS.get(self._srcarch, ""))
        shared = read_declarations(DECLARATIONS[""])
        header, kconfig_path = VIEWS[abi.name].declaring
        its = read_declarations(tree.text(header) or "")
        self._declared = [own, shared, its, *headers]
        kconfig = tree.text(kconfig_path)
        wide = wide_registers(abi)
        self._selected: dict[str, bool] | None = None
        if kconfig is not None:
            self._selected = selected(kconfig, wide=wide)
            if self._srcarch in CLONE_WRAPPERS:
                self._selected[CLONE_WRAPPERS[self._srcarch]] = True

    def entry_points(self, calls: Mapping[str, Served]) -> dict[str, EntryPoint]:
        """Return the entry points of those of ``calls`` for which they are known."""
        private = PRIVATE_CALLS.get(self._srcarch, {})
        found = {}
        for call in sorted({*calls, *private}):
            served = calls.get(call) or Served(private[call])
            entry = self._entry_point(self._chosen(served))
            if entry:
                found[call] = entry
        return found

    def _chosen(self, served: Served) -> str:
        """Return the entry point whose declaration applies: the one that may read the most bits.

        A 64-bit kernel that serves a 32-bit ABI may read more of a register than the ABI's own
        kernel can. If it does not, the simpler declaration of the own kernel is used.
        """
        wide = self._abi.bits == 32 and word_bits(self._abi) == 64
        there = served.compat and served.compat not in NOT_IMPLEMENTED
        name = served.compat if there and (wide or not served.entry) else served.entry
        return ALIASES.get(name, name)

    def _entry_point(self, name: str) -> EntryPoint | None:
        if name in NOT_IMPLEMENTED or not name:
            return None
        parameters = self._parameters(name)
        if parameters is None:
            return None
        narrow = (
            one._replace(bits=NARROWER[name, one.name]) if (name, one.name) in NARROWER else one
            for one in parameters
        )
        return EntryPoint(name, tuple(narrow))

    def _parameters(self, name: str) -> tuple[Declared, ...] | None:
        """Return the parameters of ``name``, with names if these are known; None if unknown."""
        declaration = self._declaration(name)
        if declaration is None:
            return None
        parameters = declaration.parameters
        if any(one.type == "struct pt_regs *" for one in parameters):
            return ()
        names = [one.name for one in parameters]
        if name == "sys_clone":
            order = self._clone_order()
            if order is None:
                return None
            names = CLONE_NAMES[order].split()
        elif not all(names) and name in NAMES:
            names = NAMES[name].split()
        form = _FORM.fullmatch(name)
        model = self._parameters(form[1]) if form and form[1] != name else None
        if model and len(model) == len(parameters):
            names = [one.name for one in model]
        if len(names) != len(parameters):
            return None
        return tuple(one._replace(name=new) for one, new in zip(parameters, names, strict=True))

    def _clone_order(self) -> str | None:
        if self._selected is None:
            return None
        orders = [symbol for symbol in self._selected if symbol.startswith("CLONE_BACKWARDS")]
        if not all(self._selected[symbol] for symbol in orders) or len(orders) > 1:
            return None
        return orders[0] if orders else ""

    def _declaration(self, name: str) -> Declaration | None:
        """Return the declaration of ``name`` that applies to this ABI; None if there is none."""
        for declared in self._declared:
            variants = declared.get(name, ())
            if len(variants) == 1:
                return variants[0]
            if variants:
                return next(filter(self._holds, variants), None)
        return None

    def _holds(self, declaration: Declaration) -> bool:
        for condition, holds in declaration.conditions:
            for symbol in _SYMBOL.findall(condition):
                if symbol in _VARIANTS:
                    there = (self._selected or {}).get(symbol)
                    if self._selected is None or there is False or bool(there) != holds:
                        return False
        return True
