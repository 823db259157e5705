"""``drift``, and ``lint --from --to``, from outside: bases, forms of output, exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, older_tables, seccompgen
from upstream import MINIATURE, OLD, Upstream

if TYPE_CHECKING:
    from pathlib import Path

THREADS = """\
arches: [x86_64]
default_action: errno(EPERM)
syscalls:
- action: allow
  names: [read, write, exit_group, rt_sigreturn, restart_syscall, clone]
"""
CLONE3 = "clone3 first, and clone only after ENOSYS: this filter answers EPERM"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "threads.yml").write_text(THREADS)
    fixed = THREADS + "- {action: errno(ENOSYS), names: [clone3, rseq]}\n"
    (tmp_path / "fixed.yml").write_text(fixed)
    return tmp_path


def findings(here: Path, *words: str) -> list[str]:
    run = inside("lint", *words, "--json", cwd=here)
    assert not run.err, run.err
    found = json.loads(run.out)["findings"]
    return [one["message"] for one in found if one["code"].startswith("newer-")]


def test_an_upgrade_names_function_call_and_release(here: Path) -> None:
    run = inside("lint", "threads.yml", "--from", "debian:11", "--to", "debian:13", cwd=here)
    assert run.code == 1
    assert "threads.yml:2:17: warning: from glibc 2.3" in run.out
    assert "pthread_create" in run.out
    assert CLONE3 in run.out
    assert "\n  fix: answer clone3 with errno(ENOSYS)\n" in run.out
    assert "[wrong-fallback]" not in run.out.partition("clone3")[2].partition("\n")[0]


def test_what_both_releases_do_is_no_news(here: Path) -> None:
    assert any("clone3" in one for one in findings(here, "threads.yml", "--from", "debian:11"))
    later = findings(here, "threads.yml", "--from", "debian:12", "--to", "debian:13")
    assert not [one for one in later if "clone3" in one]


def test_a_base_may_be_a_release_of_one_library(here: Path) -> None:
    spans = [("glibc:2.31", "glibc:2.36"), ("glibc:2.35", "newest"), ("debian:11", "glibc:2.34")]
    for before, after in spans:
        found = findings(here, "threads.yml", "--from", before, "--to", after)
        assert any("clone3" in one for one in found), (before, after)


def test_formats_and_bases_are_told_apart_by_the_colon(here: Path) -> None:
    words = ("threads.yml", "--from", "seccompgen", "--from", "debian:11", "--to", "debian:12")
    assert any("clone3" in one for one in findings(here, *words))
    assert findings(here, "threads.yml", "--from", "seccompgen") == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "debian:9"), "--from: unknown base 'debian:9' (did you mean 'debian:1"),
        (("--to", "fedora"), "--to: unknown base 'fedora'"),
        (("--from", "debian:11", "--from", "debian:12"), "--from names two bases, debian:11 and"),
        (("--from", "1:debian:11"), "--from debian:11: a base applies to all FILTERs"),
        (("--from", "debian:13", "--to", "debian:12"), "nothing in debian:12 is newer than in "),
        (("--to", "glibc:2.5"), "nothing in glibc:2.5 is newer than what the table"),
        (("--to", "glibc:99"), "--to: the table has glibc 2.31 to "),
        (("--from", "none"), "'none' is not one of"),
    ],
)
@pytest.mark.parametrize("command", ["lint", "drift"])
def test_bases_that_mean_nothing_are_refused(
    here: Path, command: str, words: tuple[str, ...], told: str
) -> None:
    run = inside(command, "threads.yml", *words, cwd=here)
    assert (run.code, run.out) == (2, "")
    assert told in run.err


@pytest.mark.long("runs commands on many filters")
def test_drift_exits_with_one_if_anything_would_break(here: Path) -> None:
    run = inside("drift", "threads.yml", "fixed.yml", cwd=here)
    assert run.code == 1
    assert "clone3 first" in run.out
    assert run.out.splitlines()[-1].endswith(": 1 of 2 filters would break")
    run = inside("drift", "fixed.yml", cwd=here)
    assert run.code == 0
    assert run.out.splitlines()[-1].endswith(": 1 filter, none of which would break")


def test_drift_takes_the_policies_of_the_project(here: Path) -> None:
    (here / "policies").mkdir()
    (here / "threads.yml").rename(here / "policies" / "threads.yml")
    (here / "pyproject.toml").write_text("[tool.seccompgen]\n")
    run = seccompgen("drift", cwd=here)
    assert (run.code, "clone3" in run.out) == (1, True)
    (here / "pyproject.toml").unlink()
    run = seccompgen("drift", cwd=here)
    assert (run.code, run.out) == (2, "")
    assert "pyproject.toml" in run.err


def test_json_and_markdown_say_the_same(here: Path) -> None:
    run = inside("drift", "threads.yml", "--from", "debian:11", "--json", cwd=here)
    told = json.loads(run.out)
    assert (told["from"], told["to"], told["before"]) == ("debian:11", "newest", told["after"])
    (one,) = told["filters"]
    assert (one["breaks"], one["kernel"], one["unread"]) == (True, None, [])
    found, *_ = [each for each in one["findings"] if "clone3" in each["message"]]
    assert (found["code"], found["witness"]["syscall"]) == ("newer-call", "clone3")
    run = inside("drift", "threads.yml", "--format", "markdown", cwd=here)
    assert run.out.startswith("**<code>")
    assert "| **warning** | <code>threads&#46;yml&#58;2&#58;17</code><br>" in run.out


@pytest.mark.long("real tables of an older kernel")
def test_a_newer_tag_is_looked_at_as_well(tmp_path: Path) -> None:
    older = older_tables()
    policy = "arches: [x86_64]\ndefault_action: errno(EPERM)\nsyscalls:\n"
    policy += "- {action: allow, names: [read, exit_group]}\n"
    (tmp_path / "steady.yml").write_text(policy)
    (tmp_path / "bumped.yml").write_text(f"unknown_action: errno(ENOSYS)\n{policy}")
    run = inside("drift", "bumped.yml", "--tables", older, cwd=tmp_path)
    assert run.code == 1
    assert "cachestat" in run.out
    assert inside("drift", "steady.yml", "--tables", older, cwd=tmp_path).code == 0
    assert inside("drift", "bumped.yml", cwd=tmp_path).code == 0


def test_a_base_may_be_a_kernel(tmp_path: Path) -> None:
    (tmp_path / "deadly.yml").write_text(THREADS.replace("errno(EPERM)", "kill_process"))
    bases = ("--from", "linux:6.10", "--to", "linux:6.12")
    told = (
        "deadly.yml:2:17: note: Linux 6.10 lacks a call that Linux 6.12 has and this filter kills: "
    )
    run = inside("lint", "deadly.yml", *bases, cwd=tmp_path)
    assert f"{told}6.11 uretprobe (on x86_64) [newer-kernel]\n" in run.out
    run = inside("drift", "deadly.yml", *bases, cwd=tmp_path)
    assert (run.code, told in run.out) == (0, True)  # a note breaks nothing
    assert "\nfrom linux:6.10 to linux:6.12, Linux v7.3.4: 1 filter, none of which" in run.out


@pytest.mark.long("runs commands on many filters")
def test_the_newer_tag_is_read_from_where_it_is_said_to_be(tmp_path: Path) -> None:
    policy = "arches: [x86_64]\ndefault_action: errno(EPERM)\nsyscalls:\n"
    policy += "- {action: allow, names: [read, exit_group]}\n"
    (tmp_path / "steady.yml").write_text(policy)
    (tmp_path / "bumped.yml").write_text(f"unknown_action: errno(ENOSYS)\n{policy}")
    with Upstream() as upstream:
        for source in (upstream.url, MINIATURE / OLD):
            words = ("--tag", OLD, "--source", source)
            run = inside("drift", "bumped.yml", *words, cwd=tmp_path)
            assert (run.code, f"Linux {OLD}: 1 of 1 filter would break" in run.out) == (1, True)
            assert f"bumped.yml on v7.3.4 -> {OLD}: 1 answered otherwise" in run.out
    assert inside("drift", "steady.yml", *words, cwd=tmp_path).code == 0
    nowhere = inside("drift", "steady.yml", "--tag", OLD, "--source", tmp_path, cwd=tmp_path)
    assert (nowhere.code, nowhere.out) == (2, "")
    without = inside("drift", "steady.yml", "--source", MINIATURE / OLD, cwd=tmp_path)
    assert (without.code, without.err) == (2, "--source needs --tag, the release to read\n")


def test_the_workflow_of_the_page_is_a_file() -> None:
    page = (ROOT / "docs" / "drift.md").read_text()
    workflow = (ROOT / "docs" / "examples" / "drift-workflow.yml").read_text()
    assert "](examples/drift-workflow.yml)" in page
    assert "seccompgen drift --format markdown" in workflow
