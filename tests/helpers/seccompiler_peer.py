"""seccompiler's own compiler, built from its sources beside the project with Debian's crates."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from command import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOURCES = Path(__file__).parents[3] / "shared" / "peers" / "seccompiler"
CRATES = Path("/usr/share/cargo/registry")
NEEDED = ("libc", "serde_derive", "serde_json")
_MANIFEST = """\
[package]
name = "ask"
version = "0.0.0"
edition = "2021"
[dependencies]
libc = "0.2"
seccompiler = { path = "seccompiler", features = ["json"] }
[workspace]
exclude = ["seccompiler"]
"""
_POLICY = """\
default_action: allow
arches: [x86_64, aarch64]
syscalls:
- {action: errno(EROFS), names: [mkdir, mkdirat]}
"""
_CONFIG = f"""\
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "{CRATES}"
"""
_MAIN = r"""
use std::io::Read;

mod demo;

/// Install our program by a crate, and make a directory.
fn install(by: &str) {
    if by == "seccompiler" {
        let program: seccompiler::BpfProgram = demo::PROGRAM
            .iter()
            .map(|one| seccompiler::sock_filter { code: one.0, jt: one.1, jf: one.2, k: one.3 })
            .collect();
        seccompiler::apply_filter(&program).unwrap();
    } else {
        let fprog = libc::sock_fprog {
            len: demo::PROGRAM.len() as u16,
            filter: demo::PROGRAM.as_ptr() as *mut libc::sock_filter,
        };
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &fprog)
        };
        assert_eq!(done, 0);
    }
    println!("{}", std::fs::create_dir("there").unwrap_err());
}

fn main() {
    let (arch, mut all) = (std::env::args().nth(1).unwrap(), String::new());
    if let Some(by) = arch.strip_prefix("by ") {
        return install(by);
    }
    std::io::stdin().read_to_string(&mut all).unwrap();
    for text in all.split('\0') {
        match seccompiler::compile_from_json(text.as_bytes(), arch.as_str().try_into().unwrap()) {
            Ok(programs) => {
                for (name, program) in programs {
                    print!("{name} ");
                    for one in program {
                        print!("{:04x}{:02x}{:02x}{:08x}", one.code, one.jt, one.jf, one.k);
                    }
                    print!("\t");
                }
                println!();
            }
            Err(error) => println!("! {}", error.to_string().replace('\n', " ")),
        }
    }
}
"""


def is_buildable() -> bool:
    """Return True if the sources, cargo and the crates are there."""
    crates = [path.name.rpartition("-")[0] for path in CRATES.glob("*")]
    return SOURCES.exists() and bool(shutil.which("cargo")) and set(NEEDED) <= set(crates)


class Seccompiler:
    """The compiler, built in a directory."""

    def __init__(self, directory: Path) -> None:
        shutil.copytree(SOURCES, directory / "seccompiler")
        # Debian's crate libc lacks this constant of linux/seccomp.h.
        actions = directory / "seccompiler" / "src" / "backend" / "mod.rs"
        text = actions.read_text().replace("    SECCOMP_RET_USER_NOTIF,\n", "")
        actions.write_text(text + "\nconst SECCOMP_RET_USER_NOTIF: u32 = 0x7fc0_0000;\n")
        for name, content in {
            "Cargo.toml": _MANIFEST, ".cargo/config.toml": _CONFIG, "src/main.rs": _MAIN,
        }.items():  # fmt: skip
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(content)
        (directory / "demo.yml").write_text(_POLICY)
        build = inside("build", "demo.yml", "--format", "rust", "-o", "src", cwd=directory)
        assert build.code == 0, build.err
        command = ["cargo", "build", "--offline", "--quiet"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        self._ask = directory / "target" / "debug" / "ask"

    def installed(self, by: str) -> str:
        """Return how making a directory fails under our module's program, installed by a crate."""
        command = [str(self._ask), f"by {by}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def compiled(self, texts: Iterable[str], abi: str) -> list[Mapping[str, bytes] | str]:
        """Return for each text its programs by thread, little-endian, or what is wrong with it."""
        command = [str(self._ask), abi]
        told = subprocess.run(
            command, input="\0".join(texts), capture_output=True, text=True, check=True
        )
        return [_answer(line) for line in told.stdout.splitlines()]


def _answer(line: str) -> Mapping[str, bytes] | str:
    if line.startswith("! "):
        return line[2:]
    pairs = (one.rpartition(" ") for one in line.split("\t")[:-1])
    return {name: b"".join(_instructions(program)) for name, _, program in pairs}


def _instructions(digits: str) -> Iterable[bytes]:
    for start in range(0, len(digits), 16):
        one = bytes.fromhex(digits[start : start + 16])
        yield one[1::-1] + one[2:4] + one[:3:-1]
