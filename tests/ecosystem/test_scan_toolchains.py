"""Programs of many compilers and linkers, each run under its own scanned policy.

Every other call kills the program. Either it does all that it does without a filter, or ``scan``
said beforehand that it does not know something.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from command import seccompgen
from longer import long_but

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem

LINES = """
#include <stdio.h>
int main(void) {
  char line[100];
  while (fgets(line, sizeof line, stdin)) puts(line);
  return 7;
}
"""
C = """
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void *work(void *p) { return p; }
static long by_number(long n) { return syscall(n, "x", 0); }
static int turn(int n) {
  switch (n) {
    case 0: return getppid() > 0; case 1: return sync(), 1; case 2: return getpgrp() > 0;
    case 3: return alarm(0) == 0; case 4: return nice(0) == 0;
    case 5: return getpriority(0, 0) == 0; default: return 1;
  }
}
int main(int argc, char **argv, char **environment) {
  pthread_t thread;
  pthread_create(&thread, 0, work, 0);
  pthread_join(thread, 0);
  DIR *directory = opendir("/");
  int entries = 0;
  while (readdir(directory)) entries++;
  closedir(directory);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in any = {.sin_family = AF_INET};
  int bound = bind(listener, (void *)&any, sizeof any) == 0 && listen(listener, 1) == 0;
  long descriptor = by_number(SYS_memfd_create);
  char *arguments[] = {"/bin/true", 0};
  pid_t child;
  int status = 1;
  if (posix_spawn(&child, arguments[0], 0, 0, arguments, environment) == 0)
    waitpid(child, &status, 0);
  int turns = 0;
  for (int i = 0; i < 6; i++) turns += turn(i + argc - 1);
  printf("%d %d %d %d %d\\n", entries > 3, bound, descriptor > 0, status, turns);
  return 7;
}
"""

CC = """
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#include <sys/socket.h>
struct Shape { virtual ~Shape() = default; virtual int call() = 0; };
struct Round : Shape { int call() override { return socketpair(AF_UNIX, SOCK_STREAM, 0, pair); }
                       int pair[2]; };
