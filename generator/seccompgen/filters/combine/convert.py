"""A policy in another format as a policy file of ours, proved to mean the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.built import is_device
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.problems import Problem
from seccompgen.core.text import printable
from seccompgen.filters.combine.tidy import tidied
from seccompgen.filters.find.locate import locate_policy
from seccompgen.formats import filter_names, load_policy, translate
from seccompgen.io.reading import read_input
from seccompgen.lint import Severity, lint_policy
from seccompgen.policy.document import MAX_POLICY, read_document
from seccompgen.policy.yaml_text import policy_text
from seccompgen.render.call_names import difference_text
from seccompgen.verify import Difference, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft
    from seccompgen.lint import LintReport


_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Converted:
    """The ``text`` of a policy file; ``profile`` is how often each call is made, where known."""

    text: str
    notes: tuple[Diagnostic, ...]
    profile: Mapping[str, int]


class ForeignPolicy(NamedTuple):
    """The policy of another format in the file at ``path``, and lint's report about it."""

    path: Path
    draft: Draft
    policy: ResolvedPolicy
    report: LintReport


class Included(NamedTuple):
    """Policies of ours to include: ``names`` are the paths to write, in order.

    ``sources`` are the foreign files whose rules they have, links resolved; ``settings`` those that
    all of them share. ``contents`` has the text of each, and of those that it includes, by path.
    """

    names: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset()
    settings: Mapping[str, object] = {}
    contents: Mapping[str, bytes] = {}


_NOTHING_INCLUDED = Included()


def convert(path: Path, tables: Tables, reading: Reading = PLAIN_READING) -> Converted:
    """Return the foreign policy at ``path`` as ours, with those that it includes.

    The new policy is read again, and proved to answer every call like the old one. Raises
    InputError with all that our language cannot express, or if the file is a policy of ours.
    """
    return converted(foreign_policy(path, tables, reading), tables)


def foreign_policy(path: Path, tables: Tables, reading: Reading) -> ForeignPolicy:
    """Read the file at ``path``; raise InputError if it is wrong, or a policy of ours."""
    draft = translate(read_input(path, MAX_POLICY), str(path), reading, tables)
    if draft is None:
        locate_policy(str(path), "convert")
        load_policy(path, tables, reading)
        text = "is a policy of seccompgen already; if it is another's, say with --from which"
        raise InputError(Diagnostic(text, Position(str(path)), Problem.WRONG_VALUE))
    policy, notes = load_policy(path, tables, reading)
    return ForeignPolicy(
        path, draft, policy, lint_policy(policy, tables, list(policy.arches), notes)
    )


def converted(
    one: ForeignPolicy, tables: Tables, included: Included = _NOTHING_INCLUDED
) -> Converted:
    """Return a policy as ours, with ``included`` in place of the rules of their sources.

    Raises AnswerNo if the result answers a call differently.
    """
    target = one.path.with_suffix(".yml")

    def again(text: str) -> ResolvedPolicy:
        content = text.encode()
        if not included.names:
            return load_policy(read_document(content, target.name), tables)[0]
        instead = {**included.contents, str(target): content}
        return load_policy(target, tables, Reading(outside=one.draft.outside), instead)[0]

    data, comments = tidied(one.draft, one.policy, tables, included.sources)
    said = one.draft.document().data
    data = {
        key: value for key, value in data.items() if said.get(key) != included.settings.get(key)
    }
    data |= {"include": list(included.names)} if included.names else {}
    losses = [note.message for note in one.report.notes if note.kind is Problem.ACCEPTED_LOSS]
    head = [*comments.get((), ()), *[""] * (() in comments and bool(losses)), *losses]
    comments = {**comments, (): head}
    text = policy_text(data, comments)
    files = {target.name, str(target)}
    text = _silenced(text, again(text), files, one.path, tables)
    _require_same(one.policy, again(text), tables)
    return Converted(text, one.report.notes, one.draft.profile)


def convert_all(
    path: Path, tables: Tables, reading: Reading = PLAIN_READING
) -> dict[str, Converted]:
    """Return every filter of the file at ``path`` as a policy of ours, by the name of its file.

    With ``reading.thread`` return only that filter. The only filter of a file gets the file's name.
    Raises InputError with all that is wrong with any of them.
    """
    named = filter_names(read_input(path, MAX_POLICY), str(path), reading)
    wanted = tuple(one for one in named if reading.thread in {None, one})
    if not wanted:
        return {path.stem: convert(path, tables, reading)}
    found: dict[str, Converted] = {}
    problems: dict[Diagnostic, None] = {}
    seen: dict[str, str] = {}
    for name in wanted:
        other = seen.setdefault(name.casefold(), name)
        if not _FILE_NAME.fullmatch(name) or is_device(name) or other != name:
            why = "is no name for a file" if other == name else f"and {other} are one file's name"
            text = f"the filter {name!r} {why}: write it alone, with --filter and -o FILE"
            problems[Diagnostic(text, Position(str(path)), Problem.UNPRINTABLE_NAME)] = None
            continue
        try:
            found[name] = convert(path, tables, replace(reading, thread=name))
        except InputError as error:
            problems |= dict.fromkeys(error.diagnostics)
    if problems:
        raise InputError(*problems)
    return found


def _silenced(
    text: str, policy: ResolvedPolicy, files: Collection[str], path: Path, tables: Tables
) -> str:
    """Return ``text`` with a comment above each line at which lint finds an error.

    `build` refuses policies of ours with such errors, but the meaning must not change here.
    ``files`` are names of the file in positions. Raises AnswerNo for an error in another file.
    """
    found: dict[int, set[str]] = {}
    for finding in lint_policy(policy, tables, list(policy.arches)).findings:
        if finding.severity is Severity.ERROR and finding.position:
            if finding.position.file not in files:
                raise AnswerNo(Diagnostic(finding.message, finding.position, finding.kind))
            found.setdefault(finding.position.line, set()).add(finding.kind.value)
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if codes := ", ".join(sorted(found.get(number, ()))):
            indent = " " * (len(line) - len(line.lstrip()))
            lines.append(f"{indent}# lint: ignore[{codes}]: as {printable(path.name)} says")
        lines.append(line)
    return "\n".join((*lines, ""))


def _require_same(policy: ResolvedPolicy, again: ResolvedPolicy, tables: Tables) -> None:
    """Raise AnswerNo if the written policy answers a call differently from the one read."""
    for abi in policy.arches:
        found = prove(meaning(policy, abi, tables), meaning(again, abi, tables))
        if isinstance(found, Difference):
            text = difference_text(found, ("read", "written"), abi, tables)
            raise AnswerNo(
                Diagnostic(
                    f"seccompgen made a wrong policy of this, and does not write it: {text}; "
                    "please report this, with the file",
                    Position(policy.file),
                    Problem.WRONG_PROGRAM,
                )
            )
