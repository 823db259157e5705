"""``seccompgen run --trace``: which call was refused, by which rule, and where."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from command import ROOT, in_pid_namespace
from tracing import NOTIFY, PTRACE, PYTHON, both, run, traced

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()


@both
def test_one_forbidden_call_among_ten_thousand_is_told(how: list[str], tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "default_action: allow\n"
        "syscalls:\n"
        "- action: errno(EACCES)\n"
        "  names_with_args:\n"
        "  - name: openat\n"
        "    arguments: [{argument: 2, operation: BitsSet, value: 0x40, width: 32}]  # O_CREAT\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "for i in range(10000):\n"
        "    os.getppid()\n"
        "    if i == 5000:\n"
        "        try:\n"
        "            os.open('here', os.O_WRONLY | os.O_CREAT, 0o640)\n"
        "        except PermissionError:\n"
        "            print('refused')\n"
    )
    done = run(*how, policy, "--", PYTHON, script)
    assert (done.code, done.out) == (0, "refused\n")
    (line,) = done.err.splitlines()
    flags = r"O_WRONLY\|O_CREAT\|O_CLOEXEC"
    told = re.fullmatch(
        r"seccompgen: refused: (\S+)\[\d+\] "
        rf'openat\(AT_FDCWD<{re.escape(str(ROOT))}>, "here", {flags}, 0o640\): '
        rf"errno\(EACCES\) by {re.escape(str(policy))}:5:11 \(rule 1: flags & O_CREAT\), "
        rf"at {re.escape(str(script))}:6 in <module>, open\+0x[0-9a-f]+ \((/\S+)\+0x([0-9a-f]+)\)",
        line,
    )
    assert told, line
    # The offset is into the file: there, just before, is the instruction that calls the kernel.
    offset = int(told[3], 16)
    assert Path(told[2]).read_bytes()[offset - 2 : offset] == b"\x0f\x05"


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_permissive_lets_all_through_and_tells(how: list[str], forbid: Callable[..., Path]) -> None:
    policy = forbid("kill_process")
    done, told = traced(["--permissive", *how], policy, "import os; print(os.getppid() > 0)")
    assert (done.code, done.out) == (0, "True\n")
    (one,) = told
    assert (one["syscall"], one["action"], one["made"]) == ("getppid", "kill_process", True)
    plain = run("--permissive", policy, "--", PYTHON, "-c", "import os; os.getppid()")
    assert re.match(r"seccompgen: would refuse: \S+\[\d+\] getppid\(\): kill_process", plain.err)


@both
@pytest.mark.parametrize(
    ("action", "handler"),
    [
        ("kill_process", "lambda *_: None"),
        ("kill_thread", "SIG_IGN"),
        *[
            pytest.param(*which, marks=pytest.mark.long("the other handlers for each action"))
            for which in (
                ("kill_process", "SIG_DFL"),
                ("kill_process", "SIG_IGN"),
                ("kill_thread", "SIG_DFL"),
                ("kill_thread", "lambda *_: None"),
            )
        ],
    ],
)
def test_who_is_killed_ends_by_sigsys_whatever_it_does_about_signals(
    how: list[str], handler: str, action: str, forbid: Callable[..., Path]
) -> None:
    policy = forbid(action)
    handler = handler if handler.startswith("lambda") else f"signal.{handler}"
    code = f"import os, signal; signal.signal(signal.SIGSYS, {handler}); os.getppid(); print('on')"
    done, told = traced(how, policy, code)
    assert (done.code, done.out) == (-signal.SIGSYS, "")
    assert [one["action"] for one in told] == [action]


@both
def test_a_trap_is_a_sigsys_with_the_policys_data(
    how: list[str], forbid: Callable[..., Path]
) -> None:
    policy = forbid("trap(7)")
    code = f"""
