"""Find what a command line calls FILTER: a file, a package, all in a directory, a stock policy.

Every command decides this here. The name of a stock policy means that policy, even if a file of
that name is in the current directory: nobody is confined by another filter because a file happened
to be there. A path, such as ``./no_network``, is that file.
"""

from __future__ import annotations

import errno
import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position, cannot, did_you_mean, for_each
from seccompgen.core.problems import Problem
from seccompgen.io.file_reach import beyond
from seccompgen.pipeline.packages import INIT_NAME, holds_program, is_filter_package
from seccompgen.policy.document import POLICY_SUFFIXES
from seccompgen.policy.stock import stock_policies

if TYPE_CHECKING:
    from collections.abc import Iterable

FILTER_SUFFIXES = POLICY_SUFFIXES | {".py", ".bpf"}
"""Endings of the names of FILTERs that are files."""


class FilterForm(Enum):
    """The form that a file or a package holds a filter in, as messages call it."""

    POLICY = "a policy"
    MODULE = "a generated module"
    RAW = "raw instructions"


class Located(NamedTuple):
    """The files and packages that words mean, and notes on how these were understood."""

    paths: tuple[Path, ...]
    notes: tuple[Diagnostic, ...] = ()


def kind_of(path: Path) -> FilterForm:
    """Return the form of a filter, by its file's suffix; a directory is a package."""
    if path.is_dir():
        return FilterForm.MODULE
    return {".py": FilterForm.MODULE, ".bpf": FilterForm.RAW}.get(path.suffix, FilterForm.POLICY)


def locate(word: str) -> Located:
    """Return the filters that a FILTER means, each a file or a package.

    A directory that is not a filter's package means the filters in it. Raises InputError if it is
    not found, with the nearest names.
    """
    stock = stock_policies()
    there = _is_there(word)
    if word in stock:
        text = f"the stock policy is used; for the one in this directory, write ./{word}"
        notes = (Diagnostic(text, Position(word), Problem.STOCK_POLICY_MEANT),) if there else ()
        return Located((stock[word],), notes)
    if not there:
        raise InputError(_missing(word), kind=Problem.NO_SUCH_FILTER)
    path = Path(word)
    package = path if path.is_dir() else path.parent
    if (path.is_dir() or path.suffix == ".py") and is_filter_package(package):
        if holds_program(path):
            text = f"is the program for one ABI: name {package}, and the ABI with --arch"
            raise InputError(Diagnostic(text, Position(word), Problem.NO_SUCH_FILTER))
        if path in {package, package / INIT_NAME}:
            return Located((package,))
    return Located(tuple(filters_in(path)) if path.is_dir() else (path,))


def locate_all(words: Iterable[str]) -> Located:
    """Return all files that FILTERs mean; raise InputError with everything that is wrong."""
    found = for_each(locate, words)
    return Located(
        tuple(path for one in found for path in one.paths),
        tuple(note for one in found for note in one.notes),
    )


def locate_one(word: str) -> Located:
    """Return the one file that a FILTER means. Raises InputError if it means several."""
    found = locate(word)
    if len(found.paths) > 1:
        names = ", ".join(str(path) for path in found.paths)
        text = f"has {len(found.paths)} filters, and here one is needed: name one of {names}"
        raise InputError(Diagnostic(text, Position(word), Problem.SEVERAL_FILTERS))
    return found


def locate_policies(words: Iterable[str], wanted_by: str) -> Located:
    """Return the policy files that FILTERs mean.

    Raises InputError for filters without rules, with the policy that they were made from;
    ``wanted_by`` is what needs rules, as messages call it.
    """
    return _require_rules(locate_all(words), wanted_by)


def locate_policy(word: str, wanted_by: str) -> Located:
    """Return the one policy file that FILTER means; see `locate_one` and `locate_policies`."""
    return _require_rules(locate_one(word), wanted_by)


