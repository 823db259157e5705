"""A new user: all commands of the README, our wheel in an empty directory, pre-commit, CI."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import RENEW, ROOT, inside
from longer import long_but
from released import built_wheel, commit, lay_out, pins, plain_path, run
from ruamel.yaml import YAML
from servers import free_port
from shown import same
from transcript import BIN, blocks, play, section, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ecosystem

PACKAGING = ROOT / "docs" / "packaging.md"
REFUSE_EXECVE = "syscalls:\n- action: errno(EPERM)\n  names: [execve]\n"
README = ROOT / "README.md"
FROM_A_CLONE = section(README, "## Two commands from a clone")
QUICK_START = section(README, "## Sixty seconds: confine a Flask application")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody has who cloned the repository, under the name of the README."""
    return lay_out(tmp_path_factory.mktemp("clone") / "seccompgen")


def bare(home: Path) -> dict[str, str]:
    """Return an environment that has only what a new machine sets; pip keeps to our versions."""
    constraints = home / "constraints.txt"
    constraints.write_text(pins())
    return {
        "PATH": plain_path(home),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PIP_CONSTRAINT": str(constraints),
        "PIP_BUILD_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",
    }


@pytest.mark.long("sets up all: .ci/run begins with both commands, as test_clean_machine says")
def test_a_clone_is_set_up(clone: Path, tmp_path: Path) -> None:
    first, _ = (steps(one) for one in blocks("console", FROM_A_CLONE))
    assert [step.command for step in first] == ["make generate\n", "make test\n"]
    ((code, said),) = play([first[0].command], clone, bare(tmp_path), scrubbed=True)
    assert (code, same(first[0].output, said)) == (0, True), said


def test_a_filter_refuses(clone: Path, tmp_path: Path) -> None:
    _, (refused,) = (steps(one) for one in blocks("console", FROM_A_CLONE))
    # It ends by a traceback, which play takes for a defect.
    env = bare(tmp_path)
    command = ["bash", "-c", f"exec 2>&1\n{refused.command}"]
    run = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert (run.returncode, same(refused.output, run.stdout)) == (1, True), run.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment of somebody who has pytest, and can get our wheel by its name."""
    place = tmp_path_factory.mktemp("newcomer")
    constraints = place / "constraints.txt"
    constraints.write_text(f"{pins()}\nseccompgen @ {built_wheel(place).as_uri()}\n")
    run(sys.executable, "-m", "venv", place / "venv")
    found = {
        "PATH": f"{place / 'venv' / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(place / "venv"),
        "PIP_CONSTRAINT": str(constraints),
        "PIP_BUILD_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",
    }
    run(place / "venv" / "bin" / "pip", "install", "pytest", env=found)
    return found


@contextlib.contextmanager
def served(command: str, cwd: Path, env: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Run a server until it is no more needed; give its address, and the file of its log."""
    port = free_port()
    log = cwd / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=cwd,
            env={**os.environ, **env, "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as server,
    ):
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", log
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_seven_commands_confine_a_worker(clone: Path, tmp_path: Path) -> None:
    place = clone.parent / "shop"
    place.mkdir()
    (app,) = blocks("python", QUICK_START)
    (place / "app.py").write_text(app)
    (shown,) = blocks("console", QUICK_START)
    commands = [step.command for step in steps(shown)]
    assert len(commands) == 7
    *before, serve = commands
    hole = "/look-up?host=;echo%20$((6*7))"
    environment = bare(tmp_path)
    for command, (code, said) in zip(
        before, play(before, place, environment, scrubbed=True), strict=True
    ):
        assert code == 0, command + said
    environment["PATH"] = f"{place / '.venv' / 'bin'}:{environment['PATH']}"
    settings = (place / "gunicorn.conf.py").rename(place / "settings")

    # There is a hole, which is not gone for want of a shell or a route.
    with served(serve, place, environment) as (address, _):
        assert get(f"{address}/") == (200, "hello")
        code, text = get(address + hole)
        assert (code, text.splitlines()[-1]) == (200, "42")

    settings.rename(place / "gunicorn.conf.py")
    with served(serve, place, environment) as (address, log):
        for _ in range(3):
            assert get(f"{address}/") == (200, "hello")
        assert get(address + hole)[0] == 500
        assert get(f"{address}/") == (200, "hello")
        (message,) = re.findall(r"`(PermissionError.*?)`", QUICK_START)
        assert f"\n{message}\n" in log.read_text()
        assert confined(place) == [False, True], "gunicorn's master and its worker"


