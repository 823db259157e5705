"""Find the programs that a container image starts, as far as its files say it.

These are its entry point, the interpreters of scripts, and what command lines and shell scripts
name: each word that is the name of a program there. Interpreters load extension modules.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position, cannot
from seccompgen.io.reading import read_file, read_start
from seccompgen.scan.inside import file_inside, files_below
from seccompgen.scan.libraries import System, missing_libraries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from seccompgen.scan.saved_image import ContainerImage

_MODULES = {
    r"python[\d.]*": r"/(lib-dynload|site-packages|dist-packages)/.*\.so$",
    r"perl[\d.]*": r"/perl[^/]*/(.*/)?auto/.*\.so$",
    r"ruby[\d.]*": r"/(ruby|gems|extensions)/.*\.so$",
    r"node(js)?": r"\.node$",
    r"php[\w.-]*": r"/php/.*\.so$",
}
"""The extension modules of interpreters, by their names: paths in the image."""
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "busybox"})
_WORD = re.compile(r"[\w./+\[-]+")
_SCRIPT_LINE = 256
"""The bytes of a script that the kernel looks at for its interpreter (BINPRM_BUF_SIZE)."""
_MOST_PROGRAMS = 1000
_HEADER = 20
_MACHINE = slice(4, 6), slice(18, 20)
"""The class, byte order and machine in an ELF header."""


class Reason(StrEnum):
    """A reason why a program counts as started. The value is its code in output."""

    ENTRY = "entry"
    """it is the entry point"""
    ASKED = "asked"
    """the command line of the scan names it"""
    INTERPRETER = "interpreter"
    """a script is run by it"""
    WORD = "word"
    """a command line or a shell script has its name"""


class StartedProgram(NamedTuple):
    """A program of the image, and why it counts as started: by ``source``, a script or ""."""

    path: Path
    reason: Reason
    source: str


@dataclass(frozen=True, slots=True)
class ImagePrograms:
    """The programs that an image starts, and the extension modules of each that has some.

    ``incomplete`` are modules that cannot be loaded, each with a library that the image lacks.
    """

    programs: tuple[StartedProgram, ...]
    modules: dict[Path, tuple[Path, ...]]
    incomplete: tuple[tuple[Path, str], ...]


def image_programs(image: ContainerImage, asked: Iterable[str]) -> ImagePrograms:
    """Return the programs that ``image`` starts, with those ``asked`` for.

    Raises InputError if there are none, or if the entry point or one of ``asked`` is missing.
    """
    found = _ProgramSearch(image).programs(asked)
    system = System(image.root, is_image=True)
    modules: dict[Path, tuple[Path, ...]] = {}
    incomplete: dict[tuple[Path, str], None] = {}
    for program in found:
        some = list(_modules_of(image.root, program.path))
        lacking = {path: missing_libraries(system.read(path), system) for path in some}
        modules[program.path] = tuple(path for path in some if not lacking[path])
        incomplete |= {(path, names[0]): None for path, names in lacking.items() if names}
    return ImagePrograms(found, modules, tuple(incomplete))


def _modules_of(root: Path, program: Path) -> Iterator[Path]:
    for name, pattern in _MODULES.items():
        if re.fullmatch(name, program.name):
            header = read_start(program, _HEADER)
            for path in files_below(root):
                inside = f"/{path.relative_to(root)}"
                if re.search(pattern, inside) and _is_for(header, read_start(path, _HEADER)):
                    yield path


def _is_for(program: bytes, module: bytes) -> bool:
    return module[:4] == program[:4] and all(module[one] == program[one] for one in _MACHINE)


class _ProgramSearch:
    def __init__(self, image: ContainerImage) -> None:
        self._image = image
        self._found: dict[Path, StartedProgram] = {}
        self._seen: set[Path] = set()
        self._waiting: list[StartedProgram] = []

    def programs(self, asked: Iterable[str]) -> tuple[StartedProgram, ...]:
        self._start(asked)
        while self._waiting:
            self._follow(self._waiting.pop(0))
            if len(self._found) > _MOST_PROGRAMS:
                raise InputError(f"the image starts more than {_MOST_PROGRAMS} programs")
        return tuple(self._found.values())

    def _start(self, asked: Iterable[str]) -> None:
        command = self._image.command
        roots = [(command[0], Reason.ENTRY)] if command else []
        roots += [(word, Reason.ASKED) for word in asked]
        if not roots:
            raise InputError("the image has no entry point: name its programs after the options")
        missing = [word for word, reason in roots if not self._add(word, reason, "")]
        if missing:
            raise InputError(*(f"the image has no program {word}" for word in missing))
        self._add_words(" ".join(command[1:]), "")

    def _add(self, word: str, reason: Reason, source: str) -> bool:
        """Note that a program is started; return False if the image does not have it."""
        place = self._program(word)
        if place is None:
            return False
        if place not in self._seen:
            self._seen.add(place)
            self._waiting.append(StartedProgram(place, reason, source))
        return True

    def _program(self, word: str) -> Path | None:
        """Return the file that is started as ``word``: by PATH, if it has no slash."""
        if word.strip("./") == "":
            return None
        if "/" in word:
            names = [str(PurePosixPath(self._image.directory, word))]
        else:
            names = [f"{directory}/{word}" for directory in self._image.search]
        for name in names:
            place = file_inside(self._image.root, name)
            if place and place.stat().st_mode & 0o111:
                return place
        return None

    def _add_words(self, text: str, source: str) -> None:
        for word in dict.fromkeys(_WORD.findall(text)):
            self._add(word, Reason.WORD, source)

    def _follow(self, program: StartedProgram) -> None:
        start = read_start(program.path, _SCRIPT_LINE)
        if not start.startswith(b"#!"):
            is_program = start.startswith(b"\x7fELF")
            if is_program or program.reason is not Reason.WORD:
                self._found[program.path] = program
            return
        name = f"/{program.path.relative_to(self._image.root)}"
        line = start[2:].partition(b"\n")[0].decode(errors="replace").strip()
        words = line.split(None, 1) or [""]
        if not self._add(words[0], Reason.INTERPRETER, name):
            text = f"is a script for {words[0]!r}, which the image does not have"
            raise InputError(Diagnostic(text, Position(name)))
        self._follow_interpreter(program, PurePosixPath(words[0]).name, words[1:], name)

    def _follow_interpreter(
        self, program: StartedProgram, interpreter: str, rest: list[str], name: str
    ) -> None:
        if interpreter == "env":
            chosen = [one for one in _split(" ".join(rest)) if one[0] != "-" and "=" not in one]
            if not chosen or not self._add(chosen[0], Reason.INTERPRETER, name):
                text = f"is a script for env {' '.join(rest)}, which the image does not have"
                raise InputError(Diagnostic(text, Position(name)))
            interpreter = PurePosixPath(chosen[0]).name
        if interpreter in _SHELLS:
            try:
                text = read_file(program.path).decode(errors="replace")
            except OSError as error:
                raise InputError(cannot("read", name, error)) from None
            self._add_words(text, name)


def _split(text: str) -> list[str]:
    try:
        return [word for word in shlex.split(text) if word]
    except ValueError:
        return [word for word in text.split() if word]
