"""``seccompgen run``: run a command under a filter, and report what the filter refuses."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.cli.common import build_options, one_filter, print_notes, running_table
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.io.console import say, write_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn, TextIO

    from seccompgen.core.foreign import Reading
    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Tables
    from seccompgen.render.ring_source import RingValue
    from seccompgen.run.folding import Folding
    from seccompgen.run.launch import Command, Confinement
    from seccompgen.run.process import Process
    from seccompgen.run.refusal import JudgedFilter, Refusal
    from seccompgen.run.startup import Startup

_NO_LISTENER = frozenset({errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP})
"""Errnos of a kernel that grants no listener: one is in force already, or it is too old."""


class _RunCommand(click.Command):
    """A click command whose last words are another command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        separated = "--" in args
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if separated:
                raise
            hint = "If it is COMMAND's, put -- before COMMAND: seccompgen run FILTER -- COMMAND"
            raise click.UsageError(f"{options.no_such_option(error)} {hint}", ctx) from None


@click.command(cls=_RunCommand)
@options.filter_argument("filter_word")
@click.argument("words", metavar="-- COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--trace",
    is_flag=True,
    help="Report each refused call at once on stderr, and why it was refused.",
)
@click.option(
    "--permissive",
    is_flag=True,
    help="Report what would be refused, but let every call through: to try a policy.",
)
@click.option(
    "--report-only",
    is_flag=True,
    help="Refuse nothing: have the kernel log what FILTER would refuse, without a tracer.",
)
@click.option(
    "--startup-marker",
    "after_marker",
    is_flag=True,
    help="Trace from where each program installs its own filter (which is replaced) or makes "
    "the marker call.",
)
@click.option(
    "--by",
    type=click.Choice(["notify", "ptrace"]),
    help="The method of tracing; default: notify, or ptrace if the kernel does not grant that.",
)
@options.output("FILE", "Write what is refused to FILE, not to stderr.")
@click.option(
    "--no-new-privs/--keep-privs",
    default=None,
    help="Whether setuid programs gain nothing; default: as the policy says.",
)
@click.option("--log", is_flag=True, help="Have the kernel log what is refused.")
@reading_options
@options.tables
@options.as_json
def run(
    filter_word: str,
    words: tuple[str, ...],
    by: str | None,
    output: Path | None,
    tables: Tables,
    reading: Reading,
    *,
    trace: bool,
    permissive: bool,
    report_only: bool,
    after_marker: bool,
    no_new_privs: bool | None,
    log: bool,
    as_json: bool,
) -> None:
    """Run COMMAND under FILTER.

    FILTER is a policy file, a stock policy's name, a generated module, a directory that has one
    filter, or a raw .bpf file, for this machine's ABI.

    It ends as COMMAND ends. Without --trace this process itself becomes COMMAND; the filter is in
    force from its first instruction on, and COMMAND is started whether FILTER allows execve or
    not. Exit codes of its own: 127 COMMAND was not found, 126 it cannot be executed, 2 the policy
    is wrong, 3 the kernel does not take the filter.
    """
    from seccompgen.run.launch import become, find_command  # noqa: PLC0415 - keeps --help fast

    if not words:
        raise click.UsageError("name the command to run: seccompgen run FILTER -- COMMAND")
    trace = trace or permissive
    for wanted, option in (
        *((by, "--by"), (output, "--output"), (as_json, "--json")),
        (after_marker, "--startup-marker"),
    ):
        if wanted and not trace:
            raise click.UsageError(f"{option} is for --trace")
    if after_marker and by == "notify":
        raise click.UsageError(
            "--startup-marker takes --by ptrace: notification does not show who started whom"
        )
    if report_only and (trace or log):
        raise click.UsageError("--report-only needs no --trace, --permissive or --log")
    chosen = [(permissive, "--permissive"), (trace, "--trace"), (report_only, "--report-only")]
    without_rings = next((option for is_chosen, option in chosen if is_chosen), "")
    loaded = _load(one_filter(filter_word), tables, reading, without_rings)
    if report_only:
        loaded = _reporting(loaded)
    command = find_command(words)
    settings = _settings(loaded.settings, no_new_privs=no_new_privs, log=log)
    _warn(loaded.judged, command, settings, tables)
    if not trace:
        become(command, loaded.confinement(settings))
    with _reports(output, as_json=as_json) as folding:
        startup = None
        if after_marker:
            from seccompgen.run.startup import Startup  # noqa: PLC0415

            startup = Startup(tables, loaded.settings.flags, _say)
        _trace(loaded, command, settings, tables, folding, by, startup, permissive=permissive)


