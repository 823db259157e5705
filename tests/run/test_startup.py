"""``run --trace --startup-marker``: the policy begins where a program installs its own filter."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from command import Result, forked, seccompgen
from seccompgen.core.settings import FilterFlag
from seccompgen.pipeline.build import shipped_tables
from seccompgen.run.notification import Fail, Notification
from seccompgen.run.startup import Startup
from seccompgen.verify.call import Call
from tracing import children, halted, killed, start, state, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

kernel.require_x86_64()

INSTALL = f"""
import ctypes, os, subprocess, sys, threading
sys.path.insert(0, {str(kernel.__file__).rpartition("/")[0]!r})
import running_kernel as kernel
from seccomp_filters import _runtime
def install(flags=0):
    program = {{"x86_64": (317, kernel.on_call(102, kernel.ERRNO | 33))}}  # getuid
    _runtime.install("own", program, flags=flags, no_new_privs=True, actions=())
libc = ctypes.CDLL(None, use_errno=True)
def ask():
    return "made" if libc.syscall(110) > 0 else ctypes.get_errno()  # getppid
"""


def traced(policy: Path, code: str, *options: str) -> tuple[Result, list[dict[str, Any]], str]:
    """Run Python code as `INSTALL` begins it; return the refusals, and what else was said."""
    words: list[str | Path] = ["--trace", "--startup-marker", "--json", *options, policy]
    words += ["--", sys.executable]
    done = forked("run", *words, "-c", INSTALL + code)
    lines = done.err.splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return done, told, "\n".join(line for line in lines if not line.startswith("{"))


def test_what_a_generated_filter_refuses_is_told(tmp_path: Path) -> None:
    """The program does as it does by itself, and each of its refusals is told with all about it."""
    policy = tmp_path / "box.yml"
    policy.write_text(
        "default_action: allow\n"
        "syscalls:\n"
        "- action: errno(EACCES)\n"
        "  names: [mkdir, unlink]\n"
        "- {action: errno(ENOSYS), names: [getppid, seccomp]}\n"
    )
    package = tmp_path / "sandbox"
    assert seccompgen("build", policy, "-o", package, "--arch", "x86_64").code == 0
    (package / "__init__.py").touch()
    script = tmp_path / "app.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sandbox import box\n"
        "os.mkdir('made'); os.rmdir('made'); os.getppid()\n"
        "box.install()\n"
        "for call in (lambda: os.mkdir('no'), os.getppid, box.install):\n"
        "    try: print(call())\n"
        "    except OSError as error: print(error)\n"
    )
    words: list[str | Path] = ["--json", policy, "--", sys.executable, script]
    done = forked("run", "--trace", "--startup-marker", *words, cwd=tmp_path)
    told = [json.loads(line) for line in done.err.splitlines()]
    shown = [(one["syscall"], one["action"], one["rule"]["line"], one["python"][0]) for one in told]
    assert shown == [
        ("mkdir", "errno(EACCES)", 4, f"{script}:6 in <lambda>"),
        ("getppid", "errno(ENOSYS)", 5, f"{script}:7 in <module>"),
        ("seccomp", "errno(ENOSYS)", 5, told[2]["python"][0]),
    ]
    assert told[0]["args"][0]["text"] == '"no"'
    alone = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.code, done.out) == (0, alone.stdout)


@pytest.mark.long("runs programs under a tracer again and again")
def test_the_policy_stands_in_the_place_of_the_programs_filter(no_parent: Path) -> None:
    code = "print(ask()); install(); print(os.getuid() >= 0, ask(), _runtime.mode()[1])"
    done, told, said = traced(no_parent, code)
    before = _filters()
    assert (done.out, said) == (f"made\nTrue 13 {before + 1}\n", "")  # the tracer's own
    assert [one["syscall"] for one in told] == ["getppid"]
    through = traced(no_parent, code, "--permissive")
    assert through[0].out == f"made\nTrue made {before + 1}\n"
    assert [one["made"] for one in through[1]] == [True]


def _filters() -> int:
    from seccomp_filters import _runtime

    return _runtime.mode()[1] or 0


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_marker_marks_and_a_question_does_not(no_parent: Path) -> None:
    """The runtime's question begins with the call that a marker is."""
    code = (
        "_runtime.supported(); print(ask()); _runtime.marker(); print(ask());"
        "_runtime.supported(); print(ask())"
    )
    done, told, said = traced(no_parent, code)
    assert (done.out, said) == ("made\n13\n13\n", "")
    assert len(told) == 2
    # Directly after a marker a question is one all the same.
    done, told, _ = traced(no_parent, "_runtime.marker(); _runtime.supported(); print(ask())")
    assert (done.out, len(told)) == ("13\n", 1)


