"""Files of a git revision, copied into a directory that contains nothing else.

Git only returns names and contents: no hook, filter or attribute of the repository is used. A
revision may be malicious: no path or link leads out of the directory. So may the repository's
configuration: no program that it names is started, and nothing is fetched.

Sources: git(1), "ENVIRONMENT VARIABLES"; git-config(1); partial-clone.txt of git's documentation.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError, OutsideError
from seccompgen.io.reading import MAX_FILTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

_ENTRY = re.compile(
    rb"(?P<mode>[0-7]{6}) blob (?P<hash>[0-9a-f]{40,64}) +(?P<size>[0-9]+|BAD)\t(?P<path>.+)",
    re.DOTALL,
)
_ABSENT = b"BAD"
"""The size that git reports for a file that the repository lacks."""
_LINK = b"120000"

_ENVIRONMENT = {
    # A partial clone fetches missing objects by itself, from the address and by the program
    # in its configuration. Git before 2.45 ignores the first variable, but obeys the second.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
    # Use the object that was hashed, and the parents that a commit states.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": f"{os.devnull}/none",  # Git warns if such a file exists.
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_OPTIONS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""A precaution: no command used here starts a file system monitor or a hook."""


@dataclass(frozen=True, slots=True)
class FileTree:
    """A directory of files; ``label`` is their revision, empty for the work tree."""

    root: Path
    label: str = ""

    def shown(self, text: str) -> str:
        """Return ``text`` with paths in the tree in git's form: ``main:policies/web.yml``."""
        return text.replace(f"{self.root}{os.sep}", f"{self.label}:") if self.label else text


