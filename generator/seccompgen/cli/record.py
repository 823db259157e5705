"""``seccompgen record``: run a workload and write the policy that it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from seccompgen.cli import options
from seccompgen.cli.common import (
    policies_named,
    policy_named,
)
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.errors import EXIT_NO, InputError, OutsideError, cannot
from seccompgen.core.text import many
from seccompgen.io.console import print_json, say
from seccompgen.io.reading import read_start

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import Action, ResolvedPolicy
    from seccompgen.core.tables import Table, Tables
    from seccompgen.run.record.coverage import Coverage, RefusedCall
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
    help="Allow the calls that were seen and no others, one a line: what differs is refused.",
)
@click.option(
    "--args",
    "constrained",
    is_flag=True,
    help="As --exact, and only the socket families, ioctl requests, ... that were seen.",
)
@click.option(
    "--startup-marker",
    "after_marker",
    is_flag=True,
    help="Leave out what a process called only before it installed a filter, or did as if.",
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
    help="With --merge, and without COMMAND: add what audit records in FILE say that the policies "
    "lack; - for standard input.",
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
    help="Say what this policy would refuse, and which of its rules nothing reached.",
)
@click.option(
    "--skip-unreached",
    is_flag=True,
    help="With --against, say nothing of the rules that nothing reached.",
)
@click.option(
    "-p",
    "--pid",
    "pids",
    type=int,
    multiple=True,
    metavar="PID",
    help="Record a process that runs already, until it ends or Ctrl-C; repeatable.",
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
            f"say where the policy goes (-o POLICY), or what to compare (--against){hint}"
        )
    if log_word and (words or pids or against_word or not (known_words and output)):
        raise InputError(
            "--audit adds to policies what records say that they lack: say --merge POLICY and "
            "-o POLICY, and no command"
        )
    if programs and not log_word:
        raise InputError("--program is for --audit")
    if skip_unreached and not against_word:
        raise InputError("--skip-unreached is for --against")
    if pids and (words or after_marker):
        raise InputError(
            "-p watches what runs already: it takes no command, and leaves out no startup"
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
    logged = _read_log(log_word, programs, known, tables, exact=exact) if log_word else ()
    if log_word and not logged:
        return
    request = RecordRequest(exact, constrained, after_marker, known, against, logged)
    recording = None
    table = _own_table(tables)
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
        _print_run(recording, name, tables, writes=bool(output))
    kinds: tuple[KindOfUse, ...] = ()
    if output:
        kinds = _write(recording, request, tables, output, Path(name).name, action, known_files)
    found = None
    if recording and against:
        from seccompgen.run.record.coverage import coverage  # noqa: PLC0415

        found = coverage(recording, against, table.abi, tables)
        if not as_json:
            _print_coverage(found, str(against_file), tables, skip_unreached=skip_unreached)
    code = recording.end.exit_code if recording else 0
    if as_json:
        print_json(_as_json(recording, found, kinds, tables))
    sys.exit(code or (EXIT_NO if found and found.refused else 0))


def _is_said(parameter: str) -> bool:
    """Return True if the command line has an option, and does not leave it at its default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not ParameterSource.DEFAULT


def _load(path: Path, tables: Tables, reading: Reading) -> ResolvedPolicy:
    from seccompgen.formats import load_policy  # noqa: PLC0415 - what reads policies takes long

    return load_policy(path, tables, reading)[0]


