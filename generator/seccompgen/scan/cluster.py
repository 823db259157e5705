"""Scan programs on many machines, by dask.distributed: each file is a task, and each program.

The workers share a directory, the store: the unpacked packages while they are scanned, and the
facts of files by content, which stay. A program is scanned when there are the facts of all its
files. If a worker dies, dask gives its tasks to others. If a worker cannot write to the store,
because a disk or quota is full, it hands the facts over in its answer, and we write them.
"""

from __future__ import annotations

import importlib.util
import threading
from concurrent.futures import CancelledError
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errors import InputError, OutsideError, SeccompgenError
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.pool import collecting_rarely
from seccompgen.scan.analysis import alone, analyse
from seccompgen.scan.code import forget_images
from seccompgen.scan.elf import image_of
from seccompgen.scan.kept import Kept, fingerprint
from seccompgen.scan.libraries import System, load
from seccompgen.scan.packages import ScannedProgram, scanned
from seccompgen.scan.scanner import ScanOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from seccompgen.core.tables import Tables
    from seccompgen.scan.analysis import Analysis
    from seccompgen.scan.packages import PackagedProgram, Rows

_SECONDS = 30
"""The time to wait for an answer of the scheduler."""
_AHEAD = 4
"""The tasks that are handed over for each thread of the workers, so that none waits for us."""

_ONE_AT_A_TIME = threading.Lock()
"""Held by each task: the disassembler is not for several threads, which would not be faster."""


class Terms(NamedTuple):
    """The terms on which workers scan: the store, the root of the programs, and a scanner.

    ``code`` is the `fingerprint` of seccompgen, ``tables`` are the tag and hash of its tables.
    """

    store: Path
    root: Path
    code: str
    tables: tuple[str, str]


def rows_by(scheduler: str, store: Path, tables: Tables) -> Rows:
    """Return what scans programs by the workers of ``scheduler``; their root is in ``store``.

    Raises OutsideError if dask is not installed.
    """
    if not importlib.util.find_spec("distributed"):
        raise OutsideError(
            "--scheduler needs dask, which is not installed: pip install 'seccompgen[cluster]'"
        )

    def rows(programs: Sequence[PackagedProgram], root: Path) -> Generator[ScannedProgram | None]:
        terms = Terms(store, root, fingerprint(), _identity(tables))
        with _connected(scheduler) as client:
            yield from _rows(client, terms, programs, scheduler)

    return rows


def _identity(tables: Tables) -> tuple[str, str]:
    return tables.tag, tables.digest(tables.tables)


def _connected(scheduler: str) -> Any:
    from distributed import Client  # noqa: PLC0415 - in an extra

    try:
        client = Client(scheduler, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OutsideError(f"no scheduler of dask answers at {scheduler}: {error}") from None
    if not client.scheduler_info()["workers"]:
        client.close()
        raise OutsideError(f"{scheduler} has no workers: start some, by dask worker {scheduler}")
    return client


def _rows(
    client: Any, terms: Terms, programs: Sequence[PackagedProgram], scheduler: str
) -> Generator[ScannedProgram | None]:
    from distributed import as_completed  # noqa: PLC0415
    from distributed.scheduler import KilledWorker  # noqa: PLC0415

    kept = _kept(terms)
    keys: dict[Any, str] = {}
    needing: dict[str, list[PackagedProgram]] = {}
    missing: dict[PackagedProgram, int] = {}
    rows: dict[Any, PackagedProgram] = {}
    running = as_completed(loop=client.loop)

    def started(work: Callable[..., Any], *words: Any) -> Any:
        # Rows go first: they stay if this is interrupted.
        future = client.submit(
            attempt, work, terms, *words, pure=False, priority=int(work is row_of)
        )
        running.add(future)
        return future

    done: set[str] = set()
    waiting = iter(programs)
    while True:
        # Few at a time: until the last program was read, there would be no row.
        while running.count() < _AHEAD * max(1, sum(client.nthreads().values())):
            program = next(waiting, None)
            if program is None:
                break
            files = _files_of(program, terms.root)
            if files is None:
                yield None
                continue
            lacks = {key: place for key, place in files.items() if key not in done}
            missing[program] = len(lacks)
            for key, place in lacks.items():
                if key not in needing:
                    keys[started(facts_of, place)] = key
                needing.setdefault(key, []).append(program)
            if not lacks:
                rows[started(row_of, program)] = program
        future = next(running, None)
        if future is None:
            return
        answer: Any
        try:
            answer = future.result()
        except KilledWorker:
            answer = _not_scanned(rows[future]) if future in rows else None
        except (CancelledError, OSError):
            raise OutsideError(f"{scheduler} was lost: say the same again to go on") from None
        except ModuleNotFoundError as error:
            text = f"a worker lacks {error.name}: install 'seccompgen[scan,cluster]' there"
            raise OutsideError(text) from None
        if isinstance(answer, SeccompgenError):
            raise answer
        if future in rows:
            del rows[future]
            yield answer
            continue
        key = keys.pop(future)
        done.add(key)
        if answer:
            kept.add([(key, answer)], None)
        for program in needing.pop(key):
            missing[program] -= 1
            if not missing[program]:
                rows[started(row_of, program)] = program


def _files_of(program: PackagedProgram, root: Path) -> dict[str, Path] | None:
    """Return the files that ``program`` is loaded with, by key; None if it is a library.

    There are none if it cannot be scanned, which its row will say.
    """
    system = System(root, (), is_image=True)
    try:
        binary = system.read(program.place)
        if not binary.is_program:
            return None
        found = load(binary, (), system)
    except InputError:
        return {}
    return {one.key: one.place for one in found}


def _not_scanned(program: PackagedProgram) -> ScannedProgram:
    package, problem = program.package, "each worker that scanned it died: is memory short?"
    return ScannedProgram(package.name, package.version, program.name, "", (), 0, 0.0, problem)


def attempt(work: Callable[..., Any], *words: Any) -> Any:
    """Return what ``work`` returns, or why it failed: dask cannot hand over every exception."""
    with _ONE_AT_A_TIME:
        try:
            return work(*words)
        except SeccompgenError as error:
            return error
        except Exception as error:
            return OutsideError(f"a worker failed, which is a bug: {error!r}")


@collecting_rarely()
def facts_of(terms: Terms, place: Path) -> Analysis | None:
    """Add the facts of a file to the store; return them if that is impossible."""
    kept = _kept(terms)
    try:
        image = image_of(System(terms.root, (), is_image=True).read(place))
    except InputError:
        return None  # the row of each program that needs it will say so
    if kept.analysis(image):
        return None
    try:
        (analysis,) = analyse((image,), alone, None)
    finally:
        forget_images()
    return None if kept.add([(image.key, analysis)], None) else analysis


def row_of(terms: Terms, program: PackagedProgram) -> ScannedProgram | None:
    """Return the row of a program."""
    return scanned(program, _tables(), terms.root, ScanOptions(kept=_kept(terms)))


_tables = lru_cache(maxsize=1)(shipped_tables)


def _kept(terms: Terms) -> Kept:
    """Return the store, after checking that this worker scans as ``terms`` say."""
    if not terms.root.is_dir():
        raise OutsideError(f"a worker has no {terms.store}: name a directory that all have")
    if fingerprint() != terms.code:
        raise OutsideError("a worker has another seccompgen, Python or capstone: it must be ours")
    if _identity(_tables()) != terms.tables:
        raise OutsideError("workers have seccompgen's own tables: leave out --tables")
    return Kept(terms.store / "scans", _tables())
