"""Filters in an application, with a manifest that distinguishes stale files from edited ones."""

from __future__ import annotations

import keyword
import os
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.built import is_device
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.objective import Objective
from seccompgen.core.report_only import SUFFIX
from seccompgen.filters.compare.staleness import program_changes
from seccompgen.filters.find.manifest import (
    MANIFEST_NAME,
    Hashed,
    Manifest,
    Vendored,
    read_manifest,
    render_manifest,
    sha256,
)
from seccompgen.filters.find.related_files import bytecode_problems, package_problems
from seccompgen.io.file_reach import beyond
from seccompgen.io.outputs import Outputs
from seccompgen.io.reading import MAX_FILTER, read_file
from seccompgen.languages.python import render_single_file
from seccompgen.pipeline.build import are_current, build_policies
from seccompgen.pipeline.files import filter_files
from seccompgen.pipeline.packages import (
    INIT_NAME,
    filter_packages,
    heads,
    in_package,
    shadowed_module,
)
from seccompgen.pipeline.reporting import report_only_filters
from seccompgen.policy.document import POLICY_SUFFIXES
from seccompgen.policy.profile import read_profile
from seccompgen.policy.stock import stock_policies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.build import BuildOptions


@dataclass(frozen=True, slots=True)
class Request:
    """The complete wanted content of ``dest``, a package directory or one file.

    ``arches`` restricts the ABIs that the policies name; empty means all of them. ``recorded`` is
    True if the request was read from the manifest of ``dest``. With ``report_only`` the filters
    refuse nothing.
    """

    dest: Path
    single_file: bool
    policies: tuple[Path, ...]
    arches: tuple[Abi, ...]
    objective: Objective
    recorded: bool = False
    report_only: bool = False

    @property
    def manifest(self) -> Path:
        """The path of the manifest."""
        return manifest_path(self.dest)

    def file_of(self, one: Built) -> str:
        """Return the name of the file or package that holds a filter."""
        return self.dest.name if self.single_file else one.module_name

    def name_of(self, path: Path) -> str:
        """Return the path of a file as the manifest writes it."""
        return path.relative_to(self.manifest.parent).as_posix()

    def again(self, *, force: bool = False) -> str:
        """Return the command that brings ``dest`` up to this request."""
        if self.recorded:
            return f"seccompgen vendor {_quoted(self.dest)}{' --force' * force}"
        return f"the same command {'with --force' if force else 'without --check'}"


class FileState(Enum):
    """The state of a file in an application, compared with the one that would be written now."""

    STALE = "stale"
    EDITED = "edited"
    FOREIGN = "foreign"
    MISSING = "missing"
    SUPERFLUOUS = "superfluous"


