"""``seccompgen record``: run a workload and write the policy that it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from seccompgen.cli import options
from seccompgen.cli.common import policies_named, policy_named, running_table
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.errors import EXIT_NO, InputError, OutsideError, cannot
from seccompgen.io.console import print_json, say
from seccompgen.io.reading import read_start

if TYPE_CHECKING:
    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import Action, ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.logged import LoggedCall
    from seccompgen.run.record.observations import Recording
    from seccompgen.run.record.sections import KindOfUse
    from seccompgen.run.record.session import RecordRequest

_INTERRUPTED = 130
_TESTS_SHOWN = 5
_SEEN_SHOWN = 10


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, metavar="[--] [COMMAND]...", type=click.UNPROCESSED)
@options.output("POLICY", "The policy file to write, in YAML.")
@click.option(
    "--exact",
    is_flag=True,
    help="Allow only the calls that were seen, with any arguments, one per line.",
)
@click.option(
    "--args",
    "constrained",
    is_flag=True,
    help="Like --exact, but only with the socket families, ioctl requests, ... that were seen.",
)
@click.option(
    "--startup-marker",
    "after_marker",
    is_flag=True,
    help="Leave out what a process called only before it installed a filter or made the "
    "marker call.",
)
@click.option(
    "--merge",
    "known_words",
    multiple=True,
    type=click.Path(),
    metavar="POLICY",
    help="Add to this policy; repeatable. What it allows runs at full speed.",
)
@click.option(
    "--audit",
    "log_word",
    type=click.Path(),
    metavar="FILE",
    help="With --merge, and without COMMAND: add calls that audit records in FILE report as "
    "refused; - for standard input.",
)
@click.option(
    "--program",
    "programs",
    multiple=True,
    metavar="NAME",
    help="With --audit: only records of this program, a name or a path; repeatable.",
)
@click.option(
    "--against",
    "against_word",
    type=click.Path(),
    metavar="POLICY",
    help="Report what this policy would refuse, and its rules that no call reached.",
)
@click.option(
    "--skip-unreached",
    is_flag=True,
    help="With --against, omit rules that no call reached.",
)
@click.option(
    "-p",
    "--pid",
    "pids",
    type=int,
    multiple=True,
    metavar="PID",
    help="Record a running process until it ends, or until Ctrl-C; repeatable.",
)
@options.default_action
@reading_options
@options.tables
@options.as_json
def record(
    words: tuple[str, ...],
    pids: tuple[int, ...],
    output: Path | None,
    known_words: tuple[str, ...],
    log_word: str | None,
    programs: tuple[str, ...],
    against_word: str | None,
    default_action: str,
    tables: Tables,
    reading: Reading,
    *,
    exact: bool,
    constrained: bool,
    after_marker: bool,
    skip_unreached: bool,
    as_json: bool,
) -> None:
    """Run COMMAND, or watch a process, and write the policy that it needs, by what its calls give.

    Sees every call of COMMAND and of all that it starts, by ptrace; needs neither root nor strace.
    Exits as COMMAND does. Without COMMAND, only merges policies, and with --audit what the kernel
    recorded that they would refuse. Ctrl-C is for COMMAND, and what
    was seen until it ends is written; a second Ctrl-C kills everything, and nothing is written.
    """
    from seccompgen.run.launch import find_command  # noqa: PLC0415
    from seccompgen.run.process import Process  # noqa: PLC0415
    from seccompgen.run.record.recorder import Interrupted  # noqa: PLC0415
    from seccompgen.run.record.session import RecordRequest, observe  # noqa: PLC0415 - keeps --help fast

    if not output and not against_word:
        late = {"-o", "--output", "--against"}.intersection(words)
        hint = f"; {late.pop()} is COMMAND's here: put it before COMMAND" if late else ""
        raise InputError(
            f"name the policy to write (-o POLICY), or the one to compare with (--against){hint}"
        )
    if log_word and (words or pids or against_word or not (known_words and output)):
        raise InputError(
            "--audit adds calls from audit records to policies: it needs --merge POLICY and "
            "-o POLICY, and takes no command"
        )
    if programs and not log_word:
        raise InputError("--program is for --audit")
    if skip_unreached and not against_word:
        raise InputError("--skip-unreached is for --against")
    if pids and (words or after_marker):
        raise InputError(
            "-p watches a running process: it takes no command and no --startup-marker"
        )
    if not words and not pids and not (known_words and output):
        raise InputError("name a command to run, after --, or policies to merge (--merge)")
    action = _refusal(default_action)
    known_files = policies_named(known_words, "--merge") if known_words else ()
    against_file = policy_named(against_word, "--against") if against_word else None
    if output:
        _require_ours(output, known_files)
    known = tuple(_load(path, tables, reading) for path in known_files)
    defaults = {one.default_action for one in known if not one.default_action.kind.lets_through}
    if len(defaults) == 1 and not _is_said("default_action"):
        (action,) = defaults
    against = _load(against_file, tables, reading) if against_file else None
    exact = exact or constrained or not output
    logged: tuple[LoggedCall, ...] = ()
    if log_word:
        from seccompgen.run.record.logged import calls_to_add  # noqa: PLC0415

        lines, file = _log_lines(log_word)
        logged, notes = calls_to_add(lines, file, programs, known, tables, exact=exact)
        for note in notes:
            say(f"note: {note}", err=True)
        if not logged:
            return
    request = RecordRequest(exact, constrained, after_marker, known, against, logged)
    recording = None
    table = running_table(tables)
    name = words[0] if words else Process(pids[0]).name if pids else ""
    if words or pids:
        if against_file and against and table.abi not in against.arches:
            from seccompgen.pipeline.build import not_for  # noqa: PLC0415 - only where it is not

            raise not_for(str(against_file), against, (table.abi,))
        try:
            recording = observe(pids or find_command(words), request, table, tables)
        except Interrupted:
            say("given up: all that ran is killed, and nothing is written", err=True)
            sys.exit(_INTERRUPTED)
        from seccompgen.run.record import recording_report  # noqa: PLC0415 - templates take long

        for note in recording_report.run_notes(recording, name, tables, writes=bool(output)):
            say(f"note: {note}", err=True)
    kinds: tuple[KindOfUse, ...] = ()
    if output:
        kinds = _write(recording, request, tables, output, Path(name).name, action, known_files)
    found, refused = None, []
    if recording and against:
        from seccompgen.run.record.coverage import coverage  # noqa: PLC0415
        from seccompgen.run.record.recording_report import (  # noqa: PLC0415
            coverage_lines,
            ring_coverage_lines,
        )

        found = coverage(recording, against, table.abi, tables)
        if against.io_uring:
            refused = [*ring_coverage_lines(against.io_uring, recording.rings, tables)]
        if not as_json:
            named = str(against_file)
            calls = coverage_lines(found, named, tables, skip_unreached=skip_unreached)
            for line in (*refused, *calls):
                say(line, err=True)
    code = recording.end.exit_code if recording else 0
    if as_json:
        from seccompgen.run.record.recording_report import as_json as report  # noqa: PLC0415

        rings = {"refused_operations": refused} if refused else {}
        print_json(report(recording, found, kinds, tables) | rings)
    compares = output or (against and against.io_uring)
    incomplete = bool(compares and recording and recording.rings.unseen)
    sys.exit(code or (EXIT_NO if incomplete or refused or (found and found.refused) else 0))


def _is_said(parameter: str) -> bool:
    """Return True if ``parameter`` was set, and not left at its default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not ParameterSource.DEFAULT


