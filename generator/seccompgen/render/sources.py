"""Render a policy and its programs as source of C, Rust and Go."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import FilterFlag
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.core.text import printable
from seccompgen.render.about import WIDTH, about_policy, actions, banner
from seccompgen.render.listing import listing
from seccompgen.render.targets import TARGETS
from seccompgen.render.templates import BANNERS, render_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables

# kill_thread, trap, errno, trace, allow: as old as filters, and older than the question.
_OLD_ACTIONS = {0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000}
_C_LITERAL = "{{0x{:02x}, 0x{:02x}, 0x{:02x}, 0x{:08x}}},"
_RUST_LITERAL = "SockFilter(0x{:02x}, 0x{:02x}, 0x{:02x}, 0x{:08x}),"
"""An instruction as each language writes it: code, jt, jf, k."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_MISREPORTED = "riscv32"
"""The ABI whose calls a kernel of 64 bits shows to filters as its own (arch/riscv)."""


@dataclass(frozen=True, slots=True)
class _Row:
    """An instruction: what to print above it, its literal, the instruction as text."""

    head: str
    literal: str
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    """The program of one ABI; ``condition`` is how the language tells that it is this one."""

    program: CompiledProgram
    condition: str
    serves: str
    nr_seccomp: int
    rows: tuple[_Row, ...]


def render_c(
    name: str,
    policy: ResolvedPolicy,
    programs: Sequence[CompiledProgram],
    tables: Tables,
    objective: Objective = DEFAULT_OBJECTIVE,
) -> dict[str, bytes]:
    """Return the header for C, from C89 on, and C++ that holds ``programs``, by its name.

    Raises InputError where the policy cannot be said so, as the other two do.
    """
    _require_name(name, policy, "a C header", "")
    sections = _sections(programs, tables, lambda abi: TARGETS[abi].c, _C_LITERAL)
    text = render_text(
        "filter.h.j2",
        **_context("c", ".h", policy, programs, sections, tables, objective),
        name=name,
        guard=name.upper(),
        sections=sections,
        misreported=_misreported(sections),
    )
    return {f"{name}.h": _with_old_comments(text).encode()}


def render_rust(
    name: str,
    policy: ResolvedPolicy,
    programs: Sequence[CompiledProgram],
    tables: Tables,
    objective: Objective = DEFAULT_OBJECTIVE,
) -> dict[str, bytes]:
    """Return the Rust module that holds those of ``programs`` that Rust has targets for."""
    _require_name(name, policy, "a Rust module", _RUST_KEYWORDS)
    sections = _sections(programs, tables, lambda abi: TARGETS[abi].rust, _RUST_LITERAL)
    _require_some(sections, policy, programs, "Rust")
    text = render_text(
        "filter.rs.j2",
        **_context("rust", ".rs", policy, programs, sections, tables, objective),
        name=name,
        sections=sections,
        misreported=_misreported(sections),
        eproto=_same_errno("EPROTO", sections),
    )
    return {f"{name}.rs": text.encode()}


def render_go(
    name: str,
    policy: ResolvedPolicy,
    programs: Sequence[CompiledProgram],
    tables: Tables,
    objective: Objective = DEFAULT_OBJECTIVE,
) -> dict[str, bytes]:
    """Return the Go package that holds those of ``programs`` that Go has ports for.

    One file an architecture, so that a binary has its own program only.
    """
    _require_name(name, policy, "a Go package", _GO_NAMES)
    sections = _sections(
        programs,
        tables,
        lambda abi: TARGETS[abi].go,
        "{{Code: 0x{:02x}, Jt: 0x{:02x}, Jf: 0x{:02x}, K: 0x{:08x}}},",
    )
    _require_some(sections, policy, programs, "Go")
    context = _context("go", ".go", policy, programs, sections, tables, objective)
    flags = policy.flags | FilterFlag.TSYNC
    if flags & FilterFlag.NEW_LISTENER:
        flags |= FilterFlag.TSYNC_ESRCH  # else the kernel could not tell a TID from a descriptor
    context["flags"] = int(flags)
    goarches = [section.condition for section in sections]
    templates = [("install_linux.go", "install.go.j2", sections[0])]
    templates += [(f"program_linux_{s.condition}.go", "program.go.j2", s) for s in sections]
    templates += [("unsupported_linux.go", "unsupported.go.j2", sections[0])]
    return {
        f"{name}/{file}": render_text(
            template, **context, name=name, section=section, goarches=goarches
        ).encode()
        for file, template, section in templates
    }