_LOSSES = {FileState.EDITED, FileState.FOREIGN}
"""The states of files whose content would be lost if they were vendored again."""


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A file that differs from what it should be, with advice in ``text``."""

    path: Path
    state: FileState
    text: str

    @property
    def diagnostic(self) -> Diagnostic:
        """The finding as a diagnostic."""
        return Diagnostic(self.text, Position(str(self.path)))


@dataclass(frozen=True, slots=True)
class Vendoring:
    """A compiled request: the filters, and their files.

    With ``force``, edited files are overwritten, and an unreadable manifest is treated as absent.
    """

    request: Request
    built: Sequence[Built]
    files: Mapping[Path, bytes]
    tables: Tables
    read_request: Callable[[], Request]
    force: bool = False

    def is_current(self) -> bool:
        """Return True if the inputs are still the same."""
        if self.request.recorded and self.read_request() != self.request:
            return False
        return are_current(self.built)

    def outputs(self) -> Outputs:
        """Return the files to write, compared with the existing ones.

        Raises InputError, without ``force``, if a file would be lost that differs from what
        seccompgen vendored.
        """
        outputs, findings = _compare_all(self, explained=False)
        lost = [finding.diagnostic for finding in findings if finding.state in _LOSSES]
        if lost and not self.force:
            raise InputError(*lost)
        return outputs

    def findings(self) -> list[FileFinding]:
        """Return the files that differ from what they should be, and how programs would change."""
        found = _compare_all(self, explained=True)[1]
        problems = [] if self.request.single_file else package_problems(self.request.dest)
        for file in self.files:
            problems += bytecode_problems(file) if file.suffix == ".py" else []
        places = ((one, one.position.file if one.position else "") for one in problems)
        return found + [
            FileFinding(Path(file), FileState.FOREIGN, one.message) for one, file in places
        ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def manifest_path(dest: Path) -> Path:
    """Return the path of the manifest of a package directory or of a single file."""
    if dest.suffix == ".py":
        return dest.with_name(f"{dest.stem}.{MANIFEST_NAME}")
    return dest / MANIFEST_NAME


def check_dest(dest: Path, *, single_file: bool, report_only: bool | None = None) -> None:
    """Raise InputError if ``dest`` cannot be the package, or with ``single_file`` the module.

    The name of a module shows whether it is ``report_only``; None if only its manifest knows.
    """
    if dest.suffix in POLICY_SUFFIXES:
        raise InputError(f"say where to vendor it: seccompgen vendor {_quoted(dest)} DEST")
    if single_file != (dest.suffix == ".py"):
        other = "must end in .py" if single_file else "is a package: for one module"
        raise InputError(f"{dest}: DEST {other} with --single-file")
    name = dest.absolute().name.removesuffix(".py")
    if single_file and report_only is not None and report_only != name.endswith(SUFFIX):
        which = "must end" if report_only else "means a filter that refuses nothing if it ends"
        raise InputError(f"{dest}: its name {which} in {SUFFIX}.py")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{dest}: Python cannot import {name!r}: choose another name")
    if is_device(name):
        raise InputError(f"{dest}: {name!r} is a device on Windows: choose another name")
    if single_file and dest.is_dir():
        raise InputError(f"{dest}: is a directory: choose another name")
    if not single_file and dest.exists() and not dest.is_dir():
        raise InputError(f"{dest}: is not a directory: choose another name")


def recorded_request(dest: Path, outside: Sequence[Path] = ()) -> Request:
    """Return the request that the manifest of ``dest`` records.

    Raises InputError if there is no manifest, or if it names files that are neither below the
    directory or project of ``dest`` nor below ``outside``.
    """
    path = manifest_path(dest)
    manifest = read_manifest(path)
    if manifest is None:
        raise InputError(
            f"{dest}: has no manifest: name the policies, too: seccompgen vendor POLICY... "
            f"{_quoted(dest)}"
        )
    stock = stock_policies()
    problems, policies = [], []
    for one in manifest.filters:
        policy = stock.get(one.policy) if one.stock else _from_manifest(path, one.policy)
        reason = beyond(policy, dest, outside) if policy and not one.stock else ""
        if reason:
            text = f"cannot read {policy}: {reason}"
            problems.append(Diagnostic(text, Position(str(path.parent / one.file))))
        elif policy is None or not policy.is_file():
            what = "stock policy" if one.stock else "policy"
            text = f"its {what} {policy or one.policy} is not there: restore it, or name it anew"
            problems.append(Diagnostic(text, Position(str(path.parent / one.file))))
        else:
            policies.append(policy)
    if problems:
        # Its filters cannot be compared, but edited files can still be recognised.
        raise InputError(*problems, *_edited(path, manifest))
    profile = _from_manifest(path, manifest.profile.name) if manifest.profile else None
    if profile and (reason := beyond(profile, dest, outside)):
        raise InputError(Diagnostic(f"cannot read {profile}: {reason}", Position(str(path))))
    return Request(
        dest,
        manifest.single_file,
        tuple(policies),
        tuple(ABIS[name] for name in manifest.arches),
        Objective(
            manifest.optimize,
            manifest.bitmap,
            read_profile(profile) if profile else None,
        ),
        recorded=True,
        report_only=manifest.report_only,
    )


def _edited(path: Path, manifest: Manifest) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each file that differs from its record in the manifest at ``path``."""
    for name, digest in manifest.files.items():
        file = path.parent / name
        if file.is_file() and sha256(read_file(file, MAX_FILTER)) != digest:
            yield Diagnostic("edited: no longer what was vendored", Position(str(file)))


def compile_request(
    read_request: Callable[[], Request],
    tables: Tables,
    options: BuildOptions,
    progress: Callable[[int, int], None] | None = None,
    *,
    force: bool = False,
) -> Vendoring:
    """Compile the request that ``read_request`` returns.

    Raises InputError with all errors of the policies.
    """
    request = read_request()
    _manifest_before(request, force=force)
    built, files = _compile(request, tables, options, progress)
    return Vendoring(request, built, files, tables, read_request, force)


