"""The packages of a release: made, refused, installed, and what of them people use."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from longer import long_but

from release.pythons.root import find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from release.pythons.root import Python

pytestmark = pytest.mark.ecosystem

DATE = "2026-12-01"
HOME = "https://host.example/somebody/seccompgen"
SITE = "https://docs.example/seccompgen/"
WHO = {
    **{f"GIT_{role}_NAME": "Releaser" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "releaser@example.org" for role in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def run(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=cwd, env={**os.environ, **WHO, **env},
        capture_output=True, text=True, timeout=550, check=False,
    )  # fmt: skip


def git(tree: Path, *words: str) -> str:
    done = run("git", *words, cwd=tree)
    assert done.returncode == 0, done.stderr
    return done.stdout


def release(tree: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    published = ("--repository", HOME, "--site", SITE)
    done = run(sys.executable, "-m", "release.prepare", *published, *words, cwd=tree, **env)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of what the sdist of this tree has."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    place = tmp_path_factory.mktemp("committed")
    words = ("-m", "build", "--no-isolation", "--sdist", "--outdir", place, ROOT)
    done = run(sys.executable, *words, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = place.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    tree = Path(str(sdist).removesuffix(".tar.gz"))
    (tree / "PKG-INFO").unlink()
    git(tree, "init", "--quiet")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "all")
    return tree


@pytest.fixture
def tree(committed: Path, tmp_path: Path) -> Path:
    """Return a clone that a test may change."""
    git(tmp_path, "clone", "--quiet", str(committed), "tree")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def dist(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a release has built."""
    place = tmp_path_factory.mktemp("released")
    git(place, "clone", "--quiet", str(committed), "tree")
    done = release(place / "tree", "9.8.7", "--date", DATE, "--no-check")
    assert done.returncode == 0, done.stderr
    return place / "tree" / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


# --- made, or refused -----------------------------------------------------------------------------


