"""``seccompgen scan``: the policy that a program needs, from its code."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.cli.scan_assumptions import assumptions, require_used
from seccompgen.cli.scan_reasons import place, show_imports, show_paths
from seccompgen.cli.scan_texts import CAVEAT, scan_json, show, show_implied
from seccompgen.cli.scan_unknown import advice, assumption, diagnostic, reason, show_unknown
from seccompgen.cli.scanned_image import (
    RUNTIME_CALLS,
    Targets,
    left_out_of,
    show_targets,
    started_json,
    targets_in,
)
from seccompgen.cli.scanned_packages import Cluster, fill_table, show_callers
from seccompgen.core.errors import AnswerNo, InputError, did_you_mean
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action
    from seccompgen.core.tables import Tables
    from seccompgen.scan import Scan, ScanOptions

_HOSTS = {"i386": "x86_64"}
"""ABIs whose programs also run on a kernel of another ABI."""


@click.command()
@click.argument("words", nargs=-1, metavar="BINARY...", type=click.Path())
@options.output("POLICY", "The file to write; without it, only report what was found.")
@options.form(["policy", "oci"], "With oci, write the container profiles next to POLICY as well.")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="DIR|TAR",
    help="Scan what this container image starts: its entry point, and BINARY if named.",
)
@click.option("--allow", multiple=True, metavar="NAMES", help="Allow these calls, too.")
@click.option("--deny", multiple=True, metavar="NAMES", help="Leave these calls out.")
@options.default_action
@click.option("--sites", is_flag=True, help="List the code locations that make each call.")
@click.option(
    "--why",
    multiple=True,
    metavar="NAMES",
    help="Show the shortest way from an entry point to each of these calls.",
)
@click.option(
    "--by-import",
    is_flag=True,
    help="List the calls that only one import brings.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NAMES",
    help="Leave out what only these imports of BINARY lead to, as if it never used them.",
)
@click.option(
    "--after",
    metavar="main|accept|NAME",
    help="Leave out what only comes before this function of BINARY is called: for a filter that "
    "BINARY installs itself.",
)
@click.option(
    "--assume",
    "assumed",
    multiple=True,
    metavar="PLACE=CALLS|FILE",
    help="What an unknown PLACE that the scan lists calls, or none; or a FILE with such lines.",
)
@click.option(
    "--accept-unknown",
    is_flag=True,
    help="Write the policy even if the numbers of some calls could not be determined.",
)
@click.option(
    "--library",
    "libraries",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A library that BINARY loads while it runs; repeatable.",
)
@click.option(
    "--library-path",
    "directories",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A directory to search for libraries first; repeatable.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    show_default=True,
    metavar="DIR",
    help="The root of the system that BINARY is to run on.",
)
@click.option(
    "--packages",
    type=click.Path(path_type=Path),
    metavar="DIR|LIST",
    help="Scan the programs of the Debian packages in DIR, or of the files that LIST names, into "
    "TABLE, or go on doing so.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Scan --packages by dask's workers there.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory that the workers of --scheduler share.",
)
@click.option("--who-calls", metavar="NAME", help="List the programs in TABLE that make this call.")
@click.option(
    "--table",
    "table_path",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="The SQLite file of --packages and --who-calls.",
)
@options.tables
@options.no_cache
@options.as_json
def scan(
    words: tuple[str, ...],
    output: Path | None,
    form: str,
    image: Path | None,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    default_action: str,
    why: tuple[str, ...],
    without: tuple[str, ...],
    after: str | None,
    assumed: tuple[str, ...],
    libraries: tuple[Path, ...],
    directories: tuple[Path, ...],
    root: Path,
    packages: Path | None,
    scheduler: str | None,
    store: Path | None,
    who_calls: str | None,
    table_path: Path | None,
    tables: Tables,
    *,
    sites: bool,
    by_import: bool,
    accept_unknown: bool,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Find the calls that BINARY can make, from its code, and write the policy that allows them.

    BINARY is an ELF program for x86_64 or aarch64, or a Go program for 386; of several, for other
    architectures perhaps, the policy allows what any can call. The libraries that it is loaded
    with are read as well, from this machine or below --root.

    With --image, which is a directory, or an archive as 'docker save' and 'podman save' write it,
    all files are those of the image, and nothing else is read.

    With --packages, go on filling TABLE with the programs of many packages, on this machine or
    by the workers of a scheduler.

    Exit code 1, and nothing written, where the number of a call, or what can run, is unknown.
    """
    from seccompgen.core.model import Action  # noqa: PLC0415
    from seccompgen.policy.modeline import modeline  # noqa: PLC0415
    from seccompgen.scan import Questions  # noqa: PLC0415
    from seccompgen.scan import scan as scan_one  # noqa: PLC0415

    if packages or who_calls or table_path:
        alone = not (words or image or output or after or assumed)
        if not alone or not table_path or bool(packages) == bool(who_calls):
            raise InputError("--table goes with --packages DIR, or with --who-calls NAME, alone")
        cluster = _cluster(scheduler, store)
        if who_calls:
            show_callers(table_path, who_calls, tables, as_json=as_json)
        elif packages:
            means = _means(tables, None, cached=not no_cache)
            with common.progress("scanning programs") as report:
                fill_table(packages, table_path, tables, means, report, cluster)
        return
    if scheduler or store:
        raise InputError("--scheduler and --store are for --packages")
    try:
        action = Action.parse(default_action)
    except ValueError as error:
        raise InputError(f"--default-action: {error}") from None
    allowed, denied = _names("--allow", allow), _names("--deny", deny)
    if both := allowed & denied:
        raise InputError(f"allowed and denied: {', '.join(sorted(both))}; choose one")
    wanted = _names("--why", why)
    if not image and not words:
        raise InputError("name a BINARY, or an image with --image")
    if image and root != Path("/"):
        raise InputError("--root is for a BINARY; the files of an image are those of --image")
    with contextlib.ExitStack() as stack:
        if image:
            targets = targets_in(stack, image, words, libraries, directories)
        else:
            targets = Targets([(Path(word), libraries) for word in words], directories, root)
        names = _without(without, [path for path, _ in targets.programs])
        given = assumptions(assumed)
        asked = Questions(
            *(names, frozenset(wanted), by_import, after or "", given), details=not accept_unknown
        )
        report = stack.enter_context(common.progress("reading code"))
        how = _means(tables, report, cached=not no_cache)
        where = targets.directories, targets.root, how, asked
        found = [
            scan_one(path, tables, more, *where, is_image=bool(image))
            for path, more in targets.programs
        ]
    abis = list(dict.fromkeys(one.abi for one in found))
    said = {name for one in given for name in one.calls}
    _require_known(allowed | denied | wanted | said, abis, tables)
    require_used(given, found)
    if image:
        allowed |= RUNTIME_CALLS - denied
    calls = _calls(found, allowed, denied, tables)
    files = {}
    if output:
        if not calls:
            raise AnswerNo("nothing to write: no call was found, or all are denied")
        heading = [*_heading(found, accept=accept_unknown), *left_out_of(targets)]
        text = _content(found, calls, action, tables, heading)
        content = f"{modeline(output.parent)}{text}".encode()
        files = _files(output, content, form, tables)
    unknown = [one for result in found for one in result.unknown]
    refused = bool(unknown) and not accept_unknown
    written = _write(files) if files and not refused else []
    if as_json:
        print_json(
            [
                {
                    **scan_json(one),
                    "policy": sorted(calls.get(one.abi, ())),
                    "started": started_json(targets, one.path),
                }
                for one in found
            ]
        )
    else:
        show_targets(targets)
        for one in found:
            show(one, denied, sites=sites)
            show_paths(one)
            show_implied(one, wanted)
            if by_import:
                show_imports(one)
        if output and not refused:
            common.print_written(written)
    if refused:
        if not as_json:
            for one in found:
                show_unknown(one, tables.tables[one.abi.name])
        raise AnswerNo(advice(output, unknown))
    for location in unknown:
        say(diagnostic(location), err=True)
    made = {name for one in found for name in one.names}
    if wanted - made:
        raise AnswerNo(f"none of the code makes {', '.join(sorted(wanted - made))}")


