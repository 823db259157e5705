"""``lint`` from outside: its forms of output, exit codes, and comments that silence."""

from __future__ import annotations

import json
import shutil
import struct
from typing import TYPE_CHECKING, Any

import pytest
from command import inside, seccompgen

if TYPE_CHECKING:
    from pathlib import Path

BAD = """\
arches: [x86_64]
default_action: allow
syscalls:
- action: errno
  names: [acct, execve]
flags: []
"""
GOOD = BAD.replace("execve", "execve, execveat")
NOTED = (
    "arches: [x86_64]\ndefault_action: errno\nflags: []\nsyscalls:\n- action: allow\n"
    "  names: [exit_group]\n"
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in {"bad": BAD, "good": GOOD, "noted": NOTED}.items():
        (tmp_path / f"{name}.yml").write_text(text)
    return tmp_path


def as_json(here: Path, *words: str) -> list[dict[str, Any]]:
    run = seccompgen("lint", *words, "--json", cwd=here)
    assert not run.err
    found: list[dict[str, Any]] = json.loads(run.out)["findings"]
    return found


@pytest.mark.few(10, "runs commands on many filters")
@pytest.mark.parametrize(("name", "code"), [("bad", 1), ("good", 0), ("noted", 0)])
@pytest.mark.parametrize("form", ["text", "json", "sarif", "github", "gitlab"])
def test_errors_and_warnings_exit_with_one(here: Path, name: str, code: int, form: str) -> None:
    run = seccompgen("lint", f"{name}.yml", "--format", form, cwd=here)
    assert (run.code, run.err) == (code, "")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.yml", GOOD, False),
        ("a.yml", GOOD.replace("flags: []\n", ""), True),
        ("a.yml", GOOD.replace("[]", "[tsync]"), False),
        ("a.yml", "include: [good.yml]\n", False),
        ("a.yml", "include: [bare.yml]\narches: [x86_64]\n", True),
        ("a.yml", "include: [bare.yml]\nflags: [log]\n", False),
        ("a.policy", "read: 1\n", False),
    ],
)
def test_flags_that_nobody_wrote_are_a_note(
    here: Path, name: str, text: str, *, found: bool
) -> None:
    (here / "bare.yml").write_text(GOOD.replace("flags: []\n", ""))
    (here / name).write_text(text)
    run = inside("lint", name, "--select", "no-tsync", cwd=here)
    first = (
        "a.yml:1:1: note: the policy sets no flags: install() confines only the thread that calls "
        "it, and threads that already run stay unconfined [no-tsync]\n"
    )
    assert (run.code, run.out.startswith(first)) == (0, found)


def test_a_comment_above_the_policy_silences_flags_that_nobody_wrote(here: Path) -> None:
    comment = "# lint: ignore[no-tsync]: run confines this, and it has no threads yet\n"
    (here / "a.yml").write_text(comment + GOOD.replace("flags: []\n", ""))
    assert inside("lint", "a.yml", cwd=here).out == "no findings, 1 ignored\n"


def test_a_person_sees_the_place_the_call_and_the_fix(here: Path) -> None:
    run = seccompgen("lint", "bad.yml", cwd=here)
    assert run.out == (
        "bad.yml:5:17: warning: execve is refused, but execveat is permitted: it executes the same "
        "programs (on x86_64) [exec-twin]\n"
        "  5 |   names: [acct, execve]\n"
        "                      ^~~~~~\n"
        "  shown by: execveat() on x86_64: allow\n"
        "  beside: execve() on x86_64: errno(EPERM)\n"
        "  fix: refuse execveat, too\n"
        "1 warning\n"
    )


def test_json_has_what_the_contract_says(here: Path) -> None:
    (one,) = as_json(here, "bad.yml")
    shown = {key: one[key] for key in ("code", "severity", "file", "line", "column", "abi")}
    assert shown == {
        "code": "exec-twin", "severity": "warning", "file": "bad.yml",
        "line": 5, "column": 17, "abi": "x86_64",
    }  # fmt: skip
    assert one["end_column"] == 23
    assert one["witness"] == {
        "syscall": "execveat", "nr": 322, "audit_arch": 0xC000003E,
        "args": [0] * 6, "answer": "allow", "ret": 0x7FFF0000,
    }  # fmt: skip
    assert one["beside"]["syscall"] == "execve"


def test_sarif_names_each_rule_and_each_place(here: Path) -> None:
    run = seccompgen("lint", "bad.yml", "good.yml", "--format", "sarif", cwd=here)
    log = json.loads(run.out)
    assert log["version"] == "2.1.0"
    (sarif_run,) = log["runs"]
    (rule,) = sarif_run["tool"]["driver"]["rules"]
    assert rule["id"] == "exec-twin"
    assert rule.keys() == {"id", "shortDescription"}, "nothing leads to a page that is nowhere"
    (result,) = sarif_run["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("exec-twin", 0, "warning")
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "bad.yml"},
        "region": {"startLine": 5, "startColumn": 17, "endColumn": 23},
    }