def test_a_release_is_a_commit_and_its_files(dist: Path) -> None:
    tree = dist.parent
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "log", "-1", "--format=%s") == "Release 9.8.7\n"
    changed = set(git(tree, "diff", "--name-only", "HEAD~1").split())
    pages = {one for one in changed if one.startswith("release/share/man/man1/")}
    assert len(pages) > 20
    assert changed - pages == {
        "CHANGELOG.md",
        "generator/seccompgen/__init__.py",
        "generator/seccompgen/core/published.py",
    }
    assert f"## [Unreleased]\n\n## [9.8.7] - {DATE}\n" in (tree / "CHANGELOG.md").read_text()
    sums = dict(line.split()[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    made = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}
    assert made.pop("SHA256SUMS")
    assert made == sums
    assert len(sums) == 2


def test_the_sdist_has_all_that_is_committed(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert sorted(names) == sorted([*git(dist.parent, "ls-files").splitlines(), "PKG-INFO"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("9.8", "--date", DATE), "'9.8' is no version"),
        (("9.8.7", "--date", "tomorrow"), "'tomorrow' is no date"),
        (("9.8.7",), "say DATE=YYYY-MM-DD"),
        (("9.8.7", "--date", DATE, "--repository", ""), "nobody has published it yet: say"),
        (("9.8.7", "--date", DATE, "--site", "docs"), "'docs' is no address"),
    ],
)
def test_wrong_words_are_refused(tree: Path, words: tuple[str, ...], said: str) -> None:
    done = release(tree, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_a_tree_that_is_not_as_committed_is_refused(tree: Path) -> None:
    (tree / "notes").touch()
    git(tree, "tag", "v9.8.7")
    changelog = tree / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n")
    done = release(tree, "9.8.7", "--date", DATE)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "the tree has changes: M CHANGELOG.md and 1 more; commit or remove them",
        "the tag v9.8.7 is there already: a release is never made again",
        "CHANGELOG.md: nothing is said of 9.8.7, neither there nor in [Unreleased]",
    ]


def test_a_failed_check_leaves_neither_commit_nor_files(tree: Path, tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$@"\nexit 2\n')
    make.chmod(0o755)
    before = git(tree, "rev-parse", "HEAD")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = release(tree, "9.8.7", "--date", DATE, PATH=path)
    assert (done.returncode, done.stdout) == (1, "check\n")
    assert "make check failed" in done.stderr
    assert git(tree, "rev-parse", "HEAD") == before
    assert git(tree, "status", "--porcelain") == ""
    assert not (tree / "dist").exists()


def test_a_wheel_with_a_clock_in_it_is_refused(tree: Path) -> None:
    hook = tree / "release" / "sbom.py"
    text = hook.read_text()
    hook.write_text(text.replace('"version": 1,', '"version": __import__("time").time_ns(),'))
    git(tree, "commit", "--quiet", "--all", "--message", "add a clock")
    done = release(tree, "9.8.7", "--date", DATE, "--no-check")
    assert done.returncode == 1
    assert "seccompgen-9.8.7-py3-none-any.whl: second built it differently" in done.stderr
    assert git(tree, "log", "-1", "--format=%s") == "add a clock\n"
    assert not (tree / "dist").exists()


# --- the addresses -------------------------------------------------------------------------------


def test_what_is_published_leads_to_its_addresses(installed: Path) -> None:
    def say(*words: str) -> str:
        return run(installed / "bin" / "seccompgen", *words, cwd=installed).stdout

    assert say("--help").endswith(f"\n  {SITE}tour/\n")
    assert say("build", "--help").endswith(f"\n  {SITE}build/\n")
    page = (installed / "share" / "man" / "man1" / "seccompgen-build.1").read_text()
    assert page.replace("\\-", "-").endswith(f"\n.PP\n{SITE}build/\n")
    (metadata,) = installed.glob("lib/python3*/site-packages/seccompgen-*.dist-info/METADATA")
    text = metadata.read_text()
    assert f"\nProject-URL: Source, {HOME}\n" in text
    assert f"\nProject-URL: Documentation, {SITE}\n" in text
    assert f"]({HOME}/blob/main/docs/tutorial.md)" in text


# --- the list of contents -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sbom(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("seccompgen-9.8.7.dist-info/sboms/seccompgen.cdx.json").decode()


def test_the_sbom_is_what_the_schema_of_cyclonedx_wants(sbom: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(sbom) is None
    assert validator.validate_str(sbom.replace('"SHA-256"', '"SHA"', 1)) is not None


def test_the_sbom_has_every_file_of_the_wheel_and_the_sources_of_the_tables(
    sbom: str, wheel: Path
) -> None:
    data, info = "seccompgen-9.8.7.data/data/", "seccompgen-9.8.7.dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        there = {
            name.removeprefix(data): hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not name.startswith(info)
        }
    listed = {part["name"]: part for part in json.loads(sbom)["components"]}
    linux = listed.pop("linux")
    ours = [file for part in listed.values() for file in part["components"]]
    assert {file["name"]: file["hashes"][0]["content"] for file in ours} == there
    lock = tomllib.loads((ROOT / "generator/seccompgen/kernel/kernel.lock.toml").read_text())
    assert linux["version"] == lock["tag"]
    assert {file["name"]: file["hashes"][0]["content"] for file in linux["components"]} == {
        file["path"]: file["sha256"] for file in [*lock["files"], *lock["facts"]["files"]]
    }


# --- installed ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel; its dependencies are those of this one."""
    place = tmp_path_factory.mktemp("installed") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=ROOT)
    words = ("-m", "pip", "--python", place, "install", "--no-index", "--no-deps", wheel)
    done = run(sys.executable, *words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (packages,) = place.glob("lib/python3*/site-packages")
    # Found after the wheel; its own .pth file, which leads to the tree, is not read.
    (packages / "dependencies.pth").write_text(
        str(importlib.metadata.distribution("click").locate_file(""))
    )
    where = run(place / "bin/python", "-c", "import seccompgen; print(seccompgen)", cwd=place)
    assert str(packages) in where.stdout
    return place


def pages(place: Path) -> Iterator[Path]:
    yield from sorted((place / "share/man/man1").iterdir())


def test_manual_pages_open(installed: Path) -> None:
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    manual = ("man", "-M", installed / "share/man")
    assert "seccompgen-build.1" in run(*manual, "-w", "seccompgen-build", cwd=installed).stdout
    shown = run(*manual, "seccompgen-build", cwd=installed, MANWIDTH="80", MAN_KEEP_FORMATTING="")
    assert shown.returncode == 0, shown.stderr
    assert "seccompgen build [OPTIONS] [POLICY]..." in shown.stdout
    assert "seccompgen build --check" in shown.stdout
    assert len(list(pages(installed))) > 20


@pytest.mark.parametrize(
    "judge", [("groff", "-man", "-Tutf8", "-ww", "-z"), ("mandoc", "-Tlint", "-Wwarning")],
    ids=lambda judge: judge[0],
)  # fmt: skip
def test_manual_pages_have_no_warnings(installed: Path, judge: tuple[str, ...]) -> None:
    if not shutil.which(judge[0]):
        pytest.skip(f"{judge[0]} is not installed")
    for page in pages(installed):
        done = run(*judge, page, cwd=installed)
        said = (done.stdout + done.stderr).splitlines()
        # A date would be the clock's, or nobody's.
        assert not [line for line in said if "missing date" not in line]


def test_bash_completes_from_the_wheel(installed: Path) -> None:
    script = installed / "share/bash-completion/completions/seccompgen"
    ask = f'. "{script}"; compopt() {{ :; }}; COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDS=($1)'
    ask += ' COMP_CWORD=1; _seccompgen seccompgen; printf "%s\\n" "${COMPREPLY[@]}"'
    path = f"{installed / 'bin'}:{os.environ['PATH']}"
    words = ("bash", "--norc", "-c", ask, "bash", "seccompgen sysc")
    assert run(*words, cwd=installed, PATH=path).stdout == "syscalls\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_script_that_they_are_tried_with(installed: Path, shell: str) -> None:
    """``test_shells`` has the shells complete by it."""
    places = {
        "zsh": "zsh/site-functions/_seccompgen",
        "fish": "fish/vendor_completions.d/seccompgen.fish",
    }
    done = run(installed / "bin/seccompgen", "completion", shell, cwd=installed)
    assert done.stdout == (installed / "share" / places[shell]).read_text()


# --- with the lowest versions, and the newest -----------------------------------------------------

LOWEST = ("3.11", "3.12")
NEWEST = ("3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t", "3.15", "3.15t")
"""Beyond those of the machine, `make pythons` brings some."""


def try_with(python: Python, wheel: Path, wanted: list[str], place: Path) -> None:
    """Install the wheel with these dependencies, and have it do all that needs them."""
    run(*python.enter, python.path, "-m", "venv", place / "env", cwd=place)
    words = ("install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    done = run(*python.enter, place / "env/bin/pip", *words, wheel, *wanted, cwd=place)
    if "No matching distribution" in done.stderr:
        pytest.skip(
            f"a dependency has no wheel for {python.version}: {done.stderr.splitlines()[-1]}"
        )
    assert done.returncode == 0, done.stderr
    tool: tuple[str | Path, ...] = (*python.enter, place / "env/bin/seccompgen")
    arches = ("--arch", "x86_64", "--arch", "s390x")
    for command in (
        ("build", "no_exec", "web_worker", *arches, "--no-cache", "-o", "out"),
        ("verify", "no_exec", "--arch", "x86_64"),
        ("report", "no_exec", "--arch", "x86_64", "-o", "report.html"),
        ("completion", "bash"),
        ("vendor", "no_network", "sandbox", "--arch", "x86_64"),
    ):
        done = run(*tool, *command, cwd=place)
        assert done.returncode == 0, (command, done.stderr)
    for module in ("no_exec/_x86_64.py", "web_worker/_x86_64.py", "web_worker/_s390x.py"):
        committed = ROOT / "generated" / "seccomp_filters" / module
        assert (place / "out" / module).read_bytes() == committed.read_bytes()
    (place / "wrong.yml").write_text("default_action: [\n")
    done = run(*tool, "build", "wrong.yml", "-o", "out", cwd=place)
    assert done.returncode == 2
    assert done.stderr.startswith("wrong.yml:")
    assert run(*tool, "nosuch", cwd=place).returncode == 2


def interpreter(version: str) -> Python:
    found = find(version)
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine; make pythons may have it")
    return found


@pytest.mark.parametrize("version", long_but(["3.11"], LOWEST, "installs all for each Python"))
def test_the_lowest_versions_do(version: str, wheel: Path, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = [one.replace(">=", "==") for one in project["dependencies"]]
    assert all("==" in one for one in lowest)
    try_with(interpreter(version), wheel, lowest, tmp_path)


@pytest.mark.parametrize("version", long_but([], NEWEST, "installs what is new elsewhere"))
def test_the_newest_versions_do(version: str, wheel: Path, tmp_path: Path) -> None:
    try_with(interpreter(version), wheel, ["--upgrade"], tmp_path)
