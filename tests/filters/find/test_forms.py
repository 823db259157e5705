"""FILTER is one thing: each form of it, in each command that takes one."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from command import ROOT, Result, forked, inside, said, seccompgen, snapshot
from longer import long_but
from seccompgen import cli
from seccompgen.distribute import pytest_plugin
from seccompgen.pipeline.build import build_policy, shipped_tables
from seccompgen.policy.stock import stock_policies

POLICY = """\
description: Lets a small program run.
arches: [x86_64, aarch64]
flags: [tsync]
default_action: allow
syscalls:
- {action: errno(EACCES), names: [ptrace]}
"""
ALLOWLIST = POLICY.replace("allow", "errno").replace("errno(EACCES)", "allow")
BYTES = {"module", "directory", "raw"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every form of a filter, of our policy and of a stock one."""
    directory = tmp_path_factory.mktemp("filters")
    (directory / ".git").touch()  # as in a checkout: the manifest names what lies above it
    (directory / "worker.yml").write_text(POLICY)
    (directory / "allowlist.yml").write_text(ALLOWLIST)
    for args in (
        ("build", "worker.yml", "-o", "built"),
        ("build", "worker.yml", "-o", "raw", "--format", "bpf"),
        ("vendor", "worker.yml", "app/sandbox"),
    ):
        run = inside(*args, cwd=directory)
        assert run.code == 0, run.err
    return directory


FORMS = {
    "policy": "worker.yml",
    "stock": "no_exec",
    "module": "built/worker",
    "directory": "app/sandbox",
    "raw": "raw/worker.x86_64.bpf",
}
ARCH = ("--arch", "x86_64")


@dataclass(frozen=True)
class Command:
    """A command with ``FILTER`` in its words; ``rules``: it needs those of a policy."""

    words: tuple[str, ...]
    rules: bool = False
    forks: bool = False
    option: str = ""

    def run(self, filter_word: str, cwd: Path) -> Result:
        words = [filter_word if word == "FILTER" else word for word in self.words]
        return (forked if self.forks else inside)(*words, cwd=cwd)