def test_github_gets_a_line_that_names_cannot_break(here: Path) -> None:
    odd = here / "a,b%c:d.yml"
    odd.write_text(BAD)
    run = seccompgen("lint", odd.name, "--format", "github", cwd=here)
    (line,) = run.out.splitlines()
    assert line.startswith(
        "::warning file=a%2Cb%25c%3Ad.yml,line=5,col=17,endColumn=23,title=exec-twin::execve is "
    )


def report(here: Path, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        seccompgen("lint", *words, "--format", "gitlab", cwd=here).out
    )
    return found


def test_gitlab_gets_a_code_quality_report(here: Path) -> None:
    (one,) = report(here, "bad.yml", "good.yml")
    assert len(one.pop("fingerprint")) == 64
    assert one.pop("description").endswith("(on x86_64); refuse execveat, too")
    assert one == {
        "check_name": "exec-twin",
        "severity": "major",
        "location": {"path": "bad.yml", "lines": {"begin": 5}},
    }


def test_gitlab_knows_a_finding_again_by_its_fingerprint(here: Path) -> None:
    (before,) = report(here, "bad.yml")
    (here / "bad.yml").write_text(f"# a remark\n{BAD}")
    (moved,) = report(here, "bad.yml")
    assert moved["location"]["lines"] == {"begin": 6}
    assert moved["fingerprint"] == before["fingerprint"]
    (here / "bad.yml").write_text(BAD.replace("acct", "syslog"))
    (other,) = report(here, "bad.yml")
    assert other["fingerprint"] != before["fingerprint"]
    shutil.copy(here / "bad.yml", here / "worse.yml")
    assert len({one["fingerprint"] for one in report(here, "bad.yml", "worse.yml")}) == 2


def test_findings_that_are_alike_have_fingerprints_of_their_own(here: Path) -> None:
    (here / "bad.yml").write_text(GOOD + "# lint: ignore[no-wait]\n" * 2)
    first, second = report(here, "bad.yml")
    assert first["description"] == second["description"]
    assert first["fingerprint"] != second["fingerprint"]


def test_a_finding_on_a_program_is_shown_at_its_first_line(here: Path) -> None:
    assert seccompgen("build", "bad.yml", "--format", "bpf", "-o", ".", cwd=here).code == 0
    found = report(here, "bad.x86_64.bpf", "--arch", "x86_64")
    assert {one["location"]["lines"]["begin"] for one in found} == {1}


def test_without_a_filter_it_is_the_project(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.seccompgen]\npolicies = 'seccomp'\n")
    (here / "seccomp").mkdir()
    for name in ("bad", "good"):
        shutil.move(here / f"{name}.yml", here / "seccomp")
    shutil.copy(here / "seccomp" / "bad.yml", here / "seccomp" / "_included.yml")
    assert [one["file"] for one in as_json(here)] == ["seccomp/bad.yml"]
    (below,) = as_json(here / "seccomp")
    assert below["file"] == "bad.yml"


def test_without_a_filter_and_a_project_it_says_what_to_name(here: Path) -> None:
    run = seccompgen("lint", cwd=here)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("name a policy or a filter: there is no pyproject.toml with ")


def test_codes_are_chosen(here: Path) -> None:
    assert as_json(here, "bad.yml", "--ignore", "exec-twin,no-wait") == []
    assert as_json(here, "bad.yml", "--select", "open-twin") == []
    assert len(as_json(here, "bad.yml", "--select", "open-twin", "--select", "exec-twin")) == 1


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_a_misspelled_code_is_an_error(here: Path, option: str) -> None:
    run = seccompgen("lint", "bad.yml", option, "exec-twins", cwd=here)
    assert (run.code, run.out) == (2, "")
    assert run.err == f"{option}: unknown code 'exec-twins' (did you mean 'exec-twin'?)\n"


@pytest.mark.parametrize("word", ["missing.yml", "broken.yml"])
def test_wrong_input_is_two(here: Path, word: str) -> None:
    (here / "broken.yml").write_text("default_action: [")
    assert seccompgen("lint", "bad.yml", word, cwd=here).code == 2


COMMENT = "# lint: ignore[exec-twin]: a launcher that is trusted runs here"


