"""Lint policies as they are, and as the programs that they are compiled to."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from seccompgen.core.facts import Facts, Parameter, Prototype
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import LintedFilter, lint
from seccompgen.pipeline.build import build_policy
from seccompgen.verify import Code

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding

FORMS = ("policy", "program")


def _number(name: str, bits: int = 32) -> Parameter:
    return Parameter(name, "int" if bits == 32 else "long", bits, signed=True)


def _pointer(name: str) -> Parameter:
    return Parameter(name, "void __user *", 64, pointer=True)


_CLONE = (
    _number("flags"),
    _number("newsp", 64),
    _pointer("parent_tid"),
    _pointer("child_tid"),
    _number("tls", 64),
)
_USUAL = {
    "socket": (_number("family"), _number("type"), _number("protocol")),
    "clone": _CLONE,
    "openat": (_number("dfd"), _pointer("filename"), _number("flags"), _number("mode", 16)),
    "ioctl": (_number("fd"), _number("cmd"), _number("arg", 64)),
    "sendto": (
        _number("fd"), _pointer("buff"), _number("len", 64),
        _number("flags"), _pointer("addr"), _number("addr_len"),
    ),
    "mmap": tuple(_number(name, 64) for name in "addr len prot flags fd off".split()),  # noqa: SIM905
}  # fmt: skip
_S390X = {"clone": (_CLONE[1], _CLONE[0], *_CLONE[2:]), "mmap": (_pointer("arg"),)}


def _facts() -> Facts:
    usual = {name: Prototype(f"sys_{name}", found) for name, found in _USUAL.items()}
    other = {name: Prototype(f"sys_{name}", found) for name, found in _S390X.items()}
    return Facts(
        shipped_tables().facts.constants, {"x86_64": usual, "i386": usual, "s390x": usual | other}
    )


@cache
def facts_tables() -> Tables:
    """Return the shipped tables with prototypes of a few calls, written down here by hand."""
    return replace(shipped_tables(), facts=_facts())


def findings(path: Path, form: str = "policy", tables: Tables | None = None) -> list[Finding]:
    """Return the findings on the policy at ``path``, or on the programs made of it.

    Policies of tests say no flags: the finding on that is left out.
    """
    known = tables or facts_tables()
    if form == "policy":
        found = lint_filter(path, known).findings
        return [one for one in found if one.kind.value != "no-tsync"]
    built = build_policy(path, known)
    sides = {one.abi.name: Code(one.instructions, one.abi.byte_order) for one in built.programs}
    return lint(LintedFilter(str(path), sides), known)
