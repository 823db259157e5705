"""Filters of rings in other languages than Python: their files, and what install() does here.

The kernel here need not have such filters; guests have.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import inside, snapshot
from seccompgen.languages import DEFAULT, NAMES, language
from seccompgen.pipeline.build import build_policy, shipped_tables

GOLDEN = Path(__file__).parent / "golden_rings"
OTHERS = [name for name in NAMES if language(name).filters_rings and name != DEFAULT]
HEAD = "arches: [x86_64, aarch64]\ndefault_action: allow\nsyscalls: []\nio_uring:\n"
POLICY = f"""{HEAD}
  default_action: deny
  without: WITHOUT
  operations:
  - {{action: allow, names: ['@read', NOP]}}
  - {{action: allow, names: [CONNECT], when: addr == 10.1.2.3}}
"""


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "launcher"])
def test_the_files_are_those_that_were_looked_at(name: str) -> None:
    tables = shipped_tables()
    files = language(name).write(build_policy(GOLDEN / "rings.yml", tables), tables)
    update = f"cd {GOLDEN} && seccompgen build rings.yml --format {name} -o {name}"
    assert files == snapshot(GOLDEN / name), f"if that is right: {update}"


@pytest.mark.parametrize("name", [name for name in NAMES if not language(name).filters_rings])
def test_a_language_without_them_refuses(name: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(POLICY.replace("WITHOUT", "fail"))
    run = inside("build", "demo.yml", "--format", name, "-o", "out", cwd=tmp_path)
    assert run.code == 2
    assert f"demo.yml:6:3: {name} cannot filter rings" in run.err
    assert all(f" {one}" in run.err.rpartition("use")[2] for one in (DEFAULT, *OTHERS))


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
def test_a_launcher_starts_a_command_with_filtered_rings_or_none(
    without: str, tmp_path: Path
) -> None:
    """By the header of C: with `fail` it starts nothing where the kernel cannot filter rings."""
    (tmp_path / "demo.yml").write_text(POLICY.replace("WITHOUT", without))
    for name in ("launcher", "c"):
        assert inside("build", "demo.yml", "--format", name, "-o", name, cwd=tmp_path).code == 0
    files = tmp_path / "launcher" / "demo"
    assert (files / "demo.h").read_bytes() == (tmp_path / "c" / "demo.h").read_bytes()
    subprocess.run(["gcc", "-Werror", "launcher.c", "-o", "demo"], cwd=files, check=True)
    setup = "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.syscall(425, 0, 0); "
    words = [str(files / "demo"), sys.executable, "-c", f"{setup}print(ctypes.get_errno())"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    old = int(os.uname().release.partition(".")[0]) < 7
    if without == "fail" and old and "not installed" in run.stderr:
        assert (run.returncode, run.stdout) == (125, "")
    else:
        assert run.stdout in {f"{errno.ENOSYS}\n"} | ({f"{errno.EFAULT}\n"} if not old else set())


C_MAIN = """
#include "refusing.h"
#include "failing.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *sleeps(void *none) { for (;;) sleep(1000); return none; }
static void *ends(void *none) { return none; }

int main(int count, char **words)
{
    static char memory[3 * 65536] __attribute__((__aligned__(65536)));
    __u32 params[30] = {0};
    __u64 at;
    const char *before = words[2];
    pthread_t thread;
    long ring = 0;
    int i, result;

    if (strcmp(before, "thread") == 0)
        pthread_create(&thread, NULL, sleeps, NULL);
    for (i = 0; strcmp(before, "joined") == 0 && i < 30; i++) {
        pthread_create(&thread, NULL, ends, NULL);
        pthread_join(thread, NULL);
    }
    if (strcmp(before, "registered") == 0) {
        params[2] = 1 << 14 | 1 << 15;  /* NO_MMAP, REGISTERED_FD_ONLY */
        at = (__u64)(unsigned long)memory;
        memcpy(params + 18, &at, sizeof(at));
        at += 65536;
        memcpy(params + 28, &at, sizeof(at));
    }
    if (strchr("omrc", before[0]) != NULL && before[0] != 0)
        ring = syscall(refusing_NR_io_uring_setup, 1L, params, 0L, 0L, 0L, 0L);
    if (ring < 0)
        return 77;
    if (strcmp(before, "mapped") == 0)
        mmap(NULL, 4096, PROT_READ, MAP_SHARED, (int)ring, 0);
    if (before[0] == 'm' || before[0] == 'c')
        close((int)ring);
    if (words[1][0] == 't')
        return refusing_try();
    result = words[1][0] == 'r' ? refusing_install() : failing_install();
    printf("%d ", result);
    if (result < 0)
        printf("%d ", errno);
    printf("%d", refusing_has_rings());
    return count == 0;
}
"""


RUST_MAIN = """
extern crate core;
#[allow(dead_code)]
#[path = "DIR/refusing.rs"]
mod refusing;
#[allow(dead_code)]
#[path = "out/failing.rs"]
mod failing;
use std::ffi::c_long;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mmap(at: *mut u8, size: usize, kind: i32, flags: i32, file: i32, from: i64) -> *mut u8;
    fn close(file: i32) -> i32;
}
const SETUP: c_long = 425;