def _require_rules(found: Located, wanted_by: str) -> Located:
    problems = []
    for path in found.paths:
        if kind_of(path) is not FilterForm.POLICY:
            source = _source_text(path)
            text = f"is {kind_of(path).value}, and {wanted_by} needs the rules of a policy"
            message = f"{text}: name {source}"
            problems.append(Diagnostic(message, Position(str(path)), Problem.NO_RULES))
    if problems:
        raise InputError(*problems)
    return found


def vendored_from(path: Path) -> Path | None:
    """Return the policy that the filter at ``path`` was made from, as its manifest says."""
    from seccompgen.filters.find.manifest import MANIFEST_NAME, read_manifest  # noqa: PLC0415

    for manifest_path in (
        path.with_name(MANIFEST_NAME),
        path.with_name(f"{path.stem}.{MANIFEST_NAME}"),
    ):
        try:
            manifest = read_manifest(manifest_path)
        except (InputError, OSError):
            continue
        for one in manifest.filters if manifest else ():
            if one.file == path.name:
                if one.stock:
                    return stock_policies().get(one.policy)
                return Path(os.path.relpath(path.parent.resolve() / one.policy))
    return None


def _source_text(path: Path) -> str:
    """Describe the policy that the filter at ``path`` was made from, as far as it is known."""
    if kind_of(path) is FilterForm.RAW:
        return "the policy that they were compiled from"
    made_from = "the policy that it was made from"
    if policy := vendored_from(path):
        stock = {file: name for name, file in stock_policies().items()}
        return f"{made_from}, {stock.get(policy, policy)}"
    return f"{made_from}, as its banner says"


def _is_there(word: str) -> bool:
    try:
        Path(word).stat()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return False
        raise InputError(cannot("read", word, error), kind=Problem.UNREADABLE_FILE) from None
    return True


def _missing(word: str) -> str:
    """Return the error for a FILTER that does not exist, with the nearest names."""
    path, stock = Path(word), stock_policies()
    with_suffix = (f"{word}{suffix}" for suffix in sorted(FILTER_SUFFIXES))
    if named := next((name for name in with_suffix if Path(name).is_file()), None):
        near = f" (did you mean {named!r}?)"
    else:
        near = did_you_mean(path.stem, stock, "the stock policy ") or _near_file(path)
    if path.suffix in FILTER_SUFFIXES or os.sep in word:
        return f"cannot read {word}: No such file or directory{near}"
    these = "" if near else f"; these are {', '.join(stock)}"
    return f"{word}: neither a file nor a stock policy{these}{near}"


def _near_file(path: Path) -> str:
    try:
        there = list(path.parent.iterdir())
        names = [
            one.name for one in there if one.suffix in FILTER_SUFFIXES or is_filter_package(one)
        ]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def filters_in(directory: Path) -> list[Path]:
    """Return the FILTERs in ``directory``, without the other files of generated packages.

    Raises InputError if it has none.
    """
    from seccompgen.filters.find.manifest import MANIFEST_NAME  # noqa: PLC0415
    from seccompgen.render.templates import NOTIFICATION_NAME  # noqa: PLC0415 - takes long

    found = [
        path
        for path in sorted(directory.iterdir())
        if is_filter_package(path)
        or (
            path.suffix in FILTER_SUFFIXES
            and path.is_file()
            and not path.name.startswith("_")
            and path.name != NOTIFICATION_NAME
            and not path.name.endswith(MANIFEST_NAME)
        )
    ]
    if not found:
        text = "no filters in this directory"
        raise InputError(Diagnostic(text, Position(str(directory)), Problem.NO_FILTERS))
    # Whoever names a directory has not checked where the links in it lead.
    strange = [path for path in found if beyond(path, directory / path.name)]
    if strange:
        text = "a link that leads elsewhere: to read it, name the link itself"
        problems = (Diagnostic(text, Position(str(path))) for path in strange)
        raise InputError(*problems, kind=Problem.UNREADABLE_FILE)
    return found
