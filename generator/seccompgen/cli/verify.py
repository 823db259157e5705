"""``seccompgen verify``: prove that programs equal their policies, or show a call that differs."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import reading_options
from seccompgen.cli.verdicts import (
    call_as_json,
    decided,
    print_difference,
    print_verdicts,
    require_proved,
    verdict_as_json,
)
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.filters.compare.claims import Claim, Verdict
    from seccompgen.filters.compare.kernel_view import KernelView
    from seccompgen.verify import IndistinguishableCalls


@click.command()
@options.filters_argument("words", "[FILTER]...")
@click.option(
    "--policy",
    "policy_word",
    type=click.Path(),
    metavar="POLICY",
    help="The policy of the FILTERs; a generated module's own is found by its banner.",
)
@options.only_abi()
@options.method
@click.option(
    "--no-runtime",
    is_flag=True,
    help="Prove only the modules, not that their runtime is seccompgen's own.",
)
@reading_options
@options.tables
@options.as_json
def verify(
    words: tuple[str, ...],
    policy_word: str | None,
    only: Abi | None,
    method: str | None,
    tables: Tables,
    reading: Reading,
    *,
    no_runtime: bool,
    as_json: bool,
) -> None:
    """Prove that programs do what their policies say, for every call; or show one that differs.

    A FILTER is a policy file or a stock policy's name, which is compiled, and the programs are
    proved; a generated module, whose bytes count and not its comments, with its runtime; a raw
    .bpf file; or a directory, for all filters in it. Without any, all modules of
    the project that the current directory lies in.
    """
    from seccompgen.filters.compare.module_claims import claims_of_policy, claims_of_programs  # noqa: PLC0415
    from seccompgen.filters.find.locate import FilterForm, kind_of  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.find.related_files import unproved  # noqa: PLC0415 - keeps --help fast

    if policy_word and not words:
        raise InputError("--policy needs a FILTER; a project's modules have policies of their own")
    policy_path = common.policy_named(policy_word, "--policy") if policy_word else None
    targets = (
        dict.fromkeys(common.all_filters(words), policy_path)
        if words
        else _project_modules(reading)
    )
    claims: list[Claim] = []
    stale: list[Diagnostic] = []
    wrong: list[Diagnostic] = []
    for path, its_policy in targets.items():
        try:
            if not words and not path.exists():
                text = "is missing; seccompgen build writes it"
                stale.append(Diagnostic(text, Position(str(path))))
            elif kind_of(path) is not FilterForm.POLICY:
                found, problems = claims_of_programs(
                    path, its_policy, tables, only, reading, with_runtime=not no_runtime
                )
                claims += found
                stale += problems
            elif policy_path:
                raise InputError(f"{path}: is itself a policy; --policy is for .py and .bpf files")
            else:
                how = common.build_options(cached=False)
                claims += claims_of_policy(path, tables, only, how, reading)
        except InputError as error:
            wrong += error.diagnostics
    if not no_runtime:
        for directory in _directories(words, reading):
            stale += unproved(directory, targets.keys())
    if wrong:
        raise InputError(*dict.fromkeys(wrong))
    _report(claims, list(dict.fromkeys(stale)), method, tables, as_json=as_json)


def _directories(words: Sequence[str], reading: Reading) -> list[Path]:
    """Return the directories whose filters are all verified."""
    from seccompgen.pipeline.packages import is_filter_package  # noqa: PLC0415

    if not words:
        return [common.required_project(reading).output]
    paths = [Path(word) for word in words]
    return [path for path in paths if path.is_dir() and not is_filter_package(path)]


def _project_modules(reading: Reading) -> dict[Path, Path | None]:
    """Return the packages that the project's policies are compiled to, with these policies."""
    from seccompgen.pipeline.project_files import packages_of  # noqa: PLC0415 - keeps --help fast

    return dict(packages_of(common.required_project(reading)))


def _report(
    claims: Sequence[Claim],
    stale: Sequence[Diagnostic],
    method: str | None,
    tables: Tables,
    *,
    as_json: bool,
) -> None:
    """Decide ``claims`` and print the verdicts.

    It also reports if programs distinguish calls that the kernel treats alike; that is no failure.
    Raises AnswerNo if anything is wrong, UndecidedError if it cannot be decided.
    """
    from seccompgen.filters.compare.kernel_view import kernel_views  # noqa: PLC0415 - keeps --help fast

    verdicts = decided(claims, method)
    programs = [(one.abi, one.sides[1]) for one in claims]
    views: Sequence[KernelView | None]
    views = kernel_views(programs, tables) or [None] * len(claims)
    judged = list(zip(verdicts, views, strict=True))
    if as_json:
        shown = [verdict_as_json(one, tables) | _view_as_json(view) for one, view in judged]
        print_json({"programs": shown, "stale": [str(one) for one in stale]})
    else:
        print_verdicts(verdicts, tables, print_difference)
        _print_views(judged, tables)
    require_proved(verdicts, stale, method, tables)


def _print_views(judged: Sequence[tuple[Verdict, KernelView | None]], tables: Tables) -> None:
    """Print if programs distinguish calls that the kernel treats alike: where, and one pair.

    That none do is printed only if all programs are proved.
    """
    if judged and all(verdict.proved and view and view.one_answer for verdict, view in judged):
        say("calls that the kernel cannot tell apart get one answer")
        return
    for file, group in groupby(judged, key=lambda one: one[0].claim.file):
        of_file = [view for _, view in group if view]
        for answer, text in (
            (False, "calls that the kernel cannot tell apart get different answers"),
            (None, "it is undecided if calls that the kernel cannot tell apart get one answer"),
        ):
            found = [view for view in of_file if view.one_answer is answer]
            if found:
                say(f"{file}: {text} on {', '.join(view.abi.name for view in found)}")
                say(f"  {next(found[0].texts(tables))}")


def _view_as_json(view: KernelView | None) -> dict[str, Any]:
    pairs: Sequence[IndistinguishableCalls] = ()
    if view and view.one_answer is False:
        assert isinstance(view.pairs, tuple)
        pairs = view.pairs
    return {
        "one_answer": view and view.one_answer,
        "indistinguishable": [
            {
                "argument": one.argument,
                "bit": one.bit,
                "calls": [
                    {**call_as_json(call), "ret": ret}
                    for call, ret in ((one.call, one.answer), (one.other, one.other_answer))
                ],
            }
            for one in pairs
        ],
    }
