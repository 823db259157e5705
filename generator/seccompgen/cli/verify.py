"""``seccompgen verify`` and ``seccompgen equiv``: prove it, or show the call that differs."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seccompgen.cli.common import (
    all_filters,
    json_option,
    means,
    one_filter,
    policy_named,
    progress,
    read_tables,
    tables_option,
)
from seccompgen.cli.reading import reading_options
from seccompgen.core.abis import require_abi
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position, UndecidedError
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.tables import Tables
    from seccompgen.filters.claims import Claim, Verdict
    from seccompgen.filters.kernel_view import KernelView
    from seccompgen.policy.formats.reading import Reading
    from seccompgen.verify import IndistinguishableCalls
    from seccompgen.verify.call import Call

arch_option = click.option(
    "--arch", metavar="ABI", help="Only this ABI; needed for a raw .bpf file."
)
method_option = click.option(
    "--method",
    type=click.Choice(["classes", "z3"]),
    help="Decide in this way only; default: in all that are installed.",
)


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER]...", type=click.Path())
@click.option(
    "--policy",
    "policy_word",
    type=click.Path(),
    metavar="POLICY",
    help="What the FILTERs should be; a generated module's own policy is found by its banner.",
)
@arch_option
@method_option
@click.option(
    "--no-runtime",
    is_flag=True,
    help="Prove modules alone, not that the runtime beside them is seccompgen's own.",
)
@reading_options
@tables_option
@json_option
def verify(
    words: tuple[str, ...],
    policy_word: str | None,
    arch: str | None,
    method: str | None,
    tables_directory: Path | None,
    reading: Reading,
    *,
    no_runtime: bool,
    as_json: bool,
) -> None:
    """Prove that programs do what their policies say, for every call; or show one that differs.

    A FILTER is a policy file or a stock policy's name, which is compiled, and the programs are
    proved; a generated module, of which the bytes count and not the comments, with the runtime
    beside it; a raw .bpf file; or a directory, for all that lie in it. Without any, all modules of
    the project that the current directory lies in.
    """
    from seccompgen.filters.claims import claims_of_policy, claims_of_programs  # noqa: PLC0415
    from seccompgen.filters.locate import FilterForm, kind_of  # noqa: PLC0415 - keeps --help fast

    if policy_word and not words:
        raise InputError("--policy needs a FILTER; a project's modules have policies of their own")
    tables = read_tables(tables_directory)
    only = require_abi(arch) if arch else None
    policy_path = policy_named(policy_word, "--policy") if policy_word else None
    targets = dict.fromkeys(all_filters(words), policy_path) if words else _project_modules()
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
                raise InputError(f"{path}: is a policy itself; --policy is for .py and .bpf files")
            else:
                claims += claims_of_policy(path, tables, only, means(cached=False), reading)
        except InputError as error:
            wrong += error.diagnostics
    if wrong:
        raise InputError(*dict.fromkeys(wrong))
    _report(claims, list(dict.fromkeys(stale)), method, tables, kernel=True, as_json=as_json)


@click.command()
@click.argument("left", metavar="FILTER", type=click.Path())
@click.argument("right", metavar="FILTER", type=click.Path())
@arch_option
@method_option
@reading_options
@tables_option
@json_option
def equiv(
    left: str,
    right: str,
    arch: str | None,
    method: str | None,
    tables_directory: Path | None,
    reading: Reading,
    *,
    as_json: bool,
) -> None:
    """Prove that two FILTERs answer every call alike; or show one that they do not.

    A FILTER is a policy file, a stock policy's name, a generated module, a directory that has one
    filter, or a raw .bpf file, whoever made it.
    """
    from seccompgen.filters.claims import claims_of_two  # noqa: PLC0415 - keeps --help fast

    tables = read_tables(tables_directory)
    only = require_abi(arch) if arch else None
    claims = claims_of_two(one_filter(left), one_filter(right), tables, only, reading)
    _report(claims, [], method, tables, kernel=False, as_json=as_json)


def _project_modules() -> dict[Path, Path | None]:
    """Return the packages that the project's policies are generated to, with these policies."""
    from seccompgen.pipeline.build import module_name  # noqa: PLC0415 - keeps --help fast
    from seccompgen.pipeline.project import find_project  # noqa: PLC0415

    project = find_project(Path.cwd())
    if project is None:
        raise InputError(
            "name a policy or a filter: there is no pyproject.toml with [tool.seccompgen] here"
        )
    return {project.output / module_name(policy.stem): policy for policy in project.policy_files()}


