"""A policy with all that was made of it, some of it spoilt; an environment without z3."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from verify_command import POLICY, TO_ALLOW, TO_ERRNO, changed

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.fixture
def mutant(here: Path) -> str:
    """A module beside the policy that it is not quite."""
    return changed(here / "worker.py", TO_ALLOW, TO_ERRNO, "mutant.py")


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
