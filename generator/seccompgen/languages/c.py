"""C, from C89 on, and C++: a header with an install function.

Conditions use macros that gcc and clang predefine (``cc -dM -E - </dev/null``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.languages import Language
from seccompgen.render.source import source_context, source_sections
from seccompgen.render.templates import render_text

if TYPE_CHECKING:
    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables

_LITTLE = "__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__"
_BIG = "__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__"
_32 = "__SIZEOF_POINTER__ == 4"
_64 = "__SIZEOF_POINTER__ == 8"


def _mips(kind: str, order: str) -> str:
    return f"defined(__mips__) && defined({kind}) && _MIPS_SIM == {kind} && {order}"


TARGETS = {
    "x86_64": f"defined(__x86_64__) && {_64}",
    "x32": f"defined(__x86_64__) && {_32}",
    "i386": "defined(__i386__)",
    "arm": f"defined(__arm__) && defined(__ARM_EABI__) && {_LITTLE}",
    "aarch64": f"defined(__aarch64__) && {_64} && {_LITTLE}",
    "riscv64": f"defined(__riscv) && {_64}",
    "riscv32": "defined(__riscv) && __riscv_xlen == 32",
    "loongarch64": f"defined(__loongarch__) && {_64}",
    "loongarch32": "defined(__loongarch__) && __loongarch_grlen == 32",
    "s390x": "defined(__s390x__)",
    "s390": "defined(__s390__) && !defined(__s390x__)",
    "ppc64le": f"defined(__powerpc64__) && {_LITTLE}",
    "ppc64": f"defined(__powerpc64__) && {_BIG}",
    "ppc": f"defined(__powerpc__) && !defined(__powerpc64__) && {_BIG}",
    "mips": _mips("_ABIO32", _BIG),
    "mips64": _mips("_ABI64", _BIG),
    "mips64n32": _mips("_ABIN32", _BIG),
    "mipsel": _mips("_ABIO32", _LITTLE),
    "mips64el": _mips("_ABI64", _LITTLE),
    "mips64n32el": _mips("_ABIN32", _LITTLE),
    "parisc": f"defined(__hppa__) && {_32}",
    "parisc64": f"defined(__hppa__) && {_64}",
    "alpha": "defined(__alpha__)",
    "m68k": "defined(__m68k__)",
    "sh": f"defined(__sh__) && {_LITTLE}",
    "sheb": f"defined(__sh__) && {_BIG}",
    "xtensa": f"defined(__xtensa__) && {_LITTLE}",
    "csky": "defined(__csky__)",
}
"""Every ABI on which Linux has filters, with its condition for ``#if``."""


def _write(one: Built, tables: Tables) -> dict[str, bytes]:
    sections = source_sections(one, tables, "C", "header", TARGETS)
    name = one.module_name
    context = source_context(one, tables, "c", sections)
    text = render_text("filter.h.j2", **context, guard=name.upper())
    return {f"{name}.h": _with_old_comments(text).encode()}


def _with_old_comments(text: str) -> str:
    """Return C code with C89 comments; consecutive comment lines become one comment.

    In ``text``, two slashes occur only where a comment begins.
    """
    lines: list[str] = []
    block = ""
    for code, slashes, comment in (line.partition("//") for line in text.split("\n")):
        words = comment.rstrip().replace("*/", "* /").replace("/*", "/ *")
        start = f"{code}/*" if slashes and not code.strip() else ""
        if block and block != start:
            lines.append(f"{block[:-2]} */")
        if not slashes:
            lines.append(code)
        elif not start:
            lines.append(f"{code}/*{words} */")
        else:
            lines.append(f"{code} *{words}" if block == start else f"{start}{words}")
        block = start
    assert not block
    joined = "\n".join(lines)
    # A block of one line is closed on that line.
    return re.sub(r"^( */\*.*)\n *\*/$", r"\1 */", joined, flags=re.MULTILINE)


LANGUAGE = Language(_write, "c.md", TARGETS, filters_rings=True)
