"""``--optimize``, ``--no-bitmap``, ``--profile``: on the command line, in a project, in banners."""

from __future__ import annotations

import json
import re
import shlex
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, seccompgen, snapshot
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.objective import Objective, Optimize
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import BuildOptions, build_policy, shipped_tables
from seccompgen.policy.profile import read_profile

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
POLICY = (
    "arches: [x86_64, s390x]\ndefault_action: errno\nsyscalls:\n"
    "- {action: allow, names: [read, write, exit_group]}\n"
)
COUNTS = "read: 100\nwrite: 3\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a policy and a profile."""
    (tmp_path / "worker.yml").write_text(POLICY)
    (tmp_path / "worker.counts").write_text(COUNTS)
    return tmp_path


def banner_of(directory: Path, *options: str) -> list[str]:
    run = inside("build", "worker.yml", *options, "-o", "o", cwd=directory)
    assert (run.code, run.err) == (0, "")
    text = (directory / "o" / "worker" / "__init__.py").read_text()
    return text.partition('"""')[0].splitlines()[1:]


def test_by_default_a_banner_says_nothing_of_it(here: Path) -> None:
    lines = banner_of(here)
    assert [line.split()[1] for line in lines] == ["policy", "tables", "proved", "redo"]
    assert lines[-1] == "#   redo    seccompgen build worker.yml -o DIR"
    assert banner_of(here, "--optimize", "balanced") == lines


DIGEST = sha256(COUNTS.encode()).hexdigest()
CASES: list[tuple[list[str], list[str]]] = [
    (
        ["--optimize", "size"],
        [
            "#   goal    optimized for size",
            "#   redo    seccompgen build worker.yml --optimize size -o DIR",
        ],
    ),
    (
        ["--no-bitmap"],
        [
            "#   goal    for kernels without the bitmap",
            "#   redo    seccompgen build worker.yml --no-bitmap -o DIR",
        ],
    ),
    (
        ["--profile", "worker.counts"],
        [
            f"#   profile worker.counts  sha256:{DIGEST}",
            "#   redo    seccompgen build worker.yml --profile worker.counts -o DIR",
        ],
    ),
    (
        ["--profile", "./worker.counts", "--no-bitmap", "--optimize", "speed"],
        [
            "#   goal    optimized for speed, for kernels without the bitmap",
            f"#   profile worker.counts  sha256:{DIGEST}",
            "#   redo    seccompgen build worker.yml --optimize speed --no-bitmap "
            "--profile worker.counts -o DIR",
        ],
    ),
]


@pytest.mark.few(3, "runs commands on many filters")
@pytest.mark.parametrize(("options", "expected"), CASES)
def test_a_banner_says_what_is_not_the_default(
    here: Path, options: list[str], expected: list[str]
) -> None:
    assert banner_of(here, *options)[3:] == expected


def redo(module: Path) -> list[str]:
    """Return the arguments of the command in a banner that makes the module again."""
    line = re.search(r"^#   redo    seccompgen (.*) -o DIR$", module.read_text(), re.MULTILINE)
    assert line
    return shlex.split(line[1])


@pytest.mark.few(2, "runs commands on many filters")
@pytest.mark.parametrize("options", [options for options, _ in CASES])
def test_the_command_in_a_banner_makes_it_again(here: Path, options: list[str]) -> None:
    banner_of(here, *options)
    command = redo(here / "o" / "worker" / "__init__.py")
    assert inside(*command, "-o", "o", "--check", cwd=here).code == 0
    (here / "worker.counts").write_text("write: 1\n")
    stale = inside(*command, "-o", "o", "--check", cwd=here).code
    assert stale == (1 if "--profile" in options else 0)


def test_a_profile_may_have_any_name_that_prints(here: Path) -> None:
    odd = "it's 100% $HOME; rm -r * \\ é"
    (here / "worker.counts").rename(here / odd)
    lines = banner_of(here, "--profile", odd)
    assert lines[3] == f"#   profile {odd}  sha256:{DIGEST}"
    command = redo(here / "o" / "worker" / "__init__.py")
    assert command == ["build", "worker.yml", "--profile", odd]
    assert inside(*command, "-o", "o", "--check", cwd=here).code == 0
    (here / odd).rename(here / "a\nb")
    run = inside("build", "worker.yml", "-o", "o", "--profile", "a\nb", cwd=here)
    assert (run.code, "unprintable" in run.err) == (2, True)


