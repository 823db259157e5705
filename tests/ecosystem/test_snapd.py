"""snap-seccomp's own programs are what our reader makes of policies, on random ones as well.

snap-seccomp comes from Debian's snapd, which need not be installed.
``data/formats/snapd/answers`` has what ``programs`` returns for our samples.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import snapd_programs
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy
from seccompgen.formats.snapd.constants import CONSTANTS, NEWER, constant_value
from seccompgen.verify import Proof

pytestmark = pytest.mark.ecosystem
SAMPLES = Path(__file__).parents[1] / "data" / "formats" / "snapd"


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return snap-seccomp."""
    place = tmp_path_factory.mktemp("snapd")
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        pytest.skip("no apt-get and dpkg-deb to get snapd with")
    got = subprocess.run(
        ["apt-get", "--quiet=2", "download", "snapd"], cwd=place, capture_output=True, check=False
    )
    if got.returncode:
        pytest.skip(f"Debian 13 has snapd: {got.stderr.decode()}")
    (deb,) = place.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, place / "root"], check=True)
    return place / "root" / "usr" / "lib" / "snapd" / "snap-seccomp"


def programs(compiler: Path, policy: Path) -> tuple[bytes, bytes] | None:
    """Return the filters that allow and deny; None if snap-seccomp refuses the policy."""
    out, parts = policy.with_suffix(".bin2"), policy.with_suffix("")
    done = subprocess.run([compiler, "compile", policy, out], capture_output=True, check=False)
    if done.returncode:
        return None
    subprocess.run([compiler, "dump", out, parts], check=True, capture_output=True)
    return tuple(  # type: ignore[return-value] # two
        policy.with_suffix(f".{kind}").read_bytes() for kind in ("allow", "deny")
    )


@pytest.mark.parametrize("file", sorted(SAMPLES.glob("*.src")), ids=lambda file: file.name)
def test_the_answers_that_are_committed(compiler: Path, file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path)
    assert programs(compiler, tmp_path / file.name) == snapd_programs.answers(file)


@pytest.mark.parametrize(
    "file", sorted((SAMPLES / "invalid").iterdir()), ids=lambda file: file.name
)
def test_what_we_refuse_snapd_refuses(compiler: Path, file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "a.src")
    assert programs(compiler, tmp_path / "a.src") is None


def test_every_constant_is_snapds(compiler: Path, tmp_path: Path) -> None:
    """Each is compared with an argument; what is known, and what its value is."""
    file = tmp_path / "a.src"
    known = sorted(CONSTANTS - NEWER)
    lines = [f"read {name}\nread {constant(name)}\n" for name in known]
    file.write_text("".join(lines))
    both = programs(compiler, file)
    file.write_text("".join(f"read {constant(name)}\n" for name in known))
    assert both is not None
    assert both == programs(compiler, file)
    for name in (*NEWER, "AF_MAX", "SOCK_CLOEXEC", "TIOCNOTTY"):
        file.write_text(f"read {name}\n")
        assert programs(compiler, file) is None


def constant(name: str) -> int:
    value = constant_value(name, ABIS["x86_64"], TABLES.facts)
    assert value is not None, name
    return value


def test_random_policies(compiler: Path, tmp_path: Path) -> None:
    draw, seen, file = random.Random(1), Counter[str](), tmp_path / "a.src"
    for _ in range(700):
        text = "".join(f"{drawn_line(draw)}\n" for _ in range(draw.randint(1, 6)))
        file.write_text(text, newline="")
        theirs = programs(compiler, file)
        try:
            policy, notes = load_policy(file, TABLES, Reading("snapd"))
        except InputError as error:
            assert theirs is None, (text, error)
            seen["refused"] += 1
            continue
        assert theirs is not None, text
        if any(one.kind is Problem.CONFLICTING_SETTINGS for one in notes):
            continue  # libseccomp's trees of several comparisons by order
        if theirs[0]:
            found = snapd_programs.proved(policy, theirs)
            assert isinstance(found, Proof), (text, found)
        seen["proved" if theirs[0] else "unrestricted"] += 1
    assert seen["proved"] > 350, seen


NAMES = (
    *(
        "open",
        "read",
        "socket",
        "connect",
        "socketcall",
        "shmget",
        "ipc",
        "ioctl",
        "chown",
        "mmap2",
    ),
    *("setuid", "setuid32", "copy_file_range", "nice", "nosuch", "shmctl", "stat64", "open"),
)
VALUES = ("0", "1", "5", "007", "4294967295", "AF_UNIX", "TIOCSTI", "S_IFREG", "PTRACE_PEEKUSER")
ODD = (
    *("-1", "4294967296", "0x7", "+5", "AF_UNIXX", "u:root", "g:root", "u:nosuch-user", "7|"),
    *("|7|7", "!7|7", "#", "--", "<", "af_unix", "!u:root", "-2147483649", "9" * 30),
)


def drawn_line(draw: random.Random) -> str:
    """Draw a line; a twentieth of these has a fault."""
    kind = draw.random()
    if kind < 0.06:
        return draw.choice(("# c", "", "\r", "  # c", "@complain", " @complain", "@nothing", "~x"))
    if kind < 0.07:
        return draw.choice((" ", "\t", "@unrestricted", "~ read", "read 1 2 3 4 5 6 7", "\x1f"))
    arguments = [drawn_argument(draw) for _ in range(draw.choice((0, 0, 1, 1, 2, 3)))]
    name = draw.choice(NAMES)
    words = [("~" if draw.random() < 0.25 else "") + name, *arguments]
    blank = draw.choice((" ", " ", "  ", "\t", "\x0b", "\u2003"))
    return blank.join(words) + draw.choice(("", "", "", " ", "\r"))


def drawn_argument(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.25:
        return "-"
    if kind < 0.28:
        return draw.choice(ODD)
    value = draw.choice(VALUES)
    if kind < 0.38:
        return f"{draw.choice(VALUES)}|{value}"
    return draw.choice(("", "", "", "!", "<", "<=", ">", ">=", "|", "|")) + value