COMMANDS = {
    "build": Command(("build", "FILTER", *ARCH, "-o", "out", "--format", "bpf"), rules=True),
    "vendor": Command(("vendor", "FILTER", *ARCH, "out"), rules=True),
    "verify": Command(("verify", "FILTER", *ARCH)),
    "verify --policy": Command(
        ("verify", "raw/worker.x86_64.bpf", *ARCH, "--policy", "FILTER"),
        rules=True,
        option="--policy",
    ),
    "lint": Command(("lint", "FILTER", *ARCH, "--select", "pointer-argument")),
    "drift": Command(("drift", "FILTER", *ARCH)),
    "equiv, left": Command(("equiv", "FILTER", "worker.yml", *ARCH)),
    "equiv, right": Command(("equiv", "worker.yml", "FILTER", *ARCH)),
    "subset, left": Command(("subset", "FILTER", "worker.yml", *ARCH)),
    "subset, right": Command(("subset", "worker.yml", "FILTER", *ARCH)),
    "disasm": Command(("disasm", "FILTER", *ARCH)),
    "diff, left": Command(("diff", "FILTER", "worker.yml", *ARCH)),
    "diff, right": Command(("diff", "worker.yml", "FILTER", *ARCH)),
    "explain": Command(("explain", "FILTER", "read", *ARCH)),
    "report": Command(("report", "FILTER", *ARCH, "-o", "out.html")),
    "report --against": Command(
        ("report", "worker.yml", *ARCH, "--against", "FILTER", "-o", "out.html")
    ),
    **{
        f"{name}, {place}": Command((name, *words, *ARCH, *options, "--name", "x", "-o", "o"))
        for name, options in (
            ("intersect", ()),
            ("union", ()),
            ("subtract", ("--action", "errno")),
        )
        for place, words in (
            ("first", ("FILTER", "allowlist.yml")),
            ("second", ("allowlist.yml", "FILTER")),
        )
    },
    "run": Command(("run", "FILTER", "--", "true"), forks=True),
    "run --trace": Command(("run", "--trace", "FILTER", "--", "true"), forks=True),
    "record --against": Command(
        ("record", "--against", "FILTER", "--", "true"),
        rules=True,
        forks=True,
        option="--against",
    ),
    "record --merge": Command(
        ("record", "-o", "out.yml", "--merge", "allowlist.yml", "--merge", "FILTER"),
        rules=True,
        option="--merge",
    ),
}
NO = {
    # What is asked has the answer no, so that it was understood.
    ("equiv, left", "stock"): 1,
    ("equiv, right", "stock"): 1,
    ("diff, left", "stock"): 1,
    ("diff, right", "stock"): 1,
    ("subset, left", "stock"): 1,
    ("subset, right", "stock"): 1,
    ("verify --policy", "stock"): 1,
    ("record --against", "stock"): 1,
    # Only what allows by rules merges, and these refuse by rules.
    ("record --merge", "policy"): 2,
    ("record --merge", "stock"): 2,
}
_PROFILE = "{names: [ptrace], action: SCMP_ACT_ERRNO, errnoRet: 13}"
FOREIGN = {
    # By the names of their files. All but ptrace, or what a log has of a small program.
    "docker.json": '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], '
    '"action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}',
    "spo.yml": "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\n"
    f"metadata: {{name: a}}\nspec:\n  defaultAction: SCMP_ACT_ALLOW\n  syscalls:\n  - {_PROFILE}\n",
    "a.policy": "@denylist\nptrace: return EACCES\n",
    "vmm.json": '{"main": {"mismatch_action": "allow", "match_action": {"errno": 13}, '
    '"filter": [{"syscall": "ptrace"}]}}',
    "a.kafel": "ERRNO(13) { ptrace }\nDEFAULT ALLOW\n",
    "jail.cfg": 'name: "a"\nseccomp_string: "ERRNO(13) { ptrace } DEFAULT ALLOW"\n',
    "a.service": "[Service]\nExecStart=/bin/true\nSystemCallFilter=~ptrace:EACCES\n",
    "SYSCALLS.TXT": "int read(int) all\nint execve(void) all\nvoid exit_group(int) all\n",
    "a.strace": 'execve("/bin/true", ["true"], 0x7ffc /* 20 vars */) = 0\nread(3, "x", 1) = 1\n'
    "exit_group(0) = ?\n",
    "audit.log": "type=SECCOMP msg=audit(1.1:1): auid=0 uid=0 gid=0 ses=1 subj=x pid=1 "
    'comm="a" exe="/bin/a" sig=0 arch=c000003e syscall=0 compat=0 ip=0x7f code=0x7ffc0000\n',
}
ALLOWLISTS = {"SYSCALLS.TXT", "a.strace", "audit.log"}
"""Too little for any program to run; these merge."""


NO_POLICY = {("verify", "raw")}
"""Instructions are proved against a policy, which has to be named."""


def test_every_command_that_takes_a_filter_is_tried() -> None:
    """By the names that they give it; a new command has to come into the table."""
    context = click.Context(cli.command)
    takes = {
        name
        for name in cli.command.list_commands(context)
        if (command := cli.command.get_command(context, name))
        for parameter in command.params
        if any(word in (parameter.metavar or "") for word in ("FILTER", "POLICY"))
    }
    assert takes - {"amend", "scan", "convert"} == {
        command.words[0] for command in COMMANDS.values()
    }


@pytest.mark.few(7, "makes and proves filters of many forms", long=40)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", COMMANDS)
def test_each_form_in_each_command(name: str, form: str, made: Path, tmp_path: Path) -> None:
    command = COMMANDS[name]
    for file in made.iterdir():
        if file.is_dir():
            (tmp_path / file.name).symlink_to(file)
        else:
            shutil.copy(file, tmp_path)  # a link out of the directory is not followed
    before = snapshot(made)
    run = command.run(FORMS[form], tmp_path)
    assert snapshot(made) == before
    if command.rules and form in BYTES:
        what = "raw instructions" if form == "raw" else "a generated module"
        source = {
            "module": "the policy that it was made from, as its banner says",
            "directory": "the policy that it was made from, worker.yml",
            "raw": "the policy that they were compiled from",
        }[form]
        needs = command.option or command.words[0]
        told = f"is {what}, and {needs} needs the rules of a policy: name {source}"
        if form == "directory":
            # Through a link, the policy is where that leads.
            assert run.err.startswith(f"app/sandbox/worker: {told.removesuffix('worker.yml')}")
            assert run.err.endswith("worker.yml\n")
        else:
            assert run.err == f"{FORMS[form]}: {told}\n"
        assert (run.code, run.out) == (2, "")
    elif (name, form) in NO_POLICY:
        assert (run.code, "say with --policy" in run.err) == (2, True)
    else:
        assert run.code == NO.get((name, form), 0), run.err
        assert "cannot read" not in run.err
        assert "neither" not in run.err


