"""``verify`` and ``equiv`` from outside: what is proved, what is not, and what is said of it."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import command
import pytest
from command import ROOT, Result, inside, seccompgen
from interpreter import assemble
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAG = shipped_tables().tag
ONE_ANSWER = "calls that the kernel cannot tell apart get one answer"
POLICY = """\
arches: [aarch64, s390x]
default_action: errno
syscalls:
- {action: allow, names: [read]}
- action: allow
  names_with_args:
  - {name: socket, arguments: [{argument: 0, operation: Equal, value: 1, width: 32}]}
multiplexed: errno(EPERM)
"""
ALLOW, EPERM = 0x7FFF0000, 0x00050001
LD_NR = (0x20, 0, 0, 0)
LD_ARG0 = (0x20, 0, 0, 16)

# The instruction of aarch64's program that jumps to the return of ALLOW if args[0] is 1, and the
# same with a jump to the next one, the return of ERRNO.
TO_ALLOW = r"\x15\x00\x01\x00\x01\x00\x00\x00"
TO_ERRNO = r"\x15\x00\x00\x00\x01\x00\x00\x00"
EDITED = "its programs are not those that were proved when it was generated; generate it again"
NO_BANNER = (
    "its banner does not say what it was made from: generate it again, or name its policy with "
    "--policy"
)
NO_MODULE = "not a module that seccompgen generated"


def said(run: Result) -> tuple[int, list[str], list[str]]:
    """Return what a run said, but for the line that has tests of its own below."""
    code, lines, errors = command.said(run)
    return code, [line for line in lines if line != ONE_ANSWER], errors


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a policy, its module, its package, and its raw programs."""
    directory = tmp_path_factory.mktemp("built")
    (directory / "worker.yml").write_text(POLICY)
    for words in (
        ("build", "worker.yml", "-o", "pkg"),
        ("build", "worker.yml", "--format", "bpf", "-o", "."),
        ("vendor", "worker.yml", "worker.py", "--single-file"),
    ):
        run = seccompgen(*words, cwd=directory)
        assert run.code == 0, run.err
    (directory / "worker.seccomp-manifest.json").unlink()
    return directory


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """A copy of ``built`` to spoil."""
    return shutil.copytree(built, tmp_path / "here")


def changed(path: Path, old: str, new: str, name: str = "") -> str:
    """Replace what ``path`` holds once; with ``name``, write a file beside it instead."""
    text = path.read_text()
    assert text.count(old) == 1, old
    target = path.with_name(name) if name else path
    target.write_text(text.replace(old, new))
    return target.name


def raw(path: Path, *instructions: tuple[int, int, int, int]) -> Path:
    path.write_bytes(assemble(list(instructions), "little"))
    return path


def failed(run: Result) -> tuple[int, list[str]]:
    """Return what a command said that has nothing but errors to say."""
    assert run.out == ""
    return run.code, run.err.splitlines()


PROVED = "proved for 2 ABIs (classes and z3)"

# --- proved --------------------------------------------------------------------------------------


def test_a_policy_its_module_and_its_raw_programs_are_proved(here: Path) -> None:
    words = ("worker.yml", "worker.py", "./worker.py", "pkg/worker", "pkg/worker/__init__.py")
    run = seccompgen("verify", *words, cwd=here)
    assert said(run) == (
        0,
        [
            f"worker.yml: {PROVED}",
            f"worker.py: {PROVED}, against worker.yml",
            f"pkg/worker: {PROVED}, against worker.yml",
        ],
        [],
    )
    for abi in ("aarch64", "s390x"):
        file = f"worker.{abi}.bpf"
        run = seccompgen("verify", file, "--policy", "worker.yml", "--arch", abi, cwd=here)
        proved = f"{file}: proved for {abi} (classes and z3), against worker.yml"
        assert said(run) == (0, [proved], [])