def _report(
    claims: Sequence[Claim],
    stale: Sequence[Diagnostic],
    method: str | None,
    tables: Tables,
    *,
    kernel: bool,
    as_json: bool,
) -> None:
    """Decide ``claims`` and say what came of it.

    With ``kernel`` also if programs tell calls apart that the kernel does not; that is no failure.
    Raises AnswerNo if anything is not as it should be, UndecidedError if that is all that is known.
    """
    from seccompgen.filters.claims import decide  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.kernel_view import kernel_views  # noqa: PLC0415
    from seccompgen.verify import Difference, Method, available_methods  # noqa: PLC0415

    methods = (Method(method),) if method else available_methods()
    with progress("proving") as report:
        verdicts = []
        for verdict in decide(claims, methods, means(cached=False)):
            verdicts.append(verdict)
            if report:
                report(len(verdicts), len(claims))
    programs = [(one.abi, one.sides[1]) for one in claims] if kernel else []
    views: Sequence[KernelView | None]
    views = kernel_views(programs, tables) or [None] * len(claims)
    judged = list(zip(verdicts, views, strict=True))
    if as_json:
        told = [
            _as_json(verdict, tables) | (_view_as_json(view) if kernel else {})
            for verdict, view in judged
        ]
        print_json({"programs": told, "stale": [str(one) for one in stale]})
    else:
        for file, group in groupby(verdicts, key=lambda one: one.claim.file):
            _print(file, list(group), tables)
        _print_views(judged, tables)
    wrong = [
        Diagnostic(one.text(tables), Position(one.claim.file))
        for one in verdicts
        if isinstance(one.result, Difference)
    ]
    unasked = set(available_methods()) - set(methods)
    advice = "; without --method, z3 is asked as well" if Method.Z3 in unasked else ""
    undecided = [
        Diagnostic(f"{one.claim.abi.name}: {one.text(tables)}{advice}", Position(one.claim.file))
        for one in verdicts
        if isinstance(one.result, UndecidedError)
    ]
    if wrong or stale:
        raise AnswerNo(*wrong, *stale, *undecided)
    if undecided:
        raise UndecidedError(*undecided)


def _print(file: str, verdicts: Sequence[Verdict], tables: Tables) -> None:
    from seccompgen.verify import Difference, Proof  # noqa: PLC0415

    proved: dict[tuple[str, bool], list[str]] = {}
    assumed: dict[str, None] = {}
    for one in verdicts:
        if isinstance(one.result, Proof):
            by = " and ".join(method.value for method in one.result.methods)
            assumed |= dict.fromkeys(one.result.assuming)
            proved.setdefault((by, bool(one.result.assuming)), []).append(one.claim.abi.name)
    for (by, assuming), abis in proved.items():
        for_abis = f"{len(abis)} ABIs" if len(abis) > 1 else abis[0]
        policies = verdicts[0].claim.policies
        against = f", against {' and '.join(policies)}" if policies else ""
        text = f"{file}: proved for {for_abis} ({by}){against}"
        if assuming:
            text += ", assuming that the kernel shows the high words of arguments as 0 on "
            text += ", ".join(assumed)
        say(text)
    for one in verdicts:
        if isinstance(one.result, Difference):
            say(f"{file}: refuted for {one.claim.abi.name}")
            _print_difference(one, tables)
        elif not isinstance(one.result, Proof):
            say(f"{file}: undecided for {one.claim.abi.name}")


def _print_difference(verdict: Verdict, tables: Tables) -> None:
    """Print what each side does with the call: the rule that decides, or the path taken."""
    from seccompgen.render import listing  # noqa: PLC0415

    say(f"  {verdict.text(tables)}")
    for side, name in enumerate(verdict.claim.names):
        if origin := verdict.origin(side):
            say(f"  {name}: by {origin.label}, {origin.position}")
        instructions, path = verdict.executed(side)
        if path:
            say(f"  {name}: by these instructions")
            lines = listing(instructions, verdict.claim.abi, tables)
            for at in path:
                say(f"  {at:5}  {lines[at].text}")


def _print_views(judged: Sequence[tuple[Verdict, KernelView | None]], tables: Tables) -> None:
    """Say if programs tell calls apart that the kernel does not: where, and one pair.

    That all do not is said of programs that are proved only.
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
                    {**_call_as_json(call), "ret": ret}
                    for call, ret in ((one.call, one.answer), (one.other, one.other_answer))
                ],
            }
            for one in pairs
        ],
    }


def _call_as_json(call: Call) -> dict[str, Any]:
    return {
        "nr": call.nr,
        "arch": call.arch,
        "instruction_pointer": call.instruction_pointer,
        "args": list(call.args),
    }


def _as_json(verdict: Verdict, tables: Tables) -> dict[str, Any]:
    from seccompgen.verify import Proof  # noqa: PLC0415

    claim, result = verdict.claim, verdict.result
    about: dict[str, Any] = {
        "file": claim.file,
        "abi": claim.abi.name,
        "policies": list(claim.policies),
    }
    if isinstance(result, UndecidedError):
        return about | {"result": "undecided", "text": verdict.text(tables)}
    if isinstance(result, Proof):
        methods = [one.value for one in result.methods]
        return about | {"result": "proved", "methods": methods, "assuming": list(result.assuming)}
    call = result.call
    sides = []
    for side, ret in enumerate((result.left, result.right)):
        origin = verdict.origin(side)
        sides.append(
            {
                "name": claim.names[side],
                "ret": ret,
                "rule": origin and {"label": origin.label, "position": str(origin.position)},
                "path": list(verdict.executed(side)[1]),
            }
        )
    return about | {
        "result": "refuted",
        "text": verdict.text(tables),
        "call": _call_as_json(call),
        "sides": sides,
    }
