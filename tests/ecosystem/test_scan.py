"""``scan`` beside the truth: nothing that strace sees of real programs is missing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import seccompgen
from go_programs import go_program
from longer import long_but
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.ecosystem

TABLES = shipped_tables()
CALL = re.compile(r"^\d+ +\[ *(\d+)\] ", re.MULTILINE)
"""By number: strace shows a socketcall() as what it is for."""

C_SOURCE = """
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *work(void *p) { return p; }
int main(int argc, char **argv) {
  pthread_t thread;
  pthread_create(&thread, 0, work, 0);
  pthread_join(thread, 0);
  DIR *directory = opendir("/");
  while (readdir(directory)) {}
  closedir(directory);
  syscall(SYS_memfd_create, "x", 0);
  if (setuid(getuid())) return 1;
  printf("%d %s\\n", argc, argv[0]);
  return 0;
}
"""

CC_SOURCE = """
#include <sys/syscall.h>
#include <unistd.h>
volatile int n;
__attribute__((noipa)) void fail(int i) { if (i > 5) throw 3; }
__attribute__((noipa)) void handle() { syscall(SYS_memfd_create, "x", 0); }
__attribute__((noipa)) void f(int i) { try { fail(i); } catch (int) { handle(); throw; } }
int main() { try { f(n + 6); } catch (int) { n = 1; } }
"""

GO_SERVER = """
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		data, _ := os.ReadFile("/etc/hostname")
		w.Write(data)
	})
	log.Fatal(http.Serve(listener, nil))
}
"""

GO_HELLO = """
package main

import "fmt"

func main() {
	fmt.Println("hello")
}
"""

GO_SETUID = """
package main

import "syscall"

func main() {
	syscall.Setuid(syscall.Getuid())
}
"""


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")


def scanned(*args: str | Path) -> dict[str, Any]:
    run = seccompgen("scan", *args, "--json")
    assert run.code in {0, 1}, run.err
    (found,) = json.loads(run.out)
    assert bool(found["unknown"]) is (run.code == 1)
    found["syscalls"] = set(found["syscalls"])
    result: dict[str, Any] = found
    return result


def traced(directory: Path, command: Sequence[str | Path]) -> set[str]:
    """Return the calls that strace sees ``command`` make, but the execve that starts it."""
    needs("strace")
    log = directory / "strace.log"
    subprocess.run(
        ["strace", "-n", "-f", "-o", log, *command], check=False, capture_output=True, timeout=60
    )
    return seen_in(log)


def seen_in(log: Path, abi: str = "x86_64") -> set[str]:
    numbers = [int(number) for number in CALL.findall(log.read_text())]
    assert numbers[0] == TABLES.tables["x86_64"].numbers["execve"]
    assert len(numbers) > 5
    return {TABLES.tables[abi].names[number] for number in numbers[1:]}


def c_program(directory: Path, compiler: str, *options: str) -> Path:
    needs(compiler)
    (directory / "program.c").write_text(C_SOURCE)
    path = directory / "program"
    subprocess.run([compiler, *options, "-o", path, directory / "program.c"], check=True)
    return path


@pytest.mark.parametrize(
    ("command", "unknown"),
    [
        (["/bin/cat", "/etc/passwd", "/nonexistent"], 0),
        (["/bin/ls", "-laR", "/etc/apt"], None),  # libcap's wrapper, where ls is built with it
        (["/usr/bin/find", "/etc", "-newer", "/etc/passwd", "-ls"], 0),
        (["/usr/bin/sort", "/etc/passwd"], 0),
        (["/usr/bin/id"], 0),
        (["/usr/bin/tar", "cf", "/dev/null", "/etc/apt"], 0),
    ],
    ids=lambda value: Path(value[0]).name if isinstance(value, list) else "",
)
def test_nothing_that_system_programs_call_is_missing(
    tmp_path: Path, command: list[str], unknown: int | None
) -> None:
    needs(command[0])
    found = scanned(command[0])
    assert traced(tmp_path, command) <= found["syscalls"]
    assert len(found["syscalls"]) < 150
    if unknown is not None:
        assert len(found["unknown"]) == unknown, found["unknown"]


UNOPTIMISED = long_but(["-O2"], ["-O0", "-O2"], "longer code of the same kind")


@pytest.mark.parametrize("optimise", UNOPTIMISED)
@pytest.mark.parametrize("link", ["-static", "-static-pie", "-pie", "-no-pie"])
def test_nothing_that_c_programs_call_is_missing(tmp_path: Path, optimise: str, link: str) -> None:
    path = c_program(tmp_path, "gcc", optimise, link)
    found = scanned(path)
    assert traced(tmp_path, [path]) | {"memfd_create", "setuid"} <= found["syscalls"]
    assert len(found["syscalls"]) < (70 if "static" in link else 100)
    assert found["unknown"] == []


def test_a_stripped_program_lacks_no_calls(tmp_path: Path) -> None:
    path = c_program(tmp_path, "gcc", "-O2", "-static", "-s")
    found = scanned(path)
    assert traced(tmp_path, [path]) <= found["syscalls"]
    # By which calls glibc reaches all threads, only names tell.
    assert {one["kind"] for one in found["unknown"]} <= {"memory", "narrow"}


def test_what_only_an_exception_leads_to_is_found(tmp_path: Path) -> None:
    """Handlers are laid apart from their functions, and no jump of these leads there."""
    needs("g++")
    (tmp_path / "program.cc").write_text(CC_SOURCE)
    path = tmp_path / "program"
    subprocess.run(["g++", "-O2", "-o", path, tmp_path / "program.cc"], check=True)
    found = scanned(path)
    assert traced(tmp_path, [path]) | {"memfd_create"} <= found["syscalls"]
    assert found["unknown"] == []


@pytest.mark.parametrize("optimise", UNOPTIMISED)
@pytest.mark.parametrize("link", ["-static", "-pie"])
def test_aarch64_programs_are_read(tmp_path: Path, optimise: str, link: str) -> None:
    """Nothing runs these here; but they are the same source as what strace looks at above."""
    path = c_program(tmp_path, "aarch64-linux-gnu-gcc", optimise, link)
    found = scanned(path, "--root", "/usr/aarch64-linux-gnu")
    native = c_program(tmp_path, "gcc", optimise, link)
    elsewhere = {"arch_prctl", "access", "dup2", "pipe"}  # of x86_64 only
    assert traced(tmp_path, [native]) - elsewhere <= found["syscalls"] | {"clone3"}
    assert {"memfd_create", "setuid", "clone", "openat", "getdents64"} <= found["syscalls"]
    assert len(found["syscalls"]) < 100
    # The address of __syscall_cancel_arch is taken, if only to be compared; it has no name there.
    unknown = {(Path(one["path"]).name, one["kind"]) for one in found["unknown"]}
    assert unknown <= ({("libc.so.6", "pointer")} if link == "-pie" else set())


def serve(directory: Path, path: Path, abi: str = "x86_64") -> set[str]:
    """Ask a server for two pages under strace; return what calls it made."""
    needs("strace")
    log = directory / "strace.log"
    server = subprocess.Popen(
        ["strace", "-n", "-f", "-o", log, path], stdout=subprocess.PIPE, start_new_session=True
    )
    assert server.stdout
    with server.stdout:
        address = server.stdout.readline().decode().strip()
        for _ in range(2):
            with urllib.request.urlopen(f"http://{address}/", timeout=20) as answer:
                assert answer.read() == Path("/etc/hostname").read_bytes()
        os.killpg(server.pid, signal.SIGTERM)
    server.wait(timeout=20)
    return seen_in(log, abi)


PIE = pytest.param(["-buildmode=pie"], marks=pytest.mark.long("compiles Go's library anew"))


@pytest.mark.parametrize("flags", [[], ["-ldflags=-s -w"], PIE], ids=str)
def test_a_go_server_is_known_exactly(tmp_path: Path, flags: list[str]) -> None:
    """go-seccomp-bpf's documentation shows 93 calls of 268 sites for a program far larger."""
    path = go_program(tmp_path, GO_SERVER, *flags)
    found = scanned(path)
    assert found["go"]
    assert found["unknown"] == []
    assert serve(tmp_path, path) <= found["syscalls"]
    assert len(found["syscalls"]) <= 93
    assert len(found["sites"]) <= 268