struct Flat : Shape { int call() override { throw std::runtime_error("flat"); } };
int main(int argc, char **) {
  std::ifstream file("/etc/hostname");
  std::string line;
  std::getline(file, line);
  std::unique_ptr<Shape> shapes[] = {std::make_unique<Round>(), std::make_unique<Flat>()};
  int caught = 0;
  std::thread thread([&] {
    for (auto &shape : shapes)
      try { caught += 10 * (shape->call() == 0); } catch (const std::exception &) {
        caught += getpgid(0) > 0;
      }
  });
  thread.join();
  std::cout << caught << " " << line.empty() << std::endl;
  return 7;
}
"""

RUST = """
use std::{fs, io::{Read, Write}, net::{TcpListener, TcpStream}, process::Command, thread};
fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let mut text = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
    server.join().unwrap();
    let status = Command::new("/bin/true").status().unwrap();
    let entries = fs::read_dir("/").unwrap().count();
    let caught = std::panic::catch_unwind(|| { if entries_is_odd() { panic!("odd") } });
    println!("{} {} {} {}", text, status.success(), entries > 3, caught.is_err());
    std::process::exit(7);
}
fn entries_is_odd() -> bool { std::env::args().count() == 1 }
"""

GO = """
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		connection, _ := listener.Accept()
		connection.Write([]byte("hello"))
		connection.Close()
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	text := make([]byte, 5)
	connection.Read(text)
	err = exec.Command("/bin/true").Run()
	entries, _ := os.ReadDir("/")
	fmt.Println(string(text), err, len(entries) > 3)
	os.Exit(7)
}
"""

ZIG = """
const std = @import("std");
fn work(n: *u32) void { n.* += 1; }
pub fn main() void {
    var n: u32 = 0;
    const thread = std.Thread.spawn(.{}, work, .{&n}) catch unreachable;
    thread.join();
    std.debug.print("{d}\\n", .{n});
    std.process.exit(7);
}
"""


class Program(NamedTuple):
    """A program to be made: the command, with ``{out}`` for what it writes."""

    source: str
    name: str
    command: str
    known: bool = True
    """``scan`` knows all of it"""


PROGRAMS = {
    "gcc": Program(C, "a.c", "gcc -O2 -o {out} {in}"),
    "gcc-O0": Program(C, "a.c", "gcc -O0 -o {out} {in}"),
    "gcc-no-pie": Program(C, "a.c", "gcc -O2 -no-pie -o {out} {in}"),
    "gcc-static": Program(C, "a.c", "gcc -O2 -static -o {out} {in}"),
    "gcc-static-pie": Program(C, "a.c", "gcc -O2 -static-pie -o {out} {in}"),
    "gcc-relr": Program(C, "a.c", "gcc -O2 -Wl,-z,pack-relative-relocs -o {out} {in}"),
    "gcc-lld": Program(C, "a.c", "gcc -O2 -fuse-ld=lld -o {out} {in}"),
    "gcc-lto": Program(C, "a.c", "gcc -O3 -flto -o {out} {in}"),
    "clang": Program(C, "a.c", "clang -O2 -o {out} {in}"),
    "clang-lld": Program(C, "a.c", "clang -O2 -fuse-ld=lld -o {out} {in}"),
    # A table of letters that looks like the address of a function, so low does lld lay code.
    "clang-lld-static": Program(
        C, "a.c", "clang -O2 -fuse-ld=lld -static -o {out} {in}", known=False
    ),
    "musl-lines": Program(LINES, "a.c", "musl-gcc -static -O2 -o {out} {in}"),
    "musl-static": Program(C, "a.c", "musl-gcc -O2 -static -o {out} {in}"),
    "musl-dynamic": Program(C, "a.c", "musl-gcc -O2 -o {out} {in}"),
    "g++": Program(CC, "a.cc", "g++ -O2 -o {out} {in}"),
    "g++-static": Program(CC, "a.cc", "g++ -O2 -static -o {out} {in}"),
    "clang++-lld": Program(CC, "a.cc", "clang++ -O2 -fuse-ld=lld -o {out} {in}"),
    "rustc": Program(RUST, "a.rs", "rustc -O -o {out} {in}"),
    "rustc-debug": Program(RUST, "a.rs", "rustc -o {out} {in}"),
    # It calls the C library's syscall() through a register.
    "rustc-bfd": Program(RUST, "a.rs", "rustc -O -C link-arg=-fuse-ld=bfd -o {out} {in}"),
    "rustc-lld": Program(RUST, "a.rs", "rustc -O -C link-arg=-fuse-ld=lld -o {out} {in}"),
    "rustc-static": Program(RUST, "a.rs", "rustc -O -C target-feature=+crt-static -o {out} {in}"),
    "rustc-debian": Program(RUST, "a.rs", "/usr/bin/rustc -O -o {out} {in}"),
    "go": Program(GO, "a.go", "go build -o {out} {in}"),
    "go-pie": Program(GO, "a.go", "go build -buildmode=pie -o {out} {in}"),
    "go-stripped": Program(GO, "a.go", "go build -ldflags=-s -o {out} {in}"),
    # It looks for a function of the vDSO: a jump in that is by a table not found to be its own.
    "zig": Program(ZIG, "a.zig", "zig build-exe -O ReleaseSafe -femit-bin={out} {in}", known=False),
    "zig-cc": Program(C, "a.c", "zig cc -target x86_64-linux-musl -O2 -o {out} {in}"),
}


def zig() -> list[str]:
    """Return how to start zig: as a program, or the package of that name."""
    if shutil.which("zig"):
        return ["zig"]
    for python in (os.environ.get("ZIG_PYTHON"), sys.executable):
        if (
            python
            and not subprocess.run(
                [python, "-c", "import ziglang"], stderr=-3, check=False
            ).returncode
        ):
            return [python, "-m", "ziglang"]
    pytest.skip("there is no zig")


def made(directory: Path, program: Program) -> Path:
    """Compile ``program``; skip where its compiler is missing."""
    source = directory / program.name
    source.write_text(program.source)
    out = directory / "program"
    words = [word.format(**{"out": out, "in": source}) for word in program.command.split()]
    if words[0] == "zig":
        words[:1] = zig()
    elif not shutil.which(words[0]):
        pytest.skip(f"there is no {words[0]}")
    environment = {"GO111MODULE": "off", "CGO_ENABLED": "0"}
    environment |= {name: str(directory / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR",)}
    run = subprocess.run(
        words,
        env={**os.environ, **environment},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode and "fuse-ld" in program.command:
        pytest.skip(f"cannot link so: {run.stderr.splitlines()[-1]}")
    if run.returncode and "rustup" in run.stderr:
        pytest.skip("rustup has no compiler for this user")
    assert run.returncode == 0, run.stderr
    return out


USUAL = (
    *("gcc", "clang", "clang-lld-static", "musl-lines", "musl-static", "musl-dynamic", "g++"),
    *("rustc", "rustc-debian", "go"),
)


@pytest.mark.parametrize("kind", long_but(USUAL, PROGRAMS, "other options of these compilers"))
def test_a_program_runs_under_its_own_policy(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, PROGRAMS[kind])
    plain = subprocess.run([path], capture_output=True, text=True, check=False)
    assert plain.returncode == 7, plain.stderr
    policy = tmp_path / "policy.yml"
    # The filter is inherited by what the program starts, and in force when it is started.
    options = ("-o", policy, "--default-action", "kill_process", "--allow", "execve")
    scan = seccompgen("scan", path, "/bin/true", *options)
    assert scan.code == (0 if PROGRAMS[kind].known else 1), scan.err
    if scan.code == 0:
        run = seccompgen("run", policy, "--", path)
        assert (run.code, run.out) == (7, plain.stdout), run.err


@pytest.mark.parametrize("link", ["-static", "-static-pie", "-pie"])
@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_an_aarch64_program_calls_nothing_else(tmp_path: Path, optimise: str, link: str) -> None:
    """It runs in an emulator, which tells what it calls."""
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if not emulator:
        pytest.skip("there is no qemu-aarch64")
    path = made(
        tmp_path, Program(C, "a.c", f"aarch64-linux-gnu-gcc {optimise} {link} -o {{out}} {{in}}")
    )
    root = "/usr/aarch64-linux-gnu"
    run = subprocess.run(
        [emulator, "-L", root, "-strace", path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 7, run.stderr
    called = set(re.findall(r"^\d+ ([a-z]\w*)\(", run.stderr, re.MULTILINE))
    assert len(called) > 10
    scan = seccompgen("scan", path, "--root", root, "--json")
    assert scan.code == 0, scan.err
    assert called - {"execve"} <= set(json.loads(scan.out)[0]["syscalls"])
