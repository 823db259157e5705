"""The description of a filter in its module: its sources and its answers."""

from __future__ import annotations

import itertools
import shlex
import textwrap
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.core.program import programs_sha256
from seccompgen.core.ring_wording import ring_rows
from seccompgen.core.settings import Settings
from seccompgen.core.text import printable
from seccompgen.core.wording import answered, condition_text, numbers_text
from seccompgen.render.ring_source import ring_programs, ring_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.facts import Facts
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.ring import BuiltRings
    from seccompgen.core.ring_wording import RingRow
    from seccompgen.core.settings import FilterFlag
    from seccompgen.core.tables import Tables

_WITHOUT = {"refuse_rings": "refuses them", "fail": "fails"}
WIDTH = 96
"""The longest line of prose in a module, in characters."""


class About(NamedTuple):
    """The description of a filter in its module.

    ``sources`` are (kind, name, sha256). ``made`` describes how several filters are combined;
    ``redo`` is the command that generates the filter again; ``answers`` is a table of its answers.
    With ``single_file`` the runtime is part of the module.
    """

    sources: Sequence[tuple[str, str, str]]
    title: str
    answers: str
    redo: str
    flags: FilterFlag
    no_new_privs: bool
    install_on_import: bool
    report_only: bool = False
    without: str = ""
    objective: Objective = DEFAULT_OBJECTIVE
    made: str = ""
    single_file: bool = False

    @property
    def settings(self) -> str:
        """The way that the filter is installed, in words."""
        settings = Settings(
            self.flags, self.no_new_privs, report_only=self.report_only, without=self.without
        )
        return settings_text(settings)


def settings_text(settings: Settings) -> str:
    """Return, in words, how a filter is installed."""
    flags = settings.flags.names
    leaves = "leaves no_new_privs as it is"
    parts = ["sets no_new_privs" if settings.no_new_privs else leaves]
    if flags:
        parts.append(f"flags {', '.join(flags)}")
    if settings.report_only:
        parts.append("refuses nothing")
    if settings.without:
        parts.append(f"filters rings, else {_WITHOUT[settings.without]}")
    return "; ".join(parts)


def about_policy(
    policy: ResolvedPolicy,
    programs: Sequence[CompiledProgram],
    tables: Tables,
    objective: Objective,
    options: str = "",
    *,
    single_file: bool = False,
    plain: bool = False,
) -> About:
    """Return the description of ``programs``, all compiled from ``policy``.

    ``options`` are the options of ``build`` for this kind of module. If ``plain``, the conditions
    of rules are in numbers.
    """
    file = PurePath(policy.file).name
    policy_file = shlex.quote(file)
    left_out = len(programs) < len(policy.arches)
    arches = "".join(f" --arch {program.abi.name}" for program in programs) if left_out else ""
    options += arches + _options(objective) + _words(policy.reading.options())
    title = policy.description or f"Seccomp filter {policy.name}."
    first_fit = "The first line that a call fits answers it:"
    if policy.enforced:
        options = f" --report-only{options}"
        title = f"REPORT ONLY: refuses nothing, logs what {file} refuses.\n\n{title}"
        first_fit = wrap(
            "Once the policy is enforced, the first line that a call fits answers it. Here the "
            "call is made, and logged unless the line says allow:",
            "",
        )
    answers = _answers(policy.enforced or policy, tables, plain=plain)
    sections = [f"{first_fit}\n\n" + textwrap.indent(answers, "    ")]
    for where, rows in ring_tables(policy, tables.facts):
        text = f"Operations of rings of io_uring{where}. The first line that one fits answers it:"
        sections.append(f"{text}\n\n" + textwrap.indent(_table("operations", rows), "    "))
    return About(
        [("policy", PurePath(path).name, sha256) for path, sha256 in policy.sources],
        title,
        "\n\n".join(sections),
        f"seccompgen vendor {policy_file} FILE --single-file{options}"
        if single_file
        else f"seccompgen build {policy_file}{options} -o DIR",
        *policy.settings,
        objective,
        single_file=single_file,
    )


def banner(
    about: About,
    programs: Sequence[CompiledProgram],
    tables: Tables,
    rings: Sequence[BuiltRings] = (),
) -> dict[str, object]:
    """Return the context of the template ``banner.j2``, except the sign that starts a comment."""
    proved = {program.abi.name: program.to_bytes() for program in programs}
    for program, own in zip(programs, rings, strict=False):
        abi = program.abi.name
        proved |= ring_programs(abi, ring_value(own, tables.tables[abi]))
    return {
        "sources": [(kind, printable(name), sha256) for kind, name, sha256 in about.sources],
        "made": about.made,
        "goal": _goal(about.objective),
        "profile": about.objective.profile,
        "profile_file": printable(_profile_file(about.objective)),
        "redo": printable(about.redo),
        "tag": tables.tag,
        "tables_sha256": tables.digest_for(
            abi for program in programs for abi in (program.abi, *program.compat)
        ),
        "programs_sha256": programs_sha256(proved),
    }


