"""A project that names files outside of itself: none is read, none of their words comes out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import inside
from seccompgen.io.file_reach import reach_of

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "root:hunter2:20000"
OURS = "arches: [x86_64]\ndefault_action: errno\nsyscalls: []\n"


def policy(text: str, name: str = "evil.yml") -> Callable[[Path, Path], None]:
    """Return what makes a project whose one policy is ``text``; {} is the file to be read."""

    def make(project: Path, secret: Path) -> None:
        (project / name).write_text(text.replace("{}", str(secret)))

    return make


def link(project: Path, secret: Path) -> None:
    (project / "near.yml").symlink_to(secret)
    (project / "evil.yml").write_text(f"{OURS}include: [near.yml]\n")


def lists(project: Path, secret: Path) -> None:
    (project / "SECCOMP_ALLOWLIST_COMMON.TXT").symlink_to(secret)
    (project / "SYSCALLS.TXT").write_text("int read:read(int) all\n")


def project_of(line: str) -> Callable[[Path, Path], None]:
    """Return what makes a project with this setting."""

    def make(project: Path, secret: Path) -> None:
        setting = line.format(file=secret, directory=secret.parent)
        (project / "pyproject.toml").write_text(f"[tool.seccompgen]\n{setting}\n")
        (project / "policies").mkdir()
        (project / "policies" / "p.yml").write_text(OURS)

    return make


def linked_policy(project: Path, secret: Path) -> None:
    project_of("")(project, secret)
    (project / "policies" / "q.yml").symlink_to(secret)


def linked_in_directory(project: Path, secret: Path) -> None:
    (project / "policies").mkdir()
    (project / "policies" / "q.yml").symlink_to(secret)


def made_from(name: str) -> Callable[[Path, Path], None]:
    """Return what makes a generated module whose banner says that it is made from ``name``."""

    def make(project: Path, secret: Path) -> None:
        (project / "p.yml").write_text(OURS)
        assert inside("build", "p.yml", "-o", ".", cwd=project).code == 0
        (project / "p.yml").unlink()
        main = project / "p" / "__init__.py"
        (project / "p.yml").symlink_to(secret)
        said = name.format(Path("..", "..", *secret.parts[-2:]))
        main.write_text(main.read_text().replace("p.yml", said))

    return make


def vendored(project: Path, secret: Path) -> None:
    """A manifest has a digest of itself, which whoever writes one can make."""
    secret.write_text(OURS)
    assert inside("vendor", secret, "sandbox", cwd=project).code == 0
    secret.write_text(f"{SECRET}\n")


WAYS = {
    "include": (policy(f"{OURS}include: [{{}}]\n"), ("build", "evil.yml", "-o", "out")),
    "include upwards": (
        policy(f"{OURS}include: [../outside/secret.yml]\n"),
        ("lint", "evil.yml"),
    ),
    "include by a link": (link, ("verify", "evil.yml")),
    "@include": (policy("@include {}\nread: 1\n", "evil.policy"), ("verify", "evil.policy")),
    "@frequency": (policy("@frequency {}\nread: 1\n", "evil.policy"), ("lint", "evil.policy")),
    "#include": (
        policy('#include "{}"\nPOLICY p { ALLOW { read } } USE p DEFAULT KILL\n', "evil.kafel"),
        ("explain", "evil.kafel", "read"),
    ),
    "nsjail": (policy('seccomp_policy_file: "{}"\n', "evil.cfg"), ("convert", "evil.cfg")),
    "lists beside": (lists, ("convert", "SYSCALLS.TXT", "--from", "android")),
    "a project's profile": (project_of('profile = "{file}"'), ("build",)),
    "a project's policies": (project_of('policies = "{directory}"'), ("lint",)),
    "a link among them": (linked_policy, ("verify",)),
    "a link in a directory": (linked_in_directory, ("lint", "policies")),
    "a banner's link": (made_from("p.yml"), ("verify", "p")),
    "a banner's path": (made_from("{}"), ("verify", "p")),
    "a manifest": (vendored, ("vendor", "--check", "sandbox")),
}
BY_NAME = {"a link in a directory", "a banner's path"}
"""The ways that no option opens: what leads there has to be named itself."""


@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_is_read(way: str, tmp_path: Path) -> None:
    make, words = WAYS[way]
    project, secret = tmp_path / "project", tmp_path / "outside" / "secret.yml"
    project.mkdir()
    secret.parent.mkdir()
    secret.write_text(f"{SECRET}\n")
    make(project, secret)
    run = inside(*words, cwd=project)
    assert run.code in {1, 2}, run
    assert SECRET not in run.out + run.err
    assert "hunter2" not in run.out + run.err
    if way in BY_NAME:
        return
    assert f"'--allow-outside {secret.parent}' permits that" in run.err
    allowed = inside(*words, "--allow-outside", secret.parent, cwd=project)
    assert allowed.err
    assert "lies outside" not in allowed.err


def test_a_directory_of_policies_includes_others_of_its_project_or_checkout(tmp_path: Path) -> None:
    (tmp_path / "top" / "services" / "web").mkdir(parents=True)
    (tmp_path / "top" / "common.yml").write_text(OURS)
    named = tmp_path / "top" / "services" / "web" / "p.yml"
    named.write_text("include: [../../common.yml]\n")
    assert inside("verify", named).code == 2
    for mark in (".git", "pyproject.toml"):
        (tmp_path / "top" / mark).write_text("[tool.seccompgen]\n")
        assert reach_of(named) == tmp_path / "top"
        assert inside("verify", named).code == 0
        (tmp_path / "top" / mark).unlink()
    (tmp_path / "top" / "pyproject.toml").write_text("[tool.others]\n")
    assert reach_of(named) == named.parent


def test_without_these_the_current_directory_counts_unless_it_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "common.yml").write_text(OURS)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "p.yml").write_text("include: [../common.yml]\n")
    assert inside("verify", "web/p.yml", cwd=tmp_path).code == 0
    assert inside("verify", "p.yml", cwd=tmp_path / "web").code == 2
    for home in (tmp_path, tmp_path / "somebody"):
        monkeypatch.setenv("HOME", str(home))
        assert inside("verify", "web/p.yml", cwd=tmp_path).code == 2


def test_a_user_without_a_home_has_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path.expanduser() raises RuntimeError where neither HOME nor the system knows one."""
    monkeypatch.setattr("os.path.expanduser", lambda name: name)
    assert reach_of(tmp_path / "p.yml") == tmp_path


