"""The filters in two trees of files, such as a git revision and the work tree, that differ."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.filter_changes import FilterChange, Status
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.problems import Problem
from seccompgen.filters.compare.meaning_diff import diff_filters
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.filters.find.locate import FilterForm, filters_in, kind_of
from seccompgen.io.reading import MAX_FILTER, read_file
from seccompgen.pipeline.packages import is_filter_package
from seccompgen.pipeline.project import find_project
from seccompgen.policy.document import POLICY_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_changes import FilterDiff
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.io.git_files import FileTree


@dataclass(frozen=True, slots=True)
class Trees:
    """Two trees of files, before and after, and the paths in them that are compared.

    ``paths`` are files, packages and directories relative to the trees; a directory means the
    filters in it. ``start`` is the user's current directory in the work tree.
    """

    before: FileTree
    after: FileTree
    paths: tuple[str, ...]
    start: Path
    reading: Reading = PLAIN_READING
    only: Abi | None = None


def paths_of(words: Iterable[str], start: Path, top: Path) -> tuple[str, ...]:
    """Return the paths that words name from ``start``, relative to ``top``; default: the project's.

    Raises InputError for a path outside ``top``, and if there is neither a path nor a project.
    """
    named = [Path(os.path.normpath(start / word)) for word in words]
    if not named:
        project = find_project(start)
        if project is None:
            text = f"no [tool.seccompgen] in a pyproject.toml above {start}: name files to compare"
            raise InputError(text, kind=Problem.NO_FILTERS)
        named = [project.policies, project.output]
    outside = [path for path in named if not path.is_relative_to(top)]
    if outside:
        problems = (f"{path} is not in the repository {top}" for path in outside)
        raise InputError(*problems, kind=Problem.NO_SUCH_FILTER)
    return tuple(os.path.relpath(path, top) for path in named)


def matters(path: str, paths: Iterable[str]) -> bool:
    """Return whether the file at ``path`` can affect filters at ``paths``.

    Everything in their directories and below can, and every policy, because policies include one
    another.
    """
    if Path(path).suffix in POLICY_SUFFIXES:
        return True
    places = (Path(one).parent if Path(one).suffix else Path(one) for one in paths)
    return any(Path(path).is_relative_to(place) for place in places)


def diff_trees(trees: Trees, tables: Tables) -> list[FilterChange]:
    """Return the filters that changed, policies first.

    Raises InputError with all that is wrong with any of them, in either tree.
    """
    befores, afters = (_filters(tree, trees.paths) for tree in (trees.before, trees.after))
    problems = [
        Diagnostic(
            f"neither here nor in {trees.before.label}", Position(path), Problem.NO_SUCH_FILTER
        )
        for path in trees.paths
        if not any((tree.root / path).exists() for tree in (trees.before, trees.after))
    ]
    found: list[FilterChange] = []
    for name in sorted({*befores, *afters}, key=_policies_first):
        before, after = befores.get(name), afters.get(name)
        if before and after:
            try:
                change = _changed(name, before, after, trees, tables)
            except InputError as error:
                problems += error.diagnostics
            else:
                found += [change] if change else []
        else:
            found.append(FilterChange(name, Status.ADDED if after else Status.REMOVED))
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return _without_repeated(found)


def _policies_first(name: str) -> tuple[bool, str]:
    return Path(name).suffix in {"", ".py", ".bpf"}, name


def _filters(tree: FileTree, paths: Iterable[str]) -> dict[str, Path]:
    """Return the filters at ``paths`` of a tree, by their paths in it."""
    found: dict[str, Path] = {}
    for one in paths:
        path = Path(os.path.normpath(tree.root / one))
        if path.suffix == ".py" and is_filter_package(path.parent):
            path = path.parent
        if not path.exists():
            continue
        directory = path.is_dir() and not is_filter_package(path)
        for each in filters_in(path) if directory else [path]:
            found[os.path.relpath(each, tree.root)] = each
    return found


def _changed(
    name: str, before: Path, after: Path, trees: Trees, tables: Tables
) -> FilterChange | None:
    """Return how a filter of both trees differs; None if none of its files does."""
    right = _loaded(after, trees.after, trees, tables)
    if all(_is_unchanged(file, trees) for file in _files(right)):
        return None
    left = _loaded(before, trees.before, trees, tables)
    names = trees.before.shown(str(before)), trees.after.shown(str(right.path))
    diff = _with_places(diff_filters(left, right, tables, names), trees)
    same = not diff.differs and not diff.undecided
    return FilterChange(name, Status.SAME if same else Status.CHANGED, diff)


def _loaded(path: Path, tree: FileTree, trees: Trees, tables: Tables) -> LoadedFilter:
    # Positions in the work tree are relative to the user's directory.
    shown = path if tree.label else Path(os.path.relpath(path, trees.start))
    try:
        reading = replace(trees.reading, outside=(tree.root,)) if tree.label else trees.reading
        return load_filter(shown, tables, trees.only, reading)
    except InputError as error:
        raise InputError(*(_placed(one, tree) for one in error.diagnostics)) from None


def _files(loaded: LoadedFilter) -> list[Path]:
    if loaded.policy:
        return [Path(file) for file, _ in loaded.policy.sources]
    return list(loaded.module.files) if loaded.module else [loaded.path]


def _is_unchanged(file: Path, trees: Trees) -> bool:
    """Return whether a file is the same in both trees; files outside of them count as unchanged."""
    path = Path(os.path.realpath(trees.start / file))
    if not path.is_relative_to(trees.after.root):
        return True
    there = trees.before.root / path.relative_to(trees.after.root)
    try:
        return read_file(there, MAX_FILTER) == read_file(path, MAX_FILTER)
    except OSError:
        return False


def _placed(one: Diagnostic, tree: FileTree) -> Diagnostic:
    place = one.position and _shown(one.position, tree)
    return replace(one, message=tree.shown(one.message), position=place)


def _shown(place: Position, tree: FileTree) -> Position:
    return replace(place, file=tree.shown(os.path.normpath(place.file)))


def _with_places(diff: FilterDiff, trees: Trees) -> FilterDiff:
    """Return the difference with the positions of its rules relative to the trees."""

    def shown(origins: Sequence[Origin], tree: FileTree) -> tuple[Origin, ...]:
        return tuple(replace(one, position=_shown(one.position, tree)) for one in origins)

    return replace(
        diff,
        changes=tuple(
            replace(
                one, rules=(shown(one.rules[0], trees.before), shown(one.rules[1], trees.after))
            )
            for one in diff.changes
        ),
    )


def _without_repeated(found: Sequence[FilterChange]) -> list[FilterChange]:
    """Drop the changes of filters that changed just as the policy of their name did."""
    policies = {
        Path(one.name).stem: one
        for one in found
        if one.diff and kind_of(Path(one.name)) is FilterForm.POLICY and not _is_package(one.name)
    }
    shown = []
    for one in found:
        policy = policies.get(Path(one.name).stem)
        if policy and policy is not one and one.diff and one.status is Status.CHANGED:
            assert policy.diff
            if _in_short(one.diff) == _in_short(policy.diff):
                shown.append(FilterChange(one.name, Status.AS_POLICY, None, policy.name))
                continue
        shown.append(one)
    return shown


def _is_package(name: str) -> bool:
    return not Path(name).suffix


def _in_short(diff: FilterDiff) -> object:
    """Return what differs, regardless of the rules behind it."""
    calls = frozenset(replace(one, rules=((), ())) for one in diff.changes)
    return diff.abis, diff.only_before, diff.only_after, calls, diff.settings, diff.unlisted