def wrap(text: str, indent: str) -> str:
    """Return ``text`` in lines of at most `WIDTH` characters."""
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def actions(programs: Sequence[CompiledProgram]) -> tuple[int, ...]:
    """Return the SECCOMP_RET_ACTION_FULL values that the programs can answer, ascending."""
    return tuple(sorted({action for program in programs for action in program.actions}))


def _profile_file(objective: Objective) -> str:
    return PurePath(objective.profile.file).name if objective.profile else ""


def _goal(objective: Objective) -> str:
    """Return the choices that are not the defaults; the profile has a line of its own."""
    parts = []
    if objective.optimize is not DEFAULT_OBJECTIVE.optimize:
        parts.append(f"optimized for {objective.optimize.value}")
    if objective.bitmap != DEFAULT_OBJECTIVE.bitmap:
        parts.append("for kernels without the bitmap")
    return ", ".join(parts)


def _options(objective: Objective) -> str:
    """Return the options of ``seccompgen build`` for ``objective``, quoted for a shell."""
    options = []
    if objective.optimize is not DEFAULT_OBJECTIVE.optimize:
        options += ["--optimize", objective.optimize.value]
    if not objective.bitmap:
        options.append("--no-bitmap")
    if objective.profile:
        options += ["--profile", _profile_file(objective)]
    return _words(options)


def _words(options: Iterable[str]) -> str:
    return "".join(f" {shlex.quote(option)}" for option in options)


def _answers(policy: ResolvedPolicy, tables: Tables, *, plain: bool) -> str:
    """Return a table of the filter's answers, one row per answer."""
    rows = list(_rule_rows(policy, tables, plain=plain))
    distinct = policy.unknown_action != policy.default_action
    if distinct and policy.kernel:
        newer = f"other calls that are newer than Linux {policy.kernel}, and numbers of no call"
        rows.append((str(policy.unknown_action), newer))
    rows.append((str(policy.default_action), "every other system call"))
    if distinct and not policy.kernel:
        rows.append((str(policy.unknown_action), f"numbers that Linux {tables.tag} does not name"))
    others = "calls through any other ABI of the kernel"
    if policy.compat_arches:
        compat = ", ".join(abi.name for abi in policy.compat_arches)
        others = f"{others} but {compat}, which the rules hold for as well"
    rows.append((str(policy.bad_arch_action), others))
    return _table("calls", rows)


def ring_tables(
    policy: ResolvedPolicy, facts: Facts
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the answers to operations of rings, and the ABIs that have these, if not all do.

    Nothing for a policy without a section for rings.
    """
    if policy.io_uring is None:
        return
    alike: dict[tuple[RingRow, ...], list[str]] = {}
    for abi in policy.arches:
        rows = tuple(ring_rows(policy.io_uring.rules_for(abi), abi, facts))
        alike.setdefault(rows, []).append(abi.name)
    for rows, abis in alike.items():
        texts = [
            (
                "allow" if one.permits else "deny",
                ", ".join(one.operations) + (f" where {one.condition}" if one.condition else ""),
            )
            for one in rows
        ]
        where = f" on {', '.join(abis)}" if len(alike) > 1 else ""
        yield where, [*texts, ("deny", "every other operation")]


def _table(kind: str, rows: Sequence[tuple[str, str]]) -> str:
    left = max(len("answer"), *(len(action) for action, _ in rows))
    right = WIDTH - left - 2
    rule = f"{'=' * left}  {'=' * 40}"
    lines = [rule, f"{'answer':{left}}  {kind}", rule]
    for action, calls in rows:
        wrapped = textwrap.wrap(calls, right, break_long_words=False, break_on_hyphens=False)
        lines.append(f"{action:{left}}  {wrapped[0]}")
        lines += [f"{'':{left}}  {line}" for line in wrapped[1:]]
    lines.append(rule)
    return "\n".join(lines)


def _rule_rows(policy: ResolvedPolicy, tables: Tables, *, plain: bool) -> Iterator[tuple[str, str]]:
    """Yield each answer of a rule, and the calls that get it; names of one list share a row.

    If ``plain``, arguments and values have no names, as in modules of seccompgen 0.1.
    """
    abis = (*policy.arches, *policy.compat_arches)
    entries = []
    for _, same in itertools.groupby(
        policy.own_rules,
        key=lambda one: (one.origin, one.position, one.name, one.action, one.group),
    ):
        rules = tuple(same)
        condition = numbers_text(rules) if plain else condition_text(rules, abis, tables)
        has = [abi for abi in abis if tables.tables[abi.name].number_of(rules[0].name) is not None]
        on = answered(rules, abis, tables)
        where = f" on {', '.join(abi.name for abi in on)}" if on != has else ""
        entries.append((rules[0], where, condition))
    for (_, action, group, where, condition), row in itertools.groupby(
        entries, key=lambda one: (one[0].origin, one[0].action, one[0].group, *one[1:])
    ):
        calls = ", ".join(rule.name for rule, *_ in row)
        calls = (f"{group}: {calls}" if group else calls) + where
        yield str(action), f"{calls} where {condition}" if condition else calls
