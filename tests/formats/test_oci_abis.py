"""Profiles that answer for several ABIs: what libseccomp makes of them, and what is refused."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import libseccomp
import oci_profiles
import pytest
from command import inside
from corpus import SHARED
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import Difference, meaning, prove

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
HEAD = """\
arches: [x86_64]
compat_arches: [i386, x32]
bad_arch_action: kill_thread
default_action: errno(1)
syscalls:
- {action: allow, names: [read, write, exit_group, rt_sigreturn]}
"""
needs_libseccomp = pytest.mark.skipif(
    not libseccomp.is_here(), reason="needs python3-seccomp of the system, on x86_64"
)
DOCKER = SHARED / "oci" / "moby-default.json"


def written(where: Path, policy: str, *options: str) -> dict[str, Any]:
    """Return the profile of a policy, built from outside."""
    (where / "demo.yml").write_text(policy)
    run = inside("build", "demo.yml", "--format", "oci", *options, "-o", "out", cwd=where)
    assert run.code == 0, run.err
    found: dict[str, Any] = json.loads((where / "out" / "demo.x86_64.json").read_text())
    return found


def is_what_libseccomp_makes(profile: dict[str, Any], policy: Path, *others: str) -> bool:
    """Return True if libseccomp's program for x86_64 and ``others`` is the policy."""
    [code] = oci_profiles.programs([(profile, "x86_64", list(others))], caps=set())
    assert code is not None
    loaded, _ = load_policy(policy, TABLES, Reading(runtime=Runtime.LIBSECCOMP))
    return not isinstance(prove(meaning(loaded, ABIS["x86_64"], TABLES), code), Difference)


def test_values_between_others_are_told_apart_on_every_abi(tmp_path: Path) -> None:
    """As Docker allows all families of sockets but two: below, between and above.

    A mask on the high word would say nothing on i386, where low words alone are compared.
    """
    policy = HEAD.replace("[i386, x32]", "[i386]") + (
        "- {action: allow, names: [munmap], when: len < 38}\n"
        "- {action: allow, names: [munmap], when: len == 39}\n"
        "- {action: allow, names: [munmap], when: len > 40}\n"
    )
    profile = written(tmp_path, policy)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    tests = [rule["args"][0] for rule in profile["syscalls"] if "munmap" in rule["names"]]
    assert {"index": 1, "value": 40, "op": "SCMP_CMP_GT"} in tests
    # libseccomp compares the low words of x32 alone, where the kernel reads all 64 bits.
    (tmp_path / "demo.yml").write_text(policy.replace("[i386]", "[i386, x32]"))
    run = inside("build", "demo.yml", "--format", "oci", "--check", "-o", "no", cwd=tmp_path)
    assert (run.code, "on x32: file says" in run.err) == (2, True)


@pytest.mark.long("renders and compiles many modules")
@needs_libseccomp
def test_random_policies_for_several_abis(tmp_path: Path) -> None:
    draw, written_ones, refused = random.Random(4), 0, 0
    names = ["personality", "ioctl", "prctl", "fcntl", "mkdir"]
    while written_ones < 4:
        policy = HEAD
        for _ in range(draw.randint(1, 5)):
            op = draw.choice(["==", "!=", "<", ">", "<=", ">="])
            value = draw.choice([1, 5, 38, 255, 1 << 31])
            action, name = draw.choice(["allow", "errno(13)", "trap"]), draw.choice(names)
            test = draw.choice([f"arg0 {op} {value}", f"arg1 & 7 == {value & 7}"])
            when = f", when: {test}" if draw.random() < 0.7 else ""
            policy += f"- {{action: {action}, names: [{name}]{when}}}\n"
        (tmp_path / "demo.yml").write_text(policy)
        try:
            load_policy(tmp_path / "demo.yml", TABLES)
        except InputError:  # a rule that never matches
            continue
        run = inside("build", "demo.yml", "--format", "oci", "--check", "-o", "no", cwd=tmp_path)
        if run.code == 2:
            assert "demo.yml:1:9: no OCI profile for x86_64 and i386, x32 says this" in run.err
            refused += 1
            continue
        assert is_what_libseccomp_makes(
            written(tmp_path, policy), tmp_path / "demo.yml", "i386", "x32"
        ), policy
        written_ones += 1
    assert refused < 12


def test_what_by_name_cannot_be_said_is_refused(tmp_path: Path) -> None:
    """A rule of a profile is for a call of every ABI of it."""
    (tmp_path / "demo.yml").write_text(
        HEAD + "- {action: allow, arches: [x86_64], names: [mkdir]}\n"
    )
    run = inside("build", "demo.yml", "--format", "oci", "-o", "out", cwd=tmp_path)
    (line,) = run.err.splitlines()
    assert run.code == 2
    assert line.startswith("demo.yml:1:9: no OCI profile for x86_64 and i386, x32 says this: mkdir")
    assert not (tmp_path / "out").exists()


@needs_libseccomp
@pytest.mark.long("a real profile of ../shared")
@pytest.mark.skipif(not DOCKER.exists(), reason="needs ../shared")
@pytest.mark.parametrize(("operation", "caps"), [("intersect", ""), ("union", "CAP_SYS_ADMIN")])
def test_dockers_profile_merged_for_two_containers(
    operation: str, caps: str, tmp_path: Path
) -> None:
    """The stricter or the laxer of the two comes out, as libseccomp makes it as well."""
    words = (operation, str(DOCKER), str(DOCKER), "--caps", "1:CAP_SYS_ADMIN", "--caps", "2:")
    options = ("--runtime", "libseccomp", "--arch", "x86_64")
    run = inside(*words, *options, "--format", "oci", "--name", "m", "-o", ".", cwd=tmp_path)
    assert run.code == 0, run.err
    made = tmp_path / "m.x86_64.json"
    assert inside("equiv", str(made), str(DOCKER), *options, "--caps", f"2:{caps}").code == 0
    assert inside("equiv", str(made), str(DOCKER), "--arch", "x86_64", "--caps", caps).code == 0
    assert is_what_libseccomp_makes(json.loads(made.read_text()), made, "i386", "x32")
