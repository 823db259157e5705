"""liblxc's own programs are what our reader makes of profiles, on random ones with all its traps.

liblxc comes from Debian's lxc-dev, which need not be installed; the program that asks it lies
beside the project. ``data/formats/lxc/answers`` has what ``program`` returns for our samples.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from corpus import SHARED
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.verify import Code, Proof, meaning, prove

DRIVER = SHARED.parent / "peers" / "drivers" / "lxc_bpf.c"
SAMPLES = Path(__file__).parents[1] / "data" / "formats" / "lxc"
LIBRARIES = ("seccomp", "cap", "selinux", "dbus-1", "apparmor")
VERSIONS = {"seccomp": 2, "cap": 2, "selinux": 1, "dbus-1": 3, "apparmor": 1}
X86_64 = ABIS["x86_64"]

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not DRIVER.exists(), reason="needs ../shared/peers/drivers"),
]


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that prints what liblxc makes of a profile."""
    place = tmp_path_factory.mktemp("lxc")
    if not all(map(shutil.which, ("gcc", "apt-get", "dpkg-deb"))):
        pytest.skip("no gcc, apt-get and dpkg-deb to build the program with")
    packages = ["lxc-dev", "libseccomp-dev"]
    got = subprocess.run(
        ["apt-get", "--quiet=2", "download", *packages], cwd=place, capture_output=True, check=False
    )
    if got.returncode:
        pytest.skip(f"Debian 13 has these packages: {got.stderr.decode()}")
    for deb in place.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, place / "root"], check=True)
    system = Path("/usr/lib/x86_64-linux-gnu")
    libraries = [system / f"lib{one}.so.{VERSIONS[one]}" for one in LIBRARIES]
    if missing := [one.name for one in libraries if not one.exists()]:
        pytest.skip(f"liblxc needs {missing} of the system")
    made = place / "lxc_bpf"
    static = place / "root" / system.relative_to("/") / "liblxc.a"
    subprocess.run(
        ["gcc", "-I", place / "root/usr/include", "-Wl,--wrap=seccomp_init", "-o", made, DRIVER,
         static, *libraries],
        check=True,
    )  # fmt: skip
    return made


def program(asker: Path, profile: Path) -> bytes | None:
    """Return liblxc's program for a profile; None if it refuses that."""
    out = profile.with_name("out.bpf")
    done = subprocess.run([asker, profile, out], capture_output=True, check=False)
    return out.read_bytes() if done.returncode == 0 else None


@pytest.mark.parametrize("file", sorted(SAMPLES.glob("*.seccomp")), ids=lambda file: file.name)
def test_the_answers_that_are_committed(asker: Path, file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path)
    committed = SAMPLES / "answers" / f"{file.stem}.bpf"
    assert program(asker, tmp_path / file.name) == committed.read_bytes()


@pytest.mark.parametrize(
    "file", sorted((SAMPLES / "invalid").iterdir()), ids=lambda file: file.name
)
def test_what_we_refuse_liblxc_refuses(asker: Path, file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path)
    assert program(asker, tmp_path / file.name) is None


def test_random_profiles(asker: Path, tmp_path: Path) -> None:
    """We refuse more in one case: two lines with different actions for the same call."""
    draw, seen, file = random.Random(1), Counter[str](), tmp_path / "p.seccomp"
    for _ in range(1500):
        text = (drawn_numbers if draw.random() < 0.1 else drawn_profile)(draw)
        file.write_text(text, newline="")
        theirs = program(asker, file)
        try:
            policy, notes = load_policy(file, TABLES, Reading("lxc"))
        except InputError as error:
            kinds = {one.kind for one in error.diagnostics}
            assert theirs is None or kinds == {Problem.CONFLICTING_SETTINGS}, (text, error)
            seen["refused"] += 1
            continue
        assert theirs is not None, text
        if any(one.kind is Problem.CONFLICTING_SETTINGS for one in notes):
            continue  # libseccomp's trees of several comparisons by order
        code = Code(decode(theirs, X86_64), X86_64.byte_order)
        found = prove(meaning(policy, X86_64, TABLES), code)
        assert isinstance(found, Proof), (text, found)
        seen["proved"] += 1
    assert seen["proved"] > 700, seen


