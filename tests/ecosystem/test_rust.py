"""Modules of Rust with rustc, and as programs that run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import outer
import pytest
from command import inside
from compilers import FORBIDS, build, do, needs
from extremes import BARE, LISTENING
from longer import long_but
from running_kernel import NEW_LISTENER
from seccompgen.languages import rust

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ecosystem, pytest.mark.usefixtures("distributions_first")]

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
