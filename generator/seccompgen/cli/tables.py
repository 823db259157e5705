"""``seccompgen tables``: bring the system call tables to a kernel tag."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.io.console import folded, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables
    from seccompgen.io.outputs import Outputs
    from seccompgen.kernel.fact_changes import PrototypeChange
    from seccompgen.pipeline.project import Project
    from seccompgen.pipeline.tag_history import HistoryRead
    from seccompgen.pipeline.tag_tables import AbiChange, ConstantChanges

_MOST_NAMED = 8
"""From so many on, ABIs are counted, not named."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The wanted tables: a tag, releases for the history, and where to read them."""

    tag: str | None
    source: str | None
    history: str | None

    def read(self, tag: str, known: Tables | None) -> tuple[Tables, HistoryRead | None]:
        """Return the tables of ``tag``, as `resolve_tables` does, and the history that was read.

        With a history, a tag that is already locked is not read from the source again.
        """
        from seccompgen.pipeline.tag_history import mainline_tags, with_history  # noqa: PLC0415
        from seccompgen.pipeline.tag_tables import resolve_tables  # noqa: PLC0415

        tags = mainline_tags(self.history, tag) if self.history else ()
        locked = bool(tags) and known is not None and known.tag == tag
        with common.progress(f"reading Linux {tag}") as report:
            tables = resolve_tables(tag, None if locked else self.source, known, report)
        if not tags:
            return tables, None
        with common.progress(f"reading Linux {tags[0]} to {tags[-1]}") as report:
            return with_history(tables, tags, self.source, report)


@click.command()
@click.option(
    "--tag", metavar="TAG", help="A Linux release such as v7.4; default: the pinned release."
)
@click.option(
    "--from",
    "source",
    metavar="SOURCE",
    help="A URL with {tag} and {path}, a kernel checkout or a release tarball; "
    "default: the kernel's public mirrors.",
)
@click.option(
    "--history",
    metavar="RELEASES",
    help="Read the tables of these mainline releases, such as v5.10.. or v5.10,v6.1, and "
    "record anew which release has each call first.",
)
@options.output(
    "DIR", "Write tables, lock and matrix there, for --tables; default: this checkout's own."
)
@options.check
@options.as_json
def tables(
    tag: str | None,
    source: str | None,
    history: str | None,
    output: Path | None,
    *,
    check: bool,
    as_json: bool,
) -> None:
    """Bring the system call tables to a kernel tag.

    In seccompgen's own checkout this writes pin, lock, tables and all filters together; where
    the lock is at the tag already, nothing is fetched. Every file is verified against the lock
    of its tag. Elsewhere, say with -o where the tables go.
    """
    from seccompgen.io.outputs import exclusive  # noqa: PLC0415 - keeps --help fast
    from seccompgen.pipeline.project import find_project  # noqa: PLC0415

    wanted = _Wanted(tag, source, history)
    if output:
        with exclusive(output.absolute().parent):
            _into_directory(output, wanted, check=check, as_json=as_json)
        return
    project = find_project(Path.cwd())
    if project is None or not project.kernel.is_dir():
        raise InputError(
            "this is no checkout of seccompgen: name a directory for the tables with -o"
        )
    with exclusive(project.root):
        # Another run may have moved the pin while this one waited.
        project = find_project(Path.cwd()) or project
        _into_project(project, wanted, check=check, as_json=as_json)


def _into_directory(directory: Path, asked: _Wanted, *, check: bool, as_json: bool) -> None:
    from seccompgen.core.tables import release  # noqa: PLC0415
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415
    from seccompgen.pipeline.build import LOCK_NAME, load_tables, shipped_tables  # noqa: PLC0415
    from seccompgen.pipeline.files import require_writable  # noqa: PLC0415
    from seccompgen.pipeline.packages import refuse_to_overwrite  # noqa: PLC0415
    from seccompgen.pipeline.project_files import orphaned_tables, table_files  # noqa: PLC0415

    require_writable(directory)
    before = load_tables(directory) if (directory / LOCK_NAME).exists() else None
    shipped = shipped_tables()
    wanted = asked.tag or (before or shipped).tag
    release(wanted)
    known = before if before and (before.tag == wanted or shipped.tag != wanted) else shipped
    if before and before.tag == shipped.tag and before.tables == shipped.tables:
        known = shipped  # which has facts, even if an older seccompgen wrote the directory
    after, history = asked.read(wanted, known)
    files = table_files(after, directory, directory)
    refuse_to_overwrite(files)
    outputs = Outputs(files, orphaned_tables(after, directory))
    _finish(before, after, outputs, (), history, check=check, as_json=as_json)


def _into_project(project: Project, asked: _Wanted, *, check: bool, as_json: bool) -> None:
    from seccompgen.core.tables import release  # noqa: PLC0415
    from seccompgen.pipeline.build import LOCK_NAME, load_tables  # noqa: PLC0415
    from seccompgen.pipeline.project_files import project_outputs  # noqa: PLC0415

    wanted = asked.tag or project.linux
    if wanted is None:
        raise InputError(f'{project.pyproject}: no pin: add linux = "v7.3.4" to [tool.seccompgen]')
    release(wanted)
    before = load_tables(project.kernel) if (project.kernel / LOCK_NAME).exists() else None
    if check and asked.source is None and (before is None or before.tag != wanted):
        where = f"the lock is at {before.tag}" if before else "there is no lock"
        command = f"make generate TAG={asked.tag}" if asked.tag else "make generate"
        text = f"{where}, the wanted release is {wanted}: run {command}"
        raise AnswerNo(Diagnostic(text, Position(str(project.pyproject))))
    after, history = asked.read(wanted, before)
    how = common.build_options(cached=not check)
    with common.progress("compiling stock policies") as report:
        built, outputs = project_outputs(project, after, report, how)
    if before is None or before.tag != after.tag:
        common.print_notes(note for one in built for note in one.notes)
        common.print_warnings(warning for one in built for warning in one.warnings)
    _finish(before, after, outputs, built, history, check=check, as_json=as_json)


