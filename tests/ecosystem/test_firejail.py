"""firejail's own programs make of lists what our reader makes of them, on every call.

Debian's package is unpacked, not installed. Its ``fseccomp`` writes raw programs.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from firejail_filters import compared
from interpreter import run, seccomp_data
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.foreign import Reading
from seccompgen.core.model import Action
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.formats.firejail.lists import CallNames, ListCompiler, list_words
from seccompgen.formats.firejail.profile import FirejailLine
from seccompgen.formats.firejail.words import groups
from seccompgen.verify import Code, Proof, meaning, prove

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not shutil.which("apt-get") or platform.machine() != "x86_64",
        reason="needs apt-get, and firejail's package for x86_64",
    ),
]
X86_64 = ABIS["x86_64"]
AT = Position("a.profile", 1, 1)
REFUSALS = {"EPERM": "errno(EPERM)", "kill": "kill_thread", "log": "log", "ENOSYS": "errno(ENOSYS)"}
COMMANDS = {
    "drop": ("drop",), "drop32": ("drop32",), "keep": ("keep",),
    "default": ("default", "drop"), "default32": ("default32", "drop"),
}  # fmt: skip
NUMBERS = (*range(480), 999, 0x3FFFFFFF)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of firejail's programs."""
    folder = tmp_path_factory.mktemp("firejail")
    command = ["apt-get", "--quiet=2", "download", "firejail"]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
        pytest.skip("no package of firejail to be had")
    (package,) = folder.glob("*.deb")
    if "_0.9.74-" not in package.name:
        pytest.skip(f"another release of firejail: {package.name}")
    subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    return next((folder / "root" / "usr" / "lib").glob("*/firejail"))


def made(programs: Path, place: Path, error: str, *words: str) -> bytes:
    """Return the program that a command of fseccomp writes to ``F``."""
    given = [str(place / word) if word in {"F", "POSTEXEC"} else word for word in words]
    environment = {**os.environ, "FIREJAIL_QUIET": "yes", "FIREJAIL_SECCOMP_ERROR_ACTION": error}
    commands = [[str(programs / "fseccomp"), *given]]
    if words[0] in {"drop", "drop32", "default", "default32"}:
        commands.append([str(programs / "fsec-optimize"), str(place / "F")])
    for command in commands:
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return (place / "F").read_bytes()


def random_list(draw: random.Random) -> str:
    known = [*TABLES.tables["x86_64"].numbers, *TABLES.tables["i386"].numbers]
    often = ["read", "execve", "prctl", "nosuch", "$0", "$59", "$322", "$999", "$0x10", "$010"]
    words = ["@system-service"] if draw.random() < 0.1 else []
    for _ in range(draw.randint(1, 7)):
        word = draw.choice([draw.choice(known), draw.choice(often), f"@{draw.choice([*groups()])}"])
        taken = "!" if draw.random() < 0.3 else ""
        errors = ["ENOENT", "eperm", "kill", "ENOTSUP", "EFOO", "5", "EAGAIN", "EWOULDBLOCK"]
        said = f":{draw.choice(errors)}" if word[0] != "@" and draw.random() < 0.3 else ""
        words.append(taken + word + said)
    return ",".join(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_list_becomes_the_program_that_fseccomp_makes(
    command: str, programs: Path, tmp_path: Path
) -> None:
    draw = random.Random(command)
    abi = "i386" if "32" in command else "x86_64"
    for _ in range(60):
        text, (error, refusal) = random_list(draw), draw.choice([*REFUSALS.items()])
        theirs = made(programs, tmp_path, error, *COMMANDS[command], "F", "POSTEXEC", text)
        words = list_words(FirejailLine("seccomp", text, AT, AT), [], [])
        compiler = ListCompiler(CallNames.of(abi, TABLES), refusal, [])
        default = ("default-nodebuggers", AT) if "default" in command else None
        ours = compiler.keep(words, AT) if command == "keep" else compiler.drop(words, default)
        answers = ours.answers()
        for number in NUMBERS:
            data = seccomp_data(number, ABIS[abi].audit_arch, (0,) * 6, 0, "little")
            wanted = Action.parse(answers.get(number, (ours.rest,))[0]).ret(X86_64)
            assert run(theirs, data, "little").value == wanted, (text, refusal, number)


@pytest.mark.parametrize("error", REFUSALS)
def test_a_profile_is_the_filters_of_its_lines_together(
    error: str, programs: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "a.profile"
    profile.write_text(
        "protocol unix,netlink\nseccomp !kill,@swap\nseccomp.32 !mount,kill:ENOENT\n"
        "memory-deny-write-execute\nrestrict-namespaces user,time,cgroup\n"
        f"seccomp-error-action {error}\n"
    )
    files = ("F", "POSTEXEC")
    newest_first = [
        ("protocol", "build", "unix,netlink", "F"),
        ("default32", "drop", *files, "!mount,kill:ENOENT"),
        ("default", "drop", *files, "!kill,@swap"),
        ("memory-deny-write-execute", "F"),
        ("memory-deny-write-execute.32", "F"),
        ("restrict-namespaces", "F", "user,time,cgroup"),
        ("restrict-namespaces.32", "F", "user,time,cgroup"),
    ]
    theirs = [
        Code(decode(made(programs, tmp_path, error, *one), X86_64), "little")
        for one in reversed(newest_first)
    ]
    policy, _ = load_policy(profile, TABLES, Reading("firejail"))
    ours = compared(meaning(policy, X86_64, TABLES))
    assert isinstance(prove(ours, compared(*theirs)), Proof)