def test_a_tree_of_links_reaches_what_it_stands_for(tmp_path: Path) -> None:
    """Bazel lays out each source of an action as a link, in a directory of its own."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "action").mkdir()
    (tmp_path / "sources" / "base.yml").write_text(OURS)
    (tmp_path / "sources" / "p.yml").write_text("include: [base.yml]\n")
    for name in ("base.yml", "p.yml"):
        (tmp_path / "action" / name).symlink_to(tmp_path / "sources" / name)
    assert inside("verify", "p.yml", cwd=tmp_path / "action").code == 0
    (tmp_path / "action" / "p.yml").unlink()
    (tmp_path / "action" / "p.yml").write_text("include: [base.yml]\n")
    assert inside("verify", "p.yml", cwd=tmp_path / "action").code == 2


def test_who_names_a_link_has_it_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere" / "p.yml").write_text(OURS)
    (tmp_path / "here" / "p.yml").symlink_to(tmp_path / "elsewhere" / "p.yml")
    assert inside("verify", "p.yml", cwd=tmp_path / "here").code == 0
    assert inside("verify", ".", cwd=tmp_path / "here").code == 2


def test_a_stock_policy_is_included_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("include: [no_exec]\narches: [x86_64]\n")
    assert inside("verify", "p.yml", cwd=tmp_path).code == 0
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert inside("verify", "copy/p.yml", cwd=tmp_path).code == 0
