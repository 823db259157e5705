"""``seccompgen convert``: write a policy of another format in our language."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.cli.common import print_notes, print_written
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.formats.losses import CONVERTED
from seccompgen.io.console import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.filters.combine.convert import Converted


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="POLICY",
    help="Write the policy there, or into a directory: DIR/. Default: print it.",
)
@click.option(
    "--accept",
    "losses",
    type=click.Choice(list(CONVERTED)),
    multiple=True,
    help="Lose this, and say so: high_bits compares the bits that the kernel reads where FILE "
    "compares more, unused_numbers leaves out numbers without a call; may be repeated.",
)
@reading_options
@options.tables
def convert(
    file: Path, output: str | None, losses: tuple[str, ...], reading: Reading, tables: Tables
) -> None:
    """Write somebody else's policy in our language, with its comments.

    FILE is a seccomp profile of OCI, Docker, Podman or Kubernetes, or one of minijail,
    seccompiler, kafel, systemd, Android or libseccomp; docs/formats.md says what carries over.
    What our language cannot say is an error: nothing is dropped. The policy is proved to answer
    every call as FILE does. A file that is there already is not replaced.

    With -o DIR/ each filter of FILE becomes a policy of its name in that directory: all of them,
    or none if one cannot be converted or is there already. If FILE is a directory, each policy
    below it becomes a file at the same place in DIR, and an include stays an include.
    """
    from seccompgen.filters.combine.convert import convert as converted  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.combine.convert import convert_all  # noqa: PLC0415 - as above

    reading = replace(reading, losses=frozenset(losses))
    if file.is_dir():
        _convert_directory(file, output, reading, tables)
        return
    if output is None:
        found = converted(file, tables, reading)
        print_notes(found.notes)
        for line in found.text.splitlines():
            say(line)
        return
    place = Path(output)
    if output.endswith(("/", os.sep)) or place.is_dir():
        policies = convert_all(file, tables, reading)
        each = {place / f"{name}.yml": one for name, one in policies.items()}
    else:
        each = {place: converted(file, tables, reading)}
    _write(each)


def _convert_directory(
    directory: Path, output: str | None, reading: Reading, tables: Tables
) -> None:
    from seccompgen.filters.combine.convert_tree import convert_tree  # noqa: PLC0415 - few need it

    if output is None:
        text = "is a directory: say with -o DIR/ where its policies are to be written"
        raise InputError(Diagnostic(text, Position(str(directory)), Problem.MISSING_KEY))
    found = convert_tree(directory, tables, reading)
    _write({Path(output) / path: one for path, one in found.items()})


def _write(each: Mapping[Path, Converted]) -> None:
    print_notes(dict.fromkeys(note for one in each.values() for note in one.notes))
    files: dict[Path, bytes] = {}
    for path, one in each.items():
        files[path] = one.text.encode()
        if one.profile:
            lines = (f"{name}: {count}\n" for name, count in sorted(one.profile.items()))
            files[path.with_suffix(".profile")] = "".join(lines).encode()
    _write_new(files)


def _write_new(files: Mapping[Path, bytes]) -> None:
    """Write all files, or none. Raises InputError if one exists with other content."""
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415 - keeps --help fast

    outputs = Outputs(files)
    # A policy of ours cannot be distinguished from one that was edited since.
    there = [path for path in outputs.changed() if path.is_symlink() or path.exists()]
    if there:
        text = "is there already: name another file, or remove it first"
        wrong = (Diagnostic(text, Position(str(path))) for path in there)
        raise InputError(*wrong, kind=Problem.FILE_EXISTS)
    print_written(outputs.write())
