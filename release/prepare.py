"""Prepare a release, check it whole, and build its files: ``make release VERSION=0.2.0 DATE=...``.

The version and the section of CHANGELOG.md are a commit of their own. A wrong version, a tree with
changes, a check that fails or a wheel that two builders would make differently ends it, and leaves
neither commit nor files. Nothing is published. The date is an argument, never the clock's.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from seccompgen.core.errors import AnswerNo, OutsideError, SeccompgenError
from seccompgen.core.published import REPOSITORY
from seccompgen.io.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
PUBLISHED = ROOT / "generator" / "seccompgen" / "core" / "published.py"
PACKAGE = ROOT / "generator" / "seccompgen" / "__init__.py"
SUMS = "SHA256SUMS"
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)[1-9]\d*)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ADDRESS = re.compile(r"https://[\w.-]+(/[\w.~-]+)*/?")
_NEXT = "Unreleased"
_HEADING = re.compile(r"^## \[?([^\]\n]+?)\]?(?: - (\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)
_CHECKS = ("check",)
"""Targets of make that have to pass."""


def obstacles(version: str, date: str | None, repository: str, site: str) -> Iterator[str]:
    """Yield what stands between this checkout and a release, that is known at once."""
    if not (repository or REPOSITORY):
        yield "nobody has published it yet: say REPOSITORY=https://... and, if it has one, SITE=..."
    for address in filter(None, (repository, site)):
        if not _ADDRESS.fullmatch(address):
            yield f"{address!r} is no address: say https://... in letters that need no quotes"
    if not _VERSION.fullmatch(version):
        yield f"{version!r} is no version: say MAJOR.MINOR.PATCH, and a1, b1 or rc1 behind it"
    if date is not None and not _DATE.fullmatch(date):
        yield f"{date!r} is no date: say DATE=YYYY-MM-DD"
    if changed := _git("status", "--porcelain").splitlines():
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield f"the tree has changes: {changed[0].strip()}{more}; commit or remove them"
    if _git("tag", "--list", f"v{version}"):
        yield f"the tag v{version} is there already: a release is never made again"
    sections = changelog(CHANGELOG.read_text())
    if version in sections:
        given, body = sections[version]
        if given is None:
            yield f"CHANGELOG.md: '## [{version}]' has no date: write ' - YYYY-MM-DD' behind it"
        elif date not in {given, None}:
            yield f"CHANGELOG.md says {given} for {version}, and DATE is {date}"
        if "- " in sections.get(_NEXT, (None, ""))[1]:
            yield f"CHANGELOG.md: [{_NEXT}] is not empty: move its lines to {version}"
    else:
        body = sections.get(_NEXT, (None, ""))[1]
        if date is None:
            yield "say DATE=YYYY-MM-DD, the day of the release"
    if "- " not in body:
        yield f"CHANGELOG.md: nothing is said of {version}, neither there nor in [{_NEXT}]"


def changelog(text: str) -> dict[str, tuple[str | None, str]]:
    """Return the date and the text of each section, by its version."""
    sections = list(_HEADING.finditer(text))
    ends = [one.start() for one in sections[1:]] + [len(text)]
    return {
        one[1]: (one[2], text[one.end() : end]) for one, end in zip(sections, ends, strict=True)
    }


def commit(version: str, date: str | None, repository: str, site: str) -> None:
    """Commit the version, the date and the addresses, where the tree does not have them yet."""
    _assign(PACKAGE, "__version__", version)
    if repository:
        _assign(PUBLISHED, "REPOSITORY", repository.rstrip("/"))
        _assign(PUBLISHED, "SITE", site and f"{site.rstrip('/')}/")
        env = {**os.environ, "PYTHONPATH": str(ROOT / "generator")}
        words = (sys.executable, "-m", "release.pages")
        _run("the manual pages cannot be written", *words, env=env)
    text = CHANGELOG.read_text()
    if version not in changelog(text):
        heading = f"## [{_NEXT}]\n\n## [{version}] - {date}"
        CHANGELOG.write_text(text.replace(f"## [{_NEXT}]", heading, 1))
    if _git("status", "--porcelain"):
        _git("commit", "--quiet", "--all", "--message", f"Release {version}")


def build_twice(place: Path) -> list[Path]:
    """Build sdist and wheel as two builders would; return them if all came out the same.

    The second builder has a clone with other permissions, another time and another language, and
    makes the wheel of the sdist of the first. Raises AnswerNo where a byte differs.
    """
    first, second, third = (place / name for name in ("first", "second", "third"))
    clone = place / "clone"
    _git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    for path in clone.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
            path.chmod(path.stat().st_mode & 0o700)
            os.utime(path, (1, 1))
    _build(ROOT, first)
    _build(clone, second, TZ="Pacific/Kiritimati", LANG="tr_TR.UTF-8", PYTHONHASHSEED="1")
    (sdist,) = first.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    _build(unpacked, third)
    made = sorted(path for path in first.iterdir() if path.suffix in {".whl", ".gz"})
    differ = [
        f"{one.name}: {other.name} built it differently"
        for one in made
        for other in (second, third)
        if one.read_bytes() != (other / one.name).read_bytes()
    ]
    if differ:
        raise AnswerNo(*differ)
    return made


def _assign(module: Path, name: str, value: str) -> None:
    """Give a constant of a module another text."""
    line = re.compile(rf'^{name} = ".*"$', re.MULTILINE)
    module.write_text(line.sub(f'{name} = "{value}"', module.read_text()))


def _build(source: Path, output: Path, **environment: str) -> None:
    """Build with the pinned tools of this environment, without a clock of anybody's."""
    kept = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel"]
    words = (*command, "--outdir", str(output), str(source))
    _run(f"{source}: cannot be built", *words, env={**kept, **environment})