def confined(cwd: Path) -> list[bool]:
    """Return, for each process in that directory, the oldest first, if a filter is in force."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == cwd:
                status = (process / "status").read_text()
                found.append((int(process.name), "\nSeccomp:\t2\n" in status))
    return [filtered for _, filtered in sorted(found)]


@pytest.mark.parametrize(
    "example", long_but(["setuptools"], ["hatchling", "setuptools"], "test_wheels tries both")
)
def test_pip_gets_the_plugin_for_who_builds_a_wheel(
    tmp_path: Path, environment: dict[str, str], example: str
) -> None:
    project = tmp_path / "project"
    shutil.copytree(
        ROOT / "examples" / example, project, ignore=shutil.ignore_patterns("sandbox", "*.egg-info")
    )
    (answer,) = play(["pip wheel --no-deps --wheel-dir dist ."], project, environment)
    assert answer[0] == 0, answer[1]
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        modules = {Path(name).parts[1:] for name in archive.namelist()}
    assert ("sandbox", "_runtime.py") in modules


def test_the_workflow_passes_until_a_policy_changes(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    text = (ROOT / "docs" / "examples" / "github-workflow.yml").read_text()
    (job,) = YAML(typ="safe").load(text)["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    (shown,) = blocks("console", section(PACKAGING, "## Continuous integration"))
    assert commands == [step.command.strip() for step in steps(shown)]
    begin = ["pip install seccompgen", "seccompgen init", "seccompgen build"]
    for command, (code, said) in zip(begin, play(begin, tmp_path, environment), strict=True):
        assert code == 0, command + said
    assert [code for code, _ in play(commands, tmp_path, environment)] == [0] * len(commands)
    policy = tmp_path / "seccomp" / "no_exec.yml"
    policy.write_text(policy.read_text() + "default_action: log\n")
    after = dict(zip(commands, play(commands, tmp_path, environment), strict=True))
    module = tmp_path / "sandbox" / "no_exec" / "__init__.py"
    code, told = after["seccompgen build --check"]
    assert (code, told.startswith(f"{module}: is stale: no_exec.yml has changed; ")) == (1, True)
    assert told.endswith(f"\n{RENEW}\n")


def test_pre_commit_installs_the_hook_and_refuses_what_is_stale(tmp_path: Path) -> None:
    ours = lay_out(tmp_path / "seccompgen")
    project = tmp_path / "project"
    project.mkdir()
    for command in ("init", "build"):
        assert inside(command, cwd=project).code == 0
    (shown,) = blocks("yaml", section(ROOT / "docs" / "ci.md", "## pre-commit"))
    (tag,) = re.findall("rev: (.*)", shown)
    run("git", "tag", tag, commit(ours), cwd=ours)
    (ours / ".pre-commit-hooks.yaml").write_text("no longer what it was at the tag")
    commit(ours)
    config = re.sub("repo: .*", f"repo: {ours}", shown)
    (project / ".pre-commit-config.yaml").write_text(config)
    commit(project)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(pins())
    env = {"PIP_CONSTRAINT": str(constraints), "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    hook = (BIN / "pre-commit", "run", "--color", "never")
    assert outcomes(run(*hook, "--all-files", cwd=project, env=env)) == ["Passed", "Passed"]

    policy = project / "seccomp" / "no_exec.yml"
    policy.write_text(policy.read_text() + "default_action: log\n")
    run("git", "add", "-A", cwd=project)
    said = run(*hook, cwd=project, code=1, env=env)
    assert f"{project / 'sandbox' / 'no_exec' / '__init__.py'}: is stale: " in said
    assert outcomes(said) == ["Failed", "Passed"]
    assert inside("build", cwd=project).code == 0
    run("git", "add", "-A", cwd=project)
    assert outcomes(run(*hook, cwd=project, env=env)) == ["Passed", "Passed"]
    commit(project)
    (project / "NEWS").touch()
    run("git", "add", "-A", cwd=project)
    assert outcomes(run(*hook, cwd=project, env=env)) == ["Skipped", "Skipped"]

    policy.write_text("arches: [x86_64]\ndefault_action: allow\n" + REFUSE_EXECVE)
    assert inside("build", cwd=project).code == 0
    run("git", "add", "-A", cwd=project)
    said = run(*hook, cwd=project, code=1, env=env)
    assert outcomes(said) == ["Passed", "Failed"]
    assert "seccomp/no_exec.yml:5:11: warning: execve is refused, but execveat is permitted" in said


def outcomes(said: str) -> list[str]:
    return re.findall(r"(Passed|Failed|Skipped)$", said, re.MULTILINE)