def _manifest_before(request: Request, *, force: bool) -> Manifest | None:
    if request.single_file and len(request.policies) > 1:
        raise InputError("--single-file is one module, for one POLICY: vendor a package, or twice")
    try:
        return read_manifest(request.manifest)
    except InputError:
        if not force:
            raise
        return None


def _compile(
    request: Request,
    tables: Tables,
    options: BuildOptions,
    progress: Callable[[int, int], None] | None,
) -> tuple[Sequence[Built], dict[Path, bytes]]:
    built = build_policies(
        request.policies, tables, request.arches, progress, request.objective, options
    )
    if request.report_only:
        built = report_only_filters(built, tables)
    if not request.single_file:
        return built, filter_files(built, tables, request.dest, options=options)
    (one,) = built
    return built, {request.dest: render_single_file(one, tables)}


def _compare_all(made: Vendoring, *, explained: bool) -> tuple[Outputs, list[FileFinding]]:
    """Compare the request with the existing files; if ``explained``, report how programs change."""
    request, built, files = made.request, made.built, dict(made.files)
    before = _manifest_before(request, force=made.force)
    after = _manifest(request, built, files, made.tables)
    compared = _compare(request, before, after, built, files, made.tables, explained=explained)
    findings = _spoken_for(list(compared))
    known = {request.manifest.parent / name for name in (before.files if before else ())}
    orphans = frozenset(path for path in known - files.keys() if path.is_file())
    if not findings:
        findings += _compare_manifest(request, before, after)
    files[request.manifest] = render_manifest(after)
    init = request.dest / INIT_NAME
    if not request.single_file and not init.exists():
        # From then on the file is the application's, so the manifest does not list it.
        files[init] = b""
        findings.append(
            FileFinding(init, FileState.MISSING, f"is missing; to make it: {request.again()}")
        )
    return Outputs(files, orphans), findings


def _manifest(
    request: Request, built: Sequence[Built], files: Mapping[Path, bytes], tables: Tables
) -> Manifest:
    stock = {path: name for name, path in stock_policies().items()}
    profile = request.objective.profile
    filters = []
    for path, one in zip(request.policies, built, strict=True):
        served = [abi for program in one.programs for abi in (program.abi, *program.compat)]
        filters.append(
            Vendored(
                file=request.file_of(one),
                policy=stock.get(path) or _to_manifest(request.manifest, path),
                stock=path in stock,
                sources=tuple(
                    Hashed(name=Path(file).name, sha256=digest)
                    for file, digest in one.policy.sources
                ),
                linux=tables.tag,
                tables_sha256=tables.digest_for(served),
                abis=tuple(program.abi.name for program in one.programs),
            )
        )
    return Manifest(
        single_file=request.single_file,
        report_only=request.report_only,
        arches=tuple(abi.name for abi in request.arches),
        optimize=request.objective.optimize,
        bitmap=request.objective.bitmap,
        profile=Hashed(
            name=_to_manifest(request.manifest, Path(profile.file)), sha256=profile.sha256
        )
        if profile
        else None,
        filters=tuple(sorted(filters, key=lambda one: one.file)),
        files={request.name_of(path): sha256(data) for path, data in sorted(files.items())},
    )


def _to_manifest(manifest: Path, path: Path) -> str:
    """Return ``path`` relative to the manifest's own directory, with links resolved.

    Raises InputError for a name that cannot be written as text.
    """
    name = Path(os.path.relpath(path.resolve(), manifest.parent.resolve())).as_posix()
    if not name.isprintable():
        raise InputError(f"unprintable characters in {name!r}: rename it")
    return name


def _from_manifest(manifest: Path, name: str) -> Path:
    """Return the file that a manifest names, as a path from the current directory."""
    return Path(os.path.relpath(manifest.parent.resolve() / name))


