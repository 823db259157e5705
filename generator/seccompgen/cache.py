"""Keep compiled programs, so that what has not changed is not compiled again.

An entry is named by a hash over all that determines a program: the policy with its positions,
the tables, the objective, the ABI, and the compiler's own source. It is JSON behind a hash of
its own; whatever is not exactly that is passed over and written anew. Nothing here is ever an
error: without a directory to use, everything is compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.errors import Position
from seccompgen.model import Origin
from seccompgen.program import Cost, Program, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.architectures import Abi
    from seccompgen.model import Policy
    from seccompgen.objective import Objective
    from seccompgen.tables import Tables

_KEPT_SECONDS = 30 * 24 * 3600
"""How long an entry stays that nobody reads."""


class ProgramCache:
    """The programs in ``directory`` that this compiler made from ``tables`` for ``objective``."""

    def __init__(self, directory: Path, tables: Tables, objective: Objective) -> None:
        self._directory = directory
        self._compiler = _fingerprint()
        # All tables, since the compiler also looks at those of other ABIs of the same kernel.
        numbers = tables.digest(tables.tables)
        self._common = repr((self._compiler, tables.tag, numbers, objective))

    def load(self, policy: Policy, abis: Iterable[Abi]) -> dict[Abi, Program]:
        """Return the programs of ``policy`` for ``abis`` that are here, and mark them as used."""
        found: dict[Abi, Program] = {}
        with self._opened() as place, contextlib.suppress(OSError):
            if place is None:
                return found
            for abi, name in self._names(policy, abis):
                program = _read(place, name, policy, abi)
                if program:
                    found[abi] = program
                    os.utime(name, dir_fd=place)
        return found

    def save(self, made: Iterable[tuple[Policy, Sequence[Program]]]) -> None:
        """Add the programs ``made`` of each policy; drop what nobody has read for 30 days."""
        with self._opened() as place, contextlib.suppress(OSError):
            # Somebody may have edited the compiler after this run, or a worker of it, loaded it.
            if place is None or _fingerprint() != self._compiler:
                return
            written = 0.0
            for policy, programs in made:
                names = self._names(policy, (program.abi for program in programs))
                for (_, name), program in zip(names, programs, strict=True):
                    written = _write(place, name, _entry(name, program))
            _drop_unused(place, before=written - _KEPT_SECONDS)

    def _names(self, policy: Policy, abis: Iterable[Abi]) -> Iterator[tuple[Abi, str]]:
        # The repr of these values holds all their fields, and is the same for the same value.
        about = repr(policy)
        for abi in abis:
            yield abi, _sha256(repr((self._common, about, abi.name)).encode())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Give a descriptor of the directory, or None where it is not to be used.

        Whoever writes here decides what the filters of other programs let through. So the
        directory must be ours and nobody else's to write; the descriptor makes sure that what
        is used is what was checked.
        """
        place = None
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                place = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, place)
                status = os.fstat(place)
                if status.st_uid != os.geteuid() or status.st_mode & 0o022 or not self._compiler:
                    place = None
            yield place


def _fingerprint() -> str:
    """Hash the source of all of seccompgen; return an empty string where it is not at hand."""
    package = Path(__file__).parent
    sources = [
        (str(path.relative_to(package)), _sha256(path.read_bytes()))
        for path in sorted(package.rglob("*.py"))
    ]
    return _sha256(repr(sources).encode()) if sources else ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _entry(name: str, program: Program) -> bytes:
    numbers: dict[Origin, int] = {}
    of = [[numbers.setdefault(o, len(numbers)) for o in each] for each in program.origins]
    places = [(o.label, o.position.file, o.position.line, o.position.column) for o in numbers]
    data = {
        "code": program.to_bytes().hex(),
        "cost": astuple(program.cost),
        "bound": astuple(program.bound),
        "origins": places,
        "of": of,
    }
    payload = json.dumps(data, separators=(",", ":")).encode()
    # The name is hashed as well, or the entry of another program would pass for this one's.
    return _sha256(name.encode() + payload).encode() + b"\n" + payload


def _read(place: int, name: str, policy: Policy, abi: Abi) -> Program | None:
    """Return the program in entry ``name``, or None if there is none or it is damaged."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=place), "rb") as file:
            digest, _, payload = file.read().partition(b"\n")
        if digest != _sha256(name.encode() + payload).encode():
            return None
        data = json.loads(payload)
        origins = [Origin(label, Position(*where)) for label, *where in data["origins"]]
        instructions = decode(bytes.fromhex(data["code"]), abi)
        return Program(
            abi,
            policy.compat_of(abi),
            instructions,
            tuple(
                tuple(origins[i] for i in each)
                for _, each in zip(instructions, data["of"], strict=True)
            ),
            Cost(*data["cost"]),
            Cost(*data["bound"]),
        )
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def _write(place: int, name: str, content: bytes) -> float:
    """Put an entry in place whole, since other runs read and write; return its mtime."""
    temporary = f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=place), "wb") as file:
            file.write(content)
            file.flush()
            written = os.fstat(file.fileno()).st_mtime
        os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=place)
        raise
    return written


def _drop_unused(place: int, before: float) -> None:
    with os.scandir(place) as entries:
        unused = [e.name for e in entries if e.stat(follow_symlinks=False).st_mtime < before]
    for name in unused:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=place)