@pytest.mark.parametrize("method", ["classes", "z3"])
def test_one_abi_by_one_method(here: Path, method: str) -> None:
    run = inside("verify", "worker.py", "--arch", "arm64", "--method", method, cwd=here)
    assert said(run) == (0, [f"worker.py: proved for aarch64 ({method}), against worker.yml"], [])


def test_comments_do_not_count(here: Path) -> None:
    module = here / "worker.py"
    text = re.sub(r'(?m)"  # .*$', '"  # ret  allow', module.read_text())
    assert text != module.read_text()
    module.write_text(text)
    assert inside("verify", "worker.py", cwd=here).code == 0


# --- refuted -------------------------------------------------------------------------------------

REFUTATION = """\
mutant.py: proved for s390x (classes and z3), against worker.yml
mutant.py: refuted for aarch64
  socket(AF_UNIX) on aarch64: policy says allow, program says errno(EPERM)
  policy: by rule 2, worker.yml:7:12
  program: by these instructions
      0  ld   arch
      1  jeq  AUDIT_ARCH_AARCH64      -> aarch64 calls
      3  ld   nr
      4  jeq  198 socket              -> socket
      6  ld   args[0].lo
      7  jeq  1                                                   ; family == AF_UNIX
      8  ret  errno(EPERM)
"""
DIFFERENCE = "socket(AF_UNIX) on aarch64: policy says allow, program says errno(EPERM)"


@pytest.fixture
def mutant(here: Path) -> str:
    """A module beside the policy that it is not quite."""
    return changed(here / "worker.py", TO_ALLOW, TO_ERRNO, "mutant.py")


def test_an_instruction_that_was_changed_is_refuted_by_a_call(here: Path, mutant: str) -> None:
    run = seccompgen("verify", mutant, cwd=here)
    assert run.out == REFUTATION
    assert (run.code, run.err) == (1, f"mutant.py: {DIFFERENCE}\nmutant.py: {EDITED}\n")


def test_a_refutation_in_json(here: Path, mutant: str) -> None:
    run = inside("verify", mutant, "--json", cwd=here)
    assert run.code == 1
    assert json.loads(run.out) == {
        "programs": [
            {
                "file": "mutant.py",
                "abi": "aarch64",
                "policies": ["worker.yml"],
                "result": "refuted",
                "text": DIFFERENCE,
                "call": {
                    "nr": 198,
                    "arch": 0xC00000B7,
                    "instruction_pointer": 0,
                    "args": [1, 0, 0, 0, 0, 0],
                },
                "sides": [
                    {
                        "name": "policy",
                        "ret": ALLOW,
                        "rule": {"label": "rule 2", "position": "worker.yml:7:12"},
                        "path": [],
                    },
                    {
                        "name": "program",
                        "ret": EPERM,
                        "rule": None,
                        "path": [0, 1, 3, 4, 6, 7, 8],
                    },
                ],
                "one_answer": True,
                "indistinguishable": [],
            },
            {
                "file": "mutant.py",
                "abi": "s390x",
                "policies": ["worker.yml"],
                "result": "proved",
                "methods": ["classes", "z3"],
                "assuming": [],
                "one_answer": True,
                "indistinguishable": [],
            },
        ],
        "stale": [f"mutant.py: {EDITED}"],
    }


def test_one_refuted_file_does_not_hide_the_others(here: Path, mutant: str) -> None:
    run = inside("verify", "worker.py", mutant, "worker.yml", cwd=here)
    assert run.code == 1
    told = [line for line in run.out.splitlines() if not line.startswith(" ")]
    assert told == [
        "worker.py: proved for 2 ABIs (classes and z3), against worker.yml",
        *(line for line in REFUTATION.splitlines() if not line.startswith(" ")),
        "worker.yml: proved for 2 ABIs (classes and z3)",
    ]


def test_what_was_edited_elsewhere_is_told_beside_the_proof(here: Path, mutant: str) -> None:
    run = inside("verify", mutant, "--arch", "s390x", cwd=here)
    assert said(run) == (1, [REFUTATION.splitlines()[0]], [f"mutant.py: {EDITED}"])