def _read_log(
    word: str,
    programs: tuple[str, ...],
    known: tuple[ResolvedPolicy, ...],
    tables: Tables,
    *,
    exact: bool,
) -> tuple[LoggedCall, ...]:
    """Return the calls that records of a log say the policies lack; say on stderr what is in it.

    Raises InputError where it cannot be read, and if records of several programs lack something.
    """
    from seccompgen.core.text import some  # noqa: PLC0415
    from seccompgen.io.reading import read_lines  # noqa: PLC0415
    from seccompgen.run.record import logged  # noqa: PLC0415

    file = "standard input" if word == "-" else word
    try:
        log = logged.read_log(read_lines(None if word == "-" else Path(word)), file, tables)
    except OSError as error:
        raise InputError(cannot("read", file, error)) from None
    for one in log.unread:
        _note(f"not understood: {one}")
    if log.lost:
        _note(f"{many(log.lost, 'record')} more were lost, as {file} says itself")
    missing = logged.Missing(known, tables)
    asking = [one for one in log.records if missing.asks(one)]
    chosen = logged.of_programs(asking, programs, file)
    served = {abi for one in known for abi in (*one.arches, *one.compat_arches)}
    others = [one for one in chosen if one.abi not in served or not one.name]
    for abi, nr, name in dict.fromkeys((one.abi.name, one.nr, one.name) for one in others):
        _note(f"{name or f'number {nr}'} on {abi} is not added: the policy is not for it")
    found: list[LoggedCall] = []
    for call in logged.logged_calls(record for record in chosen if record not in others):
        if not exact and (left := missing.left(call)):
            cases = "; ".join(f"{line.power.name}, {line.reason}" for line in left)
            _note(
                f"{call.name}, {call.origin}: what it gives as a rule is permitted, and the record "
                f"does not say which of these it was: {cases}; permit yours by a rule"
            )
        else:
            found.append(call)
    if found:
        names = ", ".join(dict.fromkeys(one.name for one in found))
        by = some(sorted({one.program for one in found}))
        _note(
            f"added by the records of {by}: {names}; read what that permits, as records have no "
            "arguments"
        )
    elif not chosen:
        records = many(len(log.records), "record")
        say(f"{records} in {file}, and none of a call that the policy lacks", err=True)
    return tuple(found)


def _refusal(text: str) -> Action:
    """Return the action that a policy answers to all other calls, which must refuse them."""
    from seccompgen.core.model import Action, ActionKind  # noqa: PLC0415 - keeps --help fast

    try:
        action = Action.parse(text)
    except ValueError as error:
        raise InputError(f"--default-action: {error}") from None
    if action.kind in {ActionKind.ALLOW, ActionKind.LOG, ActionKind.USER_NOTIF}:
        raise InputError(
            f"--default-action: {action} refuses nothing by itself; say errno(EPERM), trap, "
            "kill_process, ..."
        )
    return action


def _own_table(tables: Tables) -> Table:
    """Return the table of the ABI that this interpreter is of."""
    from seccomp_filters._runtime import running_abi  # noqa: PLC0415 - generated: may be absent

    name = running_abi()
    table = tables.tables.get(name)
    if table is None:
        raise InputError(f"Linux {tables.tag} has no {name}, which this machine is")
    return table


def _require_ours(output: Path, known_files: tuple[Path, ...]) -> None:
    """Refuse to lose a policy that somebody wrote, or the recording, before anything is run."""
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
            f"{output}: is there, and was not recorded; write elsewhere, or add to it with --merge"
        )


def _note(text: str) -> None:
    say(f"note: {text}", err=True)


def _print_run(recording: Recording, command: str, tables: Tables, *, writes: bool) -> None:
    """Say on stderr what a reader of the policy has to know about the run."""
    from seccompgen.core.text import printable  # noqa: PLC0415
    from seccompgen.run.record.session import unnamed  # noqa: PLC0415

    end = recording.end
    if end.signal:
        _note(f"{command} was killed by {_signal_name(end.signal)}: seen is what it did before")
    elif end.status:
        _note(f"{command} ended with exit code {end.status}")
    for program in recording.unprivileged:
        _note(
            f"{printable(program)} is setuid or setgid, and ran without these privileges, as it "
            "does under any filter with no_new_privs: what it does with them was not seen"
        )
    if recording.filters:
        _note("a process installed a filter of its own; what that refuses is recorded as well")
    if recording.before_marker > 1 and writes:
        _note(
            f"{recording.before_marker} threads ran when the filter was installed: the policy says "
            "flags: [tsync], by which it is put in force for all of them"
        )
    for number in unnamed(recording, tables):
        from seccompgen.render.call_names import call_text  # noqa: PLC0415 - templates take long

        call = call_text(number.nr, number.audit_arch, (), tables)
        _note(f"{call} has no name in Linux {tables.tag}: under the policy it fails with ENOSYS")


def _signal_name(number: int) -> str:
    import signal  # noqa: PLC0415 - rarely needed

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _write(
    recording: Recording | None,
    request: RecordRequest,
    tables: Tables,
    output: Path,
    command: str,
    action: Action,
    known_files: tuple[Path, ...],
) -> tuple[KindOfUse, ...]:
    """Write the policy, unless it is there and says all; return the kinds that it permits."""
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
        # A run may have taken long, or cannot be had again.
        raise OutsideError(f"{error}; {_kept_elsewhere(text)}") from None
    say(f"wrote {output}" if written else f"{output} is as it was", err=True)
    return made.kinds