def _context(
    form: str,
    ending: str,
    policy: ResolvedPolicy,
    compiled: Sequence[CompiledProgram],
    sections: Sequence[_Section],
    tables: Tables,
    objective: Objective,
) -> dict[str, object]:
    """Return what all three templates print of those programs that have a section."""
    about = about_policy(policy, compiled, tables, objective, f" --format {form}")
    programs = [section.program for section in sections]
    wanted = [action for action in actions(programs) if action not in _OLD_ACTIONS]
    abis = textwrap.wrap(", ".join(program.abi.name for program in programs), WIDTH - 4)
    return {
        "comment": "//",
        "banner": BANNERS[ending].replace("/*", "//"),
        **banner(about, programs, tables),
        "about": _comment(f"{about.title.strip()}\n\n{about.answers}"),
        "settings": about.settings,
        "abis": _comment("\n".join(f"    {line}" for line in abis)),
        "actions": [f"0x{action:08X}" for action in wanted],
        "flags": int(about.flags),
        "no_new_privs": about.no_new_privs,
        "report_only": about.report_only,
        "tsync": bool(about.flags & FilterFlag.TSYNC),
        "listener": bool(about.flags & FilterFlag.NEW_LISTENER),
    }


def _comment(text: str) -> str:
    """Return ``text`` as lines of comment; none ends so that C would go on with the next."""
    lines = (printable(line).rstrip() for line in text.split("\n"))
    safe = (f"{line}." if line.endswith(("\\", "??/")) else line for line in lines)
    return "\n".join(f"// {line}".rstrip() for line in safe)


def _with_old_comments(text: str) -> str:
    """Return C whose comments are those of C89, lines of comment that belong together as one.

    Nothing but a comment has two slashes in it.
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
    # A block of one line closes in it.
    return re.sub(r"^( */\*.*)\n *\*/$", r"\1 */", joined, flags=re.MULTILINE)


def _sections(
    programs: Sequence[CompiledProgram],
    tables: Tables,
    condition: Callable[[str], str | None],
    literal: str,
) -> list[_Section]:
    """Return the sections of those programs that there is a ``condition`` for.

    ``literal`` formats code, jt, jf and k.
    """
    return [
        _Section(
            program,
            text,
            " and ".join(other.name for other in (program.abi, *program.compat)),
            tables.tables[program.abi.name].numbers["seccomp"],
            _rows(program, tables, literal),
        )
        for program in programs
        if (text := condition(program.abi.name))
    ]


def _rows(program: CompiledProgram, tables: Tables, literal: str) -> tuple[_Row, ...]:
    lines = listing(program.instructions, program.abi, tables, program.origins)
    return tuple(
        _Row(line.head, literal.format(i.code, i.jt, i.jf, i.k), line.text)
        for i, line in zip(program.instructions, lines, strict=True)
    )


def _require_name(name: str, policy: ResolvedPolicy, what: str, reserved: str) -> None:
    """Raise InputError if the policy cannot be ``what``, which would have that name."""
    problems = []
    file = Position(policy.sources[-1][0])
    if not _NAME.fullmatch(name) or name in reserved.split():
        problems.append(Diagnostic(f"{name!r} cannot name {what}; rename the file", file))
    if policy.install_on_import:
        text = f"install_on_import is for Python modules: {what} is not run when it is included"
        problems.append(Diagnostic(f"{text}; take it out, and call install", file))
    if problems:
        raise InputError(*problems)


def _require_some(
    sections: Sequence[_Section],
    policy: ResolvedPolicy,
    programs: Sequence[CompiledProgram],
    language: str,
) -> None:
    if not sections:
        abis = ", ".join(program.abi.name for program in programs)
        text = f"{language} has no Linux target for {abis}; name another ABI in arches"
        raise InputError(Diagnostic(text, policy.arches_origin.position))


def _misreported(sections: Sequence[_Section]) -> str:
    """Return the condition of the ABI that some kernels show as another, if it is there."""
    return next((one.condition for one in sections if one.program.abi.name == _MISREPORTED), "")


def _same_errno(name: str, sections: Sequence[_Section]) -> int:
    """Return the number of an errno that is the same on all of these ABIs."""
    (number,) = {errno_number(name, section.program.abi) for section in sections}
    return number


_RUST_KEYWORDS = (
    "abstract as async await become box break const continue crate do dyn else enum extern false "
    "final fn for gen if impl in let loop macro match mod move mut override priv pub ref return "
    "Self self static struct super trait true try type typeof unsafe unsized use virtual where "
    "while yield"
)
# Beside keywords, what Go or its command takes for something else.
_GO_NAMES = (
    "break case chan const continue default defer else fallthrough for func go goto if import "
    "interface map package range return select struct switch type var documentation init "
    "internal main testdata vendor"
)
