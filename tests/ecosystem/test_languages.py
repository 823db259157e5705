"""Headers of C and C++ with gcc and clang; all languages as pages and examples show them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, seccompgen
from compilers import OFFLINE, build, do, go_module, needs
from extremes import BARE
from pages import EXAMPLES, follow
from seccompgen.languages import c
from shown import same
from transcript import play, steps

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ecosystem, pytest.mark.usefixtures("distributions_first")]

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


# --- All -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        pytest.param("go", 2, marks=needs("go")),
        pytest.param("javascript", 2, marks=[needs("node"), needs("bwrap")]),
        pytest.param("launcher", 3, marks=needs("gcc")),
        pytest.param("rust", 2, marks=needs("rustc")),
        pytest.param(
            "untrusted", 15, marks=[needs(one) for one in ("bwrap", "gcc", "node", "rustc")]
        ),
    ],
)
def test_pages_do_what_they_show(page: str, commands: int, tmp_path: Path) -> None:
    assert follow(f"{page}.md", tmp_path) == commands


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("c", marks=needs("gcc")),
        pytest.param("go", marks=needs("go")),
        pytest.param("javascript", marks=[needs("npm"), needs("bwrap")]),
        pytest.param("rust", marks=needs("cargo")),
        pytest.param("rust_build_rs", marks=needs("cargo")),
    ],
)
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