import sys, os, json; sys.path.insert(0, {str(ROOT / "tests" / "helpers")!r})
import in_child
caught = in_child.catch_sigsys()
result = os.getppid()
print(json.dumps([result, [[c.data, c.code, c.nr, c.arch] for c in caught]]))
"""
    done, told = traced(how, policy, code)
    # A process cannot say that the kernel sent a signal; a tracer can.
    si_code = 1 if how is PTRACE else -1
    result = [110, [[7, si_code, 110, kernel.AUDIT_ARCH_X86_64]]]
    assert (done.code, json.loads(done.out)) == (0, result)
    assert [one["action"] for one in told] == ["trap(7)"]
    ignores = "import os, signal; signal.signal(signal.SIGSYS, signal.SIG_IGN); os.getppid()"
    assert traced(how, policy, ignores)[0].code == -signal.SIGSYS


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_trap_tells_an_i386_program_what_the_kernel_tells(
    forbid: Callable[..., Path], i386_handler: Path
) -> None:
    """But for si_code, which a process may not give as the kernel's."""
    policy = forbid("trap(7)", "compat_arches: [i386]\n")
    told = []
    for options in ([], PTRACE, NOTIFY):
        words = [sys.executable, "-m", "seccompgen", "run", *options, str(policy), "--"]
        done = subprocess.run([*words, i386_handler], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        told.append(struct.unpack("<iiiIiI", done.stdout))
    kernels, by_ptrace, by_notify = told
    assert kernels[4:] == (64, 0x40000003)
    assert by_ptrace == kernels
    assert by_notify == (*kernels[:2], -1, *kernels[3:])


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
@pytest.mark.parametrize("action", ["trace(7)", "user_notif", "errno(0)", "errno(ENOTTY)"])
def test_other_actions_do_as_the_kernel_does(
    how: list[str], action: str, forbid: Callable[..., Path]
) -> None:
    more = "flags: [new_listener]\n" if action == "user_notif" else ""
    policy = forbid(action, more)
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True);"
        "print(libc.syscall(110), ctypes.get_errno())"
    )
    plain = run(policy, "--", PYTHON, "-c", code)
    done, told = traced(how, policy, code)
    assert (done.code, done.out) == (plain.code, plain.out)
    expected = {"errno(0)": "0 0\n", "errno(ENOTTY)": "-1 25\n"}
    assert done.out == expected.get(action, "-1 38\n")
    assert len(told) == 1


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_threads_children_and_what_they_execute_are_followed(
    how: list[str], forbid: Callable[..., Path]
) -> None:
    policy = forbid("errno(EACCES)")
    code = f"""
import os, subprocess, sys, threading
print(os.getpid(), flush=True)
thread = threading.Thread(target=os.getppid)
thread.start()
print(thread.native_id, flush=True)
thread.join()
child = os.fork()
if child == 0:
    os.getppid()
    os._exit(0)
os.waitpid(child, 0)
print(child, flush=True)
run = subprocess.Popen([{PYTHON!r}, "-c", "import os; os.getppid()"])
run.wait()
print(run.pid)
"""
    done, told = traced(how, policy, code)
    main, thread, child, executed = map(int, done.out.split())
    assert [(one["pid"], one["tid"]) for one in told] == [
        (main, thread),
        (child, child),
        (executed, executed),
    ]
    assert all(one["rule"]["line"] == 5 for one in told)
    assert [one["python"][:1] for one in told][1:] == [
        ["<string>:10 in <module>"],
        ["<string>:1 in <module>"],
    ]