ALL = [(name, file) for name in COMMANDS for file in FOREIGN]


@pytest.mark.few(5, "makes and proves filters of many forms", long=20)
@pytest.mark.parametrize(
    ("name", "file"),
    long_but(
        ALL[::8], ALL, "every format in every command, of which each is tried with others", long=20
    ),
)
def test_each_format_in_each_command(name: str, file: str, made: Path, tmp_path: Path) -> None:
    command = COMMANDS[name]
    for made_file in made.iterdir():
        (tmp_path / made_file.name).symlink_to(made_file)
    (tmp_path / file).write_text(FOREIGN[file])
    run = command.run(file, tmp_path)
    if name == "record --merge" and file not in ALLOWLISTS:
        assert (run.code, "only rules that allow merge" in run.err) == (2, True), run
    elif name.startswith("run") and file in ALLOWLISTS:
        assert run.code in {127, -31}, run
    elif command.words[0] in {"diff", "drift", "equiv", "subset", "lint"} or command.option:
        assert run.code in {0, 1}, run
    else:
        assert run.code == 0, run
    assert "Traceback" not in run.err


@pytest.mark.few(24, "makes and proves filters of many forms")
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_there_is_said_with_what_is_near(name: str, made: Path) -> None:
    for word, told in (
        ("no_netwrok", "neither a file nor a stock policy (did you mean the stock policy "),
        ("zzz", "neither a file nor a stock policy; these are compute_only, no_escape, "),
        ("worker", "neither a file nor a stock policy (did you mean 'worker.yml'?)"),
        ("no_exec.yml", "No such file or directory (did you mean the stock policy 'no_exec'?)"),
        ("wroker.yml", "No such file or directory (did you mean 'worker.yml'?)"),
        ("raw/worker.x86_64.bfp", "No such file or directory"),
    ):
        run = COMMANDS[name].run(word, made)
        assert (run.code, run.out) == (2, "")
        assert word in run.err
        assert told in run.err
        assert len(run.err.splitlines()) == 1


