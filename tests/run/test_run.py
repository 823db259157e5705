"""``seccompgen run``: this process becomes the command, under the filter."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from command import ROOT, Result, forked, seccompgen
from corpus import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

NO_EXEC = ROOT / "policies" / "no_exec.yml"
PYTHON = sys.executable
STRICT = """
default_action: kill_process
syscalls:
- {action: allow, names: [read]}
"""


def run(*words: str | Path) -> Result:
    return forked("run", *words)


def python(policy: Path, code: str, *options: str) -> Any:
    """Run Python code that prints JSON, under the policy; return what it printed."""
    done = run(*options, policy, "--", PYTHON, "-c", code)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=[pytest.mark.long("somebody else's sample")] if path != SAMPLES[0] else [],
        )
        for path in SAMPLES
    ],
)
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_a_sample_refuses_the_network_and_nothing_else(
    options: list[str], sample: Path, tmp_path: Path
) -> None:
    """As its sandbox command does, which installs the policy's filter and executes the command."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import json, os, socket, tempfile, threading, zlib
refused = []
def attempt(name, call):
    try:
        call()
    except OSError as error:
        refused.append([name, error.errno])
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
attempt("connect", lambda: tcp.connect(("127.0.0.1", 9)))
attempt("bind", lambda: tcp.bind(("127.0.0.1", 0)))
attempt("listen", tcp.listen)
attempt("accept", lambda: tcp._accept())          # accept4, which the sample leaves
attempt("sendto", lambda: udp.sendto(b"x", ("127.0.0.1", 9)))
attempt("recvfrom", lambda: udp.recvfrom(1))
attempt("sendmsg", lambda: udp.sendmsg([b"x"], [], 0, ("127.0.0.1", 9)))
attempt("recvmsg", lambda: udp.recvmsg(1))
attempt("fork", os.fork)                          # a clone without CLONE_NEWUSER
with tempfile.TemporaryFile() as file:
    file.write(zlib.compress(b"a" * 1000))
    size = file.tell()
