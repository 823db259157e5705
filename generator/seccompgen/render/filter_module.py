"""Render a policy and its programs as a static filter module, and the runtime beside it."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from seccompgen.model import RET_DATA_MAX, FilterFlag
from seccompgen.objective import DEFAULT_OBJECTIVE
from seccompgen.program import INSTRUCTION_SIZE, RET_K, programs_sha256
from seccompgen.render.listing import listing
from seccompgen.render.templates import BANNER, render_python, render_text, template_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.model import Policy
    from seccompgen.objective import Objective
    from seccompgen.program import Program
    from seccompgen.tables import Tables

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the bytes literal: a label to print above it, the bytes, the instruction."""

    label: str
    literal: str
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    """The program of one ABI, as the template prints it."""

    abi: str
    constant: str
    serves: str
    nr_seccomp: int
    literal: str


@dataclass(frozen=True, slots=True)
class _About:
    """What a module says of itself.

    ``sources`` are (what it is, name, sha256), ``made`` what is made of several; ``redo`` is the
    command that makes it again; ``answers`` tells what the filter does. With ``single_file`` the
    runtime is part of it.
    """

    sources: Sequence[tuple[str, str, str]]
    title: str
    answers: str
    redo: str
    flags: FilterFlag
    no_new_privs: bool
    install_on_import: bool
    objective: Objective = DEFAULT_OBJECTIVE
    made: str = ""
    single_file: bool = False


def render_filter(
    policy: Policy,
    programs: Sequence[Program],
    tables: Tables,
    objective: Objective = DEFAULT_OBJECTIVE,
    *,
    single_file: bool = False,
) -> bytes:
    """Return the source of the module that holds ``programs``, all compiled from ``policy``.

    With ``single_file`` the runtime is part of it, and nothing else is needed beside it.
    """
    policy_file = PurePath(policy.sources[-1][0]).name
    options = _options(objective)
    first_fit = "The first line that a call fits answers it:\n\n"
    about = _About(
        [("policy", PurePath(path).name, sha256) for path, sha256 in policy.sources],
        policy.description or f"Seccomp filter {policy.name}.",
        first_fit + textwrap.indent(_answers(policy, tables), "    "),
        f"seccompgen vendor {policy_file} FILE --single-file{options}"
        if single_file
        else f"seccompgen build {policy_file}{options} -o DIR",
        policy.flags,
        policy.no_new_privs,
        policy.install_on_import,
        objective,
        single_file=single_file,
    )
    return _module(about, programs, tables)


def render_combined(
    made: str,
    title: str,
    parts: Sequence[tuple[str, str, str]],
    programs: Sequence[Program],
    tables: Tables,
    settings: tuple[FilterFlag, bool, bool],
    redo: str,
) -> bytes:
    """Return the source of the module that holds ``programs``, made of several filters.

    ``parts`` are (file name, sha256, description), the oldest first. ``made`` says for programs
    what is made of their answers, ``title`` says it for people. ``settings`` are the flags,
    no_new_privs and install_on_import.
    """
    numbered = [
        textwrap.fill(
            f"{name}: {' '.join(text.split())}" if text else name,
            _WIDTH,
            initial_indent=f"{n}. ",
            subsequent_indent="   ",
        )
        for n, (name, _, text) in enumerate(parts, 1)
    ]
    about = _About(
        [("part  ", name, sha256) for name, sha256, _ in parts],
        title,
        "\n".join(["The filters, the oldest first:\n", *numbered]),
        redo,
        *settings,
        made=made,
    )
    return _module(about, programs, tables)


def _module(about: _About, programs: Sequence[Program], tables: Tables) -> bytes:
    sections = [_section(program, tables) for program in programs]
    objective = about.objective
    blocks = {section.abi: section.literal for section in sections}
    if about.single_file:
        blocks["runtime"] = inlined_runtime()
    return render_python(
        "filter.py.j2",
        blocks,
        sources=about.sources,
        made=about.made,
        goal=_goal(objective),
        profile=objective.profile,
        profile_file=_profile_file(objective),
        redo=about.redo,
        format=_runtime_format(),
        single_file=about.single_file,
        tag=tables.tag,
        tables_sha256=tables.digest_for(
            abi for program in programs for abi in (program.abi, *program.compat)
        ),
        programs_sha256=programs_sha256({p.abi.name: p.to_bytes() for p in programs}),
        title=_docstring_text(about.title),
        answers=_docstring_text(about.answers),
        abis=_wrap(", ".join(program.abi.name for program in programs), "    "),
        settings=_settings(about.flags, no_new_privs=about.no_new_privs),
        sections=sections,
        flags=int(about.flags),
        no_new_privs=about.no_new_privs,
        actions=_actions(programs),
        listener=bool(about.flags & FilterFlag.NEW_LISTENER),
        install_on_import=about.install_on_import,
    )


def render_runtime() -> bytes:
    """Return the runtime as it lies beside generated filters."""
    return _as_it_is("_runtime.py")


def render_notification() -> bytes:
    """Return the supervisor's side of user notification, which lies beside the runtime."""
    return _as_it_is("notification.py")


def _as_it_is(name: str) -> bytes:
    return f"{BANNER}\n{template_source(name)}".encode()