@both
def test_strings_descriptors_and_addresses_are_read(how: list[str], tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "default_action: allow\nsyscalls:\n- action: errno\n"
        "  names: [connect, sendto, unlinkat, renameat, fchmod, kill, execve, truncate]\n"
    )
    code = f"""
import os, signal, socket
def attempt(call, *args, **words):
    try: call(*args, **words)
    except OSError: pass
here = os.open({str(tmp_path)!r}, os.O_RDONLY)
attempt(socket.socket().connect, ("127.0.0.1", 8080))
attempt(socket.socket(socket.AF_INET6).connect, ("::1", 8080))
attempt(socket.socket(socket.AF_UNIX).connect, "/run/x\\n")
attempt(socket.socket(socket.AF_UNIX).connect, b"\\0hidden")
attempt(socket.socket(type=socket.SOCK_DGRAM).sendto, b"hello\\0\\xff", ("127.0.0.1", 53))
attempt(os.unlink, 'a"b', dir_fd=here)
attempt(os.fchmod, here, 0o600)
attempt(os.kill, 1, signal.SIGUSR1)
attempt(os.execve, "/bin/true", ["true", "-x"], {{}})
attempt(os.truncate, 'file', 12)
"""
    _, told = traced(how, policy, code)
    shown = [f"{one['syscall']}({', '.join(arg['text'] for arg in one['args'])})" for one in told]
    patterns = [
        r"connect\(\d+<socket:\[\d+\]>, \{AF_INET 127\.0\.0\.1:8080\}, 16\)",
        r"connect\(\d+<socket:\[\d+\]>, \{AF_INET6 \[::1\]:8080\}, 28\)",
        r'connect\(\d+<socket:\[\d+\]>, \{AF_UNIX "/run/x\\n"\}, \d+\)',
        r'connect\(\d+<socket:\[\d+\]>, \{AF_UNIX @"hidden"\}, \d+\)',
        r'sendto\(\d+<socket:\[\d+\]>, "hello\\x00\\xff", 7, 0, \{AF_INET 127\.0\.0\.1:53\}, 16\)',
        rf'unlinkat\(\d+<{re.escape(str(tmp_path))}>, "a\\"b", 0\)',
        rf"fchmod\(\d+<{re.escape(str(tmp_path))}>, 0o600\)",
        r"kill\(1, SIGUSR1\)",
        r'execve\("/bin/true", \["true", "-x"\], 0x[0-9a-f]+\)',
        r'truncate\("file", 12\)',
    ]
    assert len(shown) == len(patterns), shown
    for text, pattern in zip(shown, patterns, strict=True):
        assert re.fullmatch(pattern, text), text


@both
def test_a_call_that_is_not_known_and_bad_addresses_are_shown_as_numbers(
    how: list[str], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "default_action: allow\nunknown_action: errno(ENOSYS)\n"
        "syscalls:\n- {action: errno, names: [chdir, connect, execve]}\n"
    )
    code = (
        "import ctypes; call = ctypes.CDLL(None).syscall; bad = ctypes.c_ulong(2**63 + 5);"
        "call(4000, 1, 0x20, 0, 0, 0, ctypes.c_long(0)); call(80, bad);"
        "call(42, 77, bad, 16); call(59, None, bad, None)"
    )
    _, told = traced(how, policy, code)
    shown = [f"{one['syscall']}({', '.join(arg['text'] for arg in one['args'])})" for one in told]
    assert shown == [
        "nr 0xfa0(1, 0x20)",
        "chdir(0x8000000000000005)",
        "connect(77, 0x8000000000000005, 16)",
        "execve(NULL, 0x8000000000000005, NULL)",
    ]