@pytest.mark.few(1, "runs commands on many filters")
@pytest.mark.parametrize(
    ("options", "objective"),
    [
        (["--optimize", "size"], Objective(Optimize.SIZE)),
        (["--optimize", "speed"], Objective(Optimize.SPEED)),
        (["--no-bitmap"], Objective(bitmap=False)),
    ],
)
def test_the_compiler_is_told(tmp_path: Path, options: list[str], objective: Objective) -> None:
    path = ROOT / "examples" / "file_broker" / "worker.yml"
    common = ("build", path, "--arch", "x86_64", "--format", "bpf", "-o", tmp_path, "--json")
    run = inside(*common, *options)
    assert run.code == 0, run.err
    (built,) = json.loads(run.out)["filters"]
    assert built["optimize"] == objective.optimize.value
    assert built["bitmap"] == objective.bitmap
    assert built["profile"] is None
    policy, _ = load_policy(path, TABLES)
    (made,) = snapshot(tmp_path).values()
    assert made == compile_policy(policy, ABIS["x86_64"], TABLES, objective).to_bytes()
    assert made != compile_policy(policy, ABIS["x86_64"], TABLES).to_bytes()


@pytest.mark.long("runs commands on many filters")
def test_the_compiler_is_told_of_the_profile(here: Path) -> None:
    """By what it kept: a program that was made for the same profile, and for no other."""
    path, out = here / "worker.yml", here / "o"
    objective = Objective(profile=read_profile(here / "worker.counts"))
    cache = here / "cache" / "seccompgen" / "programs"
    build_policy(path, TABLES, [ABIS["x86_64"]], objective, BuildOptions(1, cache))
    (entry,) = cache.iterdir()
    payload = json.loads(entry.read_bytes().partition(b"\n")[2])
    marked = bytes.fromhex("060000004d00f07f")  # ret trace(77)
    text = json.dumps({**payload, "code": marked.hex(), "of": [[]]}).encode()
    entry.write_bytes(sha256(entry.name.encode() + text).hexdigest().encode() + b"\n" + text)

    env = {"XDG_CACHE_HOME": str(here / "cache")}
    common = ("build", path, "--arch", "x86_64", "--format", "bpf", "-o", out, "--json")
    (here / "other.counts").write_text("write: 100\n")
    for options, found in (
        (["--profile", "worker.counts"], False),  # another name
        (["--profile", here / "other.counts"], False),
        (["--profile", here / "worker.counts"], True),
        ([], False),
    ):
        run = seccompgen(*common, *options, cwd=here, env=env)
        assert run.code == 0, run.err
        told = json.loads(run.out)["filters"][0]["profile"]
        assert told == (str(options[1]) if options else None)
        (made,) = snapshot(out).values()
        assert (made == marked) == found


def test_what_is_built_remembers_its_objective(here: Path) -> None:
    objective = Objective(Optimize.SIZE, bitmap=False, profile=read_profile(here / "worker.counts"))
    built = build_policy(here / "worker.yml", TABLES, objective=objective)
    assert built.objective is objective


def test_a_bad_profile_is_told_with_all_its_errors_and_nothing_is_written(here: Path) -> None:
    (here / "bad").write_text("read: x\nread 7\n")
    run = inside("build", "worker.yml", "--profile", "bad", "-o", "o", cwd=here)
    assert run.code == 2
    assert [line.split(": ")[0] for line in run.err.splitlines()] == ["bad:1:7", "bad:2:1"]
    assert not (here / "o").exists()
    run = inside("build", "worker.yml", "-o", "o", "--profile", "nowhere", cwd=here)
    assert (run.code, run.err.startswith("cannot read nowhere: ")) == (2, True)