def test_a_program_that_looks_at_nothing_is_refuted_as_well(here: Path) -> None:
    raw(here / "open.bpf", (0x06, 0, 0, ALLOW))
    options = ("--policy", "worker.yml", "--arch", "aarch64")
    run = inside("verify", "open.bpf", *options, cwd=here)
    assert run.code == 1
    assert run.out.splitlines()[-3:] == [
        "  policy: by default_action, worker.yml:2:17",
        "  program: by these instructions",
        "      0  ret  allow",
    ]


def test_a_program_of_another_abi_is_refuted(here: Path) -> None:
    changed(here / "worker.yml", "[aarch64, s390x]", "[aarch64, x86_64]")
    options = ("--policy", "worker.yml", "--arch", "x86_64")
    run = inside("verify", "worker.aarch64.bpf", *options, cwd=here)
    assert (run.code, run.out.splitlines()[0]) == (1, "worker.aarch64.bpf: refuted for x86_64")


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
    assert "is not to be found in package, .; name" in error
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


# --- what cannot be asked ------------------------------------------------------------------------

RAW = "worker.aarch64.bpf"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "plain.bpf --policy worker.yml",
            "plain.bpf: say with --arch which ABI these instructions are for",
        ),
        (
            f"{RAW} --arch arm64",
            f"{RAW}: say with --policy which policy these instructions are for",
        ),
        (
            f"{RAW} --arch s390x --policy worker.yml",
            f"{RAW}: s390x is big-endian, but these instructions are not: are they for another "
            "ABI?",
        ),
        (
            f"{RAW} --arch x86_64 --policy worker.yml",
            f"{RAW}: worker.yml is not for x86_64: its arches leave that out",
        ),
        (
            "odd.bpf --arch x86_64 --policy worker.yml",
            "odd.bpf: x86_64: 7 bytes are not a whole number of 8-byte instructions",
        ),
        (
            "empty.bpf --arch x86_64 --policy worker.yml",
            "empty.bpf: x86_64: 0 instructions; the kernel takes 1 to 4096",
        ),
        (
            "refused.bpf --arch aarch64 --policy worker.yml",
            "refused.bpf: aarch64: instruction 0: division by zero",
        ),
        ("worker.py --arch x86_64", "worker.py: no program for x86_64"),
        ("worker.yml --arch x86_64", "worker.yml: not for x86_64: its arches leave that out"),
        ("worker.py --arch arm46", "unknown architecture 'arm46' (did you mean 'arm64'?)"),
        (
            "worker.yml --policy worker.yml",
            "worker.yml: is a policy itself; --policy is for .py and .bpf files",
        ),
        (
            "worker.py --policy nowhere.yml",
            "cannot read nowhere.yml: No such file or directory",
        ),
        (
            "--policy worker.yml",
            "--policy needs a FILTER; a project's modules have policies of their own",
        ),
        (
            "",
            "name a policy or a filter: there is no pyproject.toml with [tool.seccompgen] here",
        ),
    ],
)
def test_what_is_not_understood_is_told_with_what_to_do(
    here: Path, words: str, message: str
) -> None:
    (here / "odd.bpf").write_bytes(bytes(7))
    (here / "empty.bpf").touch()
    raw(here / "refused.bpf", (0x34, 0, 0, 0), (0x06, 0, 0, ALLOW))
    raw(here / "plain.bpf", (0x06, 0, 0, ALLOW))  # no test of arch, which would tell the ABI
    assert failed(inside("verify", *words.split(), cwd=here)) == (2, [message])


# --- what cannot be decided ----------------------------------------------------------------------

NOT_BY_CLASSES = (
    "x86_64: cannot be decided: classes: instruction 1 computes with a part of the call"
)
INSTALL = "install the extra that brings z3: pip install 'seccompgen[proof]'"


def sum_is(path: Path, addend: int, total: int) -> Path:
    """Write a program that allows the number that gives ``total`` with ``addend``."""
    jump = (0x15, 0, 1, total)
    return raw(path, LD_NR, (0x04, 0, 0, addend), jump, (0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM))


