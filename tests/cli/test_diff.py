"""``diff`` from outside: two filters, two revisions, other tables; what git itself shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, inside, older_tables
from upstream import NEW, OLD

BASE = """\
arches: [x86_64, aarch64]
default_action: errno
syscalls:
- {action: allow, names: [read, write, open]}
- action: allow
  names: [socket]
  when: family in {AF_UNIX, AF_INET}
"""
AFTER = """\
arches: [x86_64, aarch64]
default_action: errno
flags: [tsync]
syscalls:
- {action: allow, names: [write, close, socketpair]}
- {action: 'errno(ENOSYS)', names: [clone3]}
- action: allow
  names: [socket]
  when: family in {AF_UNIX, AF_INET, AF_ALG}
"""
TEXT = """\
a.yml -> b.yml: 2 newly permitted, 1 newly refused, 1 answered otherwise, 1 setting

newly permitted:
  close, socketpair
    errno(EPERM) -> allow on x86_64, aarch64
    before: default_action, a.yml:2:17
    after: rule 1, b.yml:5:3
    such as close() on x86_64
  socket where family == AF_ALG
    errno(EPERM) -> allow on x86_64, aarch64
    before: default_action, a.yml:2:17
    after: rule 3, b.yml:7:3
    such as socket(AF_ALG) on x86_64

newly refused:
  open, read
    allow -> errno(EPERM) on x86_64, aarch64
    before: rule 1, a.yml:4:3
    after: default_action, b.yml:2:17
    such as open() on x86_64

answered otherwise:
  clone3
    errno(EPERM) -> errno(ENOSYS) on x86_64, aarch64
    before: default_action, a.yml:2:17
    after: rule 2, b.yml:6:3
    such as clone3() on x86_64

besides:
  flags: none -> tsync
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "a.yml").write_text(BASE)
    (tmp_path / "b.yml").write_text(AFTER)
    return tmp_path


# --- two filters ---------------------------------------------------------------------------------


def test_what_changed_is_told_the_newly_permitted_first(here: Path) -> None:
    run = inside("diff", "a.yml", "b.yml", cwd=here)
    assert (run.code, run.out, run.err) == (1, TEXT, "")
    assert inside("diff", "a.yml", "a.yml", cwd=here).code == 0


def test_json_has_the_form_of_the_contract(here: Path) -> None:
    run = inside("diff", "a.yml", "b.yml", "--json", cwd=here)
    told = json.loads(run.out)
    one = next(each for each in told["changes"] if each["syscall"] == "socket")
    contract = ("syscall", "abis", "condition", "before", "after", "example")
    assert [one[key] for key in contract] == [
        "socket",
        ["x86_64", "aarch64"],
        "family == AF_ALG",
        "errno(EPERM)",
        "allow",
        [41, 38, 0, 0, 0, 0, 0],
    ]
    assert [each["syscall"] for each in told["changes"]] == [
        *("close", "socket", "socketpair", "open", "read", "clone3")
    ]
    assert told["settings"] == {"flags": ["none", "tsync"]}
    assert one["rules"]["after"] == [{"label": "rule 3", "file": "b.yml", "line": 7, "column": 3}]


def test_markdown_lets_nothing_out_of_its_place(here: Path) -> None:
    hostile = "x|y <img src=x onerror=alert(1)> `@admin` #1 [a](http://b.c) www.d.e_f_.yml"
    hostile = hostile.replace("/", "")
    (here / hostile).write_text(AFTER)
    run = inside("diff", "a.yml", hostile, "--format", "markdown", cwd=here)
    assert run.code == 1
    rows = [line for line in run.out.splitlines() if line.startswith("| **")]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {7}
    inert = re.sub(r"</?code>|<br>|\*\*newly \w+\*\*|\*\*answered otherwise\*\*", "", run.out)
    for character in "<>`@[]_.":
        assert character not in inert.replace("&#", ""), character
    outside_code = re.sub(r"<code>.*?</code>", "", run.out)
    assert "img" not in outside_code
    assert "admin" not in outside_code


