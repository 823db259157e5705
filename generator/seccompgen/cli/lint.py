"""``seccompgen lint``: say what a filter's author probably did not mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import based_reading_options
from seccompgen.core.errors import EXIT_NO, InputError, did_you_mean, for_each
from seccompgen.core.problems import Problem
from seccompgen.core.published import documentation
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding, LintReport

PAGE = documentation("docs/lint.md")
"""The address of the page that has a section for each code, or ""."""


@click.command()
@options.filters_argument("words", "[FILTER]...")
@click.option(
    "--select",
    multiple=True,
    metavar="CODE",
    help="Report only findings with this code; repeatable.",
)
@click.option(
    "--ignore", multiple=True, metavar="CODE", help="Leave out findings with this code; repeatable."
)
@click.option(
    "--shields",
    "holes",
    is_flag=True,
    help="Report known holes that FILTERs leave open, too: docs/shields.md lists them by CVE.",
)
@options.form(
    ["text", "json", "sarif", "github", "gitlab"],
    "For people, for programs, for code hosts; as annotations in a workflow of GitHub, or as "
    "a Code Quality report for GitLab.",
)
@options.only_abi()
@based_reading_options
@options.tables
@options.as_json
@click.pass_context
def lint(
    ctx: click.Context,
    words: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    form: str,
    only: Abi | None,
    tables: Tables,
    reading: Reading,
    from_base: str | None,
    to_base: str | None,
    *,
    holes: bool,
    as_json: bool,
) -> None:
    """Find probable mistakes in FILTERs, each with a call that shows it.

    A FILTER is a policy file, a stock policy's name, a generated module, a raw .bpf file, whoever
    made it, or a directory, for all filters in it. Without any, the policies of the project that
    the current directory lies in. docs/lint.md has a section for each code.
    In a policy, "# lint: ignore[code]: reason" silences a finding on its line or the next one.
    With --from and --to, what newer libraries and kernels would be refused is looked at as well:
    a BASE is debian:13, glibc:2.41, linux:6.12 or newest. docs/drift.md has more of that.
    Exits with 1 if there are errors or warnings; notes do not count.
    """
    from seccompgen.filters.tell.linting import lint_filter  # noqa: PLC0415 - keeps --help fast
    from seccompgen.lint.upgrade import NEWEST, upgrade_of  # noqa: PLC0415

    upgrade = upgrade_of(from_base, to_base or NEWEST) if from_base or to_base else None
    wanted, unwanted = _codes(select, "--select"), _codes(ignore, "--ignore")
    paths = common.all_filters(words) if words else common.project_policies(reading)
    reports = for_each(
        lambda path: lint_filter(path, tables, only, reading, upgrade, holes=holes), paths
    )
    shown = [replace(one, findings=_chosen(one.findings, wanted, unwanted)) for one in reports]
    common.print_notes(note for one in reports for note in one.notes)
    _print(shown, "json" if as_json else form, tables, sum(len(one.silenced) for one in reports))
    if any(one.severity.rank < 2 for each in shown for one in each.findings):
        ctx.exit(EXIT_NO)


def _codes(words: Iterable[str], option: str) -> set[str]:
    """Return the codes of an option; one may name several. Raises InputError."""
    from seccompgen.lint.registry import codes as rule_codes  # noqa: PLC0415

    codes = {code.strip() for word in words for code in word.split(",")}
    known = rule_codes()
    unknown = [
        f"{option}: unknown code {code!r}{did_you_mean(code, known)}"
        for code in sorted(codes - known)
    ]
    if unknown:
        raise InputError(*unknown, kind=Problem.WRONG_VALUE)
    return codes


def _chosen(
    findings: Iterable[Finding], wanted: set[str], unwanted: set[str]
) -> tuple[Finding, ...]:
    return tuple(
        one
        for one in findings
        if one.kind.value not in unwanted and (not wanted or one.kind.value in wanted)
    )


def _print(shown: Sequence[LintReport], form: str, tables: Tables, silenced: int) -> None:
    from seccompgen.render.findings import (  # noqa: PLC0415
        finding_json,
        findings_text,
        github_annotations,
    )

    if form == "json":
        found = [finding_json(one, each, tables) for each in shown for one in each.findings]
        print_json({"findings": found, "silenced": silenced})
    elif form == "sarif":
        from seccompgen import __version__  # noqa: PLC0415
        from seccompgen.render.sarif import sarif  # noqa: PLC0415

        print_json(sarif(shown, tables, __version__, PAGE))
    elif form == "gitlab":
        from seccompgen.render.code_quality import code_quality  # noqa: PLC0415

        print_json(code_quality(shown))
    elif form == "github":
        for each in shown:
            for line in github_annotations(each):
                say(line)
    else:
        for each in shown:
            for line in findings_text(each, tables):
                say(line)
        _print_summary(shown, silenced)


def _print_summary(shown: Sequence[LintReport], silenced: int) -> None:
    counts = {"error": 0, "warning": 0, "note": 0}
    for each in shown:
        for one in each.findings:
            counts[one.severity.value] += 1
    parts = [f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n]
    ignored = f", {silenced} ignored" if silenced else ""
    say(f"{', '.join(parts) or 'no findings'}{ignored}")
