"""`make quick`: which tests are near to a change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import quick

TESTS = Path(__file__).parents[1]
CACHE = "tests/pipeline/test_cache.py"


@pytest.mark.parametrize(
    ("test", "change", "distance"),
    [
        (CACHE, CACHE, 0),
        (CACHE, "generator/seccompgen/pipeline/cache.py", 1),
        (CACHE, "generator/seccompgen/pipeline/project.py", 2),
        (CACHE, "generator/seccompgen/render/listing.py", None),
        (CACHE, "generator/seccompgen/__main__.py", None),
        (CACHE, "tests/helpers/command.py", 1),
        (CACHE, "tests/pipeline/conftest.py", 2),
        (CACHE, "tests/pipeline/test_pool.py", None),
        ("tests/run/test_run.py", "generator/seccompgen/run/launch.py", 2),
        ("tests/scan/test_ways.py", "generator/seccompgen/run/launch.py", None),
        ("tests/runtime/test_abi.py", "templates/_runtime.py", 2),
        ("tests/stock/test_programs.py", "policies/no_exec.yml", 2),
        ("tests/project/test_readme.py", "README.md", 2),
    ],
)
def test_nearness(test: str, change: str, distance: int | None) -> None:
    imports = frozenset({"command", "seccompgen.pipeline.cache"}) if test == CACHE else frozenset()
    assert quick.nearness(PurePosixPath(test), imports, PurePosixPath(change)) == distance


def test_a_new_source_in_any_room_has_tests_near_it() -> None:
    """Also where tests/ has no folder of the same name, as for lint's rules."""
    tests = [*TESTS.rglob("test_*.py")]
    package = quick.ROOT / "generator" / "seccompgen"
    folders = {source.parent for source in package.glob("*/**/*.py")}
    for folder in folders:
        change = PurePosixPath((folder / "new.py").relative_to(quick.ROOT))
        assert quick.near([change], tests), change


def test_the_files_are_chosen_before_anything_is_collected() -> None:
    tests = [path for room in ("pipeline", "cli") for path in (TESTS / room).glob("test_*.py")]
    change = PurePosixPath("generator/seccompgen/pipeline/cache.py")
    near = [str(path.relative_to(TESTS)) for path in quick.near([change], tests)]
    assert near[0] == "pipeline/test_cache.py"
    rooms = [name.partition("/")[0] for name in near]
    assert "pipeline" in rooms[1:]
    assert "cli/test_explain.py" not in near


@pytest.mark.few(1, "starts runs of pytest")
@pytest.mark.parametrize(
    ("seconds", "code", "said"), [(60, 0, "1 passed"), (-60, 1, "Nothing ran, so nothing is known")]
)
def test_a_run_in_which_nothing_ran_is_not_green(
    tmp_path: Path, seconds: int, code: int, said: str
) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    begun = f"import quick\nquick.SECONDS = quick.AT_LEAST = {seconds}\n"
    (tmp_path / "conftest.py").write_text(begun)
    options = ["-q", "-p", "quick", "-p", "no:cacheprovider", "-p", "no:seccompgen"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS / "helpers")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert said in run.stdout


def test_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "ROOT", tmp_path)

    def commit(name: str) -> None:
        (tmp_path / name).touch()
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        git("add", "-A")
        git(*who, "commit", "-qm", name)

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True)

    def names(base: str | None = None) -> list[str]:
        return sorted(map(str, quick.changed(base)))

    git("init", "-q", "-b", "main")
    commit("one")
    commit("two")
    assert names() == ["two"]
    git("checkout", "-qb", "other")
    commit("three")
    (tmp_path / "new").touch()
    assert names() == ["new", "three"]
    assert names("main~1") == ["new", "three", "two"]
    git("checkout", "-q", "main")
    assert names() == ["new"]
    with pytest.raises(pytest.UsageError, match="BASE=mian"):
        names("mian")
