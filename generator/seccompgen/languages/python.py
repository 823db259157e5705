"""Python: a package with one module per ABI, or one file; and packages of filters and of tables.

The runtime is a module next to the packages, or part of the one file.
"""

from __future__ import annotations

import ast
import re
import textwrap
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ALIASES
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.core.program import INSTRUCTION_SIZE
from seccompgen.core.settings import FilterFlag
from seccompgen.core.text import printable
from seccompgen.languages import Language
from seccompgen.render.about import WIDTH, About, about_policy, actions, banner, wrap
from seccompgen.render.listing import listing
from seccompgen.render.ring_source import ring_source
from seccompgen.render.source import serves_text
from seccompgen.render.templates import (
    BANNER,
    IO_URING_NAME,
    RUNTIME_NAME,
    RUNTIME_NAMES,
    render_python,
    render_text,
    template_source,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.ring import BuiltRings
    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Table, Tables


class ModuleForm(Enum):
    """The locations of programs and runtime, as install() sees them."""

    PACKAGE = "package"
    """Sibling modules hold the programs; install() imports one. The package above has the
    runtime."""
    SINGLE_FILE = "single file"
    """Everything is in one file."""
    MODULE = "module"
    """One file holds the programs, and the runtime is next to it. Still read, but no longer
    written."""
    FORMER_PACKAGE = "former package"
    """Like PACKAGE, but it imports the name ``_runtime`` of the package above. Read only."""


class _ProgramSection(NamedTuple):
    """The program of one ABI, as the templates print it."""

    abi: str
    serves: str
    nr_seccomp: int
    literal: str
    rings: str = ""


def program_module(abi: str) -> str:
    """Return the name of the module that holds a package's program for ``abi``."""
    return f"_{abi}"


def render_single_file(one: Built, tables: Tables) -> bytes:
    """Return a module equivalent to the package, with the runtime as a part of it."""
    about = about_policy(one.policy, one.programs, tables, one.objective, single_file=True)
    sections = _sections(one.programs, tables, one.rings)
    return _main_module(about, one.programs, sections, tables, ModuleForm.SINGLE_FILE, one.rings)


def policy_docstrings(
    policy: ResolvedPolicy, abis: Sequence[Abi], tables: Tables
) -> tuple[str, ...]:
    """Return the docstrings of a module that holds programs for ``abis``, made from ``policy``.

    The first is the one that is written; the second uses numbers, as modules of seccompgen 0.1 do.
    """
    abouts = (
        about_policy(policy, (), tables, DEFAULT_OBJECTIVE, plain=plain) for plain in (False, True)
    )
    return tuple(_docstring(about, abis) for about in abouts)


def render_combined(
    made: str,
    title: str,
    parts: Sequence[tuple[str, str, str]],
    programs: Sequence[CompiledProgram],
    tables: Tables,
    settings: Settings,
    redo: str,
) -> dict[str, bytes]:
    """Return the package that holds ``programs``, made of several filters, by file names.

    ``parts`` are (file name, sha256, description), the oldest first. ``made`` describes for
    programs how they are combined, and ``title`` for people.
    """
    return _package(_about_combined(made, title, parts, settings, redo), programs, tables)


def combined_docstring(
    title: str,
    parts: Sequence[tuple[str, str, str]],
    settings: Settings,
    abis: Sequence[Abi],
) -> str:
    """Return the docstring of a module that holds programs for ``abis``, made of ``parts``."""
    return _docstring(_about_combined("", title, parts, settings, ""), abis)


def _about_combined(
    made: str,
    title: str,
    parts: Sequence[tuple[str, str, str]],
    settings: Settings,
    redo: str,
) -> About:
    numbered = [
        textwrap.fill(
            f"{name}: {' '.join(text.split())}" if text else name,
            WIDTH,
            initial_indent=f"{n}. ",
            subsequent_indent="   ",
        )
        for n, (name, _, text) in enumerate(parts, 1)
    ]
    return About(
        [("part  ", name, sha256) for name, sha256, _ in parts],
        title,
        "\n".join(["The filters, the oldest first:\n", *numbered]),
        redo,
        *settings,
        made=made,
    )


def _package(
    about: About,
    programs: Sequence[CompiledProgram],
    tables: Tables,
    rings: Sequence[BuiltRings] = (),
) -> dict[str, bytes]:
    sections = _sections(programs, tables, rings)
    files = {
        "__init__.py": _main_module(about, programs, sections, tables, ModuleForm.PACKAGE, rings)
    }
    for section in sections:
        blocks = {"program": section.literal}
        if section.rings:
            blocks["rings"] = section.rings
        source = render_python("filter_program.py.j2", blocks, section=section)
        files[f"{program_module(section.abi)}.py"] = source
    return files


def _sections(
    programs: Sequence[CompiledProgram], tables: Tables, rings: Sequence[BuiltRings]
) -> list[_ProgramSection]:
    sections = [_section(program, tables) for program in programs]
    for i, own in enumerate(rings):
        table = tables.tables[sections[i].abi]
        sections[i] = sections[i]._replace(rings=ring_source(own, table, tables))
    return sections


def _main_module(
    about: About,
    programs: Sequence[CompiledProgram],
    sections: Sequence[_ProgramSection],
    tables: Tables,
    form: ModuleForm,
    rings: Sequence[BuiltRings] = (),
) -> bytes:
    """Return the module that contains install()."""
    kind, name, _ = about.sources[0]
    if ENCODING.match(f"#   {kind}  {printable(name)}"):
        text = "Python would take its name for an encoding (PEP 263): rename the file"
        raise InputError(Diagnostic(text, Position(name)))
    blocks = {}
    if form is ModuleForm.SINGLE_FILE:
        blocks = {section.abi: section.literal for section in sections}
        blocks |= {f"{section.abi} rings": section.rings for section in sections if section.rings}
        blocks["runtime"] = inlined_runtime(rings=bool(rings))
    return render_python(
        "filter.py.j2",
        blocks,
        comment="#",
        **banner(about, programs, tables, rings),
        **_context(
            about,
            [program.abi.name for program in programs],
            sections,
            actions([*programs, *(one.other for one in rings if one.other)]),
            form,
        ),
    )


ENCODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")
"""The declaration of an encoding (PEP 263), in the first two lines; our second names a source."""


def _context(
    about: About,
    abis: Sequence[str],
    sections: Sequence[_ProgramSection],
    answers: Iterable[int],
    form: ModuleForm,
) -> dict[str, object]:
    """Return the context of the template, except the banner."""
    return {
        "format": _runtime_format(),
        "form": form.name,
        "title": _docstring_text(about.title),
        "answers": _docstring_text(about.answers),
        "abis": wrap(", ".join(abis), "    "),
        "settings": about.settings,
        "sections": sections,
        "flags": int(about.flags),
        "no_new_privs": about.no_new_privs,
        "actions": [f"0x{action:08X}" for action in answers],
        "listener": bool(about.flags & FilterFlag.NEW_LISTENER),
        "install_on_import": about.install_on_import,
        "report_only": about.report_only,
        "without": about.without,
    }


def module_tree(
    programs: Mapping[str, tuple[int, bytes]],
    settings: Settings,
    answers: Iterable[int],
    form: ModuleForm,
    rings: Mapping[str, object] = {},
) -> ast.Module:
    """Return the syntax tree of the module that contains install(), without its docstring.

    ``programs`` maps ABI names to the number of seccomp(2) and the program's bytes. ``answers`` are
    the actions that the module asks the kernel for. ``rings`` are the values for rings by ABI.
    """
    sections = [_ProgramSection(abi, "", nr, "") for abi, (nr, _) in programs.items()]
    blocks = {}
    if form is not ModuleForm.PACKAGE:
        blocks = {abi: repr(data) for abi, (_, data) in programs.items()}
    if form is ModuleForm.SINGLE_FILE:
        blocks |= {f"{abi} rings": repr(value) for abi, value in rings.items()}
        blocks["runtime"] = inlined_runtime(rings=bool(settings.without))
    about = About([], "", "", "", *settings)
    return ast.parse(_bare(_context(about, list(programs), sections, answers, form), blocks))


def program_tree(abi: str, nr_seccomp: int, data: bytes, rings: object = None) -> ast.Module:
    """Return the syntax tree of the module that holds a package's program for ``abi``."""
    section = _ProgramSection(abi, "", nr_seccomp, "", repr(rings) if rings else "")
    text = render_text("filter_program.py.j2", banner="", section=section)
    return ast.parse(text.replace('"@program@"', repr(data)).replace('"@rings@"', section.rings))


def _docstring(about: About, abis: Sequence[Abi]) -> str:
    context = _context(about, [abi.name for abi in abis], (), (0,), ModuleForm.MODULE)
    docstring = ast.get_docstring(ast.parse(_bare(context, {})))
    assert docstring
    return docstring


def _bare(context: Mapping[str, object], blocks: Mapping[str, str]) -> str:
    """Return the source of a module without its comments."""
    nothing = dict.fromkeys(("banner", "made", "goal", "tag", "tables_sha256", "redo"), "")
    text = render_text(
        "filter.py.j2",
        **nothing,
        comment="#",
        sources=(),
        profile=None,
        programs_sha256="",
        **context,
    )
    for name, block in blocks.items():
        text = text.replace(f'"@{name}@"', block)
    return text


def render_runtime(name: str) -> bytes:
    """Return a file of the runtime, or `NOTIFICATION_NAME`, with its banner."""
    return f"# {BANNER}\n{template_source(name)}".encode()


def inlined_runtime(*, rings: bool = False) -> str:
    """Return the runtime as part of a module; its install() becomes _install().

    With ``rings`` that of filters of rings follows, whose install() becomes _install_rings().
    """
    parts = [_renamed("\n\n".join(map(_without_siblings, RUNTIME_NAMES)), "_install")]
    if rings:
        parts.append(_renamed(_without_siblings(IO_URING_NAME), "_install_rings"))
    return "# The runtime; the filter is below.\n" + "\n\n".join(parts).rstrip() + "\n"


def _renamed(source: str, name: str) -> str:
    """Return ``source`` with another ``name`` for install(), which it does not call itself."""
    names = (node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    assert "install" not in names
    before, definition, after = source.partition("\ndef install(")
    assert definition
    return f"{before}\ndef {name}({after}"


def _without_siblings(name: str) -> str:
    """Return a file of the runtime for a module that contains all of them.

    The result has no docstring, and no imports at the top except those of the first file, which are
    the others' too. Imports of one file by another inside functions are replaced by ``pass``.
    """
    source = template_source(name)
    lines = source.splitlines()
    for node in ast.walk(tree := ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level and node.col_offset:
            lines[node.lineno - 1] = f"{' ' * node.col_offset}pass  # it is below"
    imports = (ast.Import, ast.ImportFrom) if name != RUNTIME_NAME else ()
    start = next(node.lineno for node in tree.body[1:] if not isinstance(node, imports))
    while lines[start - 2].startswith("#"):
        start -= 1
    return "\n".join(lines[start - 1 :]) + "\n"


def _runtime_format() -> int:
    """Return the version of the runtime's interface."""
    found = re.search(r"^FORMAT = (\d+)$", template_source(RUNTIME_NAME), re.MULTILINE)
    assert found
    return int(found[1])


def render_package(filters: Mapping[str, str], tag: str, *, tables: bool) -> bytes:
    """Return the ``__init__.py`` of a package of ``filters``: name to description.

    With ``tables``, the package contains the tables of the ABIs, too.
    """
    lines = [
        textwrap.fill(f"{name}: {text}", 90, initial_indent="- ", subsequent_indent="  ")
        for name, text in sorted(filters.items())
    ]
    lines = [_docstring_text(line) for line in lines]
    return render_python("package.py.j2", {}, tag=tag, lines=lines, tables=tables)


def render_table(table: Table) -> bytes:
    """Return the source of the module for ``table``."""
    numbers = [(f'"{name}"', nr) for name, nr in table.numbers.items()]
    names = [(nr, f'"{name}"') for nr, name in sorted(table.names.items())]
    return render_python(
        "table.py.j2",
        {
            "numbers": render_text("mapping.j2", items=numbers),
            "names": render_text("mapping.j2", items=names),
        },
        table=table,
        abi=table.abi,
        audit_arch=f"0x{table.abi.audit_arch:08X}",
    )


def render_tables_package(tables: Tables) -> bytes:
    """Return the ``__init__.py`` of the package of tables, which finds tables by any ABI name."""
    aliases = {name: abi for name, abi in sorted(ALIASES.items()) if abi in tables.tables}
    return render_python(
        "tables.py.j2", {}, tag=tables.tag, abis=list(tables.tables), aliases=aliases
    )


def _docstring_text(text: str) -> str:
    """Escape text that would end a docstring, change in it, or not show; format it like black."""
    text = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    text = "\n".join(printable(line).rstrip() for line in text.split("\n"))
    return f" {text}" if text.startswith('"') else text


def _section(program: CompiledProgram, tables: Tables) -> _ProgramSection:
    abi = program.abi
    nr_seccomp = tables.tables[abi.name].numbers["seccomp"]
    return _ProgramSection(abi.name, serves_text(program), nr_seccomp, _literal(program, tables))


def _literal(program: CompiledProgram, tables: Tables) -> str:
    """Return the literal of a program's bytes, one instruction per line, with the listing."""
    data = program.to_bytes()
    chunks = (data[i : i + INSTRUCTION_SIZE] for i in range(0, len(data), INSTRUCTION_SIZE))
    lines = listing(program.instructions, program.abi, tables, program.origins)
    rows = ["("]
    for chunk, line in zip(chunks, lines, strict=True):
        if line.head:
            rows.append(f"    # {line.head}")
        escaped = "".join(f"\\x{byte:02x}" for byte in chunk)
        rows.append(f'    b"{escaped}"  # {line.text}')
    return "\n".join([*rows, ")"])


def _write(one: Built, tables: Tables) -> dict[str, bytes]:
    about = about_policy(one.policy, one.programs, tables, one.objective)
    package = _package(about, one.programs, tables, one.rings)
    return {f"{one.module_name}/{name}": source for name, source in package.items()}


LANGUAGE = Language(_write, "runtime.md", filters_rings=True)