def _means(
    tables: Tables, report: Callable[[int, int], None] | None, *, cached: bool
) -> ScanOptions:
    """Return the options for scans: all CPUs, and with ``cached`` earlier results."""
    from seccompgen.pipeline.cache import cache_directory  # noqa: PLC0415
    from seccompgen.pipeline.pool import available_cpus, spread  # noqa: PLC0415
    from seccompgen.scan import Kept, ScanOptions  # noqa: PLC0415

    directory = cache_directory() if cached else None
    return ScanOptions(
        spread=partial(spread, workers=available_cpus()),
        kept=Kept(directory / "scans", tables) if directory else None,
        report=report,
    )


def _cluster(scheduler: str | None, store: Path | None) -> Cluster | None:
    if bool(scheduler) != bool(store):
        raise InputError("--scheduler goes with --store DIR, which its workers share")
    return Cluster(scheduler, store) if scheduler and store else None


def _names(option: str, texts: Iterable[str], what: str = "system call") -> set[str]:
    """Return the names in ``texts``, separated by spaces or commas."""
    names = {name for text in texts for name in text.replace(",", " ").split()}
    if not names and any(text.strip() for text in texts):
        raise InputError(f"{option}: names no {what}")
    return names


def _without(texts: tuple[str, ...], binaries: Iterable[Path]) -> frozenset[str]:
    """Return the names in ``texts``; raise InputError if no program imports one of them."""
    from seccompgen.scan import imports_of  # noqa: PLC0415

    names = _names("--without", texts, "import")
    known = frozenset[str]().union(*map(imports_of, binaries)) if names else frozenset[str]()
    unknown = sorted(names - known)
    if unknown:
        programs = ", ".join(binary.name for binary in binaries)
        raise InputError(
            *(
                f"--without: {programs} does not import {name!r}{did_you_mean(name, known)}"
                for name in unknown
            )
        )
    return frozenset(names)