done = []
threads = [threading.Thread(target=done.append, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps({"refused": refused, "size": size, "threads": len(done),
                  "exe": os.readlink("/proc/self/exe") != ""}))
"""
    )
    done = run(*options, sample, "--", PYTHON, script)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    names = ["connect", "bind", "listen", "sendto", "recvfrom", "sendmsg", "recvmsg", "fork"]
    # accept4 is not in the sample's list: the socket does not listen, so that it fails by itself.
    assert told.pop("refused") == [
        *([name, errno.EPERM] for name in names[:3]),
        ["accept", errno.EINVAL],
        *([name, errno.EPERM] for name in names[3:]),
    ]
    assert told == {"size": told["size"], "threads": 4, "exe": True}
    lines = [line for line in done.err.splitlines() if "refused:" in line]
    assert len(lines) == (len(names) if options else 0)


def test_no_process_is_between(no_parent: Path) -> None:
    child = subprocess.Popen(
        [PYTHON, "-m", "seccompgen", "run", no_parent, "--", "sh", "-c", "echo $$"],
        stdout=subprocess.PIPE,
    )
    out, _ = child.communicate(timeout=120)
    assert int(out) == child.pid


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_it_ends_as_the_command_ends(no_parent: Path, options: list[str]) -> None:
    assert run(*options, no_parent, "--", "true").code == 0
    assert run(*options, no_parent, "--", "sh", "-c", "exit 37").code == 37
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        killed = run(*options, no_parent, "--", "sh", "-c", f"kill -{int(number)} $$")
        assert killed.code == -number


@pytest.mark.few(2, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_a_command_starts_that_may_not_execute(options: list[str]) -> None:
    code = """
import json, os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
found = []
for words in ((0, 0, 0), (1, 2, 3)):
    result = libc.syscall(59, b"/bin/true", None, None, *words)
    found.append([result, ctypes.get_errno()])
print(json.dumps(found))
"""
    assert python(NO_EXEC, code, *options) == [[-1, errno.EACCES]] * 2


def test_the_filter_is_in_force_from_the_first_instruction_on(tmp_path: Path) -> None:
    policy = tmp_path / "strict.yml"
    policy.write_text(STRICT)
    assert run(policy, "--", "true").code == -signal.SIGSYS


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_what_cannot_be_run_is_said_as_env_says_it(tmp_path: Path, options: list[str]) -> None:
    policy = tmp_path / "strict.yml"
    policy.write_text(STRICT)
    plain, script = tmp_path / "plain", tmp_path / "script"
    plain.write_text("x")
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for command, code, text in (
        ("no-such-command", 127, "no-such-command: no directory in PATH has it"),
        (str(tmp_path / "nothing"), 127, "nothing: no such file"),
        (str(tmp_path), 126, "cannot be executed: Is a directory"),
        (str(plain), 126, "cannot be executed: Permission denied"),
        # Only execve itself finds that; by then not even write is allowed.
        (str(script), 127, "script: cannot be executed: No such file or directory"),
    ):
        done = run(*options, policy, "--", command)
        assert (done.code, done.out) == (code, "")
        assert done.err.endswith(f"{text}\n")


@pytest.mark.few(2, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_a_place_that_cannot_be_searched_is_passed_by(no_parent: Path, options: list[str]) -> None:
    path = "/" + "x" * 5000
    env = {"PATH": f"{path}:{os.environ['PATH']}"}
    for command, code in (("true", 0), ("no-such-command", 126), (f"{path}/true", 126)):
        done = forked("run", *options, no_parent, "--", command, env=env)
        assert done.code == code, done.err
        assert done.err.endswith("cannot be executed: File name too long\n" if code else "")


@pytest.mark.parametrize(
    "closed",
    [
        *[pytest.param([n], marks=pytest.mark.long("one, where all are tried")) for n in range(3)],
        [0, 1, 2],
    ],
)
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_standard_streams_that_are_closed_stay_so(
    no_parent: Path, tmp_path: Path, options: list[str], closed: list[int]
) -> None:
    report = tmp_path / "report"
    look = "for n in 0 1 2; do [ ! -e /proc/$$/fd/$n ] || all=$all$n; done"
    code = f"{look}; echo $all > {report}"
    close = " ".join(f"{one}>&-" for one in closed)
    command = f'exec "$@" {close}'
    words = [PYTHON, "-m", "seccompgen", "run", *options, str(no_parent), "--", "sh", "-c", code]
    done = subprocess.run(["sh", "-c", command, "sh", *words], check=False, timeout=60)
    assert done.returncode == 0
    assert report.read_text().strip() == "".join(str(n) for n in range(3) if n not in closed)


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_a_parent_that_ignores_its_children_changes_nothing(
    no_parent: Path, options: list[str]
) -> None:
    """The kernel would collect the command's end, and nobody would ever be told of it."""
    words = [PYTHON, "-m", "seccompgen", "run", *options, str(no_parent), "--", "sh", "-c"]
    done = subprocess.run(
        [*words, "sleep 0; exit 37"],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        check=False,
        timeout=60,
    )
    assert done.returncode == 37


def test_a_script_without_an_interpreter_is_the_shells(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1 from $0"\n')
    script.chmod(0o755)
    done = run(NO_EXEC, "--", script, "it is")
    assert done.out == f"it is from {script}\n", done.err


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"]])
def test_the_command_finds_what_it_would_find_without(no_parent: Path, options: list[str]) -> None:
    # No Python, which would ignore signals itself; getppid is the shell's affair.
    code = "grep -E 'Sig(Blk|Ign|Cgt)|Umask|NSpgid|NSsid' /proc/self/status; pwd; ls /proc/self/fd"
    command = ["sh", "-c", code]
    prefix = [PYTHON, "-m", "seccompgen", "run", *options, str(no_parent), "--"]
    free, confined = (
        subprocess.run([*words, *command], capture_output=True, check=True, timeout=120).stdout
        for words in ([], prefix)
    )
    assert confined == free


def test_the_environment_is_exactly_what_it_was(no_parent: Path) -> None:
    environment = {"LANG": "C", "A": "1", "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    done = subprocess.run(
        [PYTHON, "-m", "seccompgen", "run", no_parent, "--", "/usr/bin/env"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    # Python puts LC_CTYPE there, under the C locale; the command does not see it.
    assert sorted(done.stdout.splitlines()) == sorted(f"{k}={v}" for k, v in environment.items())


@pytest.mark.long("runs programs under a tracer again and again")
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing")
def test_the_kernel_logs_on_request(no_parent: Path, tmp_path: Path) -> None:
    """Seen from outside: what log lines the kernel writes then depends on the machine."""
    for options, flags in (([], "0"), (["--log"], "SECCOMP_FILTER_FLAG_LOG")):
        report = tmp_path / "report"
        words = [PYTHON, "-m", "seccompgen", "run", *options, str(no_parent), "--", "true"]
        strace = ["strace", "-f", "-e", "trace=seccomp", "-o", str(report), *words]
        subprocess.run(strace, check=True, timeout=120)
        call = f"seccomp(SECCOMP_SET_MODE_FILTER, {flags}, {{len="
        assert call in report.read_text()


NO_NEW_PRIVS = """
import json
print(json.dumps([line.split()[1] for line in open("/proc/self/status")
                  if line.startswith(("NoNewPrivs", "Seccomp:"))]))
"""


@pytest.mark.long("runs programs under a tracer again and again")
@pytest.mark.root("may do without no_new_privs")
def test_no_new_privs_is_the_policys_to_say_and_the_command_lines(tmp_path: Path) -> None:
    keeps = tmp_path / "keeps.yml"
    keeps.write_text(
        "default_action: allow\nno_new_privs: false\n"
        "syscalls:\n- {action: errno, names: [getppid]}\n"
    )
    assert python(NO_EXEC, NO_NEW_PRIVS) == ["1", "2"]
    assert python(NO_EXEC, NO_NEW_PRIVS, "--keep-privs") == ["0", "2"]
    assert python(keeps, NO_NEW_PRIVS) == ["0", "2"]
    assert python(keeps, NO_NEW_PRIVS, "--no-new-privs") == ["1", "2"]
    assert python(keeps, NO_NEW_PRIVS, "--trace") == ["0", "2"]


def without_rights(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command without CAP_SYS_ADMIN, which an ordinary user does not have."""
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is missing")
        words = ["setpriv", "--bounding-set=-sys_admin", *words]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_privileges_are_kept_only_by_who_may(no_parent: Path, options: list[str]) -> None:
    words = [PYTHON, "-m", "seccompgen", "run", *options, "--keep-privs", str(no_parent)]
    done = without_rights([*words, "--", "true"])
    assert done.returncode == 3
    assert "without no_new_privs the kernel wants the capability CAP_SYS_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr


SLOW_TO_LOOK = """
import os
import re
from seccompgen.__main__ import main
from seccompgen.run import ptrace
first_wait = ptrace.wait
def wait(flags=0):
    ptrace.wait = first_wait
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return first_wait(flags)
ptrace.wait = wait
main()
"""


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_refusal_is_told_where_the_child_has_ended_before_anybody_looks(no_parent: Path) -> None:
    """A busy machine may run the child to its end first; this supervisor waits for that."""
    options = ["--trace", "--by", "ptrace", "--keep-privs"]
    words = [PYTHON, "-c", SLOW_TO_LOOK, "run", *options, str(no_parent), "--", "true"]
    done = without_rights(words)
    assert done.returncode == 3, done.stderr
    assert "without no_new_privs the kernel wants the capability CAP_SYS_ADMIN" in done.stderr


def test_a_generated_module_and_raw_instructions_confine_alike(
    no_parent: Path, tmp_path: Path
) -> None:
    code = "import os; os.getppid()"
    out = tmp_path / "out"
    assert seccompgen("build", no_parent, "-o", out).code == 0
    arch = ["--format", "bpf", "--arch", "x86_64"]
    assert seccompgen("build", no_parent, *arch, "-o", out).code == 0
    for file in (no_parent, out / "no_parent", out / "no_parent.x86_64.bpf"):
        done = run("--trace", file, "--", PYTHON, "-c", code)
        assert done.code == 0
        # os.getppid does not look for errors, so that the refusal shows as its errno.
        assert f"getppid(): errno(EACCES) by {file}" in done.err


def test_wrong_input_is_said_before_anything_runs(no_parent: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("arches: [aarch64]\n" + no_parent.read_text())
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [opnat]}\n")
    mark = tmp_path / "mark"
    for words, text in (
        ([no_parent], "name the command to run"),
        (["--json", no_parent, "--", "touch", mark], "--json is for --trace"),
        ([other, "--", "touch", mark], "not for x86_64: its arches leave that out"),
        ([wrong, "--", "touch", mark], f"{wrong}:3:27: unknown system call 'opnat'"),
        ([tmp_path / "none.yml", "--", "touch", mark], "none.yml"),
    ):
        done = run(*words)
        assert done.code == 2
        assert text in done.err
    assert not mark.exists()


def test_calls_that_other_abis_lack_are_no_news_here(tmp_path: Path) -> None:
    policy = tmp_path / "p.yml"
    policy.write_text(
        "default_action: allow\nsyscalls:\n"
        "- {action: errno, names: [open, acct]}\n- {action: errno, names: [acct, swapon]}\n"
    )
    done = run(policy, "--", "/bin/true")
    assert (done.code, done.err) == (0, f"{policy}:4:27: note: 'acct' repeats {policy}:3:33\n")


@pytest.mark.few(2, "runs programs under a tracer again and again")
@pytest.mark.parametrize("options", [[], ["--trace"], ["--trace", "--by", "ptrace"]])
def test_a_program_for_another_abi_is_told_beforehand(
    no_parent: Path, i386_program: Path, options: list[str]
) -> None:
    done = run(*options, no_parent, "--", i386_program)
    assert done.code == -signal.SIGSYS
    assert f"note: {i386_program} is a program for i386, whose calls are refused at" in done.err
    assert "put i386 into the policy's compat_arches" in done.err
    refusals = [line for line in done.err.splitlines() if "refused:" in line]
    assert len(refusals) == bool(options)
    assert all("getpid() on i386: kill_process by" in line for line in refusals)
    no_parent.write_text("compat_arches: [i386]\n" + no_parent.read_text())
    done = run(*options, no_parent, "--", i386_program)
    assert (done.code, done.err) == (7, "")


@pytest.mark.parametrize("command", [["run"], ["record", "--against"]])
def test_a_policy_for_programs_of_another_abi_is_told_what_to_add(
    no_parent: Path, i386_program: Path, command: list[str]
) -> None:
    rules = no_parent.read_text()
    no_parent.write_text("arches: [i386]\n" + rules)
    words: list[str | Path] = [*command, no_parent, "--", i386_program]
    done = seccompgen(*words)
    head = f"{no_parent}: not for x86_64: its arches leave that out; "
    told = done.err.removeprefix(head)
    assert (done.code, done.err) == (2, head + told)
    found = re.search(r"write (arches: .*) and (compat_arches: .*)\n", told)
    assert found, told
    no_parent.write_text(f"{found[1]}\n{found[2]}\n" + rules)
    assert seccompgen(*words).code == 7


@pytest.mark.root("makes a setuid file of root's")
def test_a_setuid_program_is_told_beforehand(no_parent: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    done = run(no_parent, "--", program, "-u")
    assert (done.code, done.out) == (0, "0\n")
    assert "setuid or setgid, which does nothing under no_new_privs" in done.err
    assert run("--keep-privs", no_parent, "--", program, "-u").err == ""
