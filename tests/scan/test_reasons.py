"""Why a call is in a result: the way to it, what each import brings, and what goes without one."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from c_programs import HEAD, compiled
from command import inside, said
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

    from command import Result

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

LIBRARY = """
static FAR void common(void) { enter(39, 0, 0, 0); }
void spawn(void) { common(); enter(56, 0, 0, 0); enter(61, 0, 0, 0); }
void spawn_again(void) { spawn(); enter(62, 0, 0, 0); }
void look(void) { common(); }
void listed(void) { enter(35, 0, 0, 0); }
__attribute__((section("tables"))) void (*table[])(void) = {listed};
"""
"""The calls are getpid; clone and wait4; kill; and nanosleep, which data leads to as well."""
PROGRAM = """
void spawn(void), spawn_again(void), look(void), listed(void);
static FAR void inner(void) { spawn(); }
static FAR void made(void) { inner(); look(); listed(); }
void (*volatile later)(void);
void _start(void) { later = made; enter(60, 0, 0, 0); __builtin_unreachable(); }
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that imports two functions of a library, and has no interpreter."""
    options = ("-O1", "-shared", "-fPIC")
    compiled(tmp_path, LIBRARY, *options).rename(tmp_path / "libown.so")
    (tmp_path / "program.c").write_text(HEAD + PROGRAM)
    flags = ("-nostdlib", "-ffreestanding", "-O1", "-fPIE", "-pie", "-Wl,--no-dynamic-linker")
    command = ["gcc", *flags, "-o", "program", "program.c", "-L.", "-lown"]
    subprocess.run(command, check=True, cwd=tmp_path)
    return tmp_path / "program"


def asked(program: Path, *options: str) -> Result:
    here = ("--library-path", ".", "--root", ".")
    return inside("scan", program.name, *here, *options, cwd=program.parent)


def answered(program: Path, *options: str) -> Any:
    run = asked(program, *options, "--json")
    assert run.code == 0, run.err
    (found,) = json.loads(run.out)
    return found


def test_the_shortest_way_is_shown_by_names(program: Path) -> None:
    paths = answered(program, "--why", "wait4,getpid,nanosleep")["paths"]
    assert [
        [(step["kind"], step["function"], step["import"]) for step in paths[name]["steps"]]
        for name in ("wait4", "getpid", "nanosleep")
    ] == [
        [
            ("started", "_start", ""),
            ("pointer", "made", ""),
            ("call", "inner", ""),
            ("import", "spawn", "spawn"),
        ],
        [
            ("started", "_start", ""),
            ("pointer", "made", ""),
            ("import", "look", "look"),
            ("call", "common", ""),
        ],
        [
            ("started", "_start", ""),
            ("pointer", "made", ""),
            ("import", "listed", "listed"),
        ],
    ]
    assert paths["wait4"]["site"]["function"] == "spawn"


def test_the_way_is_shown_to_people(program: Path) -> None:
    code, out, _ = said(asked(program, "--why", "clone", "--why", "restart_syscall"))
    assert code == 0
    shown = [re.sub("0x[0-9a-f]+", "AT", line) for line in out[1:]]
    assert shown == [
        "clone: libown.so:AT, the shortest way to it:",
        "  started          program AT (_start)",
        "  address made     program AT (made)",
        "  called           program AT (inner)",
        "  imported         libown.so AT (spawn)",
        "restart_syscall: the kernel makes it to go on after a signal",
    ]


def test_a_call_that_nothing_makes_has_no_way(program: Path) -> None:
    run = asked(program, "--why", "clone,setuid,kill")
    assert (run.code, run.err.splitlines()[-1]) == (1, "none of the code makes kill, setuid")
    run = asked(program, "--why", "setiud")
    assert run.code == 2
    assert run.err == "unknown system call 'setiud' on x86_64 (did you mean 'setuid'?)\n"


def test_what_each_import_brings_is_what_goes_without_it(program: Path) -> None:
    whole = answered(program, "--by-import")
    assert whole["imports"] == [
        {"name": "spawn", "alone": ["clone", "wait4"], "reached": ["clone", "getpid", "wait4"]},
        {"name": "listed", "alone": [], "reached": ["nanosleep"]},
        {"name": "look", "alone": [], "reached": ["getpid"]},
    ]
    for one in whole["imports"]:
        less = answered(program, "--without", one["name"])
        assert less["without"] == [one["name"]]
        assert sorted({*whole["syscalls"]} - {*less["syscalls"]}) == one["alone"]
    less = answered(program, "--without", "spawn", "--by-import")
    assert less["imports"][0] == {"name": "look", "alone": ["getpid"], "reached": ["getpid"]}
    out = said(asked(program, "--by-import"))[1]
    assert out[1:] == [
        "calls that only one import of program brings, of all that it leads to:",
        "     2 of 3    spawn: clone, wait4",
        "none alone: 2 other imports",
    ]


def test_a_program_without_imports_says_so(tmp_path: Path) -> None:
    compiled(tmp_path, "void _start(void) { enter(60, 0, 0, 0); for (;;); }")
    assert "program imports nothing" in inside("scan", "program", "--by-import", cwd=tmp_path).out


def test_the_policy_says_what_it_is_without(program: Path) -> None:
    run = asked(program, "--without", "spawn,look", "-o", "policy.yml")
    assert run.code == 0
    assert "without what only these imports lead to: look, spawn" in run.out
    path = program.parent / "policy.yml"
    assert "# It lacks what only these imports lead to: look, spawn." in path.read_text()
    policy, _ = load_policy(path, shipped_tables())
    assert {rule.name for rule in policy.rules} == {"exit", "nanosleep", "restart_syscall"}


def test_only_imports_can_be_left_out(program: Path) -> None:
    """What a library alone has is no import of the program."""
    run = asked(program, "--without", "spwan", "--without", "common", "-o", "policy.yml")
    assert run.code == 2
    assert run.err.splitlines() == [
        "--without: program does not import 'common'",
        "--without: program does not import 'spwan' (did you mean 'spawn'?)",
    ]
    assert not (program.parent / "policy.yml").exists()


def test_questions_leave_the_cached_result_alone(program: Path) -> None:
    before = answered(program)
    assert answered(program, "--without", "spawn")["syscalls"] != before["syscalls"]
    assert answered(program) == before


@pytest.mark.long("the C library is scanned")
def test_with_libc_too_it_is_what_goes_without_it(tmp_path: Path) -> None:
    """posix_spawn() requests setresuid(), which glibc's handler makes again on all threads."""
    (tmp_path / "program.c").write_text(
        "#include <spawn.h>\n#include <stdio.h>\nchar *none[1];\n"
        'int main(void) { posix_spawn(0, "p", 0, 0, none, none); return puts("") + remove(""); }'
    )
    subprocess.run(["gcc", "-O1", "-o", "program", "program.c"], check=True, cwd=tmp_path)
    whole = json.loads(inside("scan", "program", "--by-import", "--json", cwd=tmp_path).out)[0]
    (spawn,) = (one for one in whole["imports"] if one["name"] == "posix_spawn")
    assert {"clone3", "setpgid", "setresuid"} <= {*spawn["alone"]}
    for one in whole["imports"]:
        run = inside("scan", "program", "--without", one["name"], "--json", cwd=tmp_path)
        less = json.loads(run.out)[0]["syscalls"]
        assert sorted({*whole["syscalls"]} - {*less}) == one["alone"]
