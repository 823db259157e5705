"""Reading options for one of several FILTERs: ``--caps 2:CAP_SYS_ADMIN``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside
from hypothesis import given
from hypothesis import strategies as st
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.formats import READABLE

if TYPE_CHECKING:
    from pathlib import Path

RULES = [
    {"names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": RULES}
    (tmp_path / "a.json").write_text(json.dumps(profile))
    about = {"mismatch_action": "trap", "match_action": "allow"}
    filters = {n: {**about, "filter": [{"syscall": n}]} for n in ("read", "mount")}
    (tmp_path / "vmm.json").write_text(json.dumps(filters))
    return tmp_path


TWO = ("a.json", "a.json", "--arch", "x86_64")


@pytest.mark.few(1, "runs commands on many filters")
@pytest.mark.parametrize("command", ["equiv", "subset", "diff"])
def test_one_file_is_read_in_two_ways(command: str, here: Path) -> None:
    run = inside(command, *TWO, "--caps", "1:CAP_SYS_ADMIN", "--caps", "2:", cwd=here)
    assert (run.code, "mount" in run.out) == (1, True), run
    for caps in (("--caps", "CAP_SYS_ADMIN"), ("--caps", "1:", "--caps", "2:"), ()):
        assert inside(command, *TWO, *caps, cwd=here).code == 0


def test_what_is_said_of_one_counts_more_than_what_is_said_of_all(here: Path) -> None:
    run = inside("equiv", *TWO, "--caps", "CAP_SYS_ADMIN", "--caps", "2:", cwd=here)
    (line, *_) = [line for line in run.out.splitlines() if "mount" in line]
    assert run.code == 1
    assert "1: a.json says allow, 2: a.json says errno(EPERM)" in line


def test_formats_filters_and_abis_are_said_of_each(here: Path) -> None:
    words = ("equiv", "vmm.json", "vmm.json", "--for", "x86_64")
    assert inside(*words, "--filter", "read", cwd=here).code == 0
    assert inside(*words, "--filter", "1:read", "--filter", "2:mount", cwd=here).code == 1
    run = inside(*words, "--filter", "1:read", cwd=here)
    assert (run.code, run.err.count("several filters")) == (2, 1)
    options = ["--filter", "1:read", "--filter", "2:mount", "--from", "1:seccompiler"]
    options += ["--for", "1:aarch64", "--for", "1:x86_64", "--for", "2:x86_64"]
    options += ["--name", "x", "--format", "seccompiler", "-o", "out"]
    run = inside("union", "vmm.json", "vmm.json", *options, cwd=here)
    assert run.code == 0, run.err
    assert sorted(path.name for path in (here / "out").iterdir()) == ["x.x86_64.json"]
    rules = json.loads((here / "out" / "x.x86_64.json").read_text())["x"]["filter"]
    assert [rule["syscall"] for rule in rules] == ["read", "mount"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("equiv", *TWO, "--caps", "3:"), "3: in front of a value is for that FILTER, but"),
        (("lint", "a.json", "--caps", "2:"), "2: in front of a value is for commands that compare"),
        (("equiv", *TWO, "--from", "2:none"), "'none' is not one of 'seccompgen', 'android'"),
        (("equiv", *TWO, "--caps", "2:not a cap"), "--caps: 'NOT A CAP' is no capability"),
    ],
)
def test_what_is_said_of_nothing_is_refused(words: tuple[str, ...], told: str, here: Path) -> None:
    run = inside(*words, cwd=here)
    assert (run.code, run.out) == (2, "")
    assert told in run.err


# --- what is made of them says how they were read ------------------------------------------------


@pytest.mark.long("runs commands on many filters")
def test_a_module_is_proved_as_its_policy_was_read(here: Path) -> None:
    """Without a word of that: the command in its banner has it."""
    words = ("build", "a.json", "--arch", "x86_64", "--caps", "CAP_SYS_ADMIN", "-o", "out")
    assert inside(*words, cwd=here).code == 0
    banner = (here / "out/a/__init__.py").read_text()
    assert "redo    seccompgen build a.json --arch x86_64 --caps CAP_SYS_ADMIN -o DIR\n" in banner
    assert inside("verify", "out/a", "--policy", "a.json", cwd=here).code == 1
    (here / "a.json").rename(here / "out/a.json")
    assert inside("verify", "out/a", cwd=here).code == 0
    assert inside("verify", "out/a", "--caps", "CAP_CHOWN", cwd=here).code == 1


def test_a_combined_module_is_proved_as_its_parts_were_read(here: Path) -> None:
    (here / "b.yml").write_text("default_action: allow\nsyscalls: []\n")
    options = ("--caps", "1:CAP_SYS_ADMIN", "--runtime", "crun", "--name", "x", "-o", ".")
    assert inside("intersect", "a.json", "b.yml", "--arch", "x86_64", *options, cwd=here).code == 0
    said = "--arch x86_64 --caps 1:CAP_SYS_ADMIN --runtime 1:crun --name x -o DIR\n"
    module = here / "x/__init__.py"
    assert said in module.read_text()
    assert inside("verify", "x", cwd=here).code == 0
    module.write_text(module.read_text().replace("1:CAP_SYS_ADMIN", "1:CAP_CHOWN"))
    assert inside("verify", "x", cwd=here).code == 1


READINGS = st.builds(
    Reading,
    st.none() | st.sampled_from(READABLE),
    st.none() | st.frozensets(st.sampled_from(["CAP_BPF", "CAP_CHOWN", "CAP_SYS_ADMIN"])),
    st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
    st.sampled_from(Runtime),
    st.none() | st.text(),
    st.lists(st.sampled_from(["arm", "x86_64"]), unique=True).map(tuple),
    st.none() | st.integers(0, 999),
)


@given(READINGS, READINGS, st.integers(1, 9))
def test_options_say_all_choices(one: Reading, other: Reading, place: int) -> None:
    words = ("build", "x", *one.options(place), *other.options(place + 1), "-o", "DIR")
    assert Reading.of_options(words, place) == one
    assert Reading.of_options(words, place + 1) == other


def test_options_that_nobody_writes_are_no_choice() -> None:
    with pytest.raises(ValueError, match="none"):
        Reading.of_options(("--runtime", "none"))
