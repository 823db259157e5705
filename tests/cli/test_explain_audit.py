"""``explain --audit``: what logs tell of refused calls, and the changes that would permit them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command import inside, said
from seccompgen.core.abis import ABIS
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
NUMBERS = TABLES.tables["x86_64"].numbers
POLICY = """\
# A worker.
arches: [x86_64, aarch64]
default_action: kill_process
syscalls:
# What it lives on.
- action: allow
  names: [read, write, exit_group]
- action: allow
  names_with_args:
  - {name: mmap, when: not prot & PROT_EXEC}
  - {name: openat, when: flags & O_ACCMODE == O_RDONLY}
# No others are asked.
- action: errno(EPERM)
  names: [connect, ptrace]
- action: errno(EACCES)
  names_with_args:
  - {name: openat, when: flags & O_CREAT}
# The end.

no_new_privs: true
"""
KILLED, REFUSED = 0x80000000, 0x00050000


def record(call: str | int, code: int = KILLED, serial: int = 1, arch: int = 0xC000003E) -> str:
    nr = NUMBERS[call] if isinstance(call, str) else call
    return (
        f"type=SECCOMP msg=audit(1700000000.123:{serial}): auid=1000 uid=1000 gid=1000 ses=3 "
        f'pid=4711 comm="worker" exe="/usr/bin/worker" sig=31 arch={arch:x} syscall={nr} compat=0 '
        f"ip=0x7f0000001234 code={code:#x}"
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "worker.yml").write_text(POLICY)
    return tmp_path


def report(here: Path, *lines: str, policy: str = "worker.yml") -> dict[str, Any]:
    (here / "a.log").write_text("".join(f"{line}\n" for line in lines))
    run = inside("explain", "--audit", "a.log", policy, "--json", cwd=here)
    assert (run.code, run.err) == (0, "")
    found: dict[str, Any] = json.loads(run.out)
    return found


def only(here: Path, *lines: str, policy: str = "worker.yml") -> dict[str, Any]:
    (one,) = report(here, *lines, policy=policy)["calls"]
    assert isinstance(one, dict)
    return one


# --- text ----------------------------------------------------------------------------------------


def test_a_report_in_words(here: Path) -> None:
    lines = [record("socket", serial=n) for n in range(3)]
    lines += ["something else", record("openat", REFUSED, 9), record("read", KILLED, 10)]
    lines += ["type=SECCOMP msg=audit(1700000000.123:11): arch=c000003e", "audit: audit_lost=4 x"]
    lines += ["worker.service: Main process exited, code=killed, status=31/SYS"]
    (here / "a.log").write_text("\n".join(lines))
    assert said(inside("explain", "--audit", "a.log", "worker.yml", cwd=here)) == (
        0,
        [
            "a.log: 5 records of seccomp in 9 lines, 3 calls",
            "",
            "3 times  socket on x86_64: kill_process",
            "  first at a.log:1; by worker; called before 0x7f0000001234",
            "  by worker.yml:3:17 (default_action)",
            "  to permit it, put this behind the last rule:",
            "    --- a/worker.yml",
            "    +++ b/worker.yml",
            "    @@ -17,2 +17,4 @@",
            "       - {name: openat, when: flags & O_CREAT}",
            "    +- action: allow",
            "    +  names: [socket]",
            "     # The end.",
            "  it permits all arguments, because records do not have them: restrict it by 'when'",
            "  lint has nothing to say against it",
            "",
            "once  openat on x86_64: errno",
            "  first at a.log:5; by worker; called before 0x7f0000001234",
            "  by worker.yml:17:12 (rule 4)",
            "  permitted where flags & O_ACCMODE == O_RDONLY",
            "  the record does not show flags",
            "  to permit it, take it out of rule 4, and put a rule behind the last:",
            "    --- a/worker.yml",
            "    +++ b/worker.yml",
            "    @@ -14,5 +14,5 @@",
            "       names: [connect, ptrace]",
            "    -- action: errno(EACCES)",
            "    +- action: allow",
            "       names_with_args:",
            "    -  - {name: openat, when: flags & O_CREAT}",
            "    +  - {name: openat, when: 'flags & (O_ACCMODE|O_CREAT) == O_WRONLY|O_CREAT or "
            "flags & (O_RDWR|O_CREAT) == O_CREAT|2'}",
            "     # The end.",
            "  lint has nothing to say against it",
            "",
            "once  read on x86_64: kill_process",
            "  first at a.log:6; by worker; called before 0x7f0000001234",
            "  another filter: this one answers allow",
            "",
            "a.log:9: SIGSYS ended a process, and the log does not name the call: "
            "worker.service: Main process exited, code=killed, status=31/SYS",
            "1 record could not be parsed:",
            "  a.log:7: the record has no arch= or no syscall=: it is cut off",
            "4 records more were lost, according to the log",
        ],
        [],
    )


# --- changes -------------------------------------------------------------------------------------


def answer(path: Path, name: str | int, args: tuple[int, ...] = (), abi: str = "x86_64") -> int:
    policy, _ = load_policy(path, TABLES)
    nr = TABLES.tables[abi].numbers[name] if isinstance(name, str) else name
    six = (*args, *(0,) * (6 - len(args)))
    call = Call(nr, ABIS[abi].audit_arch, six)  # type: ignore[arg-type] # six
    return meaning(policy, ABIS["x86_64"], TABLES).answer(call)


def applied(here: Path, change: dict[str, Any], policy: str = "worker.yml") -> Path:
    """Apply a change with patch(1), and return the file."""
    if shutil.which("patch") is None:
        pytest.skip("no patch here")
    words = ["patch", "--quiet", "--fuzz=0", "-p1"]
    subprocess.run(words, input=change["patch"], text=True, cwd=here, check=True)
    return here / policy


ALLOW = 0x7FFF0000


@pytest.mark.few(5, "runs commands on many filters")
@pytest.mark.parametrize("call", ["socket", "connect", "ptrace", "mmap"])
@pytest.mark.parametrize("shift", [0, 4])
def test_a_change_permits_the_call_and_leaves_the_others(here: Path, call: str, shift: int) -> None:
    before, _, rules = POLICY.partition("syscalls:\n")
    rules, _, after = rules.partition("\nno_new_privs")
    moved = "".join(f"{' ' * shift}{line}\n" if line else "\n" for line in rules.splitlines())
    (here / "worker.yml").write_text(f"{before}syscalls:\n{moved}\nno_new_privs{after}")
    code = REFUSED if call in {"connect", "ptrace"} else KILLED
    one = only(here, record(call, code))
    assert one["rules"][0]["ret"] & 0xFFFF0000 == code
    path = applied(here, one["change"])
    assert answer(path, call, (0, 0, 7)) == ALLOW
    others = {"socket", "connect", "ptrace", "mmap"} - {call}
    assert all(answer(path, other, (0, 0, 7)) != ALLOW for other in others)


def test_a_change_is_no_wider_than_the_record(here: Path) -> None:
    """Calls that create a file are refused; calls that write one are killed, and stay so."""
    write, create = 1, 0x41
    assert answer(here / "worker.yml", "openat", (0, 0, create)) == REFUSED | 13
    path = applied(here, only(here, record("openat", REFUSED))["change"])
    assert answer(path, "openat", (0, 0, create)) == ALLOW
    assert answer(path, "openat", (0, 0, write)) == KILLED


def test_a_number_without_a_name_is_permitted_on_its_abi(here: Path) -> None:
    one = only(here, record(999))
    assert (one["syscall"], one["nr"]) == (None, 999)
    path = applied(here, one["change"])
    assert answer(path, 999) == ALLOW


def test_calls_through_another_abi_of_the_kernel(here: Path) -> None:
    i386 = ABIS["i386"].audit_arch
    one = only(here, record(3, arch=i386))
    assert one["unchanged"] == (
        "no small change of the rules permits it: say that the program answers for this ABI, too, "
        "and worker.yml:11:28: 'mmap' has no argument 'prot' on i386, where it takes arg: limit "
        "the group with 'arches', or say 'optional: true' to skip these"
    )
    policy = POLICY.replace("mmap, when: not prot & PROT_EXEC", "munmap, when: len == 0")
    (here / "worker.yml").write_text(policy)
    one = only(here, record(3, arch=i386))
    assert "+compat_arches: [i386]\n" in one["change"]["patch"]
    assert answer(applied(here, one["change"]), "read", abi="i386") == ALLOW
    # Now it is there, with another one to be added; and a rule where that is not enough.
    x32 = TABLES.tables["x32"].numbers
    one = only(here, record(x32["socket"]))
    assert "+compat_arches: [i386, x32]\n" in one["change"]["patch"]
    assert "+  names: [socket]\n" in one["change"]["patch"]
    assert answer(applied(here, one["change"]), "socket", abi="x32") == ALLOW


@pytest.mark.parametrize(
    ("rules", "removed"),
    [
        ("- action: errno\n  names:\n  - connect\n  - getpid\n", "  - connect"),
        ("- action: errno\n  names: [getpid,\n    connect]\n", "    connect]"),
        ("- action: errno\n  names: [connect]\n", "- action: errno"),
        ("- {action: errno, names: [getpid, connect]}\n", ""),
        ("- action: errno\n  names_with_args:\n  - name: connect\n    when: fd == 0\n"
         "  - {name: close, when: fd == 1}\n", "  - name: connect"),
    ],
)  # fmt: skip
def test_names_are_taken_out_wherever_they_stand(here: Path, rules: str, removed: str) -> None:
    for nested in (False, True):
        text = f"arches: [x86_64]\ndefault_action: allow\nsyscalls:\n{rules}"
        if nested:
            text = "seccomp:\n" + "".join(f"  {line}\n" for line in text.splitlines())
        (here / "deny.yml").write_text(text)
        change = only(here, record("connect", REFUSED), policy="deny.yml")["change"]
        assert removed in change["patch"]
        assert answer(applied(here, change, "deny.yml"), "connect") == ALLOW
        assert answer(here / "deny.yml", "getpid") != ALLOW or "getpid" not in rules


def test_all_rules_that_can_have_refused_are_changed(here: Path) -> None:
    """Of these two, of one list and of another, the record does not tell which it was."""
    rules = "- action: errno\n  names_with_args:\n"
    rules += "  - {name: connect, when: fd == 0}\n  - {name: connect, when: fd == 1}\n"
    rules += "- action: errno(EACCES)\n  names_with_args:\n  - {name: connect, when: fd == 2}\n"
    text = f"arches: [x86_64]\ndefault_action: allow\nsyscalls:\n{rules}"
    (here / "deny.yml").write_text(text)
    one = only(here, record("connect", REFUSED), policy="deny.yml")
    assert len(one["rules"]) == 3
    path = applied(here, one["change"], "deny.yml")
    assert {answer(path, "connect", (fd,)) for fd in range(4)} == {ALLOW}


def test_a_rule_of_an_included_file_is_changed_there(here: Path) -> None:
    (here / "base.yml").write_text(POLICY)
    (here / "worker.yml").write_text(
        "include: [base.yml]\nsyscalls:\n- {action: log, names: [getpid]}\n"
    )
    change = only(here, record("connect", REFUSED))["change"]
    assert change["files"] == ["base.yml", "worker.yml"]
    assert answer(applied(here, change), "connect") == ALLOW


def test_lint_has_its_say(here: Path) -> None:
    """io_uring opens files without openat, of which the policy asks a condition."""
    change = only(here, record("io_uring_setup"))["change"]
    assert change["findings"]
    assert not only(here, record("getpid"))["change"]["findings"]
    path = applied(here, change)
    lint = json.loads(inside("lint", path, "--json", cwd=here).out)["findings"]
    assert {one["code"] for one in change["findings"]} <= {one["code"] for one in lint}


def test_what_cannot_be_changed_here_is_said(here: Path) -> None:
    assert inside("build", "worker.yml", "--format", "bpf", "-o", ".", cwd=here).code == 0
    one = only(here, record("socket"), policy="worker.x86_64.bpf")
    assert one["change"] is None
    assert one["rules"][0]["rule"]["label"].startswith("instruction ")
    text = "there are only instructions; name the policy that they were made from"
    assert one["unchanged"] == text


def test_another_filter_and_no_program(here: Path) -> None:
    assert only(here, record("socket", REFUSED))["other_filter"] == "this one answers kill_process"
    arm = ABIS["s390x"].audit_arch
    one = only(here, record(1, arch=arm))
    assert (one["abi"], one["other_filter"]) == ("s390x", "this one has no program for s390x")


def test_a_call_that_is_only_logged_needs_no_change(here: Path) -> None:
    policy = "arches: [x86_64]\ndefault_action: log\nsyscalls: []\n"
    (here / "log.yml").write_text(policy)
    one = only(here, record("socket", 0x7FFC0000), policy="log.yml")
    assert (one["change"], one["unchanged"]) == (None, "the call is made, and logged")


LOGGED = 0x7FFC0000


def test_what_a_report_only_filter_had_logged_is_what_the_policy_refuses(here: Path) -> None:
    (here / "a.log").write_text("\n".join([record("socket", LOGGED), record("openat", LOGGED)]))
    run = inside("explain", "--audit", "a.log", "worker.yml", cwd=here)
    assert "once  socket on x86_64: made, and logged; it would get kill_process" in run.out
    # Some are killed, others are refused; the record tells neither.
    expected = "openat on x86_64: made, and logged; it would get kill_process or errno(EACCES)"
    assert (
        expected in run.out
        or expected.replace("kill_process or errno(EACCES)", "errno(EACCES) or kill_process")
        in run.out
    )
    one = only(here, record("connect", LOGGED))
    assert (one["only_logged"], one["other_filter"]) == (True, None)
    path = applied(here, one["change"])
    assert answer(path, "connect") == ALLOW
    assert not only(here, record("ptrace", REFUSED))["only_logged"]


def test_answers_on_purpose_get_no_change(here: Path) -> None:
    text = POLICY + "unknown_action: kill_process\n"
    text = text.replace(
        "names: [connect, ptrace]",
        "names: [connect, ptrace]\n- action: errno(ENOSYS)\n  names: [clone3]",
    )
    (here / "worker.yml").write_text(text)
    one = only(here, record("clone3", LOGGED))
    assert one["change"] is None
    assert one["unchanged"].startswith("the policy answers as a kernel does that lacks the call")


def test_a_report_only_module_names_its_policy(here: Path) -> None:
    assert inside("build", "worker.yml", "--report-only", "-o", "sandbox", cwd=here).code == 0
    (here / "a.log").write_text(record("socket", LOGGED))
    run = inside("explain", "--audit", "a.log", "sandbox/worker_report_only", "--json", cwd=here)
    (one,) = json.loads(run.out)["calls"]
    assert one["unchanged"].endswith("this filter is report-only: name its policy")


# --- forms of logs -------------------------------------------------------------------------------

FIELDS = record("socket").partition("): ")[2]
JOURNAL = {
    "_TRANSPORT": "audit",
    "_AUDIT_TYPE": "1326",
    "_AUDIT_ID": "1",
    "_SOURCE_REALTIME_TIMESTAMP": "1700000000123000",
    "MESSAGE": f"SECCOMP {FIELDS}",
}
KERNEL = record("socket").replace("type=SECCOMP msg=audit", "audit: type=1326 audit")
INTERPRETED = (
    "type=SECCOMP msg=audit(11/14/23 22:13:20.123:1) : auid=someone uid=someone ses=3 pid=4711 "
    "comm=a worker exe=/usr/bin/worker sig=SIGSYS arch=x86_64 syscall=socket compat=0 "
    "ip=0x7f0000001234 code=kill-process"
)
SIGINFO = (
    "{si_signo = 31, si_errno = 0, si_code = 1, _sifields = {_pad = {4660}, _sigsys = {_call_addr "
    "= 0x7f0000001234, _syscall = 41, _arch = 3221225534}}}"
)


@pytest.mark.few(9, "runs commands on many filters")
@pytest.mark.parametrize(
    "lines",
    [
        [record("socket")],
        [record("socket").replace("SECCOMP", "1326")],
        [record("socket") + "\x1dARCH=x86_64 SYSCALL=socket AUID=\"someone\""],
        [KERNEL],
        [f"[   12.345678] {KERNEL}"],
        [f"Nov 14 22:13:20 host kernel: [   12.345678] {KERNEL}"],
        [f"Nov 14 22:13:20 host audit[4711]: SECCOMP {FIELDS}"],
        [INTERPRETED],
        [json.dumps(JOURNAL)],
        [json.dumps({**JOURNAL, "MESSAGE": list(f"SECCOMP {FIELDS}".encode())})],
        [json.dumps({**JOURNAL, "MESSAGE": None, "AUDIT_FIELD_ARCH": "c000003e",
                     "AUDIT_FIELD_SYSCALL": "41", "AUDIT_FIELD_CODE": "0x80000000",
                     "AUDIT_FIELD_IP": "0x7f0000001234"})],
        [json.dumps({"_TRANSPORT": "kernel", "MESSAGE": KERNEL})],
        [json.dumps(JOURNAL), json.dumps({"_TRANSPORT": "kernel", "MESSAGE": KERNEL}), KERNEL],
        [SIGINFO],
        SIGINFO.replace(", ", ",\n  ").splitlines(),
        ["--- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x7f0000001234, "
         "si_syscall=__NR_socket, si_arch=AUDIT_ARCH_X86_64} ---"],
    ],
)  # fmt: skip
def test_one_refusal_in_every_form(here: Path, lines: list[str]) -> None:
    one = only(here, *lines)
    assert (one["abi"], one["syscall"], one["times"]) == ("x86_64", "socket", 1)
    assert one["addresses"] == [0x7F0000001234]
    assert one["rules"][0]["rule"]["label"] == "default_action"
    assert one["recorded"] in {"kill_process", "kill", None}


@pytest.mark.parametrize(
    "line",
    [
        "worker.service: Main process exited, code=dumped, status=31/SYS",
        "container 0123 exited with exit code 159",
        "container died: exited with signal SIGSYS",
        "bash: line 1: 4711 Bad system call         (core dumped) ./worker",
        json.dumps({"MESSAGE": "worker.service: Main process exited, code=killed, status=31/SYS"}),
        json.dumps({"COREDUMP_SIGNAL": "31", "COREDUMP_SIGNAL_NAME": "SIGSYS",
                    "MESSAGE": "Process 4711 (worker) of user 0 dumped core.\n\nStack trace"}),
    ],
)  # fmt: skip
def test_deaths_of_which_nobody_says_the_call(here: Path, line: str) -> None:
    found = report(here, line)
    assert not found["calls"]
    assert len(found["deaths"]) == 1


def test_lines_about_something_else_and_hostile_ones(here: Path) -> None:
    lines = ["", "{", "[" * 5000, '{"MESSAGE": ' + "[" * 5000, '{"MESSAGE": {}}', "\x1b[31mred"]
    lines += ["type=1326 arch=zz syscall=1", "type=1326 arch=c000003e syscall=99999999999"]
    found = report(here, *lines, record("socket"))
    assert (len(found["unread"]), found["records"], found["lines"]) == (2, 1, 9)


# --- streams -------------------------------------------------------------------------------------


def follower(here: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seccompgen", "explain", "--audit", "--follow", *words]
    return subprocess.Popen(
        command,
        cwd=here,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )


def test_each_record_is_told_as_it_comes(here: Path) -> None:
    with follower(here, "worker.yml", "--json") as process:
        assert process.stdin and process.stdout
        for n, call in enumerate(("socket", "connect", "socket")):
            print(record(call, REFUSED if call == "connect" else KILLED, n), file=process.stdin)
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            assert (told["syscall"], told["times"]) == (call, 1)
            # A change is told once, with the first record of a call.
            assert bool(told["change"]) == (n < 2)
        process.stdin.close()
        assert process.wait() == 0


def test_an_interrupt_ends_a_stream_well(here: Path) -> None:
    with follower(here, "-", "worker.yml") as process:
        assert process.stdin and process.stdout and process.stderr
        print(record("socket"), file=process.stdin, flush=True)
        assert process.stdout.readline() == "once  socket on x86_64: kill_process\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""


def test_words_that_do_not_fit(here: Path) -> None:
    for words, text in (
        (("--follow", "worker.yml", "read"), "--follow needs --audit"),
        (("--audit", "a", "worker.yml", "read"), "--audit takes a FILE and a FILTER, or a FILTER "
         "alone"),
        (("--audit", "no.log", "worker.yml"), "cannot read no.log: No such file or directory"),
        (("--audit",), "name a FILTER: a policy, a module, a .bpf file"),
    ):  # fmt: skip
        assert said(inside("explain", *words, cwd=here)) == (2, [], [text])