@pytest.mark.parametrize(
    "text",
    [
        BAD.replace("execve]", f"execve] {COMMENT}"),
        BAD.replace("  names", f"  {COMMENT}\n  names"),
        BAD.replace("  names", f"  {COMMENT}\n  # and another remark\n\n  names"),
    ],
)
def test_a_comment_with_a_reason_silences(here: Path, text: str) -> None:
    (here / "bad.yml").write_text(text)
    run = seccompgen("lint", "bad.yml", cwd=here)
    assert (run.code, run.out) == (0, "no findings, 1 ignored\n")


@pytest.mark.parametrize(
    ("comment", "codes"),
    [
        ("# lint: ignore[exec-twin]", {"exec-twin", "unfounded-ignore"}),
        ("# lint: ignore[exec-twin]:  ", {"exec-twin", "unfounded-ignore"}),
        ("# lint: ignore: it is fine", {"exec-twin", "unfounded-ignore"}),
        ("# lint: ignore[exectwin]: it is fine", {"exec-twin", "unknown-ignore"}),
        ("# lint: ignore[exec-twin, open-twin]: it is fine", {"unused-ignore"}),
        ("# of lint: ignore nothing", {"exec-twin"}),
    ],
)
def test_a_comment_that_does_not_do(here: Path, comment: str, codes: set[str]) -> None:
    (here / "bad.yml").write_text(BAD.replace("execve]", f"execve] {comment}"))
    found = as_json(here, "bad.yml")
    assert {one["code"] for one in found} == codes
    assert {one["line"] for one in found} == {5}


def test_a_comment_on_another_line_silences_nothing(here: Path) -> None:
    (here / "bad.yml").write_text(f"{COMMENT}\n\n{BAD}")
    assert {one["code"] for one in as_json(here, "bad.yml")} == {"exec-twin", "unused-ignore"}


def test_a_comment_on_that_line_of_another_file_silences_nothing(here: Path) -> None:
    lines = ["include: [bad.yml]", "arches: [x86_64]", "default_action: allow", "syscalls: []"]
    (here / "outer.yml").write_text("\n".join([*lines, f"description: x  {COMMENT}"]))
    found = as_json(here, "outer.yml")
    assert ("bad.yml", 5, "exec-twin") in {(one["file"], one["line"], one["code"]) for one in found}


def test_a_finding_stands_in_the_file_that_is_included(here: Path) -> None:
    (here / "outer.yml").write_text("include: [bad.yml]\n" + BAD.replace("acct, execve", "swapon"))
    (one,) = as_json(here, "outer.yml")
    assert (one["code"], one["file"], one["line"]) == ("exec-twin", "bad.yml", 5)


def test_programs_are_read_as_well(here: Path) -> None:
    for words in (["--format", "bpf", "-o", "raw"], ["-o", "package"]):
        assert seccompgen("build", "bad.yml", *words, cwd=here).code == 0
    raw = as_json(here, "raw/bad.x86_64.bpf")  # its test of arch names the ABI
    module = as_json(here, "package/bad")
    for (one,), file in ((raw, "raw/bad.x86_64.bpf"), (module, "package/bad")):
        assert (one["code"], one["file"], one["line"]) == ("exec-twin", file, None)
        assert one["instruction"] is not None
    run = seccompgen("lint", "package/bad", cwd=here)
    assert f"\n  {module[0]['instruction']} | " in run.out
    (here / "plain.bpf").write_bytes(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000))
    refused = seccompgen("lint", "plain.bpf", cwd=here)
    assert refused.code == 2
    assert "--arch" in refused.err


def test_a_directory_stands_for_all_in_it(here: Path) -> None:
    assert {one["file"] for one in as_json(here, ".")} == {"bad.yml", "noted.yml"}


def test_a_comment_of_an_included_file_may_be_for_others(here: Path) -> None:
    (here / "bad.yml").write_text(BAD.replace("execve]", f"execve] {COMMENT}"))
    outer = (
        "include: [bad.yml]\narches: [x86_64]\nsyscalls:\n- {action: errno, names: [execveat]}\n"
    )
    (here / "outer.yml").write_text(outer)
    assert as_json(here, "outer.yml") == []
    (here / "bad.yml").write_text(BAD.replace("execve]", f"execve, execveat] {COMMENT}"))
    assert [one["code"] for one in as_json(here, "bad.yml")] == ["unused-ignore"]
    assert as_json(here, "bad.yml", "--arch", "x86_64") != []


def test_a_comment_may_be_for_an_abi_that_is_not_looked_at(here: Path) -> None:
    text = BAD.replace("[x86_64]", "[x86_64, i386]").replace("acct, execve", "clock_settime")
    text = text.replace(
        "clock_settime]", "clock_settime] # lint: ignore[time64-twin]: no Y2038 here"
    )
    (here / "bad.yml").write_text(text)
    found = as_json(here, "bad.yml", "--arch", "x86_64")
    assert {one["code"] for one in found} == {"clock-twin"}