def test_undecided_is_neither_yes_nor_no(tmp_path: Path) -> None:
    for name, addend in (("a.bpf", 5), ("b.bpf", 6)):
        sum_is(tmp_path / name, addend, 60 + addend)
    asked = ("equiv", "a.bpf", "b.bpf", "--arch", "x86_64")
    assert said(seccompgen(*asked, cwd=tmp_path)) == (
        0,
        ["a.bpf = b.bpf: proved for x86_64 (z3)"],
        [],
    )
    run = seccompgen(*asked, "--method", "classes", cwd=tmp_path)
    error = f"a.bpf = b.bpf: {NOT_BY_CLASSES}; without --method, z3 is asked as well"
    assert said(run) == (3, ["a.bpf = b.bpf: undecided for x86_64"], [error])
    run = seccompgen(*asked, "--method", "classes", "--json", cwd=tmp_path)
    assert (run.code, run.err) == (3, f"{error}\n")
    assert json.loads(run.out) == {
        "programs": [
            {
                "file": "a.bpf = b.bpf",
                "abi": "x86_64",
                "policies": [],
                "result": "undecided",
                "text": NOT_BY_CLASSES.removeprefix("x86_64: "),
            }
        ],
        "stale": [],
    }


def test_what_is_undecided_does_not_hide_what_is_refuted(here: Path) -> None:
    sum_is(here / "sum.bpf", 5, 65)
    raw(here / "open.bpf", (0x06, 0, 0, ALLOW))
    options = ("--policy", "worker.yml", "--arch", "aarch64", "--method", "classes")
    run = inside("verify", "sum.bpf", "open.bpf", RAW, *options, cwd=here)
    assert run.code == 1
    assert [line for line in run.out.splitlines() if not line.startswith(" ")] == [
        "sum.bpf: undecided for aarch64",
        "open.bpf: refuted for aarch64",
        f"{RAW}: proved for aarch64 (classes), against worker.yml",
    ]
    assert [line.split(": ")[0] for line in run.err.splitlines()] == ["open.bpf", "sum.bpf"]