@dataclass(frozen=True)
class _Loaded:
    """The program of FILTER for the running ABI."""

    name: str
    judged: JudgedFilter
    settings: Settings
    rings: RingValue | None = None

    def confinement(self, settings: Settings) -> Confinement:
        from seccompgen.run.launch import Confinement  # noqa: PLC0415 - keeps --help fast

        judged = self.judged
        return Confinement(self.name, judged.table, judged.instructions, settings, self.rings)


def _load(path: Path, tables: Tables, reading: Reading, without_rings: str) -> _Loaded:
    """Return the filter, which can have no section for rings with the option ``without_rings``."""
    from seccompgen.core.problems import Problem  # noqa: PLC0415
    from seccompgen.core.settings import Settings  # noqa: PLC0415
    from seccompgen.filters.find.loaded_filter import (  # noqa: PLC0415 - keeps --help fast
        compile_filter,
        require_no_rings,
    )
    from seccompgen.run.refusal import JudgedFilter  # noqa: PLC0415
    from seccompgen.verify import meaning  # noqa: PLC0415

    table = running_table(tables)
    abi = table.abi
    loaded = compile_filter(path, tables, abi, build_options(cached=True), reading)
    if without_rings:
        require_no_rings([loaded], f"put in force by run {without_rings}")
    # Calls that other ABIs lack do not matter on this one.
    print_notes(note for note in loaded.notes if note.kind is not Problem.CALL_SKIPPED)
    judged = JudgedFilter(
        Position(str(path)),
        table,
        loaded.programs[abi.name].instructions,
        loaded.policy,
        meaning(loaded.policy, abi, tables) if loaded.policy else None,
    )
    settings = loaded.settings or Settings()
    rings = loaded.rings(table)
    assert rings or not settings.without
    return _Loaded(path.stem, judged, settings, rings)


def _reporting(loaded: _Loaded) -> _Loaded:
    """Return the filter that only reports what this one refuses, and print a note.

    Raises InputError if a supervisor would be asked, OutsideError if the kernel would log nothing.
    """
    from seccomp_filters._questions import require_log  # noqa: PLC0415 - generated: maybe not yet

    from seccompgen.core.report_only import (  # noqa: PLC0415 - keeps --help fast
        REFUSES_NOTHING,
        logging_instructions,
        logging_policy,
    )

    if loaded.judged.policy:
        logging_policy(loaded.judged.policy)
    try:
        require_log("run report-only")
    except OSError as error:
        raise OutsideError(str(error.strerror)) from None
    print_notes([Diagnostic(REFUSES_NOTHING, loaded.judged.file)])
    instructions = logging_instructions(loaded.judged.instructions)
    judged = replace(loaded.judged, instructions=instructions, policy=None, meaning=None)
    return replace(loaded, judged=judged)


def _settings(settings: Settings, *, no_new_privs: bool | None, log: bool) -> Settings:
    """Return the settings for a command, which is one thread and has no listener."""
    from seccompgen.core.settings import FilterFlag  # noqa: PLC0415 - keeps --help fast

    flags = settings.flags & (FilterFlag.LOG | FilterFlag.SPEC_ALLOW)
    if log:
        flags |= FilterFlag.LOG
    settings = settings._replace(flags=flags)
    return settings if no_new_privs is None else settings._replace(no_new_privs=no_new_privs)


