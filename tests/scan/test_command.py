"""``seccompgen scan``, as users call it."""

from __future__ import annotations

import json
import platform
import re
import sys
from typing import TYPE_CHECKING

import pytest
from c_programs import compiled
from command import inside, said, seccompgen
from seccompgen.cli import scan_reasons, scan_texts, scan_unknown
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.modeline import MODELINE, SCHEMA_NAME
from seccompgen.scan.result import Caller, Caveat, Lead
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

KNOWN = "void _start(void) { enter(1, 1, 0, 0); enter(60, 0, 0, 0); __builtin_unreachable(); }"
UNKNOWN = "volatile long n; void _start(void) { enter(n, 0, 0, 0); enter(60, 0, 0, 0); }"


def names_of(path: Path) -> set[str]:
    policy, notes = load_policy(path, shipped_tables())
    assert not notes
    assert [abi.name for abi in policy.arches] == ["x86_64"]
    assert str(policy.default_action) == "errno(EPERM)"
    return {rule.name for rule in policy.rules}


def test_the_policy_is_written_and_builds(tmp_path: Path) -> None:
    compiled(tmp_path, KNOWN)
    code, out, err = said(inside("scan", "program", "-o", "policy.yml", cwd=tmp_path))
    assert (code, out) == (
        0,
        [
            "program (x86_64): 3 system calls, from 2 sites, in 1 file",
            "wrote policy.yml",
        ],
    )
    assert err == [
        "note: a function whose address is taken counts as called: who calls it is not followed"
    ]
    assert names_of(tmp_path / "policy.yml") == {"write", "exit", "restart_syscall"}
    assert inside("build", "policy.yml", "-o", "out", cwd=tmp_path).code == 0
    again = inside("scan", "program", "-o", "policy.yml", cwd=tmp_path)
    assert "everything is up to date" in again.out


def test_beside_a_schema_the_policy_leads_editors_to_it(tmp_path: Path) -> None:
    compiled(tmp_path, KNOWN)
    assert inside("scan", "program", "-o", "policy.yml", cwd=tmp_path).code == 0
    without = (tmp_path / "policy.yml").read_text()
    (tmp_path / SCHEMA_NAME).write_text("{}")
    assert inside("scan", "program", "-o", "policy.yml", cwd=tmp_path).code == 0
    assert (tmp_path / "policy.yml").read_text() == MODELINE + without
    assert names_of(tmp_path / "policy.yml") == {"write", "exit", "restart_syscall"}


def test_without_a_policy_it_only_tells(tmp_path: Path) -> None:
    compiled(tmp_path, KNOWN)
    run = inside("scan", "program", "--sites", cwd=tmp_path)
    assert run.code == 0
    assert [line.split()[0] for line in run.out.splitlines()] == [
        *("exit", "write", "restart_syscall", "program"),
    ]
    assert re.search(r"^write +program:0x[0-9a-f]+ _start$", run.out, re.MULTILINE)
    assert not list(tmp_path.glob("*.yml"))


def test_what_is_unknown_stops_it_unless_accepted(tmp_path: Path) -> None:
    compiled(tmp_path, UNKNOWN)
    code, _, err = said(inside("scan", "program", "-o", "policy.yml", cwd=tmp_path))
    assert code == 1
    assert not (tmp_path / "policy.yml").exists()
    site = (
        r"program: the number of the system call at 0x[0-9a-f]+ \(_start\) is unknown: .*memory.*"
    )
    assert [line for line in err if re.fullmatch(site, line)]
    assert err[-1].startswith("nothing is written: ")
    assert inside("scan", "program", cwd=tmp_path).code == 1
    run = inside("scan", "program", "-o", "policy.yml", "--accept-unknown", cwd=tmp_path)
    assert run.code == 0
    assert "is unknown" in run.err
    assert names_of(tmp_path / "policy.yml") == {"exit", "restart_syscall"}
    assert "_start): it is loaded from memory" in (tmp_path / "policy.yml").read_text()