NAMES = (
    *("open", "read", "mount", "umount2", "socket", "socketcall", "ipc", "semop", "clone", "bpf"),
    *("mmap2", "stat64", "nosuch", "reject_force_umount", "reject_force_umountx", "send", "time"),
)
VALUES = ("0", "1", "5", "0x10", "010", "4294967295", "4294967296", "0x100000005", f"{2**64 - 1}")
ODD_VALUES = (f"{2**64}", "-1", "+3", " 2", "2 ", "0x", "08", "abc", "")
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "&=", "SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ")
ODD_ACTIONS = (
    *("kill", "trap", "notify", "allow", "errno 0", "errno1", "errno 0x10", "errno 65537"),
    *("errno -1", "errno 4095", "errno 4094", "errno EPERM", "errno", "kill_process", "log"),
    *("errno 5 foo", "trap#x", "errno  7", "errno\t7"),
)
SECTIONS = ("[all]", "[x86]", "[X86_64]", "[x32]", "[arm]", "[ALL]")
ODD_SECTIONS = ("[all] ", "[foo]", "[Arm64]", "[riscv64]", "[all")
ODD_HEADS = (
    *("2\n\n  denylist", "2 allowlist", "02\ndenylist", "# c\n2\ndenylist", "2\n# c\ndenylist"),
    *("3\ndenylist", "2\nallowlistfoo", "2\ndenylist debug", "2\nallowlist ", "2\nallowlist #"),
    *("+2\ndenylist", "-2\ndenylist", "2\nAllowlist", "2"),
)


def drawn_profile(draw: random.Random) -> str:
    """Draw a profile of version 2; a third has a fault."""
    style = draw.choice(("denylist", "allowlist", "blacklist", "whitelist"))
    head = f"2\n{style}" + (f" {drawn_action(draw)}" if draw.random() < 0.4 else "")
    head = head if draw.random() < 0.9 else draw.choice(ODD_HEADS)
    return "\n".join([head, *(drawn_line(draw) for _ in range(draw.randint(0, 5)))]) + "\n"


def drawn_numbers(draw: random.Random) -> str:
    """Draw a profile of version 1."""
    odd = ("2 open", "0x10", "1024", f"{2**30 + 1}", f"{2**32 + 2}", "", "# c", " 5", "9" * 23)
    lines = [draw.choice(odd) if draw.random() < 0.2 else str(draw.randrange(450)) for _ in "12345"]
    return "\n".join(["1", draw.choice(("allowlist", "x allowlist errno 5", "whitelist")), *lines])


def drawn_line(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.06:
        return draw.choice(SECTIONS if draw.random() < 0.95 else ODD_SECTIONS)
    if kind < 0.1:
        return draw.choice(("# c", "", "   ", " # c", "#[x"))
    line = draw.choice(NAMES)
    if draw.random() < 0.6:
        line += " " * draw.choice((1, 1, 1, 2)) + drawn_action(draw)
        if draw.random() < 0.45:
            tests = (drawn_test(draw) for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 7))))
            line += " " + draw.choice(("", " ")).join(tests)
    elif draw.random() < 0.05:
        line += draw.choice((" # c", "#c", "\t", "\r", " ", "\t# c", " [0,1,==]", " foo"))
    if draw.random() < 0.02:
        line = draw.choice((" ", "\t")) + line
    return line + (draw.choice(("\r", " # x", " ", "\t")) if draw.random() < 0.02 else "")


def drawn_action(draw: random.Random) -> str:
    odd = draw.random() < 0.5
    return draw.choice(ODD_ACTIONS) if odd else f"errno {draw.choice((1, 1, 2, 13, 38))}"


def drawn_test(draw: random.Random) -> str:
    odd = draw.random() < 0.03
    op = draw.choice((*OPERATORS, "=", "SCMP_CMP_XX", " ==") if odd else OPERATORS)
    index = str(draw.randrange(6)) if not odd else draw.choice(("6", "-1", "0x1", "01", " 2", "2 "))
    value = draw.choice(ODD_VALUES if draw.random() < 0.03 else VALUES)
    masked = draw.random() < (0.85 if op in {"&=", "SCMP_CMP_MASKED_EQ"} else 0.1)
    test = f"[{index},{value},{op}" + (f",{draw.choice(VALUES)}" if masked else "")
    test += draw.choice((",7", " x", "9")) if draw.random() < 0.03 else ""
    return test + ("]" if draw.random() < 0.97 else "")