def test_a_long_table_is_folded_up(here: Path) -> None:
    rules = "".join(
        f"- {{action: errno({n}), names: [{name}]}}\n"
        for n, name in enumerate(
            [
                "close",
                "stat",
                "fstat",
                "lstat",
                "poll",
                "lseek",
                "mmap",
                "brk",
                "pipe",
                "dup",
                "dup2",
                "pause",
                "alarm",
            ],
            20,
        )
    )
    (here / "c.yml").write_text(BASE.replace("syscalls:\n", f"syscalls:\n{rules}"))
    run = inside("diff", "a.yml", "c.yml", "--format", "markdown", cwd=here)
    assert "<details>\n<summary>13 changes</summary>\n\n|" in run.out
    assert inside("diff", "a.yml", "b.yml", "--format", "markdown", cwd=here).out.count("<det") == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("a.yml",), "name two FILTERs, not 1; or a revision, as --git main"),
        (("a.yml", "no.yml"), "cannot read no.yml: No such file or directory"),
        (("a.yml", "b.yml", "--arch", "s390x"), "a.yml: not for s390x: its arches leave that out"),
    ],
)
def test_wrong_words_are_told(here: Path, words: tuple[str, ...], says: str) -> None:
    run = inside("diff", *words, cwd=here)
    assert (run.code, run.out) == (2, "")
    assert run.err.splitlines()[0].startswith(says)


@pytest.mark.long("runs commands on many filters")
def test_a_default_that_changes_everywhere_is_told_once(here: Path) -> None:
    everywhere = BASE.replace("arches: [x86_64, aarch64]\n", "").replace(
        "names: [socket]", "names: [socket]\n  multiplexed: errno"
    )
    (here / "c.yml").write_text(everywhere)
    (here / "d.yml").write_text(everywhere.replace("default_action: errno", "default_action: log"))
    run = inside("diff", "c.yml", "d.yml", cwd=here)
    assert run.code == 1
    assert len(run.out.splitlines()) < 40
    assert run.out.count("on all 27 ABIs") >= 2


# --- two revisions -------------------------------------------------------------------------------


