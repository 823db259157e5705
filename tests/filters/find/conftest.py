"""Packages of filters, and copies of them to spoil."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from changed_modules import KINDS, POLICY
from command import inside
from longer import long_but

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(
    scope="module", params=long_but(["on import", "listener"], KINDS, "the plainest kind of module")
)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filter's package with its policy and its runtime beside it."""
    return built(request.param, tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as `generated`, of the kind that has most files beside it."""
    return built("listener", tmp_path_factory.mktemp("modules"))


def built(kind: str, here: Path) -> Path:
    setting = KINDS[kind]
    policy = POLICY.format(setting=setting)
    if "new_listener" not in setting:
        policy = policy.replace("user_notif", "log")
    (here / "m.yml").write_text(policy)
    run = inside("build", "m.yml", "-o", ".", "--no-cache", cwd=here)
    assert run.code == 0, run.err
    shutil.copytree(here / "m", here / "changed")
    return here / "m"


@pytest.fixture
def sandbox(listening: Path, tmp_path: Path) -> Path:
    """A copy of a filter's package, to spoil, with what lies beside it."""
    here = tmp_path / "sandbox"
    leave = shutil.ignore_patterns("changed*", "__pycache__")
    shutil.copytree(listening.parent, here, ignore=leave)
    assert inside("verify", "m", cwd=here).code == 0
    return here
