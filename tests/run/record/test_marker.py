"""Only what comes after the marker of a startup is recorded."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from recorded_policies import HARMLESS, MARKER, load, python
from recording import calls, record, run
from running_kernel import ERRNO, on_call, require_x86_64
from seccompgen.core.settings import FilterFlag
from tracing import POWERLESS

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()


def test_what_comes_before_the_marker_is_left_out(policy: Path) -> None:
    source = f"{MARKER}os.sched_yield()\nopen('/dev/null')\n{HARMLESS}os.getsid(0)\n"
    seen = record(policy, python(source), "--startup-marker")
    assert seen.code == 0, seen.err
    found = {*calls(policy)}
    assert {"getsid", "exit_group"} <= found
    assert load(policy).flags == FilterFlag.TSYNC
    assert "getrandom" in found  # of which a run shows only the first, and one a minute
    assert not found & {"seccomp", "prctl", "sched_yield", "execve", "openat", "mprotect"}
    # What a startup brings with it is known though the startup is left out.
    assert {"rt_sigreturn", "futex"} <= found


def test_the_runtimes_marker_is_one(policy: Path) -> None:
    """For programs that have no filter yet; what loading ctypes takes comes before it."""
    source = (
        "import os\nfrom seccomp_filters import _runtime\n"
        "os.sched_yield()\n_runtime.marker()\nprint(_runtime.mode()[0], os.getsid(0) >= 0)\n"
    )
    seen = record(policy, python(source), "--startup-marker")
    assert (seen.code, seen.out) == (0, "filter True\n"), seen.err  # the recorder's own
    assert {"getsid", "exit_group"} <= {*calls(policy)}
    assert not {*calls(policy)} & {"seccomp", "prctl", "sched_yield", "execve", "mprotect"}


def test_a_process_that_lets_nobody_read_its_memory_installs_a_filter(policy: Path) -> None:
    """What its filter refuses is seen only if the recorder knows that there is one."""
    source = (
        "import ctypes, os\nfrom seccomp_filters import _runtime\n"
        f"program = {{'x86_64': (317, {on_call(111, ERRNO | 33)!r})}}\n"  # getpgrp
        "ctypes.CDLL(None).prctl(4, 0)\n"
        "_runtime.install('own', program, flags=0, no_new_privs=True, actions=())\n"
        "os.getsid(0)\nos.getpgrp()\n"
    )
    words = [*POWERLESS, sys.executable, "-m", "seccompgen", "record", "--exact", "-o", str(policy)]
    words += ["--startup-marker", "--", *python(source)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {"getsid", "getpgrp", "exit_group"} <= {*calls(policy)}


def test_a_question_of_the_runtime_is_no_marker(policy: Path) -> None:
    """It begins with the call that a marker is; nor does it undo one that came before."""
    source = (
        "import os\nfrom seccomp_filters import _runtime\n_runtime.supported()\n"
        "os.getpriority(0, 0)\n_runtime.marker()\nos.getsid(0)\n_runtime.supported()\n"
    )
    seen = record(policy, python(source), "--startup-marker")
    assert seen.code == 0, seen.err
    found = {*calls(policy)}
    assert {"getsid", "exit_group"} <= found
    assert "getpriority" not in found
    asked = "from seccomp_filters import _runtime\n_runtime.supported()\n"
    assert record(policy, python(asked), "--startup-marker").code == 1


@pytest.mark.long("records programs, and runs them under the result")
def test_installing_a_generated_filter_marks(policy: Path, tmp_path: Path) -> None:
    """And a program that does so, under the result, does what it did."""
    lax = tmp_path / "lax.yml"
    lax.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [ptrace]}\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sandbox import recorded as sandbox\n"
        "sandbox.install()\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "else: os._exit(0)\n"
        "print(os.getsid(0) >= 0)\n"
    )
    package = tmp_path / "sandbox"
    assert seccompgen("build", lax, "-o", package).code == 0
    (package / "__init__.py").touch()
    (package / "lax").replace(package / "recorded")
    command = [sys.executable, "-I", str(program)]
    seen = record(policy, command, "--startup-marker")
    assert (seen.code, seen.out) == (0, "True\n"), seen.err
    found = {*calls(policy)}
    assert {"getsid", "wait4", "write"} <= found
    # From 3.12 on, os.fork() counts threads in /proc/self/stat, and opens that.
    assert not found & {"seccomp", "prctl", "execve", "arch_prctl", "getdents64"}
    assert seccompgen("build", policy, "-o", package).code == 0
    again = run(command)
    assert (again.returncode, again.stdout) == (0, "True\n"), again.stderr


def test_threads_from_before_the_marker_are_confined_too(policy: Path, tmp_path: Path) -> None:
    lax = tmp_path / "lax.yml"
    lax.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [ptrace]}\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, threading\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sandbox import recorded as sandbox\n"
        "installed, refused = threading.Event(), []\n"
        "def work():\n"
        "    installed.wait()\n"
        "    os.getsid(0)\n"
        "    try: sys.argv[1:] and os.getpriority(os.PRIO_PROCESS, 0)\n"
        "    except PermissionError: refused.append(5)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "sandbox.install()\n"
        "installed.set()\n"
        "thread.join()\n"
        "sys.exit(sum(refused))\n"
    )
    package = tmp_path / "sandbox"
    assert seccompgen("build", lax, "-o", package).code == 0
    (package / "__init__.py").touch()
    (package / "lax").replace(package / "recorded")
    command = [sys.executable, "-I", str(program)]
    seen = record(policy, command, "--startup-marker")
    assert (seen.code, seen.out) == (0, ""), seen.err
    assert "note: 2 threads ran when the filter was installed" in seen.err
    assert load(policy).flags == FilterFlag.TSYNC
    assert seccompgen("build", policy, "-o", package).code == 0
    again = run([*command, "more"])
    assert again.returncode == 5, again.stderr
    both = tmp_path / "both.yml"
    assert seccompgen("record", "--exact", "-o", both, "--merge", policy).code == 0
    assert load(both).flags == FilterFlag.TSYNC
    policy.write_text(policy.read_text().replace("flags: [tsync]", "flags: []"))
    assert seccompgen("record", "--exact", "-o", both, "--merge", policy).code == 0
    assert load(both).flags == FilterFlag(0)


def test_a_process_is_as_far_as_its_parent_was(policy: Path) -> None:
    """Children that were there before the marker are not the program's after it."""
    source = (
        f"{MARKER}early = os.fork()\n"
        "if not early: os.sched_yield(); os._exit(0)\n"
        f"os.waitpid(early, 0)\n{HARMLESS}"
        "late = os.fork()\n"
        "if not late: os.getsid(0); os._exit(0)\n"
        "os.waitpid(late, 0)\n"
    )
    assert record(policy, python(source), "--startup-marker").code == 0
    assert {"getsid", "wait4"} <= {*calls(policy)}
    assert "sched_yield" not in calls(policy)


def test_without_a_marker_nothing_is_written(policy: Path) -> None:
    seen = record(policy, ["/bin/true"], "--startup-marker")
    assert seen.code == 1
    assert "no process called seccomp(SECCOMP_SET_MODE_FILTER" in seen.err
    assert not policy.exists()
