"""``seccompgen explain``: what a filter answers to a call, and why."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import candidates, common, options
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.errors import InputError, cannot
from seccompgen.core.problems import Problem
from seccompgen.io.console import print_json, print_json_line, say

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.filters.tell.explainer import Explainer
    from seccompgen.formats.audit.log_lines import UntoldDeath
    from seccompgen.render.audit_report import RefusedCall


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument(
    "words",
    nargs=-1,
    metavar="FILTER [CALL [ARG]...]",
    type=click.UNPROCESSED,
    shell_complete=candidates.filter_and_call,
)
@options.arches("Only calls through this ABI; repeatable.")
@click.option(
    "--audit",
    is_flag=True,
    help="Read refused calls from a log, [FILE] FILTER, and print the rule that refused each.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="With --audit: follow the log, and print each record as it arrives.",
)
@reading_options
@options.tables
@options.as_json
def explain(
    words: tuple[str, ...],
    arches: tuple[Abi, ...],
    tables: Tables,
    reading: Reading,
    *,
    audit: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """Say what FILTER answers to a call: by which rule, and on which way through the program.

    CALL is a name or a number. An ARG is a number in any base, a constant, or several joined by |;
    it is the argument at its position, or the one that it names, as in flags=O_CREAT. For
    arguments that are left out, all answers are listed that there can be. ABIs that answer alike
    are listed once. Without a CALL, the whole filter is: by action, kind of call, condition.

    Instead of a CALL, io_uring and an operation of a ring with its fields may follow, such as
    io_uring CONNECT addr=10.0.0.1 port=5432.

    With --audit, FILE is a log or a core dump, by default standard input. See docs/explain.md.
    """
    from seccompgen.filters.tell.explainer import Explainer  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.tell.ring_explainer import RINGS  # noqa: PLC0415
    from seccompgen.render.explanation import (  # noqa: PLC0415
        explanation_json,
        explanation_text,
    )

    _refuse_options(words)
    log, filter_word, call = _parts(words, audit=audit)
    if follow and not audit:
        raise InputError("--follow needs --audit")
    path = common.one_filter(filter_word)
    explainer = Explainer(path, tables, arches, reading, common.build_options(cached=True))
    common.print_notes(one for one in explainer.loaded.notes if one.kind is Problem.REPORT_ONLY)
    if audit:
        _audit(explainer, log, follow=follow, as_json=as_json)
        return
    if not call:
        _whole(explainer, as_json=as_json)
        return
    if call[0] == RINGS:
        _operation(explainer, call[1:], arches, as_json=as_json)
        return
    explanation = explainer.explain(call, every_run=as_json)
    if as_json:
        print_json(explanation_json(explanation))
    else:
        say(*explanation_text(explanation))


def _parts(words: tuple[str, ...], *, audit: bool) -> tuple[Path | None, str, tuple[str, ...]]:
    """Return the log, the FILTER and the call among ``words``. Raises InputError."""
    if not words:
        raise InputError("name a FILTER: a policy, a module, a .bpf file")
    if not audit:
        return None, words[0], words[1:]
    if len(words) > 2:
        raise InputError("--audit takes a FILE and a FILTER, or a FILTER alone")
    log = None if len(words) == 1 or words[0] == "-" else Path(words[0])
    return log, words[-1], ()


def _whole(explainer: Explainer, *, as_json: bool) -> None:
    from seccompgen.filters.tell.summary import summarize  # noqa: PLC0415 - keeps --help fast
    from seccompgen.render.whole_filter import (  # noqa: PLC0415
        whole_filter_json,
        whole_filter_text,
    )

    tables = explainer.tables
    summary = summarize(explainer.chosen, tables)
    file = str(explainer.loaded.path)
    if as_json:
        print_json(whole_filter_json(summary, file, tables.tag))
    else:
        say(*whole_filter_text(summary, file, tables.tag))


def _operation(
    explainer: Explainer, words: tuple[str, ...], arches: tuple[Abi, ...], *, as_json: bool
) -> None:
    from seccompgen.filters.tell.ring_explainer import explain_operation  # noqa: PLC0415 - keeps --help fast
    from seccompgen.render.ring_explanation import (  # noqa: PLC0415
        operation_explanation_json,
        operation_explanation_text,
    )

    found = explain_operation(explainer.loaded, words, arches, explainer.tables)
    if as_json:
        print_json(operation_explanation_json(str(explainer.loaded.path), found))
    else:
        say(*operation_explanation_text(found))


def _audit(explainer: Explainer, log: Path | None, *, follow: bool, as_json: bool) -> None:
    from seccompgen.filters.tell.audit import Auditor  # noqa: PLC0415 - keeps --help fast
    from seccompgen.formats.audit.core_dump import LOOKED_AT, MAGIC  # noqa: PLC0415
    from seccompgen.io.reading import read_lines, read_start  # noqa: PLC0415
    from seccompgen.render.audit_report import audit_json, audit_text  # noqa: PLC0415

    auditor = Auditor(explainer, str(log) if log else "standard input", follow=follow)
    try:
        if log and log.is_file() and read_start(log, 4) == MAGIC:
            auditor.core(read_start(log, LOOKED_AT))
        else:
            with contextlib.suppress(KeyboardInterrupt):
                for line in read_lines(log):
                    found = auditor.line(line)
                    if follow and found is not None:
                        _print_followed(found, as_json=as_json)
    except OSError as error:
        raise InputError(cannot("read", log or "standard input", error)) from None
    if follow:
        return
    report = auditor.report()
    if as_json:
        print_json(audit_json(report))
    else:
        say(*audit_text(report))


def _print_followed(found: RefusedCall | UntoldDeath | Diagnostic, *, as_json: bool) -> None:
    from seccompgen.formats.audit.log_lines import UntoldDeath  # noqa: PLC0415
    from seccompgen.render.audit_report import (  # noqa: PLC0415
        RefusedCall,
        call_json,
        call_text,
        death_text,
    )

    if isinstance(found, RefusedCall):
        if as_json:
            print_json_line(call_json(found))
        else:
            say(*call_text(found))
        return
    place = found.position
    text = found.text if isinstance(found, UntoldDeath) else found.message
    if as_json:
        print_json_line({"line": place.line if place else 0, "text": text})
    elif isinstance(found, UntoldDeath):
        say(death_text(found.position, text))
    else:
        say(f"{place}: not understood: {text}")


def _refuse_options(words: tuple[str, ...]) -> None:
    """Raise InputError for unknown options; words that begin with a minus sign are numbers."""
    wrong = [word for word in words if word[:1] == "-" and not word[1:2].isdigit() and word != "-"]
    wrong = [word for word in wrong if word.startswith("--") or not word[1:2].isupper()]
    if wrong:
        raise InputError(*(f"no such option: {word}" for word in wrong))