def _finish(
    before: Tables | None,
    after: Tables,
    outputs: Outputs,
    built: Sequence[Built],
    history: HistoryRead | None,
    *,
    check: bool,
    as_json: bool,
) -> None:
    """Print the changes that the tag brings, then check or write."""
    from seccompgen.filters.compare.staleness import new_filters  # noqa: PLC0415
    from seccompgen.kernel.fact_changes import compare_prototypes  # noqa: PLC0415
    from seccompgen.pipeline.tag_tables import absent_abis, compare_constants, compare_tables  # noqa: PLC0415

    changes = compare_tables(before, after) if before else []
    prototypes = compare_prototypes(before.facts, after.facts) if before else []
    # Tables that an older seccompgen wrote have no constants to compare with.
    known = before is not None and bool(before.facts.constants)
    constants = compare_constants(before, after) if before and known else None
    absent = absent_abis(after)
    if not as_json:
        say(f"Linux {after.tag}: {len(after.tables)} ABIs")
        if absent:
            say(f"not in {after.tag}, so left out: {', '.join(absent)}")
        if before and before.tag != after.tag:
            say(f"from {before.tag} to {after.tag}:")
            _show_changes(changes)
            _show_prototypes(prototypes)
            if constants:
                _show_constants(constants)
            _show_answers(built, before, after)
        if history:
            _show_history(history)
    if check:
        common.check_outputs(outputs, new_filters(built), after)
    written = [] if check else outputs.write()
    if as_json:
        print_json(
            {
                "tag": after.tag,
                "before": before.tag if before else None,
                "abis": list(after.tables),
                "absent": absent,
                "changes": {
                    change.abi: {
                        "gained": dict(change.gained),
                        "lost": dict(change.lost),
                        "renumbered": {k: list(v) for k, v in change.renumbered.items()},
                    }
                    for change in changes
                },
                "prototypes": [asdict(one) for one in prototypes],
                "constants": {
                    "gained": constants.gained,
                    "lost": constants.lost,
                    "changed": constants.changed,
                }
                if constants
                else None,
                "history": {
                    "releases": history.tags,
                    "changed": history.changed,
                    "conflicts": [
                        {
                            "abi": one.abi,
                            "syscall": one.call,
                            "known": str(one.known),
                            "tables": str(one.seen) if one.seen else None,
                        }
                        for one in history.conflicts
                    ],
                }
                if history
                else None,
                "written": [str(path) for path in written],
            }
        )
        return
    common.print_written(written)


def _show_history(history: HistoryRead) -> None:
    say(*folded(f"history read from {', '.join(history.tags)}", 2))
    say(f"  first releases that change: {history.changed}; conflicts: {len(history.conflicts)}")
    alike: dict[tuple[str, str], list[str]] = {}
    for one in history.conflicts:
        alike.setdefault((one.call, one.said), []).append(one.abi)
    for (call, said), abis in sorted(alike.items()):
        say(*folded(f"  {call} on {_named(abis)}: {said}", 4))


def _show_prototypes(changes: list[PrototypeChange]) -> None:
    for one in changes:
        change = f"{one.before or 'nothing'} -> {one.after or 'nothing'}"
        say(f"  {one.call}: {change} on {_named(one.abis)}")


def _named(abis: Sequence[str]) -> str:
    return ", ".join(abis) if len(abis) < _MOST_NAMED else f"{len(abis)} ABIs"


def _show_changes(changes: list[AbiChange]) -> None:
    if not changes:
        say("  no ABI changes")
    for change in changes:
        for what, calls in (("gained", change.gained), ("lost", change.lost)):
            if calls:
                listed = ", ".join(f"{name} {nr}" for name, nr in calls.items())
                say(f"  {change.abi}: {what} {len(calls)}: {listed}")
        if change.renumbered:
            listed = ", ".join(f"{n} {a} -> {b}" for n, (a, b) in change.renumbered.items())
            say(f"  {change.abi}: renumbered {len(change.renumbered)}: {listed}")


def _show_answers(built: Sequence[Built], before: Tables, after: Tables) -> None:
    """Print each policy's answers to the new calls."""
    from seccompgen.filters.compare.tables_diff import new_calls  # noqa: PLC0415
    from seccompgen.render.filter_diff import new_calls_text  # noqa: PLC0415
    from seccompgen.verify import meaning  # noqa: PLC0415

    for one in built:
        sides = {abi.name: meaning(one.policy, abi, after) for abi in one.policy.arches}
        for line in new_calls_text(one.policy.name, new_calls(sides, before, after)):
            say(f"  {line}")


def _show_constants(changes: ConstantChanges) -> None:
    for what, names in (
        ("gained", changes.gained),
        ("lost", changes.lost),
        ("changed", changes.changed),
    ):
        if names:
            say(f"  constants: {what} {len(names)}: {', '.join(names)}")
