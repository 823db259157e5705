"""What a run did not do and its code can: rules that are comments until somebody takes them in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from recorded_policies import (
    ALLOW,
    EPERM,
    HARMLESS,
    MARKER,
    TABLES,
    X86_64,
    answer,
    load,
    python,
)
from running_kernel import require_x86_64
from seccompgen.run.record.code_names import code_names, is_interpreter
from seccompgen.run.record.grants import Grants
from seccompgen.run.record.near_misses import near_misses
from seccompgen.run.record.observations import ExecutedProgram
from seccompgen.run.record.power_cases import PowerCases

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

require_x86_64()

SOURCE = r"""
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **words) {
    if (count > 1) {
        connect(socket(AF_UNIX, SOCK_STREAM, 0), 0, 0);
        unlink(words[1]);
        setuid(chown(words[1], 1, 1));
        setrlimit(RLIMIT_NOFILE, 0);
        kill(getppid(), SIGUSR1);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the policy of a run that did nothing of what its code can."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    directory = tmp_path_factory.mktemp("offered")
    (directory / "idle.c").write_text(SOURCE)
    subprocess.run(["gcc", "-o", "idle", "idle.c"], cwd=directory, check=True, capture_output=True)
    policy = directory / "idle.yml"
    done = seccompgen("record", "-o", policy, "--", directory / "idle", cwd=directory)
    assert done.code == 0, done.err
    return policy


def offers(text: str) -> list[str]:
    """Return the lines of each rule that is a comment, as they are."""
    return re.findall(r"^#- action.*\n(?:#  .*\n)+", text, re.MULTILINE)


def taken_in(policy: Path, offer: str) -> Path:
    """Return the policy with one rule whose marks are removed."""
    text = policy.read_text()
    assert text.count(offer) == 1
    path = policy.with_name("taken.yml")
    path.write_text(text.replace(offer, re.sub("^#", "", offer, flags=re.MULTILINE)))
    return path


def test_what_code_names_is_offered_and_nothing_else(offered: Path) -> None:
    text = offered.read_text()
    named = [re.findall(r"@[a-z-]+|(?<=\[)[a-z]\w+", one)[0] for one in offers(text)]
    kinds, own = named[:4], named[4:]
    assert kinds == ["@files-write", "@unix-sockets", "@internet", "@connect"]
    assert own == ["chown", "kill", "prlimit64"]
    assert "Not seen, but the code of idle can." in text
    assert "(unlink)" in text
    assert "Not offered: setuid." in text


def test_each_rule_alone_makes_a_policy_that_permits_more(offered: Path) -> None:
    asked: dict[str, tuple[str, tuple[int, ...]]] = {
        "@files-write": ("unlink", ()),
        "@unix": ("socket", (1, 1)),
        "@internet": ("socket", (2, 1)),
        "@connect": ("connect", ()),
        "chown": ("chown", ()),
        "kill": ("kill", ()),
        "prlimit64": ("prlimit64", (0, 7, 1)),
    }
    before = load(offered)
    for offer, (name, (call, args)) in zip(offers(offered.read_text()), asked.items(), strict=True):
        assert name in offer
        assert answer(before, call, *args) == EPERM
        assert answer(load(taken_in(offered, offer)), call, *args) == ALLOW, offer


def offered_for(programs: Iterable[ExecutedProgram], kinds: Iterable[str] = ()) -> list[str]:
    """Return the groups and calls that are offered where a policy permits ``kinds`` alone."""
    granted = {X86_64: Grants(X86_64)}
    found = near_misses([*programs], {*kinds}, granted, PowerCases(TABLES))
    return [
        name
        for one in found
        for name in (*one.groups, *(c.name for c in one.calls.get(X86_64, ())))
    ]


def test_what_is_permitted_is_not_offered(tmp_path: Path) -> None:
    program = ExecutedProgram(str(static(tmp_path, "connect", "Unlinkat", "kill")))
    assert offered_for([program]) == ["files-write", "connect", "kill"]
    assert offered_for([program], ["connect"]) == ["files-write", "kill"]


def static(directory: Path, *functions: str) -> Path:
    """Return a file with the names that Go's programs have of functions, stripped or not."""
    path = directory / "of-go"
    path.write_bytes(b"\0" + b"".join(f"syscall.{one}\0".encode() for one in functions))
    return path


def test_interpreters_and_code_without_names_may_do_everything(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"\x7fELF")
    everything = offered_for([ExecutedProgram(str(nothing))])
    assert {"files-write", "processes", "connect", "listen"} <= {*everything}
    assert code_names([ExecutedProgram(str(nothing))]).foreseeable is False
    assert {"connect", "listen"} <= {*offered_for([ExecutedProgram(sys.executable)])}


@pytest.mark.parametrize(
    ("path", "does"),
    [
        ("/usr/bin/python3.13", True),
        ("/bin/bash", True),
        ("/opt/node", True),
        ("/usr/bin/python3-config-helper-x", False),
        ("/usr/sbin/nginx", False),
        ("/usr/bin/sha256sum", False),
        ("/usr/bin/nodejs-check", False),
    ],
)
def test_interpreters_are_known_by_name(path: str, does: bool) -> None:
    assert is_interpreter(path) is does


def test_libraries_count_for_ordinary_kinds_alone(tmp_path: Path) -> None:
    library = static(tmp_path, "connect", "kill", "Setuid")
    program = tmp_path / "program"
    program.write_bytes(b"\0syscall.unlink\0")
    found = offered_for([ExecutedProgram(str(program), (str(library), "/lib/libc.so.6"))])
    assert found == ["files-write", "connect"]


def test_code_is_looked_at_of_who_ends_by_a_signal(tmp_path: Path) -> None:
    """Servers raise the signal that stopped them again: they never come to exit_group."""
    policy = tmp_path / "recorded.yml"
    source = f"{MARKER}{HARMLESS}os.kill(os.getpid(), 15)"
    done = seccompgen("record", "--startup-marker", "-o", policy, "--", *python(source))
    assert done.code == 128 + 15, done.err
    assert "@connect" in "".join(offers(policy.read_text()))
