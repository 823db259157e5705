"""`make quick`: which tests are near to a change."""

from __future__ import annotations

import subprocess
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
import quick

if TYPE_CHECKING:
    from pathlib import Path

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
        ("tests/observe/run/test_run.py", "generator/seccompgen/observe/run/launch.py", 2),
        ("tests/observe/scan/test_ways.py", "generator/seccompgen/observe/run/launch.py", None),
        ("tests/runtime/test_abi.py", "templates/_runtime.py", 2),
        ("tests/stock/test_programs.py", "policies/no_exec.yml", 2),
        ("tests/project/test_readme.py", "README.md", 2),
    ],
)
def test_nearness(test: str, change: str, distance: int | None) -> None:
    imports = frozenset({"command", "seccompgen.pipeline.cache"}) if test == CACHE else frozenset()
    assert quick.nearness(PurePosixPath(test), imports, PurePosixPath(change)) == distance


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
