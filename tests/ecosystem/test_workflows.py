"""The workflows, the action, the jobs for GitLab: by their schemas, by zizmor, by our rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT, inside
from released import ended
from ruamel.yaml import YAML
from transcript import BIN, blocks, section

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*-workflow.yml"))
ACTION = ROOT / "action.yml"
(SHOWN,) = blocks("yaml", section(ROOT / "docs" / "ci.md", "## GitHub"))
_USE = re.compile(r"uses: (?P<action>[^@\s]+)@(?P<ref>\S+)(?: # (?P<version>\S+))?$", re.MULTILINE)


def run(program: str, *words: str | Path) -> tuple[int, str]:
    return ended(BIN / program, *words)


def zizmor(*words: str | Path) -> tuple[int, str]:
    return run("zizmor", "--offline", "--no-config", "--color=never", *words)


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """The workflow of docs/ci.md as a file; our action is pinned, as the page says."""
    place = tmp_path / ".github" / "workflows"
    place.mkdir(parents=True)
    pinned = re.sub(r"(?<=<owner>/seccompgen@)(\S+)", "0" * 40 + r" # \1", SHOWN)
    (place / "seccomp.yml").write_text(pinned)
    return place / "seccomp.yml"


def test_there_are_three() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "drift", "release"]


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in [*WORKFLOWS, *EXAMPLES]),
        ("vendor.github-actions", ACTION),
        ("vendor.gitlab-ci", ROOT / "ci" / "gitlab.yml"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_they_are_as_their_schemas_say(schema: str, path: Path, tmp_path: Path) -> None:
    check = ("check-jsonschema", "--builtin-schema", schema)
    assert run(*check, path) == (0, "ok -- validation done\n")
    wrong = tmp_path / path.name
    spoilt = re.sub(r"^(jobs|runs|variables):$", r"\1: 7\nx:", path.read_text(), flags=re.MULTILINE)
    wrong.write_text(spoilt)
    assert run(*check, wrong)[0] == 1


def test_zizmor_finds_nothing(shown: Path) -> None:
    for words in (["--pedantic", *WORKFLOWS, ACTION], [shown, *EXAMPLES]):
        code, text = zizmor(*words)
        assert (code, "No findings to report" in text) == (0, True), text


@pytest.mark.parametrize(
    ("path", "old", "new", "audit"),
    [
        (
            "release",
            "        persist-credentials: false\n",
            "        fetch-depth: 0\n",
            "artipacked",
        ),
        ("ci", "permissions: {}\n", "permissions: write-all\n", "excessive-permissions"),
        ("ci", "  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("release", "@ed0c53931b1dc9bd32cbe73a98c7f6766f8a527e", "@release/v1", "unpinned-uses"),
        ("release", 'test "$TAG"', 'test "${{ github.ref_name }}"', "template-injection"),
    ],
    ids=lambda value: value if value.islower() and "\n" not in value else "",
)
def test_zizmor_would_find(tmp_path: Path, path: str, old: str, new: str, audit: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{path}.yml").read_text()
    assert old in text
    place = tmp_path / ".github" / "workflows" / f"{path}.yml"
    place.parent.mkdir(parents=True)
    place.write_text(text.replace(old, new))
    code, told = zizmor("--pedantic", place)
    assert (code != 0, audit in told) == (True, True), told


def test_actions_are_pinned_by_commit_and_alike_everywhere() -> None:
    texts = [path.read_text() for path in [*WORKFLOWS, *EXAMPLES]] + [SHOWN]
    pins = {
        match.groups()
        for text in texts
        for match in _USE.finditer(text)
        if not match["action"].startswith("<owner>/")
    }
    assert len(pins) >= 5
    for action, ref, version in pins:
        assert re.fullmatch(r"[0-9a-f]{40}", ref), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), action
    assert len({action for action, _, _ in pins}) == len(pins), "two pins of one action"


def test_ci_runs_what_ci_run_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    told = [line.partition(" #")[0] for line in lines if line.startswith("plain ")]
    ours = [re.sub(r"^plain (CI=true )?", "", line) for line in told]
    job = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["debian"]
    assert job["strategy"]["matrix"]["run"] == ours


_COMMAND = re.compile(
    r"""^\s*(?:\.venv/bin/)?"?\$?seccompgen"? (\w+)""", re.MULTILINE | re.IGNORECASE
)


def scripts(found: Any) -> list[str]:
    """Return what a workflow, an action or a job runs, wherever it stands."""
    if isinstance(found, list):
        return [one for item in found for one in scripts(item)]
    if not isinstance(found, dict):
        return []
    own = [found["run"]] if isinstance(found.get("run"), str) else found.get("script", [])
    return [*own, *(one for item in found.values() for one in scripts(item))]


def test_the_commands_in_them_exist() -> None:
    files = [*WORKFLOWS, *EXAMPLES, ACTION, ROOT / "ci" / "gitlab.yml"]
    used = {word for path in files for one in scripts(load(path)) for word in _COMMAND.findall(one)}
    assert used == {"build", "diff", "drift", "lint", "verify"}
    for word in used:
        assert inside(word, "--help").code == 0, word


def test_only_the_release_gets_an_identity_and_it_runs_nothing_of_ours() -> None:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            given = job["permissions"]
            assert given.get("contents", "read") == "read"
            if given.get("id-token"):
                assert (path.stem, name) == ("release", "publish")
                assert [step for step in job["steps"] if "run" in step] == []
                assert job["environment"]["name"] == "pypi"
