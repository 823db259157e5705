"""A repository whose configuration means harm: it is read, and nothing is started or fetched."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from command import inside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

POLICY = "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n- {action: errno, names: [%s]}\n"


def git(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", *who, *words],
        cwd=cwd,
        env={**os.environ, **nobody},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    """Return a partial clone that lacks a policy of its first revision."""
    source = tmp_path / "source"
    source.mkdir()
    git("init", "-q", "-b", "main", ".", cwd=source)
    for name in ("execve", "execveat"):
        (source / "p.yml").write_text(POLICY % name)
        git("add", "-A", cwd=source)
        git("commit", "-qm", name, cwd=source)
    for allowed in ("allowFilter", "allowAnySHA1InWant"):
        git("config", f"uploadpack.{allowed}", "true", cwd=source)
    made = git("clone", "-q", "--filter=blob:none", source.as_uri(), "partial", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "partial"


STARTS: dict[str, Sequence[tuple[str, str]]] = {
    "upload-pack": [("remote.origin.uploadpack", "{mark}; git-upload-pack")],
    "ssh": [("remote.origin.url", "ssh://nowhere/x"), ("core.sshCommand", "{mark};")],
    "ext": [("remote.origin.url", "ext::sh {script}"), ("protocol.ext.allow", "always")],
    "proxy": [("remote.origin.url", "git://127.0.0.1:1/x"), ("core.gitProxy", "{script}")],
    "include": [("include.path", "{more}")],
    "monitor": [("core.fsmonitor", "{script}")],
    "hooks": [("core.hooksPath", "{hooks}")],
    "alternates": [("core.alternateRefsCommand", "{mark};")],
    "pager": [("core.pager", "{mark};"), ("pager.ls-tree", "{mark};"), ("pager.cat-file", "true")],
    "credentials": [
        ("remote.origin.url", "https://127.0.0.1:1/x"),
        ("credential.helper", "!{mark}"),
        ("core.askPass", "{script}"),
    ],
}
FETCHES = {"upload-pack", "ssh", "ext", "proxy", "include"}
"""Those by which git itself starts a program to read the file that is not there."""


def poisoned(repository: Path, settings: Sequence[tuple[str, str]]) -> Path:
    """Have the repository's configuration start programs; return what exists once one ran."""
    place = repository.parent
    mark, script, more, hooks = (place / name for name in ("ran", "script", "more", "hooks"))
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    more.write_text(f'[remote "origin"]\n\tuploadpack = "touch {mark}; git-upload-pack"\n')
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "post-checkout"):
        (hooks / name).symlink_to(script)
    for key, value in settings:
        said = value.format(mark=f"touch {mark}", script=script, more=more, hooks=hooks)
        git("config", key, said, cwd=repository)
    return mark


@pytest.mark.parametrize("what", STARTS)
def test_no_configuration_starts_a_program(partial: Path, what: str) -> None:
    ran = poisoned(partial, STARTS[what])
    run = inside("diff", "--git", "HEAD~1", "p.yml", cwd=partial)
    assert not ran.exists()
    assert run.code == 3
    assert "p.yml: the git repository lacks this file of the revision; if it is a part" in run.err
    git("cat-file", "-p", "HEAD~1:p.yml", cwd=partial)
    assert ran.exists() == (what in FETCHES)


def test_what_a_partial_clone_lacks_can_be_had(partial: Path) -> None:
    assert git("fetch", "--refetch", "--no-filter", cwd=partial).returncode == 0
    run = inside("diff", "--git", "HEAD~1", "p.yml", cwd=partial)
    assert run.out.startswith("HEAD~1:p.yml -> p.yml: 1 newly permitted, 1 newly refused")


def test_no_other_object_stands_for_what_is_compared(partial: Path) -> None:
    git("fetch", "--refetch", "--no-filter", cwd=partial)
    expected = inside("diff", "--git", "HEAD~1", "p.yml", cwd=partial).out
    git("replace", "HEAD~1", "HEAD", cwd=partial)
    own = git("--no-replace-objects", "rev-parse", "HEAD", cwd=partial).stdout
    (partial / ".git" / "info").mkdir(exist_ok=True)
    (partial / ".git" / "info" / "grafts").write_text(own)  # which has no parent then
    assert git("rev-parse", "--verify", "--quiet", "HEAD~1", cwd=partial).returncode
    assert inside("diff", "--git", "HEAD~1", "p.yml", cwd=partial).out == expected


def test_a_work_tree_elsewhere_is_not_read(partial: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "p.yml").write_text(POLICY % "fork")
    git("config", "core.worktree", str(elsewhere), cwd=partial)
    run = inside("diff", "--git", "HEAD", "p.yml", cwd=partial)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"{partial} is not in the work tree of its git repository, ")