def test_a_go_server_with_c_is_read(tmp_path: Path) -> None:
    needs("gcc")
    path = go_program(tmp_path, GO_SERVER, cgo=True)
    found = scanned(path)
    assert found["go"]
    assert len(found["files"]) == 3  # the interpreter and libc
    assert found["unknown"] == []
    assert serve(tmp_path, path) <= found["syscalls"]


@pytest.mark.parametrize("arch", long_but([], ["386", "arm64"], "compiles Go's library anew"))
def test_go_programs_of_other_architectures_are_read(tmp_path: Path, arch: str) -> None:
    path = go_program(tmp_path, GO_SERVER, arch=arch)
    found = scanned(path)
    assert found["unknown"] == []
    assert len(found["syscalls"]) <= 93
    accepts = "socketcall" if arch == "386" else "accept4"
    assert {accepts, "openat", "clone", "futex", "exit_group"} <= found["syscalls"]
    if arch == "386":
        assert serve(tmp_path, path, "i386") <= found["syscalls"]


def test_calls_on_all_threads_of_go_are_found(tmp_path: Path) -> None:
    path = go_program(tmp_path, GO_SETUID)
    found = scanned(path)
    assert found["unknown"] == []
    assert traced(tmp_path, [path]) <= found["syscalls"]
    assert "setuid" in found["syscalls"]
    assert "setgid" not in found["syscalls"]


def test_the_policy_lets_the_program_run(tmp_path: Path) -> None:
    """The strictest test: every other call kills."""
    path = c_program(tmp_path, "gcc", "-O2", "-static")
    policy = tmp_path / "policy.yml"
    options = ("--default-action", "kill_process", "--allow", "execve")
    assert seccompgen("scan", path, "-o", policy, *options).code == 0
    assert seccompgen("build", policy, "-o", tmp_path / "sandbox").code == 0
    code = (
        f"from sandbox import policy; policy.install(); import os; os.execv({str(path)!r}, ['x'])"
    )
    needs("python3")
    run = subprocess.run(
        ["python3", "-c", f"import os; {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "1 x\n"), run.stderr


def test_a_386_program_runs_on_x86_64(tmp_path: Path) -> None:
    """Its policy names both, and ``run`` installs it where Python is x86_64."""
    path = go_program(tmp_path, GO_HELLO, arch="386")
    policy = tmp_path / "policy.yml"
    assert seccompgen("scan", path, "-o", policy, "--default-action", "kill_process").code == 0
    run = seccompgen("run", policy, "--", path)
    assert (run.code, run.out) == (0, "hello\n"), run.err
