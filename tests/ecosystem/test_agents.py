"""Filters of agents and judges are those of `examples/agents`, and sandbox-runtime takes ours.

sandbox-runtime is npm's, in build/agents (`make npm`). What others ask of libseccomp is asked of it
here; what they assemble by hand is assembled anew, from the numbers. `test_seccompiler` has codex.
Two programs were compared once: that of a running codex, which is large to fetch, and that of
dify-sandbox, which is a list of names.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import libseccomp
import pytest
from command import ROOT, inside
from pages import blocks, follow

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ecosystem

HOME = ROOT / "build" / "agents" / "node_modules"
NO_CALL = "numbers 0x80000000-0xbfffffff on x86_64"
EACCES, EPERM, ALLOW = 0x5000D, 0x50001, 0x7FFF0000

# --- Whose programs these are --------------------------------------------------------------------


def differences(policy: str, abi: str, program: bytes, place: Path) -> list[str]:
    """Return the classes of calls that a policy and a program answer differently."""
    (place / "theirs.bpf").write_bytes(program)
    ours = ROOT / "examples" / "agents" / f"{policy}.yml"
    found = inside("equiv", ours, "theirs.bpf", "--arch", abi, "--json", cwd=place)
    (one,) = json.loads(found.out)["programs"]
    return [each["text"] for each in one.get("classes", ())]


def assembled(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<HBBI", *one) for one in instructions)


def elasticsearch(audit: int, limit: int, *numbers: int) -> bytes:
    tests = [(0x15, len(numbers) - place, 0, nr) for place, nr in enumerate(numbers)]
    head = [(0x20, 0, 0, 4), (0x15, 0, 7, audit), (0x20, 0, 0, 0), (0x25, 5, 0, limit)]
    return assembled(*head, *tests, (6, 0, 0, ALLOW), (6, 0, 0, EACCES))


GEMINI = assembled(
    *((0x20, 0, 0, 4), (0x15, 1, 0, 0xC000003E), (6, 0, 0, 0x80000000)),
    *((0x20, 0, 0, 0), (0x15, 0, 1, 101), (6, 0, 0, EPERM), (6, 0, 0, ALLOW)),
)


@pytest.mark.parametrize(
    ("policy", "abi", "program", "but_for"),
    [
        ("gemini_cli", "x86_64", GEMINI, []),
        (
            *("elasticsearch", "x86_64"),
            elasticsearch(0xC000003E, 0x3FFFFFFF, 57, 58, 59, 322),
            ["numbers 0x80000000-0xbfffffff, 0xffffffff on x86_64"],
        ),
        (
            *("elasticsearch", "aarch64"),
            elasticsearch(0xC00000B7, 0xFFFFFFFF, 1079, 1071, 221, 281),
            [],
        ),
    ],
    ids=["gemini_cli", "elasticsearch", "elasticsearch on aarch64"],
)
def test_programs_of_others_assembled_anew(
    policy: str, abi: str, program: bytes, but_for: list[str], tmp_path: Path
) -> None:
    assert differences(policy, abi, program, tmp_path) == but_for


_RULES = """
import seccomp, sys
f = seccomp.SyscallFilter(seccomp.ALLOW)
judge = sys.argv[1] == "judger"
for name in () if judge else ("x86", "x32", "arm"):
    f.add_arch(getattr(seccomp.Arch, name.upper()))
for name in ("add_key", "request_key", "keyctl", "userfaultfd") if not judge else ():
    f.add_rule(seccomp.ERRNO(38), name)
for name in ("clone", "fork", "vfork", "kill", "execveat") if judge else ():
    f.add_rule(seccomp.KILL, name)
if judge:
    f.add_rule(seccomp.ERRNO(13), "socket")
    f.add_rule(seccomp.KILL, "execve", seccomp.Arg(0, seccomp.NE, 0x555500001234))
    for name, flags in ("open", 1), ("openat", 2):
        for flag in 1, 2:
            f.add_rule(seccomp.KILL, name, seccomp.Arg(flags, seccomp.MASKED_EQ, flag, flag))
