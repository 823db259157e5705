"""The entry for SchemaStore: its form, what it matches, and the files that show what it accepts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path, PurePath

import pytest
from command import ROOT, inside
from longer import long_but
from transcript import BIN

pytestmark = pytest.mark.ecosystem

PLACE = ROOT / "ci" / "schemastore"
TEXT = (PLACE / "catalog-entry.json").read_text()
ENTRY = json.loads(TEXT)
SCHEMA = ROOT / "docs" / "policy.schema.json"
VALID = sorted((PLACE / "test").iterdir())
INVALID = sorted((PLACE / "negative_test").iterdir())


def checked(path: Path) -> int:
    """Return the exit code of a validator that others made."""
    command: list[str | Path] = [BIN / "check-jsonschema", "--schemafile", SCHEMA, path]
    return subprocess.run(command, capture_output=True, timeout=280, check=False).returncode


def test_the_entry_has_the_form_of_the_catalog() -> None:
    """As `schema-catalog.json` there says: these keys, patterns that differ."""
    assert list(ENTRY) == ["description", "fileMatch", "name", "url"]
    assert all(isinstance(ENTRY[key], str) for key in ("description", "name", "url"))
    assert ENTRY["fileMatch"] == sorted(set(ENTRY["fileMatch"]))
    assert not ENTRY["description"].endswith((".", ":"))
    assert json.dumps(ENTRY, indent=2) + "\n" == TEXT


def test_it_leads_to_the_schema() -> None:
    """By its path alone, while the repository has no address."""
    assert ROOT / ENTRY["url"] == SCHEMA
    assert SCHEMA.is_file()


def matched(path: str) -> bool:
    return any(PurePath(path).match(one.removeprefix("**/")) for one in ENTRY["fileMatch"])


def test_it_matches_what_init_writes(tmp_path: Path) -> None:
    assert inside("init", cwd=tmp_path).code == 0
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in made if matched(path)} == {"seccomp/no_exec.yml"}
    assert matched("services/web/seccomp/worker.toml")
    assert not matched("seccomp/default.json")
    assert not matched("seccomp.yml")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.name)
def test_a_valid_policy(path: Path, tmp_path: Path) -> None:
    assert checked(path) == 0
    assert inside("build", path, "-o", tmp_path / "out").code == 0


@pytest.mark.parametrize(
    "path", long_but(INVALID[:1], INVALID, "starts a validator"), ids=lambda path: path.name
)
def test_an_invalid_policy(path: Path, tmp_path: Path) -> None:
    assert checked(path) == 1
    assert inside("build", path, "-o", tmp_path / "out").code == 2