def test_names_that_no_abi_has_are_told_once_and_built_around(here: Path) -> None:
    (here / "worker.counts").write_text("read: 5\nwrit: 3\n")
    (here / "other.yml").write_text(POLICY)
    files = ("worker.yml", "other.yml")
    run = inside("build", *files, "--profile", "worker.counts", "-o", "o", cwd=here)
    assert run.code == 0
    assert run.err == (
        f"worker.counts:2:1: note: no ABI of Linux {TABLES.tag} has 'writ' "
        "(did you mean 'write'?): its count is not used\n"
    )


def project(directory: Path, keys: str) -> Path:
    (directory / "pyproject.toml").write_text(f'[tool.seccompgen]\noutput = "out"\n{keys}')
    (directory / "policies").mkdir()
    (directory / "policies" / "worker.yml").write_text(POLICY)
    (directory / "traces").mkdir()
    (directory / "traces" / "worker.counts").write_text(COUNTS)
    return directory


def test_a_project_says_it_for_all_its_filters(tmp_path: Path) -> None:
    keys = 'optimize = "size"\nbitmap = false\nprofile = "traces/worker.counts"\n'
    tree = project(tmp_path, keys)
    run = inside("build", cwd=tree / "traces")
    assert (run.code, run.err) == (0, "")
    lines = (tree / "out" / "worker" / "__init__.py").read_text().partition('"""')[0].splitlines()
    assert lines[4:] == [
        "#   goal    optimized for size, for kernels without the bitmap",
        f"#   profile worker.counts  sha256:{DIGEST}",
        "#   redo    seccompgen build worker.yml --optimize size --no-bitmap "
        "--profile worker.counts -o DIR",
    ]
    assert inside("build", "--check", cwd=tree).code == 0
    # With files named, the command line says all of it.
    assert inside("build", "policies/worker.yml", "-o", "plain", cwd=tree).code == 0
    assert "#   goal" not in (tree / "plain" / "worker" / "__init__.py").read_text()
    (tree / "traces" / "worker.counts").write_text("read: 7\n")
    assert inside("build", "--check", cwd=tree).code == 1


@pytest.mark.parametrize(
    "option", [["--optimize", "balanced"], ["--no-bitmap"], ["--profile", "traces/worker.counts"]]
)
def test_options_need_a_policy(tmp_path: Path, option: list[str]) -> None:
    tree = project(tmp_path, "")
    run = inside("build", *option, cwd=tree)
    assert run.code == 2
    assert f"{option[0]}" in run.err
    assert "need a POLICY" in run.err
    assert not (tree / "out").exists()


def test_all_that_is_wrong_in_a_pyproject_is_told_where_it_stands(tmp_path: Path) -> None:
    keys = (
        'optimise = "size"\noptimize = "fast"\n  bitmap = "no"\n"profile" = 3\nlinux = "v7.3.4"\n'
    )
    tree = project(tmp_path, keys)
    run = inside("build", cwd=tree)
    file = tree / "pyproject.toml"
    assert run.code == 2
    assert run.err.splitlines() == [
        f"{file}:3:1: [tool.seccompgen]: unknown key 'optimise' (did you mean 'optimize'?)",
        f"{file}:4:1: [tool.seccompgen]: 'optimize' must be one of balanced, speed, size, "
        "not 'fast'",
        f"{file}:5:3: [tool.seccompgen]: 'bitmap' must be true or false",
        f"{file}:6:2: [tool.seccompgen]: 'profile' must be text",
    ]
    assert not (tree / "out").exists()


@pytest.mark.parametrize(
    ("keys", "start"),
    [
        ('profile = "nowhere"\n', "cannot read {tree}/nowhere: "),
        ('profile = "policies"\n', "cannot read {tree}/policies: "),
        ('profile = "policies/worker.yml"\n', "{tree}/policies/worker.yml:1:9: "),
        ('optimize = ["size"]\n', "{tree}/pyproject.toml:3:1: "),
    ],
)
def test_a_projects_profile_and_goal_are_checked(tmp_path: Path, keys: str, start: str) -> None:
    tree = project(tmp_path, keys)
    run = inside("build", cwd=tree)
    assert run.code == 2
    assert run.err.startswith(start.format(tree=tree)), run.err