def git(directory: Path, *words: str) -> str:
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    run = subprocess.run(
        ["git", *who, *words], cwd=directory, env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in git: its policy includes another, which the second commit changes."""
    top = tmp_path_factory.mktemp("project")
    git(top, "init", "-q", "-b", "main", ".")
    (top / "pyproject.toml").write_text(
        '[tool.seccompgen]\npolicies = "seccomp"\noutput = "sandbox"\n'
    )
    (top / "common").mkdir()
    (top / "seccomp").mkdir()
    (top / "common" / "base.yml").write_text(BASE)
    (top / "seccomp" / "worker.yml").write_text("include: [../common/base.yml]\n")
    (top / "seccomp" / "same.yml").write_text("arches: [x86_64]\n" + BASE.partition("\n")[2])
    (top / ".gitattributes").write_text("sandbox/*/*.py diff=seccompgen\n*.bpf diff=seccompgen\n")
    git(top, "config", "diff.seccompgen.textconv", "seccompgen diff --textconv")
    assert inside("build", cwd=top).code == 0
    assert inside("build", "seccomp/worker.yml", "--format", "bpf", "-o", "raw", cwd=top).code == 0
    git(top, "add", "-A")
    git(top, "commit", "-qm", "first")
    (top / "common" / "base.yml").write_text(BASE.replace("AF_INET}", "AF_INET, AF_ALG}"))
    (top / "seccomp" / "same.yml").write_text(
        "# edited\narches: [x86_64]\n" + BASE.partition("\n")[2]
    )
    (top / "seccomp" / "new.yml").write_text(BASE)
    assert inside("build", cwd=top).code == 0
    assert inside("build", "seccomp/worker.yml", "--format", "bpf", "-o", "raw", cwd=top).code == 0
    git(top, "add", "-A")
    git(top, "commit", "-qm", "second")
    return top


def test_a_projects_filters_are_compared_with_a_revision(repository: Path) -> None:
    run = inside("diff", "--git", "HEAD~1", cwd=repository)
    expected = """\
seccomp/new.yml: new
seccomp/same.yml: edited, with no difference in meaning


HEAD~1:seccomp/worker.yml -> seccomp/worker.yml: 1 newly permitted

newly permitted:
  socket where family == AF_ALG
    errno(EPERM) -> allow on x86_64, aarch64
    before: default_action, HEAD~1:common/base.yml:2:17
    after: rule 2, common/base.yml:5:3
    such as socket(AF_ALG) on x86_64
sandbox/new: new
sandbox/same: edited, with no difference in meaning
sandbox/worker: the same changes as seccomp/worker.yml
"""
    assert (run.code, run.out, run.err) == (1, expected, "")
    told = json.loads(inside("diff", "--git", "HEAD~1", "--json", cwd=repository).out)
    assert {(one["filter"], one["status"]) for one in told["filters"]} == {
        ("seccomp/new.yml", "added"),
        ("seccomp/same.yml", "same"),
        ("seccomp/worker.yml", "changed"),
        ("sandbox/new", "added"),
        ("sandbox/same", "same"),
        ("sandbox/worker", "as-policy"),
    }
    assert [(one["filter"], one["syscall"]) for one in told["changes"]] == [
        ("seccomp/worker.yml", "socket")
    ]


def test_nothing_differs_from_the_last_revision(repository: Path) -> None:
    run = inside("diff", "--git", "HEAD", cwd=repository)
    assert (run.code, run.out, run.err) == (0, "no filter differs\n", "")


def test_two_revisions_and_paths_from_below(repository: Path) -> None:
    below = repository / "raw"
    run = inside("diff", "--git", "HEAD~1..HEAD", ".", "../seccomp/worker.yml", cwd=below)
    assert run.code == 1
    heads = [line for line in run.out.splitlines() if " -> " in line and line[0] == "H"]
    assert heads == [
        "HEAD~1:seccomp/worker.yml -> HEAD:seccomp/worker.yml: 1 newly permitted",
        "HEAD~1:raw/worker.aarch64.bpf -> HEAD:raw/worker.aarch64.bpf: 1 newly permitted",
        "HEAD~1:raw/worker.x86_64.bpf -> HEAD:raw/worker.x86_64.bpf: 1 newly permitted",
    ]
    assert inside("diff", "--git", "HEAD~1...HEAD", ".", cwd=below).code == 1


def test_an_include_of_the_revision_is_read_and_never_the_work_trees(repository: Path) -> None:
    """A file of the work tree does not stand in for one that the revision lacks."""
    lost = repository / "common" / "base.yml"
    kept = lost.read_text()
    git(repository, "rm", "-q", "--cached", "common/base.yml")
    git(repository, "commit", "-qm", "without")
    try:
        run = inside("diff", "--git", "HEAD~1..HEAD", "seccomp/worker.yml", cwd=repository)
        assert lost.read_text() == kept
        assert run.code == 2
        assert run.err.startswith("HEAD:seccomp/worker.yml:1:11: cannot read HEAD:")
        assert "No such file" in run.err
    finally:
        git(repository, "reset", "-q", "HEAD~1")


def test_a_revision_leads_nowhere_else(repository: Path, tmp_path: Path) -> None:
    """A link of a revision that leads out of it is not followed."""
    (tmp_path / "outside.yml").write_text(BASE)
    link = repository / "seccomp" / "link.yml"
    link.symlink_to(tmp_path / "outside.yml")
    git(repository, "add", "seccomp/link.yml")
    git(repository, "commit", "-qm", "link")
    try:
        run = inside("diff", "--git", "HEAD~1..HEAD", "seccomp", cwd=repository)
        assert "link.yml" not in run.out + run.err
    finally:
        git(repository, "reset", "-q", "--hard", "HEAD~1")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--git", "mian"), 2, "--git: 'mian' is no revision of this repository; 'git branch -a'"),
        (("--git=--output=x",), 2, "--git: '--output=x' is no revision of this repository; write"),
        (("--git", "HEAD", "no.yml"), 2, "no.yml: neither here nor in HEAD"),
        (("--git", "HEAD", "../x.yml"), 2, ""),
    ],
)
def test_what_git_does_not_have_is_told(
    repository: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    run = inside("diff", *words, cwd=repository)
    assert (run.code, run.out) == (code, "")
    assert run.err.startswith(says)


def test_without_a_repository_or_git(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = inside("diff", "--git", "main", cwd=tmp_path)
    assert run.code == 2
    assert "is in no git repository" in run.err
    monkeypatch.setenv("PATH", str(tmp_path))
    run = inside("diff", "--git", "main", cwd=repository)
    assert run.code == 3
    assert run.err.startswith("cannot run git: No such file or directory; install it")


# --- git's own commands --------------------------------------------------------------------------

MEANING = """\
-socket where family == AF_UNSPEC or family >= AF_AX25: errno(EPERM)
-socket where family in {AF_UNIX, AF_INET}: allow
+socket where family in {AF_UNIX, AF_INET, AF_ALG}: allow
+socket where family not in {AF_UNIX, AF_INET, AF_ALG}: errno(EPERM)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("diff", "HEAD~1", "HEAD"),
        *[
            pytest.param(words, marks=pytest.mark.long("git asks in the same way"))
            for words in (("log", "-p", "-1", "HEAD"), ("show", "HEAD"))
        ],
    ],
)
def test_git_shows_the_meaning_of_modules_and_raw_programs(
    repository: Path, words: tuple[str, ...]
) -> None:
    shown = git(repository, *words, "--", "sandbox/worker", "raw")
    assert "\\x" not in shown
    assert "sha256:" not in shown
    assert shown.count(MEANING) == 4  # two ABIs, in two forms