def _require_known(names: set[str], abis: list[Abi], tables: Tables) -> None:
    """Raise InputError unless each of ``names`` is a call of one of ``abis``."""
    known = {name for abi in abis for name in tables.tables[abi.name].numbers}
    where = ", ".join(abi.name for abi in abis)
    problems = [
        f"unknown system call {name!r} on {where}{did_you_mean(name, known)}"
        for name in sorted(names - known)
    ]
    if problems:
        raise InputError(*problems)


def _calls(
    found: Iterable[Scan], allowed: set[str], denied: set[str], tables: Tables
) -> dict[Abi, list[str]]:
    """Return the names that the policy will allow, by ABI."""
    abis = list(dict.fromkeys(one.abi for one in found))
    calls: dict[Abi, list[str]] = {}
    for abi in abis:
        numbers = tables.tables[abi.name].numbers
        names = {name for one in found if one.abi == abi for name in one.names}
        names |= {name for name in allowed if name in numbers}
        # A number may have several names; denying one denies all of them.
        out = {numbers[name] for name in denied if name in numbers}
        calls[abi] = sorted(name for name in names if numbers[name] not in out)
    return {abi: names for abi, names in calls.items() if names}


def _content(
    found: list[Scan],
    calls: dict[Abi, list[str]],
    action: Action,
    tables: Tables,
    heading: Sequence[str],
) -> str:
    from seccompgen.core.releases import Release  # noqa: PLC0415
    from seccompgen.policy.allowlist_text import AS_RUNTIMES, Allowed, write_policy  # noqa: PLC0415

    programs = ", ".join(dict.fromkeys(Path(one.path).name for one in found))
    description = f"What {programs} can call, as far as its code says it."
    guests = [abi for abi in calls if abi.name in _HOSTS]
    # They also run on the larger kernel, whose own program answers for them as well.
    hosts = [_HOSTS[abi.name] for abi in guests if _HOSTS[abi.name] in tables.tables]
    wanted = calls | {
        tables.tables[name].abi: calls.get(tables.tables[name].abi, []) for name in hosts
    }
    allowed = {abi: [Allowed(name) for name in names] for abi, names in wanted.items()}
    return write_policy(
        *(description, allowed, action, tables, "\n".join(heading)),
        compat_arches=guests,
        kernel=Release.parse(tables.tag),
        bad_arch_action=AS_RUNTIMES,
    )


def _heading(found: list[Scan], *, accept: bool) -> list[str]:
    """Return the policy's heading: files by name and hash, and the calls that are missing."""
    lines = ["Found by seccompgen scan in"]
    files = dict.fromkeys((Path(path).name, sha256) for one in found for path, sha256 in one.files)
    lines += [f"  {name} (sha256 {sha256})" for name, sha256 in files]
    caveats = dict.fromkeys(caveat for one in found for caveat in one.caveats)
    lines += [f"Note: {CAVEAT[caveat]}." for caveat in caveats]
    without = sorted({name for one in found for name in one.without})
    for marker in dict.fromkeys(one.after for one in found if one.after):
        lines.append(f"It is for a filter that the program installs itself, at {marker} or later.")
    if without:
        lines.append(f"It lacks what only these imports lead to: {', '.join(without)}.")
    lines += [
        f"Assumed: {one}."
        for one in dict.fromkeys(assumption(one) for result in found for one in result.assumed)
    ]
    unknown = [one for result in found for one in result.unknown]
    if accept and unknown:
        lines.append("It lacks what is called here, where the number is unknown:")
        lines += [f"  {Path(one.path).name} {place(one)}: {reason(one)}" for one in unknown]
    return lines


def _files(output: Path, policy: bytes, form: str, tables: Tables) -> dict[Path, bytes]:
    """Return the files to write: the policy, and what other tools read."""
    from seccompgen.pipeline.build import build_policies  # noqa: PLC0415
    from seccompgen.pipeline.files import filter_files  # noqa: PLC0415
    from seccompgen.policy.document import read_document  # noqa: PLC0415

    if output.is_dir():
        raise InputError(f"{output} is a directory; name the file to write")
    if form == "policy":
        return {output: policy}
    document = read_document(policy, output.stem)
    built = build_policies([document], tables, options=common.build_options(cached=True))
    return {output: policy, **filter_files(built, tables, output.parent, form)}


def _write(files: dict[Path, bytes]) -> list[Path]:
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415

    return Outputs(files).write()