def _load(path: Path, tables: Tables, reading: Reading) -> ResolvedPolicy:
    from seccompgen.formats import load_policy  # noqa: PLC0415 - what reads policies takes long

    return load_policy(path, tables, reading)[0]


def _log_lines(word: str) -> tuple[tuple[bytes, ...], str]:
    """Return the lines of a log, and its name for messages."""
    from seccompgen.io.reading import read_lines  # noqa: PLC0415

    file = "standard input" if word == "-" else word
    try:
        return tuple(read_lines(None if word == "-" else Path(word))), file
    except OSError as error:
        raise InputError(cannot("read", file, error)) from None


def _refusal(text: str) -> Action:
    """Return the action that a policy answers to all other calls, which must refuse them."""
    from seccompgen.core.model import Action, ActionKind  # noqa: PLC0415 - keeps --help fast

    try:
        action = Action.parse(text)
    except ValueError as error:
        raise InputError(f"--default-action: {error}") from None
    if action.kind in {ActionKind.ALLOW, ActionKind.LOG, ActionKind.USER_NOTIF}:
        raise InputError(
            f"--default-action: {action} refuses nothing by itself; choose errno(EPERM), "
            f"trap, kill_process, ..."
        )
    return action


def _require_ours(output: Path, known_files: tuple[Path, ...]) -> None:
    """Raise, before anything runs, if an existing policy or the recording would be lost."""
    from seccompgen.policy.modeline import MODELINE  # noqa: PLC0415
    from seccompgen.run.record.session import HEADINGS  # noqa: PLC0415

    if output.suffix not in {".yml", ".yaml"}:
        raise InputError(f"{output}: the policy is written as YAML, so name it .yml or .yaml")
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no directory {output.parent}")
    if output.is_dir():
        raise InputError(f"{output}: is a directory")
    try:
        probe = output.parent / f".{os.urandom(8).hex()}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutsideError(
            f"{output}: nothing can be written in {output.parent}: {error.strerror}"
        ) from None
    if not output.exists() or output in known_files:
        return
    start = read_start(output, 1 << 10).decode(errors="replace")
    headings = tuple(f"# {heading}" for heading in HEADINGS)
    if not start.removeprefix(MODELINE).startswith(headings):
        raise InputError(
            f"{output}: exists, and was not recorded; write elsewhere, or add to it with --merge"
        )


def _write(
    recording: Recording | None,
    request: RecordRequest,
    tables: Tables,
    output: Path,
    command: str,
    action: Action,
    known_files: tuple[Path, ...],
) -> tuple[KindOfUse, ...]:
    """Write the policy, unless it would add nothing; return the kinds that it permits."""
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415
    from seccompgen.policy.modeline import modeline  # noqa: PLC0415
    from seccompgen.run.record.session import adds_nothing, policy_of  # noqa: PLC0415

    made = policy_of(recording, request, tables, command, action)
    if output in known_files and recording and adds_nothing(recording, request, tables):
        say(f"{output} is as it was", err=True)
        return made.kinds
    text = modeline(output.parent) + made.text
    try:
        written = Outputs({output: text.encode()}).write()
    except OutsideError as error:
        # A run may have taken long, or may not be repeatable.
        raise OutsideError(f"{error}; {_kept_elsewhere(text)}") from None
    say(f"wrote {output}" if written else f"{output} is as it was", err=True)
    return made.kinds


def _kept_elsewhere(text: str) -> str:
    """Save a policy in a temporary file, or else print it; return a text that says where."""
    from tempfile import mkstemp  # noqa: PLC0415 - rarely needed

    try:
        descriptor, name = mkstemp(".yml", "recorded-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
    except OSError:
        say(text.removesuffix("\n"))
        return "what was recorded is on standard output"
    return f"what was recorded is in {name}"