def _kept_elsewhere(text: str) -> str:
    """Keep a policy among temporary files, or else on standard output; return where it is."""
    from tempfile import mkstemp  # noqa: PLC0415 - rarely needed

    try:
        descriptor, name = mkstemp(".yml", "recorded-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
    except OSError:
        say(text.removesuffix("\n"))
        return "what was recorded is on standard output"
    return f"what was recorded is in {name}"


def _print_coverage(found: Coverage, policy: str, tables: Tables, *, skip_unreached: bool) -> None:
    """Say on stderr how the policy answers what was seen."""
    for one in found.refused:
        say(_refused(one, tables), err=True)
        _print_seen(one)
    for rule in () if skip_unreached else found.unreached:
        condition = f" where {rule.condition}" if rule.condition else ""
        say(f"{rule.position}: nothing called {rule.name}{condition}", err=True)
    reached = found.rules - len(found.unreached)
    say(
        f"{policy}: {reached} of {found.rules} rules reached; {many(found.times, 'call')} refused",
        err=True,
    )


def _print_seen(one: RefusedCall) -> None:
    """Say with which arguments, and from where, a call was made."""
    looked_at = sum(times for _, times in one.seen)
    for refusal, times in one.seen[:_SEEN_SHOWN]:
        often = _times(times) if looked_at == one.times else f", {times} of the first {looked_at}"
        say(f"    {refusal.who} {refusal.what}{often}{refusal.where}", err=True)
    if others := len(one.seen[_SEEN_SHOWN:]):
        say(f"    and {others} with other arguments, or from elsewhere", err=True)


def _refused(one: RefusedCall, tables: Tables) -> str:
    from seccompgen.render.call_names import call_text  # noqa: PLC0415
    from seccompgen.render.listing import ret_action  # noqa: PLC0415
    from seccompgen.run.record.observations import CallNumber, abi_of  # noqa: PLC0415

    abi = abi_of(CallNumber(one.call.arch, one.call.nr))
    answer = ret_action(one.ret, abi) if abi else f"{one.ret:#x}"
    text = call_text(one.call.nr, one.call.arch, one.call.args, tables)
    if one.more:
        text += ", and with other arguments"
    line = f"{one.rule.position}: {text}: {answer} by {one.rule.label}"
    return f"{line}{_times(one.times)}{_tests(one.labels)}"


def _times(times: int) -> str:
    return f", {times} times" if times > 1 else ""


def _tests(labels: Iterable[str]) -> str:
    """Say in which tests a call was refused, where it was in tests."""
    from seccompgen.core.text import printable, some  # noqa: PLC0415

    names = [printable(label) for label in sorted(labels) if label]
    return f", in {some(names, _TESTS_SHOWN)}" if names else ""


def _as_json(
    recording: Recording | None,
    found: Coverage | None,
    kinds: tuple[KindOfUse, ...],
    tables: Tables,
) -> dict[str, object]:
    from seccompgen.run.record.observations import abi_of, name_of  # noqa: PLC0415

    report: dict[str, object] = {}
    if recording:
        report |= {
            "exit_code": recording.end.exit_code,
            "calls": [
                {
                    "abi": getattr(abi_of(number), "name", None),
                    "name": name_of(number, tables),
                    "nr": number.nr,
                }
                for number in recording.calls
            ],
            "unprivileged": list(recording.unprivileged),
            "own_filters": recording.filters,
        }
    if kinds:
        report["kinds"] = [
            {
                "name": one.power.name,
                "gives": one.power.gives,
                "whole": one.whole,
                "calls": list(one.calls),
            }
            for one in kinds
        ]
    if found:
        report |= {
            "rules": found.rules,
            "unreached": [
                {
                    "name": rule.name,
                    "condition": rule.condition,
                    "position": str(rule.position),
                }
                for rule in found.unreached
            ],
            "refused": [_refused(one, tables) for one in found.refused],
            "refusals": [
                {
                    "times": one.times,
                    "labels": sorted(one.labels - {""}),
                    "seen": [refusal.as_json() | {"times": n} for refusal, n in one.seen],
                }
                for one in found.refused
            ],
        }
    return report