def _git(*args: str) -> str:
    return _run(f"git {args[0]}", "git", *args)


def _run(failed: str, *words: str, env: Mapping[str, str] | None = None) -> str:
    """Run a tool in the tree; return what it prints. Raises OutsideError, with ``failed``."""
    run = subprocess.run(  # noqa: S603 - our own tools, and git
        words, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise OutsideError(f"{failed}: {run.stdout[-2000:]}{run.stderr[-2000:].strip()}")
    return run.stdout


def _pass(target: str) -> None:
    """Run a target of make, and let it print. Raises AnswerNo where it fails."""
    run = subprocess.run(["make", target], cwd=ROOT, check=False)  # noqa: S603, S607
    if run.returncode:
        raise AnswerNo(f"make {target} failed, so nothing was built")


@click.command()
@click.argument("version")
@click.option("--date", help="The day of the release, for CHANGELOG.md.")
@click.option("--repository", default="", help="The address of the repository, the first time.")
@click.option("--site", default="", help="The address of the documentation's site, if it has one.")
@click.option("--no-check", is_flag=True, help="Leave out 'make check', to try the rest.")
def main(version: str, date: str | None, repository: str, site: str, *, no_check: bool) -> None:
    """Commit VERSION, check everything, and build it into dist/; nothing is published."""
    try:
        _release(version, date or None, repository, site, () if no_check else _CHECKS)
    except SeccompgenError as error:
        say(*(one.line() for one in error.diagnostics), err=True)
        raise SystemExit(error.exit_code) from None


def _release(
    version: str, date: str | None, repository: str, site: str, checks: Sequence[str]
) -> None:
    if found := list(obstacles(version, date, repository, site)):
        raise AnswerNo(*found)
    before = _git("rev-parse", "HEAD").strip()
    try:
        commit(version, date, repository, site)
        for target in checks:
            _pass(target)
        with tempfile.TemporaryDirectory() as place:
            made = build_twice(Path(place))
            if _git("status", "--porcelain"):
                raise AnswerNo("the checks or the build changed the tree: git status says where")
            sums = _publishable(made)
    except BaseException:
        _git("reset", "--quiet", "--keep", before)
        raise
    unchecked = " (unchecked, so not for publishing)" if not checks else ""
    say(*sums, f"dist/ has {version}{unchecked}; now: git tag -s v{version}, and push the tag")


def _publishable(made: Sequence[Path]) -> list[str]:
    """Put the packages into dist, alone, with their hashes; return these."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    for path in made:
        shutil.copyfile(path, dist / path.name)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in made]
    (dist / SUMS).write_text("".join(f"{line}\n" for line in sums))
    return sums


if __name__ == "__main__":
    main()