OWN_FILTER = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
forbid = b"".join(struct.pack("=HBBI", *one) for one in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 102), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)))
program = Program(len(forbid) // 8, forbid)
result = libc.syscall(317, 1, int(sys.argv[1]), ctypes.byref(program))
print("yes" if result >= 0 else ctypes.get_errno(), libc.syscall(102), libc.syscall(110))
"""


@both
def test_a_target_may_install_a_filter_of_its_own(how: list[str], no_parent: Path) -> None:
    words: list[str | Path] = [no_parent, "--", PYTHON, "-c", OWN_FILTER, "0"]
    done = run(*how, *words)
    assert (done.code, done.out) == (0, "yes -1 -1\n")
    assert len(done.err.splitlines()) == 1  # its own filter's refusal is its own affair
    assert "getppid" in done.err


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_listener_of_its_own_is_refused_by_the_kernel_and_told(no_parent: Path) -> None:
    words: list[str | Path] = [no_parent, "--", PYTHON, "-c", OWN_FILTER, "8"]
    done = run(*NOTIFY, *words)
    assert done.out == f"16 {os.getuid()} -1\n"  # EBUSY
    assert "installs a filter with a listener of its own and gets EBUSY" in done.err
    assert "trace it with --by ptrace" in done.err
    assert run(*PTRACE, *words).out == "yes -1 -1\n"
    assert run(no_parent, "--", PYTHON, "-c", OWN_FILTER, "8").out == "yes -1 -1\n"


@pytest.mark.long("runs programs under a tracer again and again")
def test_where_there_is_a_listener_above_it_traces_by_ptrace(
    no_parent: Path, tmp_path: Path
) -> None:
    above = tmp_path / "above.yml"
    above.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [mkdir]}\n")
    outer: list[str | Path] = [*NOTIFY, above, "--", PYTHON, "-m", "seccompgen", "run"]
    code = "import os, sys; os.getppid()\ntry: os.mkdir('/x')\nexcept OSError: sys.exit(4)"
    done = run(*outer, "--trace", no_parent, "--", PYTHON, "-c", code)
    assert re.search(r"getppid\(\): errno\(EACCES\) by .*no_parent.yml:5:11", done.err)
    assert re.search(r'mkdir\("/x", 0o777\): errno\(EPERM\) by .*above.yml:3:27', done.err)
    assert done.code == 4
    forced = run(*outer, *NOTIFY, no_parent, "--", "true")
    assert forced.code == 3
    assert "an earlier filter of this process has a listener" in forced.err


SILENT = """
default_action: allow
syscalls:
- action: errno(EIO)
  names_with_args:
  - {name: ptrace, arguments: [{argument: 0, operation: Equal, value: 0x420e}]}
"""


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("command", ["run", "record"])
def test_a_kernel_that_does_not_tell_calls_stops_it(command: str, tmp_path: Path) -> None:
    """As one before 5.3: neither is a call let through unseen, nor half a policy written."""
    (tmp_path / "silent.yml").write_text(SILENT)
    policy, made = tmp_path / "policy.yml", tmp_path / "made"
    if command == "run":
        policy.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [mkdir]}\n")
        words: list[str | Path] = ["run", *PTRACE, policy]
    else:
        words = ["record", "-o", policy]
    ours = [PYTHON, "-m", "seccompgen", *words]
    done = run(tmp_path / "silent.yml", "--", *ours, "--", "mkdir", made)
    assert (done.code, done.out) == (3, "")
    assert "ptrace does not say what a thread calls (Input/output error): use Linux 5.3" in done.err
    assert not made.exists()
    assert policy.exists() is (command == "run")


def test_reports_go_to_a_file_on_request(no_parent: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    code = "import os; os.getppid(); os.getppid()"
    done = run("--trace", "-o", report, no_parent, "--", PYTHON, "-c", code)
    assert (done.code, done.err) == (0, "")
    first, last = report.read_text().splitlines()
    assert first.startswith("seccompgen: refused: ")
    assert last.startswith("seccompgen: refused 2 times: ")


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_names_that_the_command_chose_are_shown_on_one_line_and_do_nothing(
    how: list[str], tmp_path: Path
) -> None:
    """Where str.splitlines sees lines, in names of threads, files and mappings, are none."""
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "default_action: allow\nsyscalls:\n- {action: errno(EPERM), names: [getppid, fchmod]}\n"
    )
    told = tmp_path / "told"
    odd = os.fsencode(tmp_path) + b"/\x1b[31m\r\x0b\xff\n: x"
    code = f"""
import ctypes, mmap, os
ctypes.CDLL(None).prctl(15, b"\\x1b[1m\\rTgid:\\x0b1\\xfe")
file = os.open({odd!r}, os.O_CREAT | os.O_RDWR)
os.ftruncate(file, 4096)
code = mmap.mmap(file, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\\xb8\\x6e\\0\\0\\0\\x0f\\x05\\xc3")          # getppid()
ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
try:
    os.fchmod(file, 0o600)
except PermissionError:
    print("refused")
"""
    shown = run(*how, policy, "--", PYTHON, "-c", code)
    written = run(*how, "-o", told, policy, "--", PYTHON, "-c", code)
    assert (shown.code, shown.out, written.code) == (0, "refused\n", 0), written.err
    for text in (shown.err, told.read_text()):
        first, second = text.removesuffix("\n").split("\n")
        assert (first + second).isprintable()
        assert r"refused: \x1b[1m\rTgid:\x0b1\xfe[" in first
        assert r"/\x1b[31m\r\x0b\xff\012: x+0x7" in first
        assert r"/\x1b[31m\r\x0b\xff\n: x>, 0o600)" in second


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_a_report_that_cannot_be_written_ends_the_command(how: list[str], no_parent: Path) -> None:
    code = "import os; os.getppid(); print('went on', flush=True)"
    done = run(*how, "-o", "/dev/full", no_parent, "--", PYTHON, "-c", code)
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "/dev/full: No space left on device: refusals cannot be reported any more, so COMMAND "
        "is killed\n"
    )
    # A thread lives on that the tracer has to see to, or it never hears of the process's end.
    threaded = (
        f"import threading, time; threading.Thread(target=time.sleep, args=(99,)).start(); {code}"
    )
    done = run(*how, "-o", "/dev/full", no_parent, "--", PYTHON, "-c", threaded)
    assert (done.code, done.out) == (3, "")
    with Path("/dev/full").open("w") as full:
        words = [PYTHON, "-m", "seccompgen", "run", *how, str(no_parent), "--", PYTHON, "-c", code]
        silent = subprocess.run(words, stdout=subprocess.PIPE, stderr=full, timeout=60, check=False)
    assert (silent.returncode, silent.stdout) == (3, b"")


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_another_namespaces_proc_is_not_believed(
    how: list[str], forbid: Callable[..., Path]
) -> None:
    """There is another process of each number there, whose name, memory and fate are not ours."""
    words = ["run", *how, str(forbid("kill_process")), "--", "echo", "ran"]
    done = in_pid_namespace(*words)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("/proc is not mounted, or is another PID namespace's")
    mounted = in_pid_namespace(*words, proc=True)
    assert (mounted.code, mounted.out) == (0, "ran\n"), mounted.err


def test_the_page_shows_what_is_told() -> None:
    page = (ROOT / "docs" / "run.md").read_text()
    pattern = r"\$ seccompgen run (.*) -- python3 -c '(.*)'\n(.*)\n```"
    ((options, code, line),) = re.findall(pattern, page)
    done = run(*options.split(), "--", shutil.which("python3.13") or PYTHON, "-c", code)
    (told,) = done.err.splitlines()

    def without_what_differs(text: str) -> str:
        text = re.sub(r"\S*/(socket\.py|libc\.so)", r"\1", text)
        return re.sub(r"(python[\d.]*\[|socket\.py:|\+0x)[0-9a-f]+", "", text)

    assert without_what_differs(told) == without_what_differs(line)


def test_a_report_is_not_written_where_a_link_leads(tmp_path: Path, no_parent: Path) -> None:
    (tmp_path / "theirs").write_text("kept\n")
    (tmp_path / "report").symlink_to("theirs")
    done = run("--trace", "-o", tmp_path / "report", no_parent, "--", "true")
    assert done.code == 2
    assert done.err.endswith("report: is a link: name what it leads to, or remove it\n")
    assert (tmp_path / "theirs").read_text() == "kept\n"
