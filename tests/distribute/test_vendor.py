"""``vendor``: what it writes, what it leaves alone, and how it tells stale from edited."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import inside, said, seccompgen, snapshot
from runtime_template import FILES

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
arches: [x86_64, s390x]
default_action: errno
syscalls:
- {action: allow, names: [read, write, exit_group]}
"""
FILTER = {"worker/__init__.py", "worker/_s390x.py", "worker/_x86_64.py"}
PACKAGE = {"__init__.py", *FILES, "seccomp-manifest.json", *FILTER}
FRESH = "everything is up to date"


@pytest.fixture(scope="module")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a policy that was vendored, as a package and as a single file."""
    directory = tmp_path_factory.mktemp("vendored")
    (directory / "worker.yml").write_text(POLICY)
    run = seccompgen("vendor", "worker.yml", "app/sandbox", cwd=directory)
    assert run.code == 0, run.err
    run = inside("vendor", "worker.yml", "app/alone.py", "--single-file", cwd=directory)
    assert run.code == 0, run.err
    return directory


@pytest.fixture
def project(vendored: Path, tmp_path: Path) -> Path:
    """A copy of that to change."""
    return shutil.copytree(vendored, tmp_path / "project")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def failed(*args: str, cwd: Path) -> tuple[int, list[str]]:
    """Run a command that must fail, and not touch anything; return its code and lines."""
    before = snapshot(cwd)
    run = inside("vendor", *args, cwd=cwd)
    assert run.out == ""
    assert snapshot(cwd) == before
    return run.code, run.err.splitlines()


# --- what it writes ------------------------------------------------------------------------------


def test_a_package_is_what_build_gives_with_a_manifest(project: Path) -> None:
    assert set(snapshot(project / "app" / "sandbox")) == PACKAGE
    assert inside("build", "worker.yml", "-o", "app/sandbox", "--check", cwd=project).code == 0
    assert (project / "app" / "sandbox" / "__init__.py").read_bytes() == b""
    assert not (project / "app" / "__init__.py").exists()


@pytest.mark.few(1, "makes projects and builds them")
@pytest.mark.parametrize("dest", ["app/sandbox", "app/alone.py"])
def test_again_it_changes_nothing_and_check_says_so(project: Path, dest: str) -> None:
    before = snapshot(project)
    for options in ([], ["--check"], ["--no-cache"], ["--force"]):
        code, out, err = said(inside("vendor", dest, *options, cwd=project))
        assert (code, out[-1], err) == (0, FRESH, [])
    assert snapshot(project) == before


def test_the_manifest_holds_the_hash_of_every_file_and_names_no_machine(project: Path) -> None:
    text = (project / "app" / "sandbox" / "seccomp-manifest.json").read_text()
    manifest = json.loads(text)
    digest = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in snapshot(project / "app" / "sandbox").items()
    }
    assert manifest["files"] == {name: digest[name] for name in {*FILES, *FILTER}}
    (one,) = manifest["filters"]
    policy = hashlib.sha256(POLICY.encode()).hexdigest()
    assert (one["policy"], one["sources"][-1]["sha256"]) == ("../../worker.yml", policy)
    assert one["abis"] == ["x86_64", "s390x"]
    assert str(project) not in text


def test_other_places_and_links_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    (tmp_path / "elsewhere").mkdir()
    words = ("vendor", "../link/app/sandbox", "--allow-outside", project)
    run = inside(*words, cwd=tmp_path / "elsewhere")
    assert said(run)[1][-1] == FRESH
    shutil.rmtree(project / "app")
    run = inside("vendor", "../link/worker.yml", "../link/app/sandbox", cwd=tmp_path / "elsewhere")
    assert run.code == 0
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0


def test_only_the_abis_asked_for(project: Path) -> None:
    run = inside("vendor", "worker.yml", "app/sandbox", "--arch", "amd64", cwd=project)
    assert run.code == 0
    sandbox = set(snapshot(project / "app" / "sandbox"))
    assert sandbox == PACKAGE - {"worker/_s390x.py"}
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0
    code, lines = failed("worker.yml", "app/sandbox", "--arch", "arm64", cwd=project)
    assert (code, "not for aarch64" in lines[0]) == (2, True)
    code, lines = failed("worker.yml", "app/sandbox", "--check", cwd=project)
    assert (code, lines) == (
        1,
        [
            "app/sandbox/worker/__init__.py: stale: --arch asks for other ABIs; a program for "
            "s390x comes in; to renew it: the same command without --check"
        ],
    )


def test_a_stock_filter_by_its_name(project: Path) -> None:
    args = ("no_network", "worker.yml", "app/sandbox", "--arch", "x86_64")
    run = inside("vendor", *args, cwd=project)
    assert run.code == 0, run.err
    assert set(snapshot(project / "app" / "sandbox")) == PACKAGE - {"worker/_s390x.py"} | {
        "no_network/__init__.py",
        "no_network/_x86_64.py",
    }
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0
    # A file of that name is another word.
    (project / "no_network").write_text(POLICY)
    run = inside("vendor", "./no_network", "app/sandbox", "--arch", "x86_64", cwd=project)
    assert run.code == 0, run.err
    manifest = json.loads((project / "app" / "sandbox" / "seccomp-manifest.json").read_text())
    assert [one["policy"] for one in manifest["filters"]] == ["../../no_network"]


def test_a_listener_brings_its_supervisors_side(project: Path) -> None:
    (project / "broker.yml").write_text(
        "arches: [x86_64]\ndefault_action: allow\nflags: [new_listener]\n"
        "syscalls:\n- {action: user_notif, names: [openat]}\n"
    )
    assert inside("vendor", "broker.yml", "broker", cwd=project).code == 0
    files = {*FILES, "broker/__init__.py", "broker/_x86_64.py", "notification.py"}
    assert (
        set(json.loads((project / "broker" / "seccomp-manifest.json").read_text())["files"])
        == files
    )
    assert inside("vendor", "broker", "--check", cwd=project).code == 0
    # Without a listener it goes again.
    assert inside("vendor", "worker.yml", "broker", cwd=project).code == 0
    assert set(snapshot(project / "broker")) == PACKAGE


def test_a_vendored_package_can_be_combined_into_one(project: Path) -> None:
    (project / "other.yml").write_text(POLICY.replace("read, ", ""))
    run = inside("vendor", "worker.yml", "other.yml", "app/sandbox", cwd=project)
    assert run.code == 0
    run = inside("intersect", "app/sandbox", "--name", "all", "-o", "out", cwd=project)
    assert (run.code, run.err) == (0, "")


def test_what_is_not_named_any_more_goes_unless_it_was_edited(project: Path) -> None:
    (project / "other.yml").write_text(POLICY)
    sandbox = project / "app" / "sandbox"
    run = inside("vendor", "other.yml", "app/sandbox", cwd=project)
    assert "removed app/sandbox/worker (3 files)" in run.out
    assert set(snapshot(sandbox)) == {name.replace("worker", "other") for name in PACKAGE}
    edit(sandbox / "other" / "__init__.py", "Seccomp filter other", "My filter")
    code, lines = failed("worker.yml", "app/sandbox", cwd=project)
    assert (code, lines[0].split(": ")[:2]) == (2, ["app/sandbox/other/__init__.py", "edited"])


def test_options_are_remembered(project: Path) -> None:
    (project / "counts").write_text("read: 3\n")
    options = ("--optimize", "size", "--no-bitmap", "--profile", "counts")
    assert inside("vendor", "worker.yml", "app/sandbox", *options, cwd=project).code == 0
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0
    (project / "counts").write_text("read: 4\n")
    code, lines = failed("app/sandbox", "--check", cwd=project)
    assert (code, "stale: the profile has changed" in lines[0]) == (1, True)


# --- a single file -------------------------------------------------------------------------------


def test_a_single_file_is_formatted_and_reads_as_python_3_9(project: Path) -> None:
    import ast

    module = project / "app" / "alone.py"
    ast.parse(module.read_text(), feature_version=(3, 9))
    run = subprocess.run(
        [sys.executable, "-m", "black", "--check", "-l", "100", "-t", "py39", module],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_a_single_file_defines_no_name_twice(project: Path) -> None:
    import ast

    run = inside("vendor", "no_network", "app/all.py", "--single-file", cwd=project)
    assert run.code == 0
    names: list[str] = []
    for node in ast.parse((project / "app" / "all.py").read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    assert len(names) == len(set(names))


def test_a_single_file_is_read_and_proved_like_any_module(project: Path) -> None:
    alone = project / "app" / "alone.py"
    run = inside("verify", "app/alone.py", "--policy", "worker.yml", cwd=project)
    assert (run.code, "proved for 2 ABIs" in run.out) == (0, True)
    text = alone.read_text()
    line = "_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2\n"
    assert text.count(line) == 1
    alone.write_text(text.replace(line, line.replace("1", "3")))
    run = inside("verify", "app/alone.py", "--policy", "worker.yml", cwd=project)
    number = text[: text.index(line)].count("\n") + 1
    assert said(run) == (
        2,
        [],
        [
            f"app/alone.py:{number}:1: its runtime is not that of this seccompgen, or was changed: "
            "vendor it again"
        ],
    )


@pytest.mark.parametrize("statement", ["_install = print", "_SET_MODE_FILTER = 2", "_X = 1"])
def test_a_statement_more_in_a_single_file_is_seen(project: Path, statement: str) -> None:
    alone = project / "app" / "alone.py"
    edit(alone, "\n# ABI: (its number", f"\n{statement}\n# ABI: (its number")
    run = inside("verify", "app/alone.py", "--policy", "worker.yml", cwd=project)
    assert (run.code, "this was added, or changed" in run.err) == (2, True)


# --- stale, edited, missing ----------------------------------------------------------------------

AGAIN = "seccompgen vendor app/sandbox"


@pytest.mark.long("makes projects and builds them")
def test_a_changed_policy_makes_it_stale_and_shows_a_call(project: Path) -> None:
    edit(project / "worker.yml", "read, write", "read, close, write")
    for dest, file in (
        ("app/sandbox", "app/sandbox/worker/__init__.py"),
        ("app/alone.py", "app/alone.py"),
    ):
        name = file.removesuffix("/__init__.py").split("/")[-1]
        assert failed(dest, "--check", cwd=project) == (
            1,
            [
                f"{file}: stale: worker.yml has changed; 2 programs would change: close() on "
                f"x86_64: {name} says errno(EPERM), worker.yml says allow; to renew it: "
                f"seccompgen vendor {dest}"
            ],
        )
        assert inside("vendor", dest, cwd=project).code == 0
        assert inside("vendor", dest, "--check", cwd=project).code == 0


def test_a_policy_that_means_the_same_says_so(project: Path) -> None:
    edit(project / "worker.yml", "read, write", "write, read")
    (line,) = failed("app/sandbox", "--check", cwd=project)[1]
    assert "worker.yml has changed; its programs stay the same; to renew it: " in line


def test_other_tables_make_it_stale(project: Path) -> None:
    from seccompgen.pipeline.build import shipped_tables

    tag = shipped_tables().tag
    manifest = project / "app" / "sandbox" / "seccomp-manifest.json"
    assert json.loads(manifest.read_text())["filters"][0]["linux"] == tag
    from command import ROOT

    kernel = ROOT / "generator" / "seccompgen" / "kernel"
    tables = shutil.copytree(kernel, project / "tables")
    lock = tables / "kernel.lock.toml"
    lock.write_text(lock.read_text().replace(tag, "v7.0"))
    code, (line,) = failed("app/sandbox", "--check", "--tables", "tables", cwd=project)
    assert code == 1
    assert line.startswith(
        f"app/sandbox/worker/__init__.py: stale: the tables are of Linux v7.0, were of {tag}; its "
        "programs stay the same; to renew it: "
    )


def test_an_older_runtime_is_stale(project: Path) -> None:
    sandbox = project / "app" / "sandbox"
    before = hashlib.sha256((sandbox / "_runtime.py").read_bytes()).hexdigest()
    edit(sandbox / "_runtime.py", "_EINVAL = 14, 22\n", "_EINVAL = 14, 22  # as it was\n")
    after = hashlib.sha256((sandbox / "_runtime.py").read_bytes()).hexdigest()
    edit(sandbox / "seccomp-manifest.json", before, after)
    assert failed("app/sandbox", "--check", cwd=project) == (
        1,
        [f"app/sandbox/_runtime.py: stale: this seccompgen has another; to renew it: {AGAIN}"],
    )
    assert inside("vendor", "app/sandbox", cwd=project).code == 0
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0


def test_an_edited_file_is_no_stale_one_and_is_not_overwritten(project: Path) -> None:
    worker = project / "app" / "sandbox" / "worker" / "__init__.py"
    edit(worker, "Seccomp filter worker", "My filter")
    edit(project / "worker.yml", "read, write", "read, close, write")
    text = (
        "app/sandbox/worker/__init__.py: edited: no longer what was vendored; undo that, or to "
        f"overwrite it: {AGAIN} --force"
    )
    assert failed("app/sandbox", "--check", cwd=project) == (1, [text])
    assert failed("app/sandbox", cwd=project) == (2, [text])
    assert inside("vendor", "app/sandbox", "--force", cwd=project).code == 0
    assert "My filter" not in worker.read_text()
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0


def test_a_line_for_every_file(project: Path) -> None:
    sandbox = project / "app" / "sandbox"
    edit(sandbox / "_runtime.py", "_EINVAL = 14, 22\n", "_EINVAL = 14, 23\n")
    (sandbox / "worker" / "_x86_64.py").unlink()
    (sandbox / "__init__.py").unlink()
    code, lines = failed("app/sandbox", "--check", cwd=project)
    assert code == 1
    assert [line.split(":")[0:2] for line in lines] == [
        ["app/sandbox/_runtime.py", " edited"],
        ["app/sandbox/worker/_x86_64.py", " is missing; to make it"],
        ["app/sandbox/__init__.py", " is missing; to make it"],
    ]


def test_findings_in_json(project: Path) -> None:
    edit(project / "app" / "sandbox" / "_runtime.py", "_EINVAL = 14, 22\n", "_EINVAL = 14, 23\n")
    run = inside("vendor", "app/sandbox", "--check", "--json", cwd=project)
    (found,) = json.loads(run.out)["findings"]
    assert (run.code, found["file"], found["state"]) == (1, "app/sandbox/_runtime.py", "edited")
    assert found["text"] in run.err


def test_an_init_of_the_applications_own_is_left_alone(project: Path) -> None:
    init = project / "app" / "sandbox" / "__init__.py"
    init.write_text("from . import worker\n")
    for options in ([], ["--check"], ["--force"]):
        assert inside("vendor", "app/sandbox", *options, cwd=project).code == 0
    assert init.read_text() == "from . import worker\n"


def test_a_file_that_it_did_not_write_is_not_overwritten(project: Path) -> None:
    (project / "mine").mkdir()
    mine = project / "mine" / "worker.py"
    mine.write_text("print('mine')\n")
    code, lines = failed("worker.yml", "mine", cwd=project)
    assert (code, lines) == (
        2,
        ["mine/worker.py: is no part of the filter worker, and no manifest has it: remove it"],
    )
    code, lines = failed("worker.yml", "mine/worker.py", "--single-file", cwd=project)
    assert (code, "was not written by seccompgen" in lines[0]) == (2, True)
    mine.rename(project / "mine" / "own.py")
    (project / "mine" / "worker").mkdir()
    (project / "mine" / "worker" / "__init__.py").write_text("print('mine')\n")
    code, lines = failed("worker.yml", "mine", cwd=project)
    assert (code, lines[0].split(":")[0]) == (2, "mine/worker/__init__.py")
    assert inside("vendor", "worker.yml", "mine", "--force", cwd=project).code == 0
    assert inside("vendor", "mine", "--check", cwd=project).code == 0


@pytest.mark.long("makes projects and builds them")
def test_what_build_wrote_is_taken_over_where_it_is_fresh(project: Path) -> None:
    assert inside("build", "worker.yml", "-o", "built", cwd=project).code == 0
    edit(project / "worker.yml", "read, write", "read, close, write")
    assert failed("worker.yml", "built", cwd=project)[0] == 2
    assert inside("build", "worker.yml", "-o", "built", cwd=project).code == 0
    code, lines = failed("worker.yml", "built", "--check", cwd=project)
    assert (code, lines[0].split(";")[0]) == (1, "built/seccomp-manifest.json: is missing")
    assert inside("vendor", "worker.yml", "built", cwd=project).code == 0
    assert inside("vendor", "built", "--check", cwd=project).code == 0


def test_a_policy_that_moved_makes_the_manifest_stale(project: Path) -> None:
    (project / "seccomp").mkdir()
    (project / "worker.yml").rename(project / "seccomp" / "worker.yml")
    assert failed("seccomp/worker.yml", "app/sandbox", "--check", cwd=project) == (
        1,
        [
            "app/sandbox/seccomp-manifest.json: stale: its policy is ../../seccomp/worker.yml, "
            "was ../../worker.yml; to renew it: the same command without --check"
        ],
    )
    assert inside("vendor", "seccomp/worker.yml", "app/sandbox", cwd=project).code == 0
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0


@pytest.mark.few(2, "makes projects and builds them")
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"format": 1', '"format": 2', "format: must be 1"),
        ('"bitmap": true', '"bitmap":  true', "it was edited"),
        ('"_runtime.py": ', '"..": ', "must be the name of a file, or its path"),
        ('"worker/__init__.py": ', '"a/worker/__init__.py": ', "must be the name of a file"),
        ('"_runtime.py": ', '"../_runtime.py": ', "must be the name of a file, or its path"),
        ("{\n", "", "Invalid JSON"),
    ],
)
def test_a_manifest_that_was_edited(project: Path, old: str, new: str, problem: str) -> None:
    manifest = project / "app" / "sandbox" / "seccomp-manifest.json"
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    # With --force alone it cannot be known which filters there are to be.
    again = (["app/sandbox"], ["app/sandbox", "--check"], ["app/sandbox", "--force"])
    for args in (*again, ["worker.yml", "app/sandbox"]):
        code, (line,) = failed(*args, cwd=project)
        assert (code, line.split(":")[0]) == (2, "app/sandbox/seccomp-manifest.json")
        assert problem in line
        assert line.endswith("name all policies again: seccompgen vendor POLICY... DEST --force")
    assert inside("vendor", "worker.yml", "app/sandbox", "--force", cwd=project).code == 0
    assert inside("vendor", "app/sandbox", "--check", cwd=project).code == 0


# --- what it cannot do ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["worker.yml"], "say where to vendor it: seccompgen vendor worker.yml DEST"),
        (["nowhere"], "nowhere: has no manifest: name the policies, too: seccompgen vendor"),
        (["no_netwrk", "x"], "no_netwrk: neither a file nor a stock policy (did you mean "),
        (["absent.yml", "x"], "absent.yml"),
        (["worker.yml", "my-app"], "my-app: Python cannot import 'my-app': choose another name"),
        (["worker.yml", "class"], "class: Python cannot import 'class'"),
        (["worker.yml", "app/nul"], "app/nul: 'nul' is a device on Windows: choose another name"),
        (["worker.yml", "x.py"], "x.py: DEST is a package: for one module with --single-file"),
        (["worker.yml", "x", "--single-file"], "x: DEST must end in .py with --single-file"),
        (["worker.yml", "no_exec", "x.py", "--single-file"], "--single-file is one module"),
        (["app/sandbox", "--check", "--force"], "--check overwrites nothing"),
        (["worker.yml", "file"], "file: is not a directory"),
        (["app/sandbox", "--arch", "x86_64"], "need a POLICY; the manifest has the rest"),
        (["worker.yml", "x", "--arch", "amd46"], "unknown architecture 'amd46' (did you mean"),
    ],
)
def test_mistakes_are_told(project: Path, args: list[str], problem: str) -> None:
    (project / "file").touch()
    code, lines = failed(*args, cwd=project)
    assert code == 2
    assert problem in lines[0]


def test_a_policy_that_is_gone(project: Path) -> None:
    (project / "worker.yml").unlink()
    assert failed("app/sandbox", "--check", cwd=project) == (
        2,
        ["app/sandbox/worker: its policy worker.yml is not there: restore it, or name it anew"],
    )


def test_edited_files_are_told_beside_a_policy_that_is_gone(project: Path) -> None:
    (project / "worker.yml").unlink()
    with (project / "app/sandbox/_runtime.py").open("a") as file:
        file.write("pass\n")
    code, (gone, edited) = failed("app/sandbox", "--check", cwd=project)
    assert (code, gone.partition(":")[0]) == (2, "app/sandbox/worker")
    assert edited == "app/sandbox/_runtime.py: edited: no longer what was vendored"


def test_a_policy_in_a_place_whose_name_is_no_text(project: Path) -> None:
    odd = project / os.fsdecode(b"odd\xff")
    odd.mkdir()
    (project / "worker.yml").rename(odd / "worker.yml")
    run = inside("vendor", "worker.yml", "../other", cwd=odd)
    assert run.code == 2
    assert run.err == "unprintable characters in '../odd\\udcff/worker.yml': rename it\n"
    assert not (project / "other").exists()
