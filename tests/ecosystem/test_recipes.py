"""*Recipes*: each policy is enough for a richer run than was recorded, and refuses an attack."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from command import ROOT, inside
from running_kernel import require_x86_64
from servers import program
from transcript import BIN

require_x86_64()
pytestmark = pytest.mark.ecosystem

RECIPES = ROOT / "docs" / "recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.yml"))
NEEDS = {
    "celery": ["redis-server"],
    "go": ["go"],
    "nginx": ["nginx"],
    "postgresql": ["postgres", "pgbench"],
    "redis": ["redis-server", "redis-benchmark"],
    "rust": ["rustc"],
    "uvicorn": ["postgres", "psql"],
}
TIMEOUT = 240


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_enough_and_refuses_an_attack(name: str, tmp_path: Path) -> None:
    for needed in ("curl", *NEEDS.get(name, ())):
        program(needed, *map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    pytest.importorskip("asyncpg", reason="make test-ecosystem installs what this needs")
    if os.geteuid() == 0 and not _becomes_ordinary():
        pytest.skip("there are no user namespaces here, by which root becomes an ordinary user")
    path = os.pathsep.join([str(BIN), os.environ["PATH"], "/usr/sbin"])
    run = subprocess.run(
        ["bash", RECIPES / "recipe.sh", "run", name],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "TMPDIR": "/tmp"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def _becomes_ordinary() -> bool:
    words = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_recipes_have_no_finding_above_a_note() -> None:
    lint = inside("lint", *sorted(RECIPES.glob("*.yml")))
    assert lint.code == 0, lint.out