def test_calls_are_allowed_and_denied(tmp_path: Path) -> None:
    compiled(tmp_path, KNOWN)
    options = (
        "--allow",
        "execve,brk",
        "--allow",
        "mmap munmap",
        "--deny",
        "write, restart_syscall",
    )
    run = inside("scan", "program", "-o", "policy.yml", *options, cwd=tmp_path)
    assert run.code == 0
    assert "denied: restart_syscall, write" in run.out
    assert names_of(tmp_path / "policy.yml") == {"exit", "execve", "brk", "mmap", "munmap"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--allow", "opnat"), "unknown system call 'opnat' on x86_64 (did you mean 'openat'?)"),
        (("--deny", "rite"), "unknown system call 'rite' on x86_64 (did you mean 'write'?)"),
        (("--allow", "read", "--deny", "read"), "allowed and denied: read; choose one"),
        (("--default-action", "errno(EWHAT)"), "--default-action: unknown errno 'EWHAT'"),
        (("--library", "gone.so"), "gone.so: cannot be read"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    compiled(tmp_path, KNOWN)
    run = inside("scan", "program", "-o", "policy.yml", *options, cwd=tmp_path)
    assert run.code == 2
    assert run.err.startswith(message)
    assert not (tmp_path / "policy.yml").exists()


def test_json_has_all_of_it(tmp_path: Path) -> None:
    compiled(tmp_path, UNKNOWN)
    run = inside("scan", "program", "--json", cwd=tmp_path)
    assert run.code == 1
    (found,) = json.loads(run.out)
    assert found["abi"] == "x86_64"
    assert found["syscalls"] == ["exit", "restart_syscall"]
    assert [(one["name"], one["function"]) for one in found["sites"]] == [("exit", "_start")]
    assert [(one["function"], one["kind"]) for one in found["unknown"]] == [("_start", "memory")]


def test_codes_stay_and_each_has_its_text() -> None:
    """Tools and suppressions name these: a code may be added, never renamed."""
    why = (
        "memory narrow computed decoded part returned changed stored no_stack nobody pointer"
        " no_caller no_way_here no_code too_much no_call foreign no_way sum no_file no_instruction"
        " relocation frames writable"
    )
    codes = [str(one) for kinds in (Why, Caller, Caveat, Lead) for one in kinds]
    others = (
        "restart signal_return vdso go_whole pointers loaded started loader_modes loader_tokens"
        " priority_ceilings any_time"
    )
    leads = (
        "started data library go_whole interpreter import lookup call pointer label before next"
        " object"
    )
    assert codes == f"{why} {others} {leads}".split()
    assert [*scan_unknown.WHY, *scan_texts.ORIGIN, *scan_texts.CAVEAT, *scan_reasons.LEAD] == codes


def test_without_capstone_it_says_what_to_install(tmp_path: Path) -> None:
    """In a Python that finds everything but that."""
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'capstone' else find(n, *a)\n"
        "sys.argv = ['seccompgen', 'scan', '/bin/cat']\n"
        "from seccompgen.__main__ import main; main()\n"
    )
    import subprocess

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert run.stderr == (
        "scan needs capstone, which is not installed: pip install 'seccompgen[scan]'\n"
    )
    assert seccompgen("scan", "--help", cwd=tmp_path).code == 0


def test_what_a_library_exports_counts_where_it_is_named(tmp_path: Path) -> None:
    source = (
        "void plugin(void) { enter(39, 0, 0, 0); } static void own(void) { enter(3, 0, 0, 0); }"
    )
    library = compiled(tmp_path, source, "-O1", "-shared", "-fPIC").rename(tmp_path / "plugin.so")
    compiled(tmp_path, KNOWN)
    assert inside("scan", "program", "-o", "policy.yml", cwd=tmp_path).code == 0
    assert "getpid" not in names_of(tmp_path / "policy.yml")
    run = inside("scan", "program", "-o", "policy.yml", "--library", library.name, cwd=tmp_path)
    assert run.code == 0
    assert names_of(tmp_path / "policy.yml") == {"write", "exit", "getpid", "restart_syscall"}
    assert library.name in (tmp_path / "policy.yml").read_text()


def test_several_programs_give_one_policy(tmp_path: Path) -> None:
    compiled(tmp_path, KNOWN).rename(tmp_path / "one")
    other = "void _start(void) { enter(39, 0, 0, 0); enter(60, 0, 0, 0); __builtin_unreachable(); }"
    compiled(tmp_path, other)
    run = inside("scan", "one", "program", "-o", "policy.yml", cwd=tmp_path)
    assert run.code == 0
    assert names_of(tmp_path / "policy.yml") == {"write", "exit", "getpid", "restart_syscall"}