@pytest.fixture
def no_z3(tmp_path: Path) -> dict[str, str]:
    """An environment in which z3 is not installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "_found = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *more: None if name == 'z3' else _found(name, *more)\n"
    )
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_without_z3_classes_decide_alone(here: Path, no_z3: dict[str, str]) -> None:
    run = seccompgen("verify", "worker.py", cwd=here, env=no_z3)
    assert said(run) == (0, ["worker.py: proved for 2 ABIs (classes), against worker.yml"], [])


def test_without_z3_it_cannot_be_asked_for(here: Path, no_z3: dict[str, str]) -> None:
    run = seccompgen("verify", "worker.py", "--method", "z3", cwd=here, env=no_z3)
    assert failed(run) == (3, [f"worker.py: aarch64: z3 is not installed; {INSTALL}"])


def test_without_z3_what_needs_it_is_told(tmp_path: Path, no_z3: dict[str, str]) -> None:
    sum_is(tmp_path / "a.bpf", 5, 65)
    run = seccompgen("equiv", "a.bpf", "a.bpf", "--arch", "x86_64", cwd=tmp_path, env=no_z3)
    assert said(run) == (
        3,
        ["a.bpf = a.bpf: undecided for x86_64"],
        [f"a.bpf = a.bpf: {NOT_BY_CLASSES}; {INSTALL}"],
    )


# --- a project -----------------------------------------------------------------------------------


def test_without_files_it_verifies_the_project(here: Path) -> None:
    (here / "pyproject.toml").write_text(
        '[tool.seccompgen]\npolicies = "seccomp"\noutput = "out"\n'
    )
    (here / "seccomp").mkdir()
    shutil.move(here / "pkg", here / "out")
    shutil.move(here / "worker.yml", here / "seccomp")
    module, other = here / "out" / "worker", here / "out" / "other_one"
    proved = f"{module}: {PROVED}, against {here / 'seccomp' / 'worker.yml'}"
    assert said(seccompgen("verify", cwd=here / "seccomp")) == (0, [proved], [])
    # A module that is missing, and one that is stale, do not hide the others.
    (here / "seccomp" / "other-one.yml").write_text(POLICY)
    missing = f"{other}: is missing; seccompgen build writes it"
    assert said(seccompgen("verify", cwd=here)) == (1, [proved], [missing])
    (here / "seccomp" / "worker.yml").write_text(f"{POLICY}\n")
    policy = here / "seccomp" / "worker.yml"
    stale = f"{module}: stale: not made from {policy} as it is now; generate it again"
    run = seccompgen("verify", "--json", cwd=here)
    assert (run.code, run.err.splitlines()) == (1, [missing, stale])
    told = json.loads(run.out)
    assert [(one["abi"], one["result"]) for one in told["programs"]] == [
        ("aarch64", "proved"),
        ("s390x", "proved"),
    ]
    assert told["stale"] == [missing, stale]
    run = seccompgen("verify", "--policy", "seccomp/worker.yml", cwd=here)
    assert (run.code, "--policy needs a FILTER" in run.err) == (2, True)


# --- what the kernel does not read ---------------------------------------------------------------

IGNORE = "  # lint: ignore[ignored-bits]: so that there is something to see\n"
BEYOND = "    arguments: [{argument: 0, operation: Equal, value: 1, width: 64}]\n"
PAIR = (
    "socket(AF_UNIX) on {0} gets errno(EPERM), socket(AF_UNIX|0x100000000) on {0} gets allow; the "
    "kernel does not read bit 32 of argument 0"
)


def socket_of_64_bits(path: Path) -> None:
    head = "arches: [x86_64, s390x]\ndefault_action: allow\nmultiplexed: allow\nsyscalls:\n"
    rule = f"- action: errno(EPERM)\n  names_with_args:\n{IGNORE}  - name: socket\n{BEYOND}"
    path.write_text(head + rule)


def test_calls_that_the_kernel_cannot_tell_apart_get_one_answer(here: Path) -> None:
    run = inside("verify", "worker.yml", "worker.py", "pkg/worker", cwd=here)
    assert (run.code, run.out.splitlines()[-1]) == (0, ONE_ANSWER)
    assert run.out.count(ONE_ANSWER) == 1
    run = inside("verify", "pkg/worker", "--json", cwd=here)
    told = json.loads(run.out)["programs"]
    assert [(one["one_answer"], one["indistinguishable"]) for one in told] == [(True, [])] * 2
    # It is about programs beside the kernel, not beside each other.
    run = inside("equiv", "worker.yml", "worker.py", cwd=here)
    assert (run.code, ONE_ANSWER in run.out) == (0, False)


def test_a_policy_may_insist_on_bits_that_the_kernel_does_not_read(here: Path) -> None:
    socket_of_64_bits(here / "wide.yml")
    run = inside("verify", "wide.yml", "worker.yml", cwd=here)
    assert (run.code, run.err) == (0, "")
    apart = "calls that the kernel cannot tell apart get different answers"
    assert run.out.splitlines() == [
        "wide.yml: proved for 2 ABIs (classes and z3)",
        f"worker.yml: {PROVED}",
        f"wide.yml: {apart} on x86_64, s390x",
        f"  {PAIR.format('x86_64')}",
    ]
    told = json.loads(inside("verify", "wide.yml", "--json", cwd=here).out)["programs"]
    assert [one["one_answer"] for one in told] == [False, False]
    (pair,) = told[1]["indistinguishable"]
    s390x = {"nr": 359, "arch": 0x80000016, "instruction_pointer": 0}
    assert pair == {
        "argument": 0,
        "bit": 32,
        "calls": [
            {**s390x, "args": [1, 0, 0, 0, 0, 0], "ret": EPERM},
            {**s390x, "args": [1 << 32 | 1, 0, 0, 0, 0, 0], "ret": ALLOW},
        ],
    }


def test_programs_of_others_are_held_to_what_the_kernel_reads(here: Path) -> None:
    socket_of_64_bits(here / "wide.yml")
    assert inside("build", "wide.yml", "--format", "bpf", "-o", ".", cwd=here).code == 0
    changed(here / "wide.yml", "width: 64", "width: 32")
    run = inside(*("verify", "wide.s390x.bpf", "--arch", "s390x", "--policy", "wide.yml"), cwd=here)
    assert run.code == 1
    assert run.out.endswith(f"on s390x\n  {PAIR.format('s390x')}\n")


def test_what_is_undecided_of_the_kernels_view_is_said(here: Path, no_z3: dict[str, str]) -> None:
    sum_is(here / "sum.bpf", 5, 65)
    words = ("verify", "sum.bpf", "--policy", "worker.yml", "--arch", "aarch64")
    run = seccompgen(*words, cwd=here, env=no_z3)
    text = "it is undecided if calls that the kernel cannot tell apart get one answer"
    assert f"sum.bpf: {text} on aarch64\n  cannot be decided: instruction" in run.out
    run = seccompgen(*words, "--json", cwd=here, env=no_z3)
    assert json.loads(run.out)["programs"][0]["one_answer"] is None


# --- equiv ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("worker.py", "worker.yml"),
        ("pkg/worker", "worker.py"),
        ("worker.yml", RAW),
        (RAW, "worker.py"),
    ],
)
def test_filters_of_all_kinds_are_compared(here: Path, left: str, right: str) -> None:
    one = RAW in {left, right}
    run = inside("equiv", left, right, *(["--arch", "aarch64"] if one else []), cwd=here)
    abis = "aarch64" if one else "2 ABIs"
    assert said(run) == (0, [f"{left} = {right}: proved for {abis} (classes and z3)"], [])


def test_policies_that_differ_are_told_by_their_rules(here: Path) -> None:
    changed(here / "worker.yml", "[read]", "[read, write]", "other.yml")
    run = inside("equiv", "worker.yml", "other.yml", "--arch", "s390x", cwd=here)
    pair = "worker.yml = other.yml"
    text = "write() on s390x: worker.yml says errno(EPERM), other.yml says allow"
    assert said(run) == (
        1,
        [
            f"{pair}: refuted for s390x",
            "  write on s390x: worker.yml says errno(EPERM), other.yml says allow; "
            "such as write() on s390x",
            "    worker.yml: by default_action, worker.yml:2:17",
            "    other.yml: by rule 1, other.yml:4:3",
        ],
        [f"{pair}: {text}"],
    )


def test_programs_that_differ_are_told_by_their_instructions(here: Path, mutant: str) -> None:
    run = inside("equiv", mutant, "worker.py", "--json", cwd=here)
    assert run.code == 1
    refuted, proved = json.loads(run.out)["programs"]
    assert (refuted["file"], refuted["abi"]) == ("mutant.py = worker.py", "aarch64")
    assert [(one["name"], one["ret"], one["rule"]) for one in refuted["sides"]] == [
        ("mutant.py", EPERM, None),
        ("worker.py", ALLOW, None),
    ]
    assert [one["path"][-1] for one in refuted["sides"]] == [8, 9]
    assert (proved["abi"], proved["result"]) == ("s390x", "proved")


def test_abis_that_only_one_has_are_a_difference(here: Path) -> None:
    changed(here / "worker.yml", "[aarch64, s390x]", "[x86_64, aarch64]", "other.yml")
    run = inside("equiv", "worker.yml", "other.yml", cwd=here)
    advice = "--arch compares one ABI alone"
    assert failed(run) == (
        1,
        [
            f"other.yml: no program for s390x, which worker.yml has; {advice}",
            f"worker.yml: no program for x86_64, which other.yml has; {advice}",
        ],
    )
    assert inside("equiv", "worker.yml", "other.yml", "--arch", "arm64", cwd=here).code == 0
    run = inside("equiv", "worker.yml", "other.yml", "--arch", "s390x", cwd=here)
    assert failed(run) == (2, ["other.yml: not for s390x: its arches leave that out"])


def test_programs_of_others_with_scratch_memory_and_x(tmp_path: Path) -> None:
    returns = [(0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM)]
    raw(tmp_path / "plain.bpf", LD_NR, (0x15, 0, 1, 60), *returns)
    kept = [(0x02, 0, 0, 3), (0x01, 0, 0, 60), (0x60, 0, 0, 3)]  # M[3] = A; X = 60; A = M[3]
    raw(tmp_path / "kept.bpf", LD_NR, *kept, (0x1D, 0, 1, 0), *returns)
    raw(tmp_path / "lost.bpf", LD_NR, *kept[:2], (0x1D, 0, 1, 0), *returns)
    raw(tmp_path / "other.bpf", LD_ARG0, *kept, (0x1D, 0, 1, 0), *returns)
    for name in ("kept.bpf", "lost.bpf"):
        run = inside("equiv", "plain.bpf", name, "--arch", "x86_64", cwd=tmp_path)
        assert said(run) == (
            0,
            [f"plain.bpf = {name}: proved for x86_64 (classes and z3)"],
            [],
        )
    run = inside("equiv", "plain.bpf", "other.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert (run.code, run.out.splitlines()[0]) == (1, "plain.bpf = other.bpf: refuted for x86_64")


def test_instructions_of_others_are_listed_by_their_names(tmp_path: Path) -> None:
    others = [(0x07, 0, 0, 0), (0x01, 0, 0, 60), (0x02, 0, 0, 3), (0x44, 0, 0, 0x10)]
    others += [(0x0C, 0, 0, 0), (0x1D, 0, 1, 0), (0x16, 0, 0, 0), (0x06, 0, 0, ALLOW)]
    raw(tmp_path / "a.bpf", LD_NR, *others)
    run = inside("disasm", "a.bpf", "--arch", "x86_64", cwd=tmp_path)
    instructions = [line.split() for line in run.out.splitlines()[1:] if line.startswith(" ")]
    texts = [" ".join(words) for _, *words in instructions]
    assert texts[:6] == ["ld nr", "tax", "ldx #0x3c", "st M[3]", "or 0x10", "add x"]
    assert texts[6:] == ["jeq x else allow", "ret a", "ret allow"]


def test_an_argument_that_was_looked_at_is_shown_even_if_it_is_0(tmp_path: Path) -> None:
    refused = (0x06, 0, 0, EPERM)
    raw(tmp_path / "a.bpf", LD_ARG0, (0x15, 0, 1, 0), (0x06, 0, 0, ALLOW), refused)
    raw(tmp_path / "b.bpf", refused)
    run = inside("equiv", "a.bpf", "b.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert run.code == 1
    assert run.err.startswith("a.bpf = b.bpf: nr 0(0) on the unknown architecture 0x00000000: ")


def test_answers_that_no_policy_can_give_are_shown_as_numbers(tmp_path: Path) -> None:
    raw(tmp_path / "a.bpf", (0x06, 0, 0, ALLOW))
    raw(tmp_path / "b.bpf", (0x06, 0, 0, ALLOW + 5))
    run = inside("equiv", "a.bpf", "b.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert run.code == 1
    assert run.err.endswith(": a.bpf says allow, b.bpf says 0x7fff0005\n")


def test_a_filter_that_is_none_is_no_difference(here: Path) -> None:
    run = inside("equiv", "worker.yml", "nowhere.py", cwd=here)
    assert failed(run) == (2, ["cannot read nowhere.py: No such file or directory"])
    raw(here / "plain.bpf", (0x06, 0, 0, ALLOW))
    run = inside("equiv", "worker.yml", "plain.bpf", cwd=here)
    assert failed(run) == (2, ["plain.bpf: say with --arch which ABI these instructions are for"])
