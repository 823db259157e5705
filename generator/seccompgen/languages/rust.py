"""Rust: a module without dependencies. Conditions use ``cfg`` (``rustc --print cfg``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.languages import Language
from seccompgen.render.source import source_context, source_sections
from seccompgen.render.templates import render_text

if TYPE_CHECKING:
    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables

_KEYWORDS = (
    "abstract as async await become box break const continue crate do dyn else enum extern false "
    "final fn for gen if impl in let loop macro match mod move mut override priv pub ref return "
    "Self self static struct super trait true try type typeof unsafe unsized use virtual where "
    "while yield"
)
_ERRNOS = ("EMSGSIZE", "ENOSYS", "EOPNOTSUPP")
"""The errnos of filters on rings that have other numbers on some ABIs."""


def _target(arches: str, bits: int, order: str) -> str:
    """Return the cfg of ABIs that Rust calls ``arches``, separated by spaces."""
    names = [f'target_arch = "{arch}"' for arch in arches.split()]
    arch = names[0] if len(names) == 1 else f"any({', '.join(names)})"
    return f'all({arch}, target_pointer_width = "{bits}", target_endian = "{order}")'


TARGETS = {
    "x86_64": _target("x86_64", 64, "little"),
    "x32": _target("x86_64", 32, "little"),
    "i386": _target("x86", 32, "little"),
    "arm": _target("arm", 32, "little"),
    "aarch64": _target("aarch64", 64, "little"),
    "riscv64": _target("riscv64", 64, "little"),
    "riscv32": _target("riscv32", 32, "little"),
    "loongarch64": _target("loongarch64", 64, "little"),
    "loongarch32": _target("loongarch32", 32, "little"),
    "s390x": _target("s390x", 64, "big"),
    "ppc64le": _target("powerpc64", 64, "little"),
    "ppc64": _target("powerpc64", 64, "big"),
    "ppc": _target("powerpc", 32, "big"),
    "mips": _target("mips mips32r6", 32, "big"),
    "mips64": _target("mips64 mips64r6", 64, "big"),
    "mips64n32": _target("mips64 mips64r6", 32, "big"),
    "mipsel": _target("mips mips32r6", 32, "little"),
    "mips64el": _target("mips64 mips64r6", 64, "little"),
    "mips64n32el": _target("mips64 mips64r6", 32, "little"),
    "m68k": _target("m68k", 32, "big"),
    "xtensa": _target("xtensa", 32, "little"),
    "csky": _target("csky", 32, "little"),
}
"""The ABIs for which Rust has Linux targets, each with its condition."""


def _write(one: Built, tables: Tables) -> dict[str, bytes]:
    sections = source_sections(one, tables, "Rust", "module", TARGETS, _KEYWORDS)
    (eproto,) = {errno_number("EPROTO", section.program.abi) for section in sections}
    context = source_context(one, tables, "rust", sections)
    errnos = {
        section.program.abi.name: [
            (name, errno_number(name, section.program.abi)) for name in _ERRNOS
        ]
        for section in sections
    }
    text = render_text("filter.rs.j2", **context, eproto=eproto, errnos=errnos)
    return {f"{one.module_name}.rs": text.encode()}


LANGUAGE = Language(_write, "rust.md", TARGETS, filters_rings=True)
