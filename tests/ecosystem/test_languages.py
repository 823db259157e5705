"""Headers, modules and packages with the compilers that take them, and as programs that run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import outer
import pytest
from command import ROOT, inside, seccompgen
from extremes import BARE, LISTENING
from longer import long_but
from pages import EXAMPLES, follow
from running_kernel import NEW_LISTENER
from seccompgen.languages import c, go, rust
from shown import same
from transcript import play, steps

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}")


@pytest.fixture(autouse=True)
def distributions_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the compilers that `make test-ecosystem` installs before any proxy of rustup's."""
    monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")


POLICY = """
default_action: allow
unknown_action: errno(ENOSYS)
flags: [tsync]
syscalls:
- {action: errno(EROFS), names: [mkdir, mkdirat]}
- action: kill_process
  names_with_args:
  - {name: personality, arguments: [{argument: 0, operation: Equal, value: 0x123456789, width: 64}]}
- {action: kill_process, names: [setns]}
"""


OFFLINE = {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
"""Has go fetch neither modules nor another toolchain."""


def build(where: Path, form: str, *options: str, name: str = "demo") -> None:
    (where / f"{name}.yml").write_text(POLICY)
    run = inside("build", f"{name}.yml", "--format", form, "-o", ".", *options, cwd=where)
    assert run.code == 0, run.err


def do(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- C -------------------------------------------------------------------------------------------

C = """
#include "demo.h"
#include "other.h"
#include <stdio.h>
#include <sys/stat.h>

int main(void)
{
    if (demo_install() != 0 || other_install() != 0)
        return 1;
    if (mkdir("there", 0700) == 0 || errno != EROFS)
        return 2;
    puts("confined");
    fflush(stdout);
    return prctl(-1, 0, 0, 0, 0) + (int)other_seccomp(0xffff, 0, 0) + 4;
}
"""
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


@needs("clang")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("language", ["c -std=c99", "c -std=gnu17", "c++ -std=c++11"])
def test_c_and_cpp(compiler: str, language: str, tmp_path: Path) -> None:
    build(tmp_path, "c")
    build(tmp_path, "c", name="other")
    (tmp_path / "main.c").write_text(C)
    if language.startswith("c++") and compiler == "gcc" and not shutil.which("g++"):
        pytest.skip("needs g++")
    options = ["-x", *language.split(), *STRICT, "main.c", "-o", "main"]
    do(compiler, *options, cwd=tmp_path)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("confined\n", 2)


C_AT_ANY_TIME = """
#include "demo.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
static __thread volatile int confining;

void *malloc(size_t size)
{
    if (confining)
        abort();
    return __libc_malloc(size);
}

static void *allocate(void *none)
{
    for (;;)
        free(malloc(1000));
    return none;
}

static volatile int installed = 1;

static void handle(int number)
{
    confining = 1;
    installed = number == SIGALRM ? demo_install() : -1;
    confining = 0;
}

int main(void)
{
    pthread_t thread;
    pid_t child;
    int status = -1, n;

    pthread_create(&thread, NULL, allocate, NULL);
    for (n = 0; n < 50; n++) {
        child = n % 2 ? vfork() : fork();
        if (child == 0) {
            confining = 1;
            if (demo_install() == 0)
                execlp("mkdir", "mkdir", "there", (char *)0);
            _exit(125);
        }
        confining = 0;
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
            return 2;
    }
    if (mkdir("here", 0700) != 0)
        return 3;
    signal(SIGALRM, handle);
    ualarm(1000, 0);
    while (installed == 1)
        free(malloc(1000));
    return installed == 0 && mkdir("there", 0700) != 0 && errno == EROFS ? 0 : 4;
}
"""
"""Confines children of fork and vfork, and itself in a handler, where it aborts on malloc."""


def test_c_installs_between_fork_and_exec_and_in_a_signal_handler(tmp_path: Path) -> None:
    build(tmp_path, "c")
    (tmp_path / "main.c").write_text(C_AT_ANY_TIME)
    do("gcc", "-std=gnu99", *STRICT, "-pthread", "main.c", "-o", "main", cwd=tmp_path)
    assert "cannot create directory" in do("./main", cwd=tmp_path)
    (tmp_path / "only.c").write_text('#include "demo.h"\nint go(void) { return demo_install(); }\n')
    do("gcc", "-std=c99", *STRICT, "-c", "only.c", cwd=tmp_path)
    called = do("nm", "--undefined-only", "--format=just-symbols", "only.o", cwd=tmp_path).split()
    assert {*called} - {"_GLOBAL_OFFSET_TABLE_"} == {"__errno_location", "prctl", "syscall"}


@needs("musl-gcc")
def test_a_static_program_of_musl(tmp_path: Path) -> None:
    """musl has no headers of the kernel's; they are taken from where the distribution puts them."""
    build(tmp_path, "c")
    build(tmp_path, "c", name="other")
    (tmp_path / "main.c").write_text(C)
    multiarch = do("gcc", "-print-multiarch", cwd=tmp_path).strip()
    (tmp_path / "kernel").mkdir()
    for name in ("linux", "asm-generic", f"{multiarch}/asm"):
        (tmp_path / "kernel" / name.rpartition("/")[2]).symlink_to(f"/usr/include/{name}")
    options = ["-std=c99", *STRICT, "-isystem", "kernel", "-static", "main.c", "-o", "main"]
    do("musl-gcc", *options, cwd=tmp_path)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("confined\n", 2)


CLANG = {
    "x86_64": "x86_64-linux-gnu",
    "x32": "x86_64-linux-gnux32",
    "i386": "i386-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "aarch64": "aarch64-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "riscv32": "riscv32-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "ppc64": "powerpc64-linux-gnu",
    "ppc": "powerpc-linux-gnu",
    "mips": "mips-linux-gnu",
    "mips64": "mips64-linux-gnuabi64",
    "mips64n32": "mips64-linux-gnuabin32",
    "mipsel": "mipsel-linux-gnu",
    "mips64el": "mips64el-linux-gnuabi64",
    "mips64n32el": "mips64el-linux-gnuabin32",
    "m68k": "m68k-linux-gnu",
    "loongarch64": "loongarch64-linux-gnu",
}
NONE = ["armeb-linux-gnueabihf", "aarch64_be-linux-gnu", "sparc64-linux-gnu"]


@needs("clang")
def test_clang_tells_each_abi_and_no_other(tmp_path: Path) -> None:
    """By its own macros, for all targets that it has."""
    lines = [f"#if {target}\nabi_is_{name}\n#endif" for name, target in c.TARGETS.items()]
    (tmp_path / "which.h").write_text("\n".join(lines))
    tried = 0
    for triple in [*CLANG.values(), *NONE]:
        command = ["clang", f"--target={triple}", "-E", "-P", "which.h"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        if run.returncode:
            assert "unknown target triple" in run.stderr or "unable to create" in run.stderr
            continue
        wanted = [f"abi_is_{name}" for name, one in CLANG.items() if one == triple]
        assert run.stdout.strip() == "".join(wanted), triple
        tried += 1
    assert tried >= 19


# --- Rust ----------------------------------------------------------------------------------------

RUST = """
mod demo {
    include!("demo.rs"); // as what build.rs writes is included
}

use std::io::ErrorKind;

fn main() {
    let (start, wait) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        wait.recv().unwrap();
        std::fs::create_dir("there").unwrap_err().kind()
    });
    demo::install().unwrap();
    start.send(()).unwrap();
    assert_eq!(other.join().unwrap(), ErrorKind::ReadOnlyFilesystem);
    println!("confined");
    let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
    unsafe extern "C" {
        fn setns(fd: std::ffi::c_int, kind: std::ffi::c_int) -> std::ffi::c_int;
    }
    unsafe { setns(std::os::fd::AsRawFd::as_raw_fd(&namespace), 0) };
    println!("not refused");
}
"""


@needs("rustc")
@pytest.mark.parametrize(
    "edition",
    long_but(
        ["2015", "2024"], ["2015", "2018", "2021", "2024"], "between the two that differ most"
    ),
)
def test_rust(edition: str, tmp_path: Path) -> None:
    build(tmp_path, "rust")
    (tmp_path / "main.rs").write_text(RUST)
    do("rustc", "--edition", edition, "-D", "warnings", "main.rs", cwd=tmp_path)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("confined\n", -signal.SIGSYS), run.stderr


@needs("rustc")
@pytest.mark.parametrize(("policy", "shown"), [(BARE, "()"), (LISTENING, "OwnedFd { fd: 3 }")])
def test_what_rust_returns(policy: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(policy)
    assert inside("build", "demo.yml", "--format", "rust", "-o", ".", cwd=tmp_path).code == 0
    main = 'mod demo;\nfn main() {\n    println!("{:?}", demo::install().unwrap());\n}\n'
    (tmp_path / "main.rs").write_text(main)
    do("rustc", "--edition", "2021", "-D", "warnings", "main.rs", cwd=tmp_path)
    assert do("./main", cwd=tmp_path) == f"{shown}\n"
    if shutil.which("rustfmt"):
        assert do("rustfmt", "--check", "--edition", "2021", "main.rs", cwd=tmp_path) == ""


RUST_PARENT = """
mod demo;

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);
struct Aborts;

unsafe impl GlobalAlloc for Aborts {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if FORKED.load(Ordering::SeqCst) {
            std::process::abort();
        }
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Aborts = Aborts;

fn main() {
    let mut child = std::process::Command::new("mkdir");
    let confine = || {
        FORKED.store(true, Ordering::SeqCst);
        demo::install()
    };
    let status = unsafe { child.arg("there").pre_exec(confine) }.status().unwrap();
    println!("{:?} {:?} {}", status.code(), status.signal(), demo::PROGRAM.len());
}
"""
"""Confines a child between fork and exec, where it aborts if anything allocates memory."""


@needs("rustc")
def test_rust_confines_a_child_without_allocating(tmp_path: Path) -> None:
    build(tmp_path, "rust")
    (tmp_path / "main.rs").write_text(RUST_PARENT)
    do("rustc", "--edition", "2021", "-D", "warnings", "main.rs", cwd=tmp_path)
    build(tmp_path, "bpf")
    length = (tmp_path / f"demo.{os.uname().machine}.bpf").stat().st_size // 8
    assert do("./main", cwd=tmp_path).endswith(f"\nSome(1) None {length}\n")
    assert not (tmp_path / "there").exists()


RUST_WITHOUT_STD = """
#![no_std]
#![no_main]
mod demo;

use core::ffi::{c_char, c_int, c_uint};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[link(name = "c")]
unsafe extern "C" {
    fn mkdir(path: *const c_char, mode: c_uint) -> c_int;
    fn perror(text: *const c_char);
}

#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    if demo::install_raw().is_err() {
        return 1;
    }
    let made = unsafe { mkdir(c"there".as_ptr(), 0o700) };
    unsafe { perror(c"confined".as_ptr()) };
    -made
}
"""


@needs("rustc")
def test_rust_without_std_calls_three_functions_of_libc(tmp_path: Path) -> None:
    build(tmp_path, "rust")
    (tmp_path / "main.rs").write_text(RUST_WITHOUT_STD)
    options = ["--cfg", 'feature="no_std"', "-C", "panic=abort", "-O", "-D", "warnings"]
    do("rustc", "--edition", "2021", *options, "main.rs", cwd=tmp_path)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stderr, run.returncode) == ("confined: Read-only file system\n", 1)
    symbols = re.findall(r" U (\w+)", do("nm", "-u", "main", cwd=tmp_path))
    own = {"mkdir", "perror", "__libc_start_main"}
    assert {*symbols} - own == {"syscall", "prctl", "__errno_location"}


@needs("rustfmt")
def test_rustfmt_leaves_a_module_alone(tmp_path: Path) -> None:
    build(tmp_path, "rust")
    assert do("rustfmt", "--check", "--edition", "2021", "demo.rs", cwd=tmp_path) == ""


@needs("rustc")
def test_rustc_tells_each_abi_and_no_other(tmp_path: Path) -> None:
    """By its own cfg, for every Linux target that it has."""
    told = set()
    for target in do("rustc", "--print", "target-list", cwd=tmp_path).split():
        if "linux" not in target:
            continue
        command = ["rustc", "--print", "cfg", "--target", target]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        cfg = {*run.stdout.splitlines()}
        if run.returncode or re.match("sparc|hexagon|wasm", target):
            continue
        fit = [name for name, text in rust.TARGETS.items() if holds(text, cfg)]
        big_arm = 'target_endian="big"' in cfg and re.match("arm|thumb|aarch64", target)
        assert len(fit) == (0 if big_arm or "ilp32" in target else 1), (target, fit)
        told |= {*fit}
    assert {"x86_64", "x32", "i386", "arm", "aarch64", "riscv64", "s390x", "mips", "mipsel"} <= told
    assert {"mips64", "mips64el", "ppc64", "ppc64le", "ppc", "loongarch64"} <= told


def holds(condition: str, cfg: set[str]) -> bool:
    """Evaluate ``all(...)`` and ``any(...)`` of ``key = "value"``."""
    if match := re.fullmatch(r"(all|any)\((.*)\)", condition):
        parts = re.findall(r"any\([^)]*\)|[a-z_]+ = \"\w+\"", match[2])
        return {"all": all, "any": any}[match[1]](holds(part, cfg) for part in parts)
    return condition.replace(" ", "") in cfg


# --- Go ------------------------------------------------------------------------------------------

GO = """package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"example.org/demo/demo"
)

func main() {
	if err := demo.Install(); err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	for n := 0; n < 64; n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := os.Mkdir("there", 0700); !errors.Is(err, syscall.EROFS) {
				panic(err)
			}
		}()
	}
	all.Wait()
	fmt.Println("confined")
	syscall.RawSyscall(SETNS, 0, 0, 0)
	fmt.Println("not refused")
}
"""


def go_module(where: Path) -> dict[str, str]:
    (where / "go.mod").write_text("module example.org/demo\n\ngo 1.21\n")
    return OFFLINE


@needs("go")
@pytest.mark.parametrize("flags", ["tsync", ""])
def test_go(flags: str, tmp_path: Path) -> None:
    """With tsync in the policy or without: a thread that is free would make the directory."""
    policy = POLICY.replace("[tsync]", f"[{flags}]")
    (tmp_path / "demo.yml").write_text(policy)
    assert inside("build", "demo.yml", "--format", "go", "-o", ".", cwd=tmp_path).code == 0
    (tmp_path / "main.go").write_text(GO.replace("SETNS", "308"))
    env = go_module(tmp_path)
    assert do("gofmt", "-l", ".", cwd=tmp_path) == ""
    assert do("go", "vet", "./...", cwd=tmp_path, env=env) == ""
    do("go", "build", "-o", "main", ".", cwd=tmp_path, env=env)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("confined\n", -signal.SIGSYS), run.stderr


@needs("go")
@pytest.mark.parametrize(("policy", "shown"), [(BARE, "<nil>"), (LISTENING, "3 <nil>")])
def test_what_go_returns(policy: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(policy)
    assert inside("build", "demo.yml", "--format", "go", "-o", ".", cwd=tmp_path).code == 0
    (tmp_path / "main.go").write_text(
        'package main\n\nimport (\n\t"fmt"\n\n\t"example.org/demo/demo"\n)\n\n'
        "func main() {\n\tfmt.Println(demo.Install())\n}\n"
    )
    env = go_module(tmp_path)
    assert do("gofmt", "-l", ".", cwd=tmp_path) == ""
    assert do("go", "vet", "./...", cwd=tmp_path, env=env) == ""
    assert do("go", "run", ".", cwd=tmp_path, env=env) == f"{shown}\n"


@needs("go")
def test_go_takes_the_program_of_its_architecture(tmp_path: Path) -> None:
    build(tmp_path, "go")
    env = go_module(tmp_path)
    ports = [line.split("/") for line in do("go", "tool", "dist", "list", cwd=tmp_path).split()]
    linux = {arch for system, arch in ports if system == "linux"}
    assert linux == {*go.TARGETS.values()}
    files = ["go", "list", "-f", "{{.GoFiles}}", "./demo"]
    for arch in sorted(linux):
        listed = do(*files, cwd=tmp_path, env={**env, "GOOS": "linux", "GOARCH": arch})
        assert listed == f"[install_linux.go program_linux_{arch}.go]\n"
    # Of another width; all of them would take minutes.
    do("go", "build", "./demo", cwd=tmp_path, env={**env, "GOOS": "linux", "GOARCH": "386"})


@needs("go")
def test_go_without_a_program_does_not_compile(tmp_path: Path) -> None:
    build(tmp_path, "go", "--arch", "s390x")
    env = {**os.environ, **go_module(tmp_path)}
    run = subprocess.run(
        ["go", "build", "./demo"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "undefined: noProgramFitsThisGOARCH" in run.stderr


# --- All -----------------------------------------------------------------------------------------


@needs("bwrap")
@needs("gcc")
@needs("go")
@needs("node")
@needs("rustc")
@pytest.mark.parametrize(
    ("page", "commands"),
    [("go", 2), ("javascript", 2), ("launcher", 3), ("rust", 2), ("untrusted", 13)],
)
def test_pages_do_what_they_show(page: str, commands: int, tmp_path: Path) -> None:
    assert follow(f"{page}.md", tmp_path) == commands


@needs("bwrap")
@needs("cargo")
@needs("gcc")
@needs("go")
@needs("npm")
@pytest.mark.parametrize("name", ["c", "go", "javascript", "rust", "rust_build_rs"])
def test_hosts_do_what_the_readme_of_examples_shows(name: str, tmp_path: Path) -> None:
    (block,) = [block for block in EXAMPLES if f"cd examples/{name}\n" in block]
    built = shutil.ignore_patterns("untrusted.h", "host", "internal", "filters", "target")
    shutil.copytree(ROOT / "examples" / name, tmp_path / "examples" / name, ignore=built)
    shown = steps(block)
    played = play([step.command for step in shown], tmp_path, OFFLINE)
    for step, (code, said) in zip(shown, played, strict=True):
        assert (code, same(step.output, said)) == (0, True), step.command + said


PRETENDS = """
default_action: allow
no_new_privs: false
syscalls:
- action: errno(0)
  names_with_args:
  - {name: prctl, arguments: [{argument: 0, operation: Equal, value: 38, width: 32}]}
"""
"""A sandbox that answers PR_SET_NO_NEW_PRIVS as done without doing it."""
ASKS = {
    "c": (
        "main.c",
        '#include "demo.h"\n#include <stdio.h>\n'
        'int main(void) { puts(demo_install() ? strerror(errno) : "confined"); return 0; }\n',
        ["gcc", "-include", "string.h", "-o", "main", "main.c"],
    ),
    "rust": (
        "main.rs",
        'mod demo;\nfn main() {\n    println!("{:?}", demo::install());\n}\n',
        ["rustc", "main.rs"],
    ),
    "go": (
        "main.go",
        'package main\n\nimport "example.org/demo/demo"\n\n'
        "func main() { println(demo.Install().Error()) }\n",
        ["go", "build", "-o", "main", "."],
    ),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="without no_new_privs it takes CAP_SYS_ADMIN")
@pytest.mark.parametrize("form", ASKS)
def test_no_new_privs_that_a_sandbox_only_pretends_to_set(form: str, tmp_path: Path) -> None:
    file, source, compiler = ASKS[form]
    if not shutil.which(compiler[0]):
        pytest.skip(f"needs {compiler[0]}")
    (tmp_path / "demo.yml").write_text(BARE.replace("privs: false", "privs: true"))
    assert inside("build", "demo.yml", "--format", form, "-o", ".", cwd=tmp_path).code == 0
    (tmp_path / file).write_text(source)
    do(*compiler, cwd=tmp_path, env=go_module(tmp_path) if form == "go" else None)
    (tmp_path / "outer.yml").write_text(PRETENDS)
    told = seccompgen("run", "outer.yml", "--", "./main", cwd=tmp_path)
    assert "rotocol error" in told.out + told.err


FORBIDS = """
arches: [x86_64]
default_action: allow
flags: [{flags}]
syscalls:
- {{action: errno(EDOM), names: [getppid]}}
"""
RUST_LIBRARY = """
#[path = "demo.rs"]
mod demo;

#[no_mangle]
pub extern "C" fn go() -> i32 {
    match demo::install() {
        Ok(RESULT) => DESCRIPTOR,
        Err(error) => -error.raw_os_error().unwrap(),
    }
}
"""
GO_ATTEMPT = """package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"example.org/demo/demo"
)

func main() {
	RESULT demo.Install()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		fmt.Println("refused", int(errno))
	} else {
		fmt.Println("done", listener)
	}
	result, _, errno := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	if errno != 0 {
		fmt.Println(-int(errno))
	} else {
		fmt.Println(result)
	}
	io.ReadAll(os.Stdin)
}
"""


@needs("rustc")
@pytest.mark.parametrize(("name", "flags"), [("", 0), ("new_listener", NEW_LISTENER)])
def test_rust_under_any_sandbox(name: str, flags: int, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(FORBIDS.format(flags=name))
    assert inside("build", "demo.yml", "--format", "rust", "-o", ".", cwd=tmp_path).code == 0
    result = ("fd", "std::os::fd::IntoRawFd::into_raw_fd(fd)") if flags else ("()", "0")
    source = RUST_LIBRARY.replace("RESULT", result[0]).replace("DESCRIPTOR", result[1])
    (tmp_path / "go.rs").write_text(source)
    options = ["--edition", "2021", "--crate-type", "cdylib", "-O", "-D", "warnings"]
    do("rustc", *options, "go.rs", "-o", "go.so", cwd=tmp_path)
    outer.try_library(tmp_path / "go.so", flags)


@needs("go")
@pytest.mark.parametrize(("name", "flags"), [("", 0), ("new_listener", NEW_LISTENER)])
def test_go_under_any_sandbox(name: str, flags: int, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(FORBIDS.format(flags=name))
    assert inside("build", "demo.yml", "--format", "go", "-o", ".", cwd=tmp_path).code == 0
    result = "listener, err :=" if flags else "listener, err := -1,"
    (tmp_path / "main.go").write_text(GO_ATTEMPT.replace("RESULT", result))
    do("go", "build", "-o", "main", ".", cwd=tmp_path, env=go_module(tmp_path))
    told = []
    for rules in outer.SANDBOXES:
        seen = outer.attempt_program(rules, tmp_path / "main", nnp=os.geteuid() != 0)
        told.append(outer.check(rules, seen, flags, nnp=True))
    assert 5 < sum(told) < len(told)