fn make_ring(flags: u32) -> c_long {
    let mut params = [0u32; 30];
    params[2] = flags;
    // SAFETY: the kernel places them.
    unsafe {
        let memory = mmap(std::ptr::null_mut(), 2 << 16, 3, 0x22, -1, 0) as u64;
        for (place, value) in [(18, memory), (28, memory + (1 << 16))] {
            params[place] = if flags == 0 { 0 } else { value as u32 };
            params[place + 1] = if flags == 0 { 0 } else { (value >> 32) as u32 };
        }
        let ring = syscall(SETUP, 1 as c_long, params.as_mut_ptr(), 0 as c_long);
        if ring < 0 {
            std::process::exit(77);
        }
        ring
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words[2].as_str() {
        "thread" => {
            std::thread::spawn(|| loop { std::thread::park() });
        }
        "joined" => (0..30).for_each(|_| std::thread::spawn(|| ()).join().unwrap()),
        "open" => assert!(make_ring(0) > 0),
        // SAFETY: numbers only.
        "mapped" => unsafe {
            let ring = make_ring(0) as i32;
            mmap(std::ptr::null_mut(), 4096, 1, 1, ring, 0);
            close(ring);
        },
        "registered" => assert!(make_ring(1 << 14 | 1 << 15) >= 0),
        // SAFETY: numbers only.
        "closed" => assert_eq!(unsafe { close(make_ring(0) as i32) }, 0),
        _ => {}
    }
    let result = match words[1].as_str() {
        "refusing" => refusing::install(),
        "failing" => failing::install(),
        "try" => std::process::exit(refusing::rings::tried()),
        _ => {
            for release in &words[1..] {
                print!("{}", refusing::rings::kept_by(format!("{release}\\0").as_bytes()) as i32);
            }
            return;
        }
    };
    match result {
        Ok(()) => print!("0 "),
        Err(error) => print!("-1 {} ", error.raw_os_error().unwrap()),
    }
    print!("{}", refusing::has_rings() as i32);
}
"""
"""Its module shows what is private: see `made`."""


@dataclass(frozen=True)
class Program:
    """A program with filters of ``name``, a language, in a directory."""

    name: str
    where: Path

    def make(self, directory: str, program: str) -> None:
        """Compile ``program`` with the filter ``refusing`` of ``directory``."""
        if self.name == "c":
            (self.where / "main.c").write_text(C_MAIN)
            strict = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-D_GNU_SOURCE"]
            paths = ["-iquote", directory, "-iquote", "out"]
            command = ["gcc", *strict, *paths, "main.c", "-o", program, "-pthread"]
        else:
            (self.where / "main.rs").write_text(RUST_MAIN.replace("DIR", directory))
            command = ["rustc", "--edition", "2021", "-D", "warnings", "main.rs", "-o", program]
        subprocess.run(command, cwd=self.where, check=True)

    def ran(self, *words: str, name: str = "main") -> str:
        command = [str(self.where / name), *words]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode == 77:
            pytest.skip("no ring can be made here")
        return run.stdout or str(run.returncode)


def made(name: str, where: Path) -> Program:
    for policy, word in (("refusing", "refuse_rings"), ("failing", "fail")):
        (where / f"{policy}.yml").write_text(POLICY.replace("WITHOUT", word))
        run = inside("build", f"{policy}.yml", "--format", name, "-o", "out", cwd=where)
        assert run.code == 0, run.err
    if name == "rust":
        path = where / "out" / "refusing.rs"
        text = path.read_text().replace("\nmod rings {", "\npub mod rings {")
        path.write_text(re.sub(r"^fn (tried|kept_by)\b", r"pub fn \1", text, flags=re.M))
    program = Program(name, where)
    program.make("out", "main")
    return program


def works(compiler: str) -> bool:
    """Return False as well for a link to rustup, where this user has no toolchain."""
    if not shutil.which(compiler):
        return False
    asked = subprocess.run([compiler, "--version"], capture_output=True, check=False)
    return asked.returncode == 0


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.skipif(not works(one), reason=f"needs {one}"))
        for name, one in (("c", "gcc"), ("rust", "rustc"))
    ],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Compile filters with both words for `without`, and a program."""
    return made(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("standard", ["-std=c89", "-std=c99"])
def test_strict_c_takes_the_header(standard: str, program: Program) -> None:
    if program.name != "c":
        pytest.skip("not of C")
    text = '#include "refusing.h"\n#include "failing.h"\nint main(void) { return 0; }\n'
    (program.where / "strict.c").write_text(text)
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-O2", "-Iout", "-fsyntax-only"]
    subprocess.run(["gcc", standard, *strict, "strict.c"], cwd=program.where, check=True)


@pytest.mark.parametrize("before", ["thread", "open", "mapped", "registered"])
@pytest.mark.parametrize("without", ["refusing", "failing"])
def test_threads_and_rings_that_exist_are_refused(
    without: str, before: str, program: Program
) -> None:
    """And nothing is in force then: a ring can still be made."""
    assert program.ran(without, before) == "-1 16 1"


@pytest.mark.parametrize("before", ["", "joined", "closed"])
def test_where_the_kernel_cannot_filter_the_policy_decides(before: str, program: Program) -> None:
    """EOPNOTSUPP from a kernel before 7.0, and EPERM or ENOSYS from a sandbox's filter."""
    if int(os.uname().release.partition(".")[0]) >= 7:
        pytest.skip("the kernel here may filter rings")
    assert program.ran("refusing", before) == "0 0"
    failing = program.ran("failing", before)
    assert failing in {f"-1 {one} 1" for one in (errno.EOPNOTSUPP, errno.EPERM)} | {"0 0"}


def test_trials_tell_what_is_let_through(program: Program) -> None:
    """In a process whose ring has no filters: NOP is permitted as meant, a connection is not."""
    assert program.ran("try", "") in {"1", "3", "4"}
    (path,) = (program.where / "out").glob("refusing.*")
    rows = r"^(    (?:    )?[{(]\d+), (?:[01]|true|false), (\d+, [\[{])"
    words = {"c": ("1", "0"), "rust": ("true", "false")}[program.name]
    for permitted, outcome in zip(words, ("0", "1"), strict=True):
        changed, count = re.subn(
            rows, rf"\g<1>, {permitted}, \2", path.read_text(), flags=re.MULTILINE
        )
        assert count > 10
        (program.where / permitted).mkdir()
        (program.where / permitted / path.name).write_text(changed)
        program.make(permitted, f"main-{permitted}")
        assert program.ran("try", "", name=f"main-{permitted}") in {outcome, "3", "4"}


def test_what_completes_late_leaves_room_for_a_refusal(program: Program) -> None:
    """The ring of the trials has more room than all of them take, if each completed twice."""
    (program.where / "room.c").write_text(ROOM)
    shared = ["gcc", "-Wall", "-shared", "-fPIC", "room.c", "-o", "room.so"]
    subprocess.run(shared, cwd=program.where, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(program.where / "room.so")}
    words = [str(program.where / "main"), "try", ""]
    run = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if run.returncode == 3:
        pytest.skip("no ring can be made here")
    assert int(run.stderr) >= 2 * 32


ROOM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
long syscall(long number, ...)
{
    long words[6], i, result;
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list rest;
    va_start(rest, number);
    for (i = 0; i < 6; i++)
        words[i] = va_arg(rest, long);
    va_end(rest);
    result = real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
    if (number == 425 && result >= 0)
        dprintf(2, "%u", ((unsigned int *)words[1])[1]);
    return result;
}
"""
"""Tells the number of completions that a ring has room for."""


def test_releases_that_lose_filters_at_exec(program: Program) -> None:
    """The kernel loses them up to 7.1.7; nobody has tried 7.2.0 to 7.2.5."""
    lose = ["6.18.3", "7.0.13+deb13-cloud-amd64", "7.1.7", "7.1", "7.1-rc9", "7.2.5", "x"]
    keep = ["7.1.8", "7.1.13-generic", "7.2.6", "7.3-rc7", "7.3", "8.0.1", "10.0"]
    name = "main"
    if program.name == "c":
        name = "releases"
        (program.where / "releases.c").write_text(RELEASES)
        command = ["gcc", "-Wall", "-Iout", "releases.c", "-o", "releases"]
        subprocess.run(command, cwd=program.where, check=True)
    assert program.ran(*lose, name=name) == "0" * len(lose)
    assert program.ran(*keep, name=name) == "1" * len(keep)


RELEASES = """
#include <sys/utsname.h>
static const char *release;
static int other_uname(struct utsname *kernel)
{
    char *to = kernel->release;
    const char *from = release;
    while ((*to++ = *from++) != 0)
        ;
    return 0;
}
#define uname other_uname
#include "refusing.h"
#include <stdio.h>
int main(int count, char **words)
{
    for (release = *++words; release; release = *++words)
        printf("%d", refusing_kept_at_exec());
    return count == 0;
}
"""
