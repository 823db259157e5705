"""Code of the installed glibc that programs cannot make run, and programs that can."""

from __future__ import annotations

import gc
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, gates, scan, scanner
from seccompgen.scan.code import forget_images
from seccompgen.scan.graph import explore
from seccompgen.scan.kept import Kept
from seccompgen.scan.result import Caveat
from seccompgen.scan.scanner import Questions, ScanOptions
from seccompgen.scan.ways import ImageAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.graph import CodeGraph

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the shape is that of x86_64's glibc"
)

TABLES = shipped_tables()
PRIORITIES = {
    *("sched_get_priority_max", "sched_get_priority_min", "sched_getparam"),
    *("sched_getscheduler", "sched_setscheduler"),
}
HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); }'
LOCKS = """
#include <pthread.h>
int main(void) {
  pthread_mutexattr_t kind;
  pthread_mutex_t mutex;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setprotocol(&kind, PTHREAD_PRIO_PROTECT);
  pthread_mutex_init(&mutex, &kind);
  return pthread_mutex_lock(&mutex);
}
"""
LOOKS_UP = """
#include <dlfcn.h>
int main(int argc, char **argv) {
  const char *names[] = {"puts", "pthread_mutexattr_setprotocol"};
  return !dlsym(0, names[argc > 1]);
}
"""


def glibc_release() -> int:
    """Return the second number of the release of the installed glibc; skip without any."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    name, version = platform.libc_ver()
    if name != "glibc":
        pytest.skip("this is not glibc")
    return int(version.split(".")[1])


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Let a worker keep no C library that a test has read: it and its code are a cycle."""
    yield
    forget_images()
    gc.collect()


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> ScanOptions:
    """Options by which a library is read once for all tests."""
    return ScanOptions(kept=Kept(tmp_path_factory.mktemp("kept"), TABLES))


def scanned(
    directory: Path,
    source: str,
    means: ScanOptions,
    *libraries: Path,
    options: tuple[str, ...] = (),
) -> Scan:
    path = directory / "program"
    command = ["gcc", "-x", "c", "-o", str(path), "-", *options]
    subprocess.run(command, input=source, text=True, check=True)
    asked = Questions(why=frozenset({"getcpu"}))  # so that no result is taken from the cache
    return scan(path, TABLES, libraries, (), Path("/"), means, asked)


def at_loader(found: Scan) -> set[str]:
    return {site.name for site in found.sites if site.path == found.files[1][0]}


def test_the_installed_glibc_has_the_shape_that_was_read(
    tmp_path: Path, means: ScanOptions
) -> None:
    """If this fails, read the source of the new release, as the module's head says."""
    release = glibc_release()
    found = scanned(tmp_path, HELLO, means)
    of_modes = {"uname", "getcpu", "sched_setaffinity", "setitimer"}
    assert (Caveat.LOADER_MODES in found.caveats) is (release in range(36, 43))
    assert bool(at_loader(found) & of_modes) is (release not in range(36, 43))
    assert (Caveat.PRIORITY_CEILINGS in found.caveats) is (release in range(34, 43))
    assert PRIORITIES.isdisjoint(found.names) is (release in range(34, 43))