def repository(start: Path) -> Path:
    """Return the top directory of the git repository that ``start`` is in.

    Raises InputError if there is none, OutsideError if git cannot be run.
    """
    inside = any((directory / ".git").exists() for directory in (start, *start.parents))
    if not inside and "GIT_DIR" not in os.environ:
        raise InputError(f"{start} is in no git repository; without --git, name two filters")
    top = Path(os.fsdecode(_git(start, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    if "GIT_WORK_TREE" not in os.environ and not _is_inside(start, top):
        raise InputError(
            f"{start} is not in the work tree of its git repository, {top}: see core.worktree in"
            " its configuration; without --git, name two filters"
        )
    return top


def revisions(text: str, top: Path) -> tuple[str, str]:
    """Return the two revisions that ``text`` names; an empty one is the work tree.

    ``A..B`` names A and B; ``A...B`` names the merge base of A and B, and B, as for ``git diff``.
    Raises InputError if the repository has no such revision.
    """
    before, dots, after = text.partition("...") if "..." in text else text.partition("..")
    before, after = before or "HEAD", (after or "HEAD") if dots else ""
    for one in filter(None, (before, after)):
        _tree_of(one, top)
    if dots == "...":
        before = _git(top, "merge-base", before, after).decode().strip()
    return before, after


@contextlib.contextmanager
def files_of(revision: str, top: Path, wanted: Callable[[str], bool]) -> Iterator[FileTree]:
    """Copy the files of a revision whose paths are ``wanted`` to a directory, for the block.

    Files larger than `MAX_FILTER` are left out. Raises InputError if there is no such revision.
    """
    tree = _tree_of(revision, top)
    entries: list[tuple[bytes, bytes, str]] = []
    for line in _git(top, "ls-tree", "-r", "-z", "-l", "--full-tree", tree).split(b"\0"):
        match = _ENTRY.fullmatch(line)
        path = os.fsdecode(match["path"]) if match else ""
        if match and _stays_inside(path) and wanted(path) and _size(match) <= MAX_FILTER:
            entries.append((match["mode"], match["hash"], path))
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as directory:
        root = Path(os.path.realpath(directory))
        _write(root, entries, top)
        yield FileTree(root, revision)


def is_repository(directory: Path) -> bool:
    """Return True if ``directory`` is the top of a git repository, bare or with a work tree."""
    bare = (directory / "HEAD").is_file() and (directory / "objects").is_dir()
    return bare or (directory / ".git").exists()


def has_tag(tag: str, top: Path) -> bool:
    """Return True if the repository has ``tag``; raise OutsideError if git cannot be run."""
    return not _run(top, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{tree}}").returncode


def files_at_tag(tag: str, top: Path, paths: Sequence[str], largest: int) -> dict[str, bytes]:
    """Return those of ``paths`` that a tag has; the content of a symbolic link is its target.

    Raises InputError for a file with more than ``largest`` bytes.
    """
    listed = _git(top, "ls-tree", "-r", "-z", "-l", "--full-tree", f"refs/tags/{tag}", "--", *paths)
    entries = [match for line in listed.split(b"\0") if (match := _ENTRY.fullmatch(line))]
    for entry in entries:
        if _size(entry) > largest:
            path = f"{tag}:{os.fsdecode(entry['path'])}"
            raise InputError(f"{path}: larger than {largest} bytes, which no such file is")
    names = [os.fsdecode(entry["path"]) for entry in entries]
    return dict(zip(names, _contents([entry["hash"] for entry in entries], top), strict=True))


def _size(entry: re.Match[bytes]) -> int:
    if entry["size"] == _ABSENT:
        path = os.fsdecode(entry["path"])
        raise OutsideError(f"{path}: the git repository lacks this file of the revision; {_GET}")
    return int(entry["size"])


_GET = (
    "if it is a partial clone, 'git fetch --refetch --no-filter' gets all; else 'git fsck' says why"
)


def _tree_of(revision: str, top: Path) -> str:
    said = f"--git: {revision!r} is no revision of this repository"
    if revision.startswith("-"):
        raise InputError(f"{said}; write --git REVISION, such as --git main")
    found = _run(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{tree}}")
    if found.returncode:
        raise InputError(f"{said}; 'git branch -a' names some, and 'git fetch' gets what is new")
    return found.stdout.decode().strip()


def _stays_inside(path: str) -> bool:
    parts = path.split("/")
    return not any(part in {"", ".", "..", ".git"} or "\0" in part for part in parts)


def _write(root: Path, entries: Sequence[tuple[bytes, bytes, str]], top: Path) -> None:
    """Write files, then links; links that lead out of ``root`` are removed."""
    links: list[tuple[Path, bytes]] = []
    contents = _contents([each for _, each, _ in entries], top)
    for (mode, _, path), content in zip(entries, contents, strict=True):
        if mode == _LINK:
            links.append((root / path, content))
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
    for place, target in links:
        if not _is_inside(place.parent, root):  # below another link
            continue
        with contextlib.suppress(OSError):  # a path that is a file and a directory at once
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(os.fsdecode(target))
    for place, _ in links:
        if place.is_symlink() and not _is_inside(place, root):
            place.unlink()


def _contents(hashes: Sequence[bytes], top: Path) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as asked:
        asked.write(b"".join(each + b"\n" for each in hashes))
        asked.seek(0)
        with _started(top, "cat-file", "--batch", stdin=asked) as git:
            assert git.stdout
            for _ in hashes:
                yield _next_content(git.stdout)


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _next_content(stream: IO[bytes]) -> bytes:
    head = stream.readline().split()
    if len(head) != 3:
        raise OutsideError(f"git cat-file does not give a file of this revision; {_GET}")
    size = int(head[2])
    content = stream.read(size)
    if len(content) != size or stream.read(1) != b"\n":
        raise OutsideError("git cat-file ended early: 'git fsck' says if the repository is damaged")
    return content


def _git(where: Path, *arguments: str) -> bytes:
    """Return git's output; raise OutsideError with its error message if it fails."""
    run = _run(where, *arguments)
    if run.returncode:
        words = run.stderr.decode(errors="replace").strip() or f"exit code {run.returncode}"
        raise OutsideError(f"git {arguments[0]}: {words}")
    return run.stdout


def _run(where: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    with _started(where, *arguments, stdin=subprocess.DEVNULL) as git:
        out, err = git.communicate()
    return subprocess.CompletedProcess(arguments, git.returncode, out, err)


def _started(where: Path, *arguments: str, stdin: IO[bytes] | int) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = ["git", *_OPTIONS, "-C", str(where), *arguments]
    env = {**os.environ, **_ENVIRONMENT}
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, env=env)  # noqa: S603 - git
    except OSError as error:
        text = f"cannot run git: {error.strerror}; install it, or do without revisions"
        raise OutsideError(text) from None