@pytest.mark.long("runs commands on many filters")
def test_what_was_added_to_a_module_is_never_hidden(repository: Path) -> None:
    module = repository / "sandbox" / "worker" / "_x86_64.py"
    kept = module.read_bytes()
    module.write_bytes(kept + b"import os\n")
    try:
        assert "+import os" in git(repository, "diff", "HEAD", "--", str(module)).splitlines()
        module.write_bytes(kept + b'OTHER = (\n    b"\\x90\\x90"\n)\n')
        assert "\\x90" in git(repository, "diff", "HEAD", "--", str(module))
        module.write_bytes(kept.replace(b'    b"\\x06', b'    b"\\x05', 1))
        assert "\\x05" in git(repository, "diff", "HEAD", "--", str(module))
    finally:
        module.write_bytes(kept)


def test_other_files_are_shown_as_they_are(repository: Path, tmp_path: Path) -> None:
    policy = repository / "common" / "base.yml"
    assert inside("diff", "--textconv", policy).out == policy.read_text()
    (tmp_path / "none.bpf").write_bytes(bytes(range(16)))
    assert inside("diff", "--textconv", tmp_path / "none.bpf").out == (
        "00 01 02 03 04 05 06 07\n08 09 0a 0b 0c 0d 0e 0f\n"
    )
    assert inside("diff", "--textconv", tmp_path / "gone.py").code == 2


# --- other tables, a new project, the page -------------------------------------------------------


@pytest.mark.long("real tables of an older kernel")
def test_calls_of_new_tables_are_told_with_the_answers_of_a_policy(tmp_path: Path) -> None:
    older = older_tables()
    policy = tmp_path / "blocklist.yml"
    policy.write_text(
        "arches: [x86_64]\ndefault_action: allow\nunknown_action: errno(ENOSYS)\nsyscalls:\n"
        "- {action: errno, names: [ptrace]}\n"
    )
    run = inside("diff", "--tables-before", older, policy, "--json")
    assert run.code == 1
    told = json.loads(run.out)
    assert told["tags"] == {"before": OLD, "after": NEW}
    (one,) = told["filters"]
    new = {call["syscall"]: call for call in one["new_calls"]}
    assert new["mseal"]["answers"] == ["allow"]
    assert [rule["label"] for rule in new["mseal"]["rules"]] == ["default_action"]
    assert {change["syscall"] for change in told["changes"]} == set(new)
    assert {(c["effect"], c["before"]) for c in told["changes"]} == {("permitted", "errno(ENOSYS)")}
    run = inside("diff", "--tables-before", older, policy)
    assert run.out.startswith(f"{policy}: {len(new)} calls are new from {OLD} to {NEW}\n")
    # A program answers numbers, whatever they are called.
    assert inside("build", policy, "--format", "bpf", "-o", tmp_path).code == 0
    raw = tmp_path / "blocklist.x86_64.bpf"
    assert inside("diff", "--tables-before", older, raw).code == 0


@pytest.mark.long("runs commands on many filters")
def test_a_new_project_in_git_gets_attributes_unless_there_are_some(tmp_path: Path) -> None:
    outside = inside("init", cwd=_directory(tmp_path / "outside"))
    assert ".gitattributes" not in outside.out
    top = _directory(tmp_path / "top")
    git(top, "init", "-q", ".")
    run = inside("init", cwd=top)
    assert "wrote .gitattributes\n" in run.out
    assert "git config diff.seccompgen.textconv 'seccompgen diff --textconv'\n" in run.out
    text = (top / ".gitattributes").read_text()
    assert text == "sandbox/*/*.py diff=seccompgen\n"
    module = "sandbox/no_exec/_x86_64.py"
    assert git(top, "check-attr", "diff", module).endswith("diff: seccompgen\n")
    again = inside("init", "--policy", "no_network", cwd=top)
    assert "and add to .gitattributes" not in again.out
    (top / ".gitattributes").write_text("*.c text\n")
    last = inside("init", cwd=top)
    assert "kept .gitattributes, which is there already\n" in last.out
    assert last.out.endswith(f"   and add to .gitattributes: {text}")


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    rule = "- {action: allow, names: [socket], when: 'family in {AF_UNIX, AF_INET}'}\n"
    (tmp_path / "old.yml").write_text(
        "arches: [x86_64, aarch64]\ndefault_action: errno\nsyscalls:\n"
        f"- {{action: allow, names: [read, write, open]}}\n{rule}"
    )
    (tmp_path / "new.yml").write_text(
        "arches: [x86_64, aarch64]\nflags: [tsync]\ndefault_action: errno\nsyscalls:\n"
        f"- {{action: allow, names: [write]}}\n{rule.replace('INET', 'INET, AF_ALG')}"
    )
    page = (ROOT / "docs" / "diff.md").read_text()
    shown = inside("diff", "old.yml", "new.yml", cwd=tmp_path).out
    assert f"```\n{shown}```\n" in page
    assert MEANING.splitlines()[2] in page