def test_one_function_of_the_loader_leads_to_each_call_of_its_other_modes(
    tmp_path: Path, means: ScanOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new use of uname() in ld.so would be a second caller."""
    if glibc_release() not in range(36, 43):
        pytest.skip("another release")
    monkeypatch.setattr(scanner, "calls_of_loader", lambda _: {})
    graphs: list[CodeGraph] = []

    def kept(*args: Any) -> CodeGraph:
        graphs.append(explore(*args))
        return graphs[0]

    monkeypatch.setattr(scanner, "explore", kept)
    found = scanned(tmp_path, HELLO, means)
    assert Caveat.LOADER_MODES not in found.caveats
    sites = [one for one in found.sites if one.path == found.files[1][0]]
    (site,) = [one for one in sites if one.name in {"readlink", "readlinkat"}]
    (cell,) = graphs[0].cells_at(ImageAddress(1, site.address))
    assert len(graphs[0].callers[cell]) <= 3
    for name in ("uname", "setitimer"):
        (site,) = [one for one in sites if one.name == name]
        (cell,) = graphs[0].cells_at(ImageAddress(1, site.address))
        assert len(graphs[0].callers[cell]) == 1, name
    makers = {
        cell
        for site in sites
        if site.name in {"getcpu", "sched_setaffinity"}
        for cell in graphs[0].cells_at(ImageAddress(1, site.address))
    }
    callers = {caller for cell in makers for caller in graphs[0].callers[cell]}
    assert len(callers | makers) <= 3


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param(["-Wl,-rpath,$ORIGIN/lib"], True, id="a search path"),
        pytest.param(["-Wl,-rpath,/x/${LIB}"], True, id="in braces"),
        pytest.param(['-DNAME="$PLATFORM/lib.so"'], True, id="for dlopen"),
    ],
)
def test_the_loader_asks_where_the_program_is_for_tokens_alone(
    tmp_path: Path, means: ScanOptions, options: list[str], asks: bool
) -> None:
    """The kernel is the judge: a tracer sees whether the loader asks."""
    if glibc_release() not in range(36, 43) or not shutil.which("strace"):
        pytest.skip("another release, or no strace")
    source = "#include <dlfcn.h>\n#ifndef NAME\n#define NAME 0\n#endif\n"
    source += "int main(void) { return !dlopen(NAME, RTLD_NOW) && !NAME; }"
    found = scanned(tmp_path, source, means, options=tuple(options))
    assert bool(at_loader(found) & {"readlink", "readlinkat"}) is asks
    assert (Caveat.LOADER_TOKENS in found.caveats) is not asks
    trace = ["strace", "-o", str(tmp_path / "trace"), "-e", "readlink,readlinkat"]
    subprocess.run([*trace, tmp_path / "program"], check=True)
    assert ("/proc/self/exe" in (tmp_path / "trace").read_text()) is asks


@pytest.mark.parametrize("source", [LOCKS, LOOKS_UP], ids=["imported", "by dlsym"])
def test_who_may_make_a_mutex_with_a_ceiling_may_change_priorities(
    tmp_path: Path, means: ScanOptions, source: str
) -> None:
    glibc_release()
    found = scanned(tmp_path, source, means)
    assert set(found.names) >= PRIORITIES
    assert Caveat.PRIORITY_CEILINGS not in found.caveats


def test_all_of_a_libc_that_the_program_loads_can_run(tmp_path: Path, means: ScanOptions) -> None:
    glibc_release()
    files = [Path(path) for path, _ in scanned(tmp_path, HELLO, means).files]
    (library,) = [path for path in files if path.name.startswith("libc.")]
    found = scanned(tmp_path, HELLO, means, library)
    assert Caveat.PRIORITY_CEILINGS not in found.caveats


def test_another_release_or_shape_is_not_believed(
    tmp_path: Path, means: ScanOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    glibc_release()
    with monkeypatch.context() as changed:
        changed.setattr(gates, "_CEILING_RELEASES", range(34))
        changed.setattr(gates, "_LOADER_RELEASES", range(36))
        found = scanned(tmp_path, HELLO, means)
        assert set(found.names) >= PRIORITIES
        assert "uname" in at_loader(found)
    monkeypatch.setattr(gates, "_LIMITS", frozenset({"sched_yield", "sched_get_priority_min"}))
    assert set(scanned(tmp_path, HELLO, means).names) >= PRIORITIES


def test_the_release_is_read_from_the_sentence_of_the_file() -> None:
    """ld.so and libc have it, with the distribution's own version in brackets."""
    texts = [
        b"GNU C Library (Debian GLIBC 2.41-12) stable release version 2.41.\n",
        b"GNU C Library (GNU libc) stable release version 2.42.\n",
    ]
    assert all(re.search(gates._RELEASE, text) for text in texts)
    assert not re.search(gates._RELEASE, texts[0].replace(b"stable", b"development"))
