"""Where the refused call was made: lines of Python, the stack, callers, threads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import running_kernel as kernel
from tracing import NOTIFY, PTRACE, PYTHON, run

kernel.require_x86_64()


@cache
def interpreters() -> dict[str, str]:
    """Return a Python for each release of which the line can be told, of those that are here."""
    shims = [shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)]
    builds = (Path.home() / ".pyenv" / "versions").glob("3.1[1234].*/bin/python3")
    code = "import os, sys; print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))"
    found = {}
    for one in ["/usr/bin/python3", *(shim for shim in shims if shim), *builds]:
        words = [str(one), "-c", code]
        try:
            told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue  # a shim without a Python behind it
        release, _, executable = told.rstrip("\n").partition(" ")
        if release in {"3.11", "3.12", "3.13", "3.14"}:
            found[executable] = release
    return found


@pytest.mark.few(2, "runs programs under a tracer again and again")
@pytest.mark.parametrize(("python", "_release"), interpreters().items())
def test_the_line_of_python_is_told_for_releases_that_are_known(
    python: str, _release: str, no_parent: Path, tmp_path: Path
) -> None:
    """So is it whatever letters names have: of one, two or four bytes, as CPython keeps them."""
    script = tmp_path / "é.py"
    script.write_text(
        """import os, functools, threading

class 𐌰sker:
    def ask(self):
        return [
            1,
            os.getppid(),
        ]

def 生成():
    yield os.getppid()

𐌰sker().ask()
list(生成())
list(map(lambda _: os.getppid(), [1]))
functools.reduce(lambda a, b: os.getppid(), [1, 2])
thread = threading.Thread(target=𐌰sker().ask)
thread.start()
thread.join()
"""
        + "\n" * 300
        + "os.getppid()\n",
        encoding="utf-8",
    )
    done = run("--trace", "--json", no_parent, "--", python, script)
    told = [json.loads(line)["python"] for line in done.err.splitlines()]
    asks = "7 in 𐌰sker.ask"
    expected = [
        [asks, "13 in <module>"],
        ["11 in 生成", "14 in <module>"],
        ["15 in <lambda>", "15 in <module>"],
        ["16 in <lambda>", "16 in <module>"],
        [asks],  # what starts a thread is the library's
        ["320 in <module>"],
    ]
    assert told == [[f"{script}:{line}" for line in lines] for lines in expected]


@pytest.mark.few(2, "runs programs under a tracer again and again")
@pytest.mark.parametrize(
    ("python", "how"),
    [*((python, NOTIFY) for python in interpreters()), (PYTHON, PTRACE)],
    ids=lambda value: "" if isinstance(value, str) else value[-1],
)
def test_a_thread_that_starts_a_program_is_found_beside_others(
    python: str, how: list[str], tmp_path: Path
) -> None:
    """Before it executes that, the child has the memory of its parent, and a number of its own."""
    policy = tmp_path / "policy.yml"
    policy.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [execve]}\n")
    script = tmp_path / "script.py"
    script.write_text(
        """import os, subprocess, threading

def run(word):
    try:
        subprocess.run(["/bin/true", word])
    except OSError:
        os.posix_spawn("/bin/true", ["true", word], {}) if word == "3" else None

def start(word):
    run(word)

over = threading.Event()
others = [threading.Thread(target=over.wait) for _ in range(3)]
for other in others:
    other.start()
both = [threading.Thread(target=start, args=(word,)) for word in "12"]
for one in both:
    one.start()
for one in both:
    one.join()
over.set()
try:
    run("3")
except OSError:
    pass
"""
    )
    for _ in range(3):  # a loaded machine may not read a stack in time: then no lines are shown
        done = run(*how, "--json", policy, "--", python, script)
        assert done.code == 0, done.err
        told = {}
        for line in done.err.splitlines():
            one = json.loads(line)
            words = one["args"][1]["text"]
            told[words] = [frame.rpartition("/")[2] for frame in one["python"]]
        if all(told.values()):
            break
    assert told.keys() == {
        f'["{path}", "{n}"]'
        for path, n in zip(("/bin/true", "/bin/true", "/bin/true", "true"), "1233", strict=True)
    }
    for word in "12":
        popen, *callers = told[f'["/bin/true", "{word}"]']
        assert popen.startswith("subprocess.py:")
        assert callers == ["script.py:5 in run", "script.py:10 in start"]
    assert told['["true", "3"]'] == ["script.py:7 in run", "script.py:23 in <module>"]


def test_the_stack_is_short_and_its_inner_end(no_parent: Path, tmp_path: Path) -> None:
    script = tmp_path / "not\x1b shown \udcff.py"
    script.write_text("import os\ndef f(n): f(n - 1) if n else os.getppid()\nf(200)\n")
    done = run("--trace", "--json", no_parent, "--", PYTHON, script)
    assert json.loads(done.err)["python"] == [f"{tmp_path}/not\\x1b shown \\xff.py:2 in f"] * 5


def test_a_call_from_the_library_is_told_with_its_caller(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [mkdir]}\n")
    script = tmp_path / "script.py"
    script.write_text("import os\ntry: os.makedirs('x')\nexcept OSError: pass\n")
    done = run("--trace", "--json", policy, "--", PYTHON, script)
    (told,) = (json.loads(line)["python"] for line in done.err.splitlines())
    assert re.fullmatch(r"(.*/os\.py|<frozen os>):\d+ in makedirs", told[0])
    assert told[1] == f"{script}:2 in <module>"