@pytest.mark.long("runs programs under a tracer again and again")
def test_what_installing_takes_is_not_refused_after_a_marker(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("default_action: allow\nsyscalls: [{action: errno, names: [seccomp]}]\n")
    code = "_runtime.marker(); install()\ntry: install()\nexcept OSError as e: print(e.errno)"
    done, told, _ = traced(policy, code)
    assert (done.out, len(told)) == ("1\n", 1)


THREADS = """
gate, answers = threading.Event(), []
early = threading.Thread(target=lambda: (gate.wait(), answers.append(ask())))
early.start()
install()
gate.set(); early.join()
late = threading.Thread(target=lambda: answers.append(ask()))
late.start(); late.join()
print(answers)
"""


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize(
    ("flags", "answers"), [("", ["made", 13]), ("flags: [tsync]\n", [13, 13])], ids=["one", "all"]
)
def test_threads_are_confined_as_the_policy_says(
    flags: str, answers: list[object], forbid: Callable[..., Path]
) -> None:
    policy = forbid("errno(EACCES)", flags)
    done, told, said = traced(policy, THREADS)
    assert done.out == f"{answers}\n"
    assert len(told) == answers.count(13)
    lone = "has a thread that the policy does not confine: they ran before its filter was installed"
    assert (lone in said) == (not flags)
    # A filter of the program's own may say it as well.
    assert traced(policy, THREADS.replace("install()", "install(1)"))[0].out == "[13, 13]\n"


@pytest.mark.long("runs programs under a tracer again and again")
def test_what_was_started_before_is_left_alone_and_what_comes_after_is_not(no_parent: Path) -> None:
    code = """
read, write = os.pipe()
if os.fork() == 0:
    os.read(read, 1)
    os.write(1, f"early {ask()}\\n".encode())
    os._exit(0)
install()
if os.fork() == 0:
    os.write(1, f"late {ask()}\\n".encode())
    os._exit(0)
os.wait()
subprocess.run([sys.executable, "-c", "import os; print(os.getppid())"])
os.write(write, b"x")
os.wait()
"""
    done, told, said = traced(no_parent, code)
    assert (done.out, said) == ("late 13\n-13\nearly made\n", "")
    assert len(told) == 2


@pytest.mark.long("runs programs under a tracer again and again")
def test_of_many_children_each_is_as_far_as_its_parent(no_parent: Path) -> None:
    """Children and the word of their parents come in any order, from two parents at once."""
    code = """
def family():
    pids = []
    for _ in range(60):
        pid = os.fork()
        if pid == 0:
            os._exit(1 if ask() == "made" else 0)
        pids.append(pid)
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
other = os.fork()
if other == 0:
    os._exit(family())
install()
print(family(), os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""
    done, told, _ = traced(no_parent, code)
    assert (done.out, [one["times"] for one in told]) == ("0 60\n", [1, 10, 60])


def test_who_comes_before_the_word_of_its_parent_waits_for_it() -> None:
    nobody = 1 << 22  # above every PID
    parent, child, orphan, other = range(nobody, nobody + 4)
    startup = Startup(shipped_tables(), FilterFlag(0), lambda _: None)

    def judged(tid: int) -> bool:
        call = Call(317, kernel.AUDIT_ARCH_X86_64, (1, 0, 0, 0, 0, 0))
        return startup.answer(Notification(tid, call)) is None

    length = ctypes.c_ushort(1)
    install = Call(317, kernel.AUDIT_ARCH_X86_64, (1, 0, ctypes.addressof(length), 0, 0, 0))
    startup.begins(os.getpid())
    assert startup.answer(Notification(os.getpid(), install)) == Fail(0)
    startup.begins(other)
    assert not startup.bears(os.getpid(), parent)
    assert judged(parent)
    assert not startup.arrives(child)
    assert startup.bears(parent, child)
    assert startup.arrives(child)
    assert judged(child)
    assert not startup.arrives(orphan)
    # Whose word it waits for is gone: that is the one that ends.
    assert startup.ends(parent) == [orphan]
    assert judged(orphan)
    assert startup.ends(orphan) == []
    assert not judged(other)


def test_the_child_of_a_process_that_was_killed_before_it_reported_it(no_parent: Path) -> None:
    """The tracer is stopped meanwhile, so that it finds the parent gone and the child begun."""
    code = """
install()
os.write(1, b"%d\\n" % os.getpid())
os.read(0, 1)
if os.fork() == 0:
    print(ask(), flush=True)
    os._exit(0)
libc.pause()
"""
    words = ["--", sys.executable, "-c", INSTALL + code]
    with start("--trace", "--startup-marker", no_parent, *words, stdin=subprocess.PIPE) as run:
        assert run.stdin
        assert run.stdout
        pid = int(run.stdout.readline())
        with halted(run.pid):
            run.stdin.write("x")
            run.stdin.flush()
            wait_for(lambda: state(pid) == "t" and [*map(state, children(pid))] == ["t"])
            killed(pid)
        out, err = run.communicate(timeout=120)
    assert (out, run.returncode) == ("13\n", -signal.SIGKILL), err
    assert "refused: " in err


def test_a_thread_that_executes_a_program_is_as_far_as_before(no_parent: Path) -> None:
    code = """
def become():
    install()
    os.execv(sys.executable, [sys.executable, "-c", "import os; os.getppid()"])
threading.Thread(target=become).start()
threading.Event().wait()
"""
    done, told, _ = traced(no_parent, code)
    assert (done.code, [one["syscall"] for one in told]) == (0, ["getppid"])


def test_a_filter_with_a_listener_is_installed_and_told(no_parent: Path) -> None:
    done, told, said = traced(no_parent, "install(8); print(ask(), libc.syscall(102))")
    assert (done.out, len(told)) == ("13 -1\n", 1)
    assert "installs a filter with a listener" in said


def test_without_a_marker_it_says_that_nothing_was_judged(no_parent: Path) -> None:
    done, told, said = traced(no_parent, "_runtime.supported(); ask(); sys.exit(4)")
    assert (done.code, told) == (4, [])
    assert said == (
        "seccompgen: no process installed a filter or marked where it would, so that nothing was "
        "judged"
    )


def test_it_takes_a_tracer(no_parent: Path) -> None:
    words: list[str | Path] = ["--startup-marker", no_parent, "--", "true"]
    assert "--startup-marker is for --trace" in forked("run", *words).err
    by = forked("run", "--trace", "--by", "notify", *words)
    assert (by.code, "takes --by ptrace" in by.err) == (2, True)