def test_the_name_of_a_stock_policy_is_that_policy_whatever_lies_here(tmp_path: Path) -> None:
    """A file that came with a download must not be what ``run no_exec`` confines by."""
    (tmp_path / "no_exec").write_text(POLICY)
    (tmp_path / "no_network").mkdir()
    run = forked("run", "no_exec", "--", "sh", "-c", "exec true", cwd=tmp_path)
    assert run.code == 126
    note = "no_exec: note: the stock policy is used; for the one in this directory, write ./no_exec"
    assert note in run.err.splitlines()
    run = forked("run", "./no_exec", "--", "sh", "-c", "exec true", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert inside("verify", "no_network", *ARCH, cwd=tmp_path).code == 0
    code, _, err = said(inside("verify", "./no_network", *ARCH, cwd=tmp_path))
    assert (code, err) == (2, ["no_network: no filters in this directory"])


def test_a_directory_of_several_is_for_commands_that_take_several(made: Path) -> None:
    assert inside("verify", "app/sandbox", *ARCH, cwd=made).code == 0
    code, _, err = said(inside("disasm", "raw", *ARCH, cwd=made))
    assert (code, err) == (
        2,
        [
            "raw: has 2 filters, and here one is needed: name one of raw/worker.aarch64.bpf, "
            "raw/worker.x86_64.bpf"
        ],
    )


def test_all_that_is_wrong_is_said_at_once(made: Path) -> None:
    code, _, err = said(inside("verify", "one", "worker.yml", "two.yml", cwd=made))
    assert (code, len(err)) == (2, 2)


# --- the option of pytest ------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_option_of_pytest(form: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    if form in BYTES:
        with pytest.raises(pytest.UsageError, match="--seccompgen-enforce needs the rules"):
            pytest_plugin._orders(FORMS[form])
    else:
        name = {"policy": "worker", "stock": "no_exec"}[form]
        assert pytest_plugin._orders(FORMS[form])["name"] == name


# --- included ------------------------------------------------------------------------------------

INCLUDING = """\
arches: [x86_64]
include: [no_network]
default_action: errno(EPERM)
syscalls:
- {action: allow, names: [read, write]}
"""


@pytest.fixture
def including(tmp_path: Path) -> Path:
    (tmp_path / "mine.yml").write_text(INCLUDING)
    return tmp_path


def test_a_stock_policy_is_included_by_its_name(including: Path) -> None:
    built = build_policy(including / "mine.yml", shipped_tables())
    stock, mine = stock_policies()["no_network"], including / "mine.yml"
    assert [file for file, _ in built.policy.sources] == [str(stock), str(mine)]
    (including / "by_path.yml").write_text(INCLUDING.replace("no_network", str(stock)))
    by_path = build_policy(including / "by_path.yml", shipped_tables())
    assert by_path.programs[0].instructions == built.programs[0].instructions


def test_what_includes_one_is_vendored_as_anything_else(including: Path) -> None:
    assert inside("vendor", "mine.yml", "sandbox", cwd=including).code == 0
    assert inside("vendor", "--check", "sandbox", cwd=including).code == 0
    assert inside("verify", "sandbox", cwd=including).code == 0
    for name, data in snapshot(including / "sandbox").items():
        assert str(ROOT).encode() not in data, name
    manifest = json.loads((including / "sandbox" / "seccomp-manifest.json").read_text())
    (one,) = manifest["filters"]
    assert [source["name"] for source in one["sources"]] == ["no_network.yml", "mine.yml"]
    assert (one["policy"], one["stock"]) == ("../mine.yml", False)


def test_the_depfile_has_the_stock_policy(including: Path) -> None:
    args = ("build", "mine.yml", "-o", "out", "--depfile", "out.d")
    assert inside(*args, cwd=including).code == 0
    named = str(stock_policies()["no_network"]).replace(" ", "\\ ")
    assert named in (including / "out.d").read_text()


def test_a_file_beside_a_policy_is_included_by_its_path(including: Path) -> None:
    (including / "no_network").write_text("syscalls:\n- {action: allow, names: [close]}\n")
    built = build_policy(including / "mine.yml", shipped_tables())
    told = "the stock policy no_network is meant; for the file beside this one, write ./no_network"
    assert told in [note.message for note in built.notes]
    (including / "mine.yml").write_text(INCLUDING.replace("no_network", "./no_network"))
    built = build_policy(including / "mine.yml", shipped_tables())
    assert [Path(file).name for file, _ in built.policy.sources] == ["no_network", "mine.yml"]
    assert built.notes == ()


def test_an_include_that_is_not_there(including: Path) -> None:
    (including / "mine.yml").write_text(INCLUDING.replace("no_network", "no_netwrok"))
    code, _, (line,) = said(inside("build", "mine.yml", "-o", "o", cwd=including))
    assert (code, line) == (
        2,
        "mine.yml:2:11: cannot read no_netwrok: No such file or directory "
        "(did you mean the stock policy 'no_network'?)",
    )


def test_what_combines_stock_policies_says_how_to_do_it_again(tmp_path: Path) -> None:
    words = ("intersect", "no_network", "no_exec", *ARCH, "--name", "both")
    assert inside(*words, "-o", "out", cwd=tmp_path).code == 0
    text = (tmp_path / "out" / "both" / "__init__.py").read_text()
    assert "seccompgen intersect no_network no_exec --arch x86_64 --name both -o DIR" in text
    assert inside("verify", "out/both", cwd=tmp_path).code == 0


@pytest.mark.long("makes and proves filters of many forms")
def test_the_option_of_pytest_from_outside(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    import subprocess

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--seccompgen-enforce", "no_network", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no_network.yml: 0 of " in run.stderr
    assert seccompgen("disasm", "no_network.yml", cwd=tmp_path).code == 2