def _warn(judged: JudgedFilter, command: Command, settings: Settings, tables: Tables) -> None:
    """Warn, before the command starts, about a filter that may break it."""
    from seccompgen.run.preflight import preflight_warnings  # noqa: PLC0415 - keeps --help fast

    print_notes(
        Diagnostic(f"note: {text}")
        for text in preflight_warnings(judged, command, settings, tables)
    )


@contextlib.contextmanager
def _reports(output: Path | None, *, as_json: bool) -> Iterator[Folding]:
    """Yield a reporter of refusals: the first of a kind at once, repeated ones by their count."""
    from seccompgen.run.folding import Folding  # noqa: PLC0415 - keeps --help fast

    file: TextIO = sys.stderr
    if output:
        # Whoever may write here could have placed the link, and its target would be lost.
        if output.is_symlink() and output.parent != Path("/dev"):
            raise InputError(f"{output}: is a link: name what it leads to, or remove it")
        # Deliberately not atomic: it is read while the command runs.
        file = output.open("w", encoding="utf-8", errors="backslashreplace")

    aborted = False

    def report(refusal: Refusal, count: int) -> None:
        nonlocal aborted
        said = refusal.as_json() | {"times": count}
        text = json.dumps(said) if as_json else f"seccompgen: {refusal.line(count)}"
        try:
            write_lines(file, [text])
        except OSError as error:
            raise OutsideError(
                f"{output or 'stderr'}: {error.strerror}: refusals cannot be reported any more, "
                "so COMMAND is killed"
            ) from None
        if refusal.is_abort and not aborted:
            aborted = True
            _say(
                f"{refusal.who} aborts, and may not send itself SIGABRT: the C library ends it by "
                "SIGSEGV or the like instead, which is no crash. Permit tgkill where sig == SIGABRT"
            )

    try:
        yield Folding(report)
    finally:
        if output:
            with contextlib.suppress(OSError):  # what could not be written was reported
                file.close()


def _trace(
    loaded: _Loaded,
    command: Command,
    settings: Settings,
    tables: Tables,
    folding: Folding,
    by: str | None,
    startup: Startup | None,
    *,
    permissive: bool,
) -> NoReturn:
    from seccompgen.core.model import ActionKind  # noqa: PLC0415 - keeps --help fast
    from seccompgen.core.settings import FilterFlag  # noqa: PLC0415
    from seccompgen.core.text import printable  # noqa: PLC0415
    from seccompgen.run import notify, tracer  # noqa: PLC0415
    from seccompgen.run.launch import FilterError  # noqa: PLC0415
    from seccompgen.run.notify_rewrite import asking  # noqa: PLC0415
    from seccompgen.run.refusal import judge_by  # noqa: PLC0415
    from seccompgen.run.signals import end_like  # noqa: PLC0415

    reported: set[int] = set()

    def listener(process: Process) -> None:
        if process.pid not in reported:
            reported.add(process.pid)
            _say(
                f"{printable(process.name)}[{process.pid}] installs a filter with a listener of "
                "its own and gets EBUSY, since --trace has one: trace it with --by ptrace"
            )

    judging = partial(judge_by, loaded.judged, tables, folding.add, permissive=permissive)
    confined = loaded.confinement(settings)
    flags = settings.flags | FilterFlag.NEW_LISTENER
    if not startup and (by == "notify" or (by is None and notify.available())):
        questions = replace(
            confined,
            instructions=asking(confined.instructions, ActionKind.USER_NOTIF),
            settings=settings._replace(flags=flags),
        )
        try:
            status = notify.supervise(command, questions, judging(listener), _left_behind)
        except FilterError as error:
            if by or error.errno not in _NO_LISTENER:
                raise
        else:
            folding.finish()
            end_like(status)
    judge = judging(lambda _: None)
    status = tracer.supervise(command, confined, judge, tables, _say, _left_behind, startup)
    folding.finish()
    if startup and not startup.passed:
        _say("no process installed a filter or marked where it would, so that nothing was judged")
    end_like(status)


def _left_behind() -> None:
    _say("COMMAND has ended, processes of it go on: watching them; Ctrl-C ends that")


def _say(text: str) -> None:
    say(f"seccompgen: {text}", err=True)
