"""``verify`` beside modules that are not as they were, and beside policies that changed since."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, seccompgen
from verify_command import (
    EDITED,
    NO_BANNER,
    NO_MODULE,
    POLICY,
    PROVED,
    TAG,
    TO_ALLOW,
    changed,
    failed,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# --- modules that are not as they were -----------------------------------------------------------

ALLOWS_ALL = r'b"\x06\x00\x00\x00\x00\x00\xff\x7f"'
OTHER_PROGRAMS: list[Callable[[str], str]] = [
    lambda text: f'{text}_PROGRAMS["aarch64"] = (277, {ALLOWS_ALL})\n',
    lambda text: f"{text}_PROGRAMS.clear()\n",
    lambda text: f"{text}_AARCH64 += {ALLOWS_ALL}\n",
    lambda text: f"{text}_AARCH64 = {ALLOWS_ALL}\n",
    lambda text: f"{text}_PROGRAMS = {{}}\n",
    lambda text: f"{text}_PROGRAMS: dict = {{}}\n",
    lambda text: f"{text}if True:\n    _PROGRAMS = {{}}\n",
    lambda text: f"{text}_OTHER = _PROGRAMS.clear()\n",
    lambda text: f"{text}from ._other import _PROGRAMS\n",
    lambda text: f"{text}def install() -> None:\n    pass\n",
    lambda text: text.replace("def install()", "@_PROGRAMS.update\ndef install()"),
    lambda text: text.replace("def install()", "def install(x=_PROGRAMS.clear())"),
    lambda text: text.replace("install() -> None:", "install() -> _PROGRAMS.clear():"),
    lambda text: text.replace("    _install(\n", "    _PROGRAMS.clear()\n    _install(\n"),
    lambda text: text.replace("        _PROGRAMS,", "        {},"),
    lambda text: text.replace("flags=0", "flags=_PROGRAMS.clear() or 0"),
    lambda text: text.replace("flags=0", "flags=0, programs={}"),
    lambda text: text.removesuffix("\n") + ".undo()\n",
]


def test_a_module_that_may_install_something_else_is_never_proved(here: Path) -> None:
    text = (here / "worker.py").read_text()
    names = []
    for number, change in enumerate(OTHER_PROGRAMS):
        assert change(text) != text
        names.append(f"m{number}.py")
        (here / names[-1]).write_text(change(text))
    code, errors = failed(seccompgen("verify", *names, cwd=here))
    assert code == 2
    place = re.compile(r"(m\d+\.py):\d+:1: " + NO_MODULE + ": this was added, or changed")
    assert [match[1] if (match := place.fullmatch(line)) else line for line in errors] == names


@pytest.mark.few(3, "runs commands on many filters")
@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("flags=0", "flags=2", "flags"),
        ("no_new_privs=True", "no_new_privs=False", "no_new_privs"),
        ("            0x00050000,\n", "", "actions"),
        ("(348, _S390X)", "(349, _S390X)", "the number of seccomp(2)"),
    ],
)
def test_what_install_does_with_the_programs_counts_as_well(
    here: Path, old: str, new: str, what: str
) -> None:
    name = changed(here / "worker.py", old, new, "m.py")
    error = f"m.py: its install() is not as it should be ({what}); generate it again"
    assert said(inside("verify", name, cwd=here)) == (
        1,
        [f"m.py: {PROVED}, against worker.yml"],
        [error],
    )


def test_all_that_is_wrong_with_all_files_is_told_at_once(here: Path) -> None:
    module = here / "worker.py"
    changed(module, "_PROGRAMS = {", "_PROG = {", "renamed.py")
    changed(module, '"s390x": (', '"aarch64": (', "twice.py")
    changed(module, "(348, _S390X)", "(348, _AARCH64)", "order.py")
    changed(module, TO_ALLOW, TO_ALLOW[4:], "odd.py")
    changed(module, TO_ALLOW, r"\xb1" + TO_ALLOW[4:], "refused.py")
    (here / "cut.py").write_text(module.read_text()[:900])
    (here / "empty.py").touch()
    (here / "empty.yml").touch()
    (here / "binary.py").write_bytes(b"\0\xff")
    files = ["renamed.py", "twice.py", "order.py", "odd.py", "refused.py", "cut.py", "empty.py"]
    files += ["empty.yml", "binary.py", "worker.py"]
    code, errors = failed(seccompgen("verify", *files, cwd=here))
    line = 1 + module.read_text().splitlines().index("_S390X = (")
    assert code == 2
    assert errors == [
        f"renamed.py: {NO_MODULE}",
        f"twice.py: {NO_MODULE}",
        f"order.py:{line}:1: {NO_MODULE}: this was added, or changed",
        "odd.py: aarch64: 79 bytes are not a whole number of 8-byte instructions",
        "refused.py: aarch64: instruction 7: opcode 0xb1 is not allowed in seccomp",
        f"cut.py: {NO_MODULE}",
        f"empty.py: {NO_MODULE}",
        "empty.yml:1:1: the file is empty",
        f"binary.py: {NO_MODULE}",
    ]
    (here / "directory.py").mkdir()
    code, errors = failed(
        seccompgen("verify", "directory.py", "nowhere.py", "nowhere.yml", cwd=here)
    )
    assert code == 2
    assert errors == [
        "directory.py: no filters in this directory",
        "cannot read nowhere.py: No such file or directory",
        "cannot read nowhere.yml: No such file or directory",
    ]


@pytest.mark.long("runs commands on many filters")
def test_a_banner_that_does_not_say_enough(here: Path) -> None:
    module = here / "worker.py"
    lines = module.read_text().splitlines(keepends=True)
    spoilt = {
        "none.py": lines[5:],
        "policy.py": lines[:1] + lines[2:],
        "tables.py": lines[:2] + lines[3:],
        "proved.py": lines[:3] + lines[4:],
        "tag.py": [*lines[:2], lines[2].replace("Linux", "BSD"), *lines[3:]],
        "sha.py": [*lines[:3], lines[3][:-2] + "\n", *lines[4:]],
        "two.py": [*lines[:3], lines[2], *lines[3:]],
    }
    for name, its_lines in spoilt.items():
        (here / name).write_text("".join(its_lines))
    run = inside("verify", *spoilt, cwd=here)
    assert failed(run) == (2, [f"{name}: {NO_BANNER}" for name in spoilt])
    run = inside("verify", *spoilt, "--policy", "worker.yml", cwd=here)
    proved = [f"{name}: {PROVED}, against worker.yml" for name in spoilt]
    assert said(run) == (0, proved, [])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("policy  worker.yml", "stale: not made from worker.yml as it is now; generate it again"),
        (
            f"tables  Linux {TAG}",
            "stale: the tables are no longer those that it was made from; generate it again",
        ),
        ("proved  programs", EDITED),
    ],
)
def test_a_banner_that_says_something_else(here: Path, key: str, message: str) -> None:
    module = here / "worker.py"
    text, count = re.subn(
        f"(?m)^#   {key}  sha256:.*$", f"#   {key}  sha256:{64 * 'a'}", module.read_text()
    )
    assert count == 1
    module.write_text(text)
    run = inside("verify", "worker.py", cwd=here)
    proved = ["worker.py: proved for 2 ABIs (classes and z3), against worker.yml"]
    assert said(run) == (1, proved, [f"worker.py: {message}"])


# --- the policy of a module ----------------------------------------------------------------------


def test_a_policy_that_means_the_same_but_changed_is_stale(here: Path) -> None:
    changed(here / "worker.yml", "names: [read]", "names: [read]  ")
    run = inside("verify", "worker.py", "--json", cwd=here)
    stale = "worker.py: stale: not made from worker.yml as it is now; generate it again"
    assert (run.code, run.err) == (1, f"{stale}\n")
    told = json.loads(run.out)
    assert [one["result"] for one in told["programs"]] == ["proved", "proved"]
    assert told["stale"] == [stale]


def test_a_policy_that_means_something_else_now_refutes(here: Path) -> None:
    changed(here / "worker.yml", "[read]", "[read, write]")
    run = inside("verify", "worker.py", "worker.yml", cwd=here)
    assert (run.code, run.err.splitlines()) == (
        1,
        [
            *(
                f"worker.py: write() on {abi}: policy says allow, program says errno(EPERM)"
                for abi in ("aarch64", "s390x")
            ),
            "worker.py: stale: not made from worker.yml as it is now; generate it again",
        ],
    )
    assert run.out.splitlines()[-1] == "worker.yml: proved for 2 ABIs (classes and z3)"


def test_a_policy_that_leaves_an_abi_out_now_is_stale(here: Path) -> None:
    changed(here / "worker.yml", "[aarch64, s390x]", "[aarch64]")
    run = inside("verify", "worker.py", cwd=here)
    assert said(run) == (
        1,
        ["worker.py: proved for aarch64 (classes and z3), against worker.yml"],
        [
            "worker.py: stale: not made from worker.yml as it is now; generate it again",
            "worker.py: worker.yml is not for s390x: its arches leave that out",
        ],
    )


@pytest.mark.long("runs commands on many filters")
def test_a_file_that_is_included_counts_as_well(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("syscalls:\n- {action: allow, names: [read]}\n")
    (tmp_path / "worker.yml").write_text(
        "include: [base.yml]\narches: [s390x]\ndefault_action: errno\n"
    )
    assert inside("vendor", "worker.yml", "worker.py", "--single-file", cwd=tmp_path).code == 0
    assert inside("verify", "worker.py", cwd=tmp_path).code == 0
    changed(tmp_path / "base.yml", "read", "write")
    run = inside("verify", "worker.py", cwd=tmp_path)
    assert run.code == 1
    assert "  policy: by rule 1, base.yml:2:3" in run.out.splitlines()
    assert run.err.splitlines()[1:] == [
        "worker.py: stale: not made from base.yml as it is now; generate it again"
    ]
    (tmp_path / "base.yml").unlink()
    assert failed(inside("verify", "worker.py", cwd=tmp_path)) == (
        2,
        ["worker.yml:1:11: cannot read base.yml: No such file or directory"],
    )


@pytest.mark.long("runs commands on many filters")
def test_a_policy_is_looked_for_beside_the_module_in_the_project_and_here(here: Path) -> None:
    package = here / "package"
    package.mkdir()
    shutil.move(here / "worker.py", package)
    assert inside("verify", "package/worker.py", cwd=here).code == 0
    policies = here / "seccomp"
    policies.mkdir()
    shutil.move(here / "worker.yml", policies)
    asked = ("verify", "package/worker.py")
    code, (error,) = failed(inside(*asked, cwd=here))
    assert code == 2
    assert error.startswith("package/worker.py: ")
    assert "worker.yml" in error
    assert "was not found in package, .; name" in error
    assert "--policy" in error
    assert inside(*asked, "--policy", "seccomp/worker.yml", cwd=here).code == 0
    (here / "pyproject.toml").write_text('[tool.seccompgen]\npolicies = "seccomp"\n')
    assert inside(*asked, cwd=here).code == 0
    assert inside("verify", "worker.py", cwd=package).code == 0
    # One of the name that is another's does not count beside its own.
    (package / "worker.yml").write_text(POLICY.replace("read", "write"))
    assert inside(*asked, cwd=here).code == 0


def test_a_module_against_another_policy_than_its_own(here: Path) -> None:
    changed(here / "worker.yml", "action: errno", "action: errno(ENOSYS)", "other.yml")
    run = inside("verify", "worker.py", "--policy", "other.yml", "--arch", "s390x", cwd=here)
    assert run.code == 1
    assert "  policy: by default_action, other.yml:2:17" in run.out.splitlines()
    assert run.err.splitlines()[1:] == [
        "worker.py: stale: not made from other.yml as it is now; generate it again"
    ]


@pytest.mark.long("runs commands on many filters")
def test_the_tables_are_those_that_it_was_made_from(here: Path) -> None:
    tables = ROOT / "generator" / "seccompgen" / "kernel"
    shutil.copytree(tables, here / "tables")
    changed(here / "tables" / "kernel.lock.toml", f'tag = "{TAG}"', 'tag = "v5.99"')
    assert failed(inside("verify", "worker.py", "--tables", "tables", cwd=here)) == (
        2,
        [
            f"worker.py: made from the tables of Linux {TAG}, not v5.99; say with --tables DIR "
            "where those are, or generate it again"
        ],
    )
    built = inside("build", "worker.yml", "--tables", "tables", "-o", "o", cwd=here)
    assert built.code == 0, built.err
    run = inside("verify", "o/worker", "--tables", "tables", cwd=here)
    assert said(run) == (
        0,
        ["o/worker: proved for 2 ABIs (classes and z3), against worker.yml"],
        [],
    )
