"""``seccompgen convert``: somebody else's policy, as ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli.common import print_notes, print_written, read_tables, tables_option
from seccompgen.cli.reading import reading_options
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.io.console import say

if TYPE_CHECKING:
    from seccompgen.core.foreign import Reading


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="POLICY",
    help="Write the policy there; default: print it.",
)
@reading_options
@tables_option
def convert(
    file: Path, output: Path | None, reading: Reading, tables_directory: Path | None
) -> None:
    """Write somebody else's policy in our language, each rule with its origin.

    FILE is a seccomp profile of OCI, Docker, Podman or Kubernetes, or one of minijail,
    seccompiler, kafel, systemd, Android or libseccomp; docs/formats.md says what carries over.
    What our language cannot say is an error: nothing is dropped. The policy is proved to answer
    every call as FILE does. A file that is there already is not replaced.
    """
    from seccompgen.filters.convert import convert as converted  # noqa: PLC0415 - keeps --help fast
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415

    found = converted(file, read_tables(tables_directory), reading)
    print_notes(found.notes)
    if output is None:
        for line in found.text.splitlines():
            say(line)
        return
    files = {output: found.text.encode()}
    if found.profile:
        lines = (f"{name}: {count}\n" for name, count in sorted(found.profile.items()))
        files[output.with_suffix(".profile")] = "".join(lines).encode()
    outputs = Outputs(files)
    # Nothing tells a policy that this wrote from one that somebody has edited since.
    there = [path for path in outputs.changed() if path.is_symlink() or path.exists()]
    if there:
        text = "is there already: name another file, or remove it first"
        wrong = (Diagnostic(text, Position(str(path))) for path in there)
        raise InputError(*wrong, kind=Problem.FILE_EXISTS)
    print_written(outputs.write())