f.export_bpf(sys.stdout)
"""


@pytest.mark.skipif(not libseccomp.is_here(), reason="no python3-seccomp")
@pytest.mark.parametrize(
    ("policy", "but_for"),
    [("benchexec", r".* on arm"), ("judger", rf"execve on x86_64 where filename .*|{NO_CALL}")],
)
def test_programs_of_others_by_libseccomp(policy: str, but_for: str, tmp_path: Path) -> None:
    made = subprocess.run(
        [str(libseccomp.PYTHON), "-c", _RULES, policy], capture_output=True, check=True
    )
    found = differences(policy, "x86_64", made.stdout, tmp_path)
    assert found
    assert all(re.fullmatch(but_for, one) for one in found), found


# --- sandbox-runtime -----------------------------------------------------------------------------

SRT = HOME / ".bin" / "srt"


@cache
def why_not() -> str:
    """Return why sandbox-runtime starts nothing here, or ""."""
    if not SRT.exists():
        return "no sandbox-runtime here; `make npm` fetches it"
    needed = ("bwrap", "cc", "curl", "make", "node", "rg", "socat", "unshare")
    if missing := [one for one in needed if not shutil.which(one)]:
        return f"no {', '.join(missing)}"
    done = subprocess.run([SRT, "true"], capture_output=True, text=True, check=False)
    return f"sandbox-runtime starts nothing here: {done.stderr}" if done.returncode else ""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory as the page has it, before its first command."""
    if why := why_not():
        pytest.skip(why)
    page = (ROOT / "docs" / "agents.md").read_text()
    (tmp_path / "node_modules").symlink_to(HOME)
    (tmp_path / "apply.sh").write_text(*blocks("sh", page))
    (tmp_path / "apply.sh").chmod(0o755)
    (tmp_path / "srt.json").write_text(*blocks("json", page))
    return tmp_path


@pytest.mark.skipif(not SRT.exists(), reason="no sandbox-runtime here; `make npm` fetches it")
@pytest.mark.parametrize(
    ("vendor", "abi", "but_for"), [("x64", "x86_64", [NO_CALL]), ("arm64", "aarch64", [])]
)
def test_its_program_is_our_policy(
    vendor: str, abi: str, but_for: list[str], tmp_path: Path
) -> None:
    its = HOME / "@anthropic-ai" / "sandbox-runtime" / "vendor" / "seccomp" / vendor
    code = (its / "apply-seccomp").read_bytes()
    head, end = bytes.fromhex("2000000004000000"), bytes.fromhex("0600000000000000")
    (start,) = (place.start() for place in re.finditer(re.escape(head), code))
    program = code[start : code.index(end, start) + len(end)]
    assert len(program) in (15 * 8, 17 * 8)
    assert differences("sandbox_runtime", abi, program, tmp_path) == but_for


def test_the_page_does_what_it_shows(project: Path) -> None:
    """And what it says: with each launcher its documented commands end as they do with its own."""
    assert follow("agents.md", project) == 4
    (project / "README.md").write_text("# A project\n")
    (project / "secret").mkdir()
    (project / "secret" / "id_rsa").write_text("secret\n")
    (project / "reach.py").write_text(REACH)
    settings = json.loads((project / "srt.json").read_text())
    settings["filesystem"] |= {"denyRead": ["secret"], "denyWrite": [".env"]}
    taking = settings.pop("seccomp")
    seen = "Permission denied\n"
    assert ends(project, settings) == (3, SAID + seen)
    assert ends(project, settings | {"seccomp": taking}) == (3, SAID + seen)
    # Without a user namespace, the memory of what surrounds it is open, as the page says.
    bare = {"applyPath": "./launchers/sandboxed_code/sandboxed_code"}
    assert ends(project, settings | {"seccomp": bare}) == (3, SAID + "open\n")


REACH = """
import glob

for path in glob.glob("/proc/[0-9]*"):
    if open(path + "/comm").read() == "socat\\n":
        try:
            open(path + "/mem", "r+b").close()
            print("open")
        except OSError as error:
            print(error.strerror)
        break
"""
COMMANDS = """
cat README.md; echo $?
cat secret/id_rsa; echo $?
curl --silent --retry 9 --retry-connrefused http://example.com; echo $?
echo a > .env; echo $?
echo a > written; cat written; echo $?
python3 -c 'import socket; socket.socket(socket.AF_UNIX)'; echo $?
bash -c 'kill -KILL $$'; echo $?
node -e 'require("child_process").execSync("echo 42", {stdio: "inherit"})'; echo $?
python3 reach.py
exit 3
"""
"""Of its page, and kinds of ends."""
SAID = """# A project
0
1
Connection blocked by network allowlist
0
1
a
0
1
137
42
0
"""


def ends(project: Path, settings: dict[str, object]) -> tuple[int, str]:
    """Return what the commands come to, and say on stdout: the errno is another, of some."""
    (project / "each.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [SRT, "--settings", "each.json", "-c", COMMANDS],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout
