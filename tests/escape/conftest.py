"""All attacks, made once, on filters built from the stock policies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cpu_budget
import pytest
from escape.attack import ATTACKS, Outcome
from escape.promises import POLICIES
from escape.scene import FOREIGN
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT = 300
ABI = "x86_64"


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Outcome]]:
    """Return by policy, "" without one, and attack what came of it."""
    attacks = [one.name for one in ATTACKS if one.exists(ABI)]
    with cpu_budget.apart():
        return made(tmp_path_factory.mktemp("escape"), POLICIES, attacks)


def made(
    directory: Path, policies: Mapping[str, Path], attacks: list[str], others: Sequence[str] = ()
) -> dict[str, dict[str, Outcome]]:
    """Make attacks on filters built from policies, in a new directory; see `escape.run`."""
    package, folder = directory / "confining", directory / "folder"
    package.mkdir()
    folder.mkdir()
    (package / "__init__.py").touch()
    arguments = [*map(str, policies.values()), "--arch", ABI, "-o", str(package)]
    built = subprocess.run(
        [sys.executable, "-m", "seccompgen", "build", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    tables = plain_tables()
    plan = {
        "abi": ABI,
        "numbers": dict(tables[ABI]),
        "foreign": {name: dict(tables[name]) for name in FOREIGN[ABI]},
        "directory": str(directory),
        "folder": str(folder),
        "own_machine": False,
        "policies": list(policies),
        "others": list(others),
        "attacks": attacks,
    }
    done = subprocess.run(
        [sys.executable, "-m", "escape.run"],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return {
        policy: {name: Outcome(*told) for name, told in found.items()}
        for policy, found in json.loads(done.stdout).items()
    }
