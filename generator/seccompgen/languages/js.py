"""JavaScript and TypeScript: an npm package without dependencies, which has the bytes of programs.

JavaScript installs no filters itself: what it starts takes the bytes, as ``bwrap --seccomp FD``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from seccompgen.core.program import INSTRUCTION_SIZE
from seccompgen.languages import Language
from seccompgen.render.source import source_context, source_sections
from seccompgen.render.templates import render_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables
    from seccompgen.render.source import SourceSection

TARGETS = {
    "x86_64": "x64",
    "i386": "ia32",
    "arm": "arm",
    "aarch64": "arm64",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
    "s390x": "s390x",
    "ppc64le": "ppc64",
    "mips": "mips",
    "mipsel": "mipsel",
}
"""The ABIs that Node.js has names for, by ``process.arch``; Node's ppc64 is little-endian."""


def _write(one: Built, tables: Tables) -> dict[str, bytes]:
    name = one.module_name
    sections = source_sections(one, tables, "JavaScript", "package", TARGETS)
    context = source_context(one, tables, "js", sections)
    context |= {"programs": [(section, list(_rows(section))) for section in sections]}
    title = " ".join(
        (one.policy.description or f"The seccomp filter {name}.").partition("\n\n")[0].split()
    )
    # npm has no name with capitals. Without "private", a slip would publish it.
    package = {
        "name": name.lower(),
        "version": "0.0.0",
        "description": title,
        "private": True,
        "type": "module",
        "exports": {".": {"types": "./index.d.ts", "default": "./index.js"}},
        "types": "./index.d.ts",
        "files": ["index.js", "index.d.ts"],
    }
    return {
        f"{name}/index.js": render_text("filter.js.j2", **context).encode(),
        f"{name}/index.d.ts": render_text("filter.d.ts.j2", **context).encode(),
        f"{name}/package.json": (json.dumps(package, indent=2) + "\n").encode(),
    }


def _rows(section: SourceSection) -> Iterator[tuple[str, str, str]]:
    """Yield the instructions as the heading above each, its bytes, and its text."""
    data = section.program.to_bytes()
    for index, (head, _, text) in enumerate(section.rows):
        each = data[index * INSTRUCTION_SIZE :][:INSTRUCTION_SIZE]
        yield head, ", ".join(f"0x{byte:02x}" for byte in each), text


LANGUAGE = Language(_write, "javascript.md", TARGETS)