def inlined_runtime() -> str:
    """Return the runtime as it is part of a module: its install() is the module's _install()."""
    source = template_source("_runtime.py")
    tree = ast.parse(source)
    docstring = tree.body[0]
    names = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    assert "install" not in names
    lines = source.splitlines(keepends=True)[docstring.end_lineno :]
    before, definition, after = "".join(lines).partition("\ndef install(")
    assert definition
    return f"# The runtime; the filter is below.\n{before}\ndef _install({after}".rstrip() + "\n"


def _runtime_format() -> int:
    """Return what the runtime says of what modules may call."""
    found = re.search(r"^FORMAT = (\d+)$", template_source("_runtime.py"), re.MULTILINE)
    assert found
    return int(found[1])


def render_package(filters: Mapping[str, str], tag: str) -> bytes:
    """Return the ``__init__.py`` of a package of ``filters``: module name to description."""
    lines = [
        textwrap.fill(f"{name}: {text}", 90, initial_indent="- ", subsequent_indent="  ")
        for name, text in sorted(filters.items())
    ]
    return render_python("package.py.j2", {}, tag=tag, lines=[_docstring_text(x) for x in lines])


def _profile_file(objective: Objective) -> str:
    return PurePath(objective.profile.file).name if objective.profile else ""


def _goal(objective: Objective) -> str:
    """Say what is not as it is by default; the profile has a line of its own."""
    parts = []
    if objective.optimize is not DEFAULT_OBJECTIVE.optimize:
        parts.append(f"optimized for {objective.optimize.value}")
    if objective.bitmap != DEFAULT_OBJECTIVE.bitmap:
        parts.append("for kernels without the bitmap")
    return ", ".join(parts)


def _options(objective: Objective) -> str:
    """Return what asks ``seccompgen build`` for ``objective``, as a shell reads it."""
    options = []
    if objective.optimize is not DEFAULT_OBJECTIVE.optimize:
        options += ["--optimize", objective.optimize.value]
    if not objective.bitmap:
        options.append("--no-bitmap")
    if objective.profile:
        options += ["--profile", _profile_file(objective)]
    return "".join(f" {shlex.quote(option)}" for option in options)


def _docstring_text(text: str) -> str:
    """Escape what would end a docstring, change in it, or not show."""
    text = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def _settings(chosen: FilterFlag, *, no_new_privs: bool) -> str:
    flags = [flag.name.lower() for flag in FilterFlag if flag & chosen and flag.name]
    parts = ["sets no_new_privs" if no_new_privs else "leaves no_new_privs as it is"]
    if flags:
        parts.append(f"flags {', '.join(flags)}")
    return "; ".join(parts)


def _answers(policy: Policy, tables: Tables) -> str:
    """Return the table that tells a reviewer what the filter does, an answer a row."""
    rows: list[tuple[str, str]] = []
    by_list = itertools.groupby(
        policy.rules, key=lambda rule: (rule.origin, rule.condition, rule.action)
    )
    for (_, condition, action), rules in by_list:
        calls = ", ".join(rule.name for rule in rules)
        rows.append((str(action), f"{calls} where {condition}" if condition else calls))
    rows.append((str(policy.default_action), "every other system call"))
    if policy.unknown_action != policy.default_action:
        rows.append((str(policy.unknown_action), f"numbers that Linux {tables.tag} does not name"))
    others = "calls through any other ABI of the kernel"
    if policy.compat_arches:
        compat = ", ".join(abi.name for abi in policy.compat_arches)
        others = f"{others} but {compat}, which the rules hold for as well"
    rows.append((str(policy.bad_arch_action), others))
    left = max(len("answer"), *(len(action) for action, _ in rows))
    right = _WIDTH - left - 2
    rule = f"{'=' * left}  {'=' * 40}"
    lines = [rule, f"{'answer':{left}}  calls", rule]
    for action, calls in rows:
        wrapped = textwrap.wrap(calls, right, break_long_words=False, break_on_hyphens=False)
        lines.append(f"{action:{left}}  {wrapped[0]}")
        lines += [f"{'':{left}}  {line}" for line in wrapped[1:]]
    lines.append(rule)
    return "\n".join(lines)


def _wrap(text: str, indent: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _section(program: Program, tables: Tables) -> _Section:
    abi = program.abi
    data = program.to_bytes()
    chunks = (data[i : i + INSTRUCTION_SIZE] for i in range(0, len(data), INSTRUCTION_SIZE))
    rows = [
        _Row(line.label, "".join(f"\\x{byte:02x}" for byte in chunk), line.text)
        for chunk, line in zip(chunks, listing(program.instructions, abi, tables), strict=True)
    ]
    literal = render_text("program.j2", rows=rows)
    serves = " and ".join(other.name for other in (abi, *program.compat))
    nr_seccomp = tables.tables[abi.name].numbers["seccomp"]
    return _Section(abi.name, f"_{abi.name.upper()}", serves, nr_seccomp, literal)


def _actions(programs: Sequence[Program]) -> tuple[str, ...]:
    """Return the SECCOMP_RET_ACTION_FULL values that the programs can answer, as literals."""
    answers = {
        instruction.k & ~RET_DATA_MAX
        for program in programs
        for instruction in program.instructions
        if instruction.code == RET_K
    }
    return tuple(f"0x{answer:08X}" for answer in sorted(answers))
