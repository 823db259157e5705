"""``seccompgen equiv`` and ``subset``: two filters compared; all calls that differ are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seccompgen.cli import options
from seccompgen.cli.common import one_filter, text_width
from seccompgen.cli.reading_options import readings_options
from seccompgen.cli.verdicts import (
    answers_as_json,
    decided,
    print_difference,
    print_verdicts,
    require_proved,
    verdict_as_json,
)
from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import ActionKind
from seccompgen.core.styled import Style, Styled
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.cli.reading_options import Readings
    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.filters.compare.call_classes import CallClass
    from seccompgen.filters.compare.claims import Claim, Verdict

_MOST_CLASSES = 20
"""The most classes of calls that are printed for an ABI; --json has all."""
_PERMITTING = [kind.name.lower() for kind in ActionKind if kind is not ActionKind.KILL_PROCESS]


@click.command()
@options.filter_argument("left")
@options.filter_argument("right")
@options.only_abi()
@options.method
@readings_options
@options.tables
@options.as_json
def equiv(
    left: str,
    right: str,
    only: Abi | None,
    method: str | None,
    tables: Tables,
    readings: Readings,
    *,
    as_json: bool,
) -> None:
    """Prove that two FILTERs answer every call alike; or list all that they do not, in classes.

    A FILTER is a policy file, a stock policy's name, a generated module, a directory that has one
    filter, or a raw .bpf file, whoever made it.
    """
    from seccompgen.filters.compare.claims import claims_of_two  # noqa: PLC0415 - keeps --help fast

    paths = one_filter(left), one_filter(right)
    claims = claims_of_two(*paths, tables, only, readings.of(2))
    _report(claims, method, tables, as_json=as_json)


@click.command()
@options.filter_argument("left")
@options.filter_argument("right", "BASELINE")
@click.option(
    "--up-to",
    type=click.Choice(_PERMITTING),
    default=ActionKind.LOG.name.lower(),
    show_default=True,
    help="The strictest action that counts as permission.",
)
@options.only_abi()
@options.method
@readings_options
@options.tables
@options.as_json
def subset(
    left: str,
    right: str,
    up_to: str,
    only: Abi | None,
    method: str | None,
    tables: Tables,
    readings: Readings,
    *,
    as_json: bool,
) -> None:
    """Prove that BASELINE permits all that FILTER permits; or list the calls that are looser.

    Both are what 'equiv' takes. An answer permits if its action is one of those from allow down to
    --up-to: allow, log, trace, user_notif, errno, trap, kill_thread. Its data, such as an errno,
    does not count. On an ABI that BASELINE has no program for it refuses every call.
    """
    from seccompgen.filters.compare.claims import claims_of_subset  # noqa: PLC0415 - keeps --help fast

    kind = ActionKind[up_to.upper()]
    paths = one_filter(left), one_filter(right)
    claims = claims_of_subset(*paths, kind, tables, only, readings.of(2))
    _report(claims, method, tables, as_json=as_json)


def _report(claims: Sequence[Claim], method: str | None, tables: Tables, *, as_json: bool) -> None:
    """Decide ``claims``, and list all calls for which they are wrong.

    Raises AnswerNo if there are any, UndecidedError if that is not known.
    """
    from seccompgen.filters.compare.claims import without_program  # noqa: PLC0415 - keeps --help fast

    verdicts = decided(claims, method)
    lacking = without_program(claims)
    if as_json:
        programs = [
            verdict_as_json(one, tables) | _classes_as_json(one, tables) for one in verdicts
        ]
        lacks = {"without_program": lacking} if lacking else {}
        print_json({"programs": programs, "stale": [], **lacks})
    else:
        print_verdicts(verdicts, tables, _print_classes)
        if lacking:
            name = claims[0].names[1]
            say(f"{name} has no program for {', '.join(lacking)}: it refuses every call there")
    require_proved(verdicts, [], method, tables)


def _print_classes(verdict: Verdict, tables: Tables) -> None:
    """Print all calls that differ, one line for each class, then the rules of both sides."""
    if verdict.claim.rings:
        _print_operations(verdict, tables)
        return
    try:
        classes = verdict.classes(tables)
    except UndecidedError as error:
        print_difference(verdict, tables)
        say(f"  there may be other calls, which cannot be listed: {error}")
        return
    for one in classes[:_MOST_CLASSES]:
        _print_class(one, verdict, tables)
    if len(classes) > _MOST_CLASSES:
        say(f"  and {len(classes) - _MOST_CLASSES} classes of calls more, which --json lists")


def _print_operations(verdict: Verdict, tables: Tables) -> None:
    from seccompgen.render.filter_diff import operation_lines  # noqa: PLC0415 - keeps --help fast

    for one in verdict.operations(tables):
        say(*operation_lines(one, verdict.claim.names, text_width()))


def _print_class(one: CallClass, verdict: Verdict, tables: Tables) -> None:
    from seccompgen.filters.compare.claims import NO_PROGRAM  # noqa: PLC0415 - keeps --help fast
    from seccompgen.render.call_names import answer_style, answer_texts, call_text  # noqa: PLC0415 - jinja2
    from seccompgen.render.listing import listing  # noqa: PLC0415 - jinja2

    names, abi, call = verdict.claim.names, verdict.claim.abi, one.example
    left, right = answer_texts(one.left, one.right, abi)
    shown = verdict.arguments_looked_at(call)
    example = call_text(call.nr, call.arch, call.args, tables, shown)
    subject = one.subject(tables)
    line = Styled(
        (f"  {subject}", Style.STRONG), f": {names[0]} says ", (left, answer_style(one.left)),
        f", {names[1]} says ", (right, answer_style(one.right)), f"; such as {example}",
    )  # fmt: skip
    say(line)
    for side, (name, origin) in enumerate(zip(names, one.origins, strict=True)):
        if origin:
            say(f"    {name}: by {origin.label}, {origin.position}")
        instructions, path = verdict.executed(side, call)
        if path and instructions is not NO_PROGRAM:
            say(f"    {name}: by instructions {', '.join(map(str, path))}")
            tests = [at for at in path if instructions[at].code & 7 != 0][-2:]
            lines = listing(instructions, abi, tables)
            for at in tests:
                say(f"    {at:5}  {lines[at].text}")


def _classes_as_json(verdict: Verdict, tables: Tables) -> dict[str, Any]:
    from seccompgen.verify import Difference  # noqa: PLC0415 - keeps --help fast

    if not isinstance(verdict.result, Difference):
        return {}
    if verdict.claim.rings:
        from seccompgen.render.filter_diff import operation_json  # noqa: PLC0415

        return {"operations": [operation_json(one) for one in verdict.operations(tables)]}
    try:
        classes = verdict.classes(tables)
    except UndecidedError as error:
        return {"classes": None, "unlisted": str(error)}
    return {"classes": [_class_as_json(one, verdict, tables) for one in classes]}


def _class_as_json(one: CallClass, verdict: Verdict, tables: Tables) -> dict[str, Any]:
    return {
        "text": one.subject(tables),
        "arch": one.arch,
        "calls": one.names(tables),
        "numbers": [list(span) for span in one.numbers],
        "condition": one.condition(tables) or None,
        "instruction_pointers": [list(span) for span in one.pointers],
        **answers_as_json(verdict, one.example, (one.left, one.right), one.origins),
    }