def _compare(
    request: Request,
    before: Manifest | None,
    after: Manifest,
    built: Sequence[Built],
    files: Mapping[Path, bytes],
    tables: Tables,
    *,
    explained: bool,
) -> Iterator[FileFinding]:
    """Yield a finding for each file, except the manifest, that is not as it should be."""
    known = before.files if before else {}
    filters = {request.file_of(one): one for one in built}
    effects: dict[str, str] = {}
    for path in sorted({*files, *(request.manifest.parent / name for name in known)}):
        there = read_file(path, MAX_FILTER) if path.is_file() else None
        wanted = files.get(path)
        name = request.name_of(path)
        digest = known.get(name)
        if there == wanted:
            continue
        if there is None:
            yield FileFinding(path, FileState.MISSING, f"is missing; to make it: {request.again()}")
        elif before is None or digest is None:
            text = "was not written by seccompgen, as no manifest has it: rename it, choose"
            yield FileFinding(path, FileState.FOREIGN, f"{text} another DEST, or say --force")
        elif sha256(there) != digest:
            text = "edited: no longer what was vendored; undo that, or to overwrite it:"
            yield FileFinding(path, FileState.EDITED, f"{text} {request.again(force=True)}")
        elif wanted is None:
            text = f"superfluous: no policy makes it any more; to remove it: {request.again()}"
            yield FileFinding(path, FileState.SUPERFLUOUS, text)
        else:
            reason = "this seccompgen has another"
            file, _, _ = name.partition("/")
            if explained and file in filters:
                effects[file] = effects.get(file) or _effect(filters[file], path, file, tables)
                reason = f"{_reason(before, after, file)}; {effects[file]}"
            yield FileFinding(
                path, FileState.STALE, f"stale: {reason}; to renew it: {request.again()}"
            )
    yield from _strangers(files, known, request)


def _effect(one: Built, path: Path, file: str, tables: Tables) -> str:
    """Describe how renewing the filter ``file``, with ``path`` as a part, changes its programs."""
    source = Path(one.policy.file).name
    place = path if path.name == file else path.parent
    return program_changes(place, one.programs, source, tables)


def _spoken_for(findings: Sequence[FileFinding]) -> list[FileFinding]:
    """Drop findings that a finding on the package's __init__.py already implies."""
    speaking = heads(one.path for one in findings)
    return [one for one in findings if one.state in _LOSSES or one.path in speaking]


def _strangers(
    files: Mapping[Path, bytes], known: Mapping[str, str], request: Request
) -> Iterator[FileFinding]:
    """Yield files in filter packages, or hidden by them, that no manifest lists."""
    for package in sorted(filter_packages(files)):
        there = [shadowed_module(package), *(in_package(package) if package.is_dir() else [])]
        for path in there:
            if path.exists() and path not in files and request.name_of(path) not in known:
                text = f"is no part of the filter {package.name}, and no manifest has it: remove it"
                yield FileFinding(path, FileState.FOREIGN, text)


def _compare_manifest(
    request: Request, before: Manifest | None, after: Manifest
) -> Iterator[FileFinding]:
    """Yield a finding if the manifest is missing or stale, although the other files are current."""
    path = request.manifest
    if before is None:
        yield FileFinding(path, FileState.MISSING, f"is missing; to make it: {request.again()}")
    elif before != after:
        reasons = dict.fromkeys(_reason(before, after, one.file) for one in after.filters)
        text = f"stale: {'; '.join(reasons)}; to renew it: {request.again()}"
        yield FileFinding(path, FileState.STALE, text)


def _reason(before: Manifest, after: Manifest, file: str) -> str:
    """Return the reasons why ``file`` would be made differently now."""
    reasons = []
    old = next((one for one in before.filters if one.file == file), None)
    new = next(one for one in after.filters if one.file == file)
    if old is None:
        return "it was vendored as something else"
    was = {(source.name, source.sha256) for source in old.sources}
    now = {(source.name, source.sha256) for source in new.sources}
    if changed := sorted({name for name, _ in was ^ now}):
        reasons.append(f"{', '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed")
    elif (old.policy, old.stock) != (new.policy, new.stock):
        reasons.append(f"its policy is {new.policy}, was {old.policy}")
    if old.linux != new.linux:
        reasons.append(f"the tables are of Linux {new.linux}, were of {old.linux}")
    elif old.abis == new.abis and old.tables_sha256 != new.tables_sha256:
        reasons.append("the tables have changed")
    if before.profile != after.profile:
        reasons.append("the profile has changed")
    if before.arches != after.arches:
        reasons.append("--arch asks for other ABIs")
    if before.report_only != after.report_only:
        reasons.append(f"it is to be {'report-only' if after.report_only else 'enforced'}")
    if (before.optimize, before.bitmap) != (after.optimize, after.bitmap):
        reasons.append("it is to be optimised otherwise")
    return ", ".join(reasons) or "this seccompgen makes it otherwise"
