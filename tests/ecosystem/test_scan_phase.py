"""Programs that install their filter themselves, in main(): what came before is left out."""

from __future__ import annotations

import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from scanned_filters import INSTALL, make_filter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="it names calls of x86_64"),
]

CONFINE = """
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
static void confine(void) { if (install("filter")) _exit(9); }
"""
KEPT = """
static volatile int handled, worked;
static int ends[2];
static void on_signal(int n) { (void)n; handled = getppid() > 0; }
static void at_exit(void) { if (getsid(0) < 0) _exit(8); }
static void *work(void *p) {
  char c;
  worked = read(ends[0], &c, 1) == 1 && getpgid(0) > 0;
  return p;
}
static pthread_t thread;
__attribute__((constructor)) static void start(void) {
  if (pipe(ends) || nice(0)) _exit(7);
  atexit(at_exit);
  signal(SIGUSR1, on_signal);
  pthread_create(&thread, 0, work, 0);
}
__attribute__((destructor)) static void end(void) { if (getuid() == 12345) _exit(6); }
int main(void) {
  confine();
  raise(SIGUSR1);
  if (write(ends[1], "x", 1) != 1 || pthread_join(thread, 0)) return 5;
  printf("%d %d\\n", handled, worked);
  return 0;
}
"""
HELLO = """
__attribute__((constructor)) static void start(void) { if (alarm(0)) _exit(7); }
int main(void) { confine(); puts("hello"); return 0; }
"""
LAZY = """
static int (*found)(void);
#include <dlfcn.h>
__attribute__((constructor)) static void start(void) { found = (int (*)(void))dlsym(0, "getpgrp"); }
int main(void) { confine(); printf("%d\\n", found() > 0); return 0; }
"""


THREAD = """
#include <sys/socket.h>
#include <sys/un.h>
static int listening;
static void *serve(void *unused) {
  int one = accept(listening, 0, 0);
  confine();
  return getpgid(0) > 0 && close(one) == 0 ? &listening : 0;
}
int main(void) {
  struct sockaddr_un at = {AF_UNIX, "socket"};
  pthread_t thread;
  void *served;
  if (nice(0) || getsid(0) < 0) return 7;
  listening = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listening, (void *)&at, sizeof at) || listen(listening, 1)) return 8;
  if (pthread_create(&thread, 0, serve, 0)) return 9;
  if (!fork()) return connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at);
  pthread_join(thread, &served);
  printf("%d %d\\n", served == &listening, getppid() > 0);
  return 0;
}
"""
JUMP = """
#include <setjmp.h>
static jmp_buf again;
__attribute__((noinline)) static int serve(void) { confine(); longjmp(again, 1); }
int main(void) {
  if (nice(0)) return 7;
  if (setjmp(again)) { puts(getsid(0) >= 0 ? "again" : ""); return 0; }
  return getppid() + serve();
}
"""
THROWN = """
struct Ended { ~Ended() { if (getpgid(0) < 0) _exit(6); } };
__attribute__((noinline)) static int serve(void) { confine(); throw 1; }
__attribute__((noinline)) static int around(void) { Ended at_end; return serve() + getppid(); }
int main(void) {
  if (nice(0)) return 7;
  try { return around(); } catch (int) { puts(getsid(0) >= 0 ? "caught" : ""); }
  return 0;
}
"""


def scanned(directory: Path, *options: str) -> set[str]:
    """Scan the program and make its filter; return the calls that it allows."""
    return set(make_filter(directory, "program", *options)["syscalls"])


@pytest.mark.parametrize(
    ("source", "flags", "shown"),
    [
        pytest.param(HELLO, (), "hello\n", id="hello"),
        pytest.param(HELLO, ("-no-pie",), "hello\n", id="no-pie"),
        pytest.param(HELLO, ("-static-pie",), "hello\n", id="static"),
        pytest.param(KEPT, (), "1 1\n", id="kept"),
        pytest.param(KEPT, ("-Wl,-z,lazy", "-fplt"), "1 1\n", id="lazy-binding"),
        pytest.param(LAZY, (), "1\n", id="dlsym"),
    ],
)
def test_what_can_come_after_main_is_allowed(
    source: str, flags: tuple[str, ...], shown: str, tmp_path: Path
) -> None:
    """Handlers, threads and names from before main() may still make their calls."""
    (tmp_path / "program.c").write_text(INSTALL + CONFINE + source)
    command = ["gcc", "-O1", "-w", *flags, "-o", "program", "program.c"]
    subprocess.run(command, check=True, cwd=tmp_path)
    whole = scanned(tmp_path)
    after = scanned(tmp_path, "--after", "main")
    run = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, shown)
    assert after <= whole
    if "-static-pie" not in flags:
        assert {"arch_prctl", "set_tid_address"} <= whole - after


@pytest.mark.parametrize("lost", ["getsid", "getppid", "getpgid", "getuid"])
def test_each_of_these_calls_is_made(lost: str, tmp_path: Path) -> None:
    """Else the tests above show nothing."""
    (tmp_path / "program.c").write_text(INSTALL + CONFINE + KEPT)
    subprocess.run(["gcc", "-w", "-o", "program", "program.c"], check=True, cwd=tmp_path)
    scanned(tmp_path, "--after", "main", "--deny", lost)
    run = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == -31  # SIGSYS


@pytest.mark.parametrize(
    "flags", [(), ("-no-pie",), ("-static-pie",)], ids=["pie", "no-pie", "static"]
)
@pytest.mark.parametrize(
    ("source", "language", "marker", "shown", "made"),
    [
        pytest.param(HELLO, "c", "confine", "hello\n", set(), id="hello"),
        pytest.param(THREAD, "c", "accept", "1 1\n", {"getpgid", "getppid"}, id="thread"),
        pytest.param(JUMP, "c", "confine", "again\n", {"getsid"}, id="jump"),
        pytest.param(THROWN, "c++", "_ZL7confinev", "caught\n", {"getpgid", "getsid"}, id="thrown"),
    ],
)
def test_what_can_come_once_a_function_is_called_is_allowed(
    source: str,
    language: str,
    marker: str,
    shown: str,
    made: set[str],
    flags: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """What main() does before is left out, what comes after is not, on whatever way."""
    text = CONFINE.replace("static void", "__attribute__((noinline)) static void")
    (tmp_path / "program.c").write_text(INSTALL + text + source)
    command = ["gcc", "-x", language, "-O1", "-w", *flags, "-o", "program", "program.c"]
    command += ["-lstdc++"] * (language == "c++")
    subprocess.run(command, check=True, cwd=tmp_path)
    after = scanned(tmp_path, "--after", marker)
    run = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, shown)
    assert made <= after
    if language == "c":  # in C++, what catches an exception leads back to all of main()
        assert after.isdisjoint({"getpriority", "setpriority"})
