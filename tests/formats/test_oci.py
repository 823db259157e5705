"""Profiles for container runtimes: libseccomp makes of them what the policy says, proved."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import containers
import libseccomp
import pytest
from command import RENEW, ROOT, inside, said, said_but_warnings, snapshot
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, InputError
from seccompgen.formats import load_policy
from seccompgen.formats.oci.writer import architecture, profile, render_profile
from seccompgen.formats.writing import require_read_back
from seccompgen.pipeline.build import build_policy, shipped_tables

GOLDEN = Path(__file__).parent / "golden"
needs_libseccomp = pytest.mark.skipif(
    not libseccomp.is_here(), reason="needs python3-seccomp of the system, on x86_64"
)
CONTAINER = """
bad_arch_action: kill_thread
"""


def prove_profile(policy_path: Path, abi_name: str, directory: Path, level: int = 1) -> int:
    """Prove that libseccomp makes the policy of the profile in ``directory``; return its length."""
    tables, abi = shipped_tables(), ABIS[abi_name]
    document = json.loads((directory / f"{policy_path.stem}.{abi_name}.json").read_text())
    program, unknown = containers.loaded(document, tables.tables[abi_name].numbers, level)
    policy, _ = load_policy(policy_path, tables)
    missing = [] if abi_name == "x86_64" else unknown  # else they were taken by their numbers
    assert containers.difference(policy, abi, tables, program, missing) is None
    return len(program) // 8


def written(policy: str, where: Path, *options: str) -> Path:
    path = where / "demo.yml"
    path.write_text(policy)
    run = inside("build", "demo.yml", "--format", "oci", *options, "-o", "out", cwd=where)
    assert run.code == 0, run.err
    return path


def test_the_files_are_those_that_were_looked_at(tmp_path: Path) -> None:
    (tmp_path / "container.yml").write_bytes((GOLDEN / "container.yml").read_bytes())
    run = inside("build", "container.yml", "--format", "oci", "-o", "out", cwd=tmp_path)
    assert run.code == 0
    update = "seccompgen build container.yml --format oci -o oci"
    assert snapshot(tmp_path / "out") == snapshot(GOLDEN / "oci"), f"cd {GOLDEN} && {update}"


@needs_libseccomp
@pytest.mark.parametrize(
    "name",
    [pytest.param("no_exec", marks=pytest.mark.long("a second blocklist")), "no_network"],
)
def test_stock_filters(name: str, tmp_path: Path) -> None:
    arches = ["x86_64", "aarch64", "riscv64", "loongarch64"]
    head = f"include: [{ROOT}/policies/{name}.yml]\narches: [{', '.join(arches)}]\n"
    path = written(head + CONTAINER, tmp_path)
    for abi in arches:
        assert prove_profile(path, abi, tmp_path / "out") > 20


@pytest.mark.few(2, "renders and compiles many modules")
@needs_libseccomp
@pytest.mark.parametrize("abi", ["s390x", "ppc64", "ppc64le"])
def test_short_profiles_for_other_abis(abi: str, tmp_path: Path) -> None:
    """On a machine of another kind libseccomp 2.6.0 spoils long ones, and powerpc's own calls."""
    policy = f"""
arches: [{abi}]
default_action: allow
bad_arch_action: kill_thread
syscalls:
- {{action: errno(EROFS), names: [mkdir, mkdirat]}}
- action: kill_process
  names_with_args:
  - name: brk
    arguments:
    - {{argument: 0, operation: GreaterThan, value: 0x123456789, width: 64}}
"""
    path = written(policy, tmp_path)
    assert prove_profile(path, abi, tmp_path / "out") > 6


def test_each_abi_that_has_profiles_is_proved_above() -> None:
    assert {abi for abi, one in ABIS.items() if architecture(one)} == {
        *("x86_64", "aarch64", "riscv64", "loongarch64", "ppc64le", "ppc64", "s390x")
    }


@needs_libseccomp
@pytest.mark.parametrize(
    "level", [pytest.param(n, marks=pytest.mark.long("the largest stock policies")) for n in (1, 2)]
)
def test_stock_allowlists(level: int, tmp_path: Path) -> None:
    head = f"include: [{ROOT}/policies/compute_only.yml]\narches: [x86_64, aarch64]\n"
    path = written(head + CONTAINER, tmp_path)
    for abi in ("x86_64", "aarch64"):
        assert prove_profile(path, abi, tmp_path / "out", level) > 100


def test_profiles_that_differ_in_an_errno_alone_differ_in_a_name_as_well(tmp_path: Path) -> None:
    """In that of a rule which runtimes skip, since crun's cache does not look at errno numbers."""
    seen = set()
    for number in (1, 13):
        policy = f"arches: [x86_64]\ndefault_action: allow{CONTAINER}syscalls:\n"
        written(f"{policy}- {{action: errno({number}), names: [mkdir]}}\n", tmp_path)
        document = json.loads((tmp_path / "out" / "demo.x86_64.json").read_text())
        rule = document["syscalls"][-1]
        assert rule["action"] == document["defaultAction"]
        assert rule.get("errnoRet") == document.get("defaultErrnoRet")
        (name,) = rule["names"]
        assert name not in shipped_tables().tables["x86_64"].numbers
        seen.add(name)
    assert len(seen) == 2


# --- random policies -----------------------------------------------------------------------------

VALUES = [0, 1, 5, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 1 << 63, (1 << 64) - 1, 0x1234567800000001]
OPERATIONS = ["Equal", "NotEqual", "GreaterThan", "LessThan", "GreaterOrEqual", "LessOrEqual"]
OPERATIONS += ["BitsSet", "BitsNotSet", "MaskedEqual"]
ACTIONS = ["allow", "errno(3)", "errno(ENOSYS)", "log", "trap", "kill_thread", "kill_process"]


def comparison(rng: random.Random) -> dict[str, Any]:
    width = rng.choice([32, 64])
    value = rng.choice(VALUES) & ((1 << width) - 1)
    operation = rng.choice(OPERATIONS)
    entry = {"argument": rng.randrange(3), "operation": operation, "width": width}
    if operation.startswith("Bits"):
        value = value & 0x8000000000000005 or 5
    if operation == "MaskedEqual":
        mask = rng.choice([0xF0F, 0xFFFFFFFF, 1 << 31])
        entry["mask"] = mask
        value &= mask
    return {**entry, "value": value}


def random_policy(rng: random.Random) -> dict[str, Any]:
    groups = []
    for name in rng.sample(["read", "close", "ioctl", "openat", "fcntl", "prctl", "socket"], 4):
        for _ in range(rng.randint(1, 3)):
            tests = [comparison(rng) for _ in range(rng.randint(1, 2))]
            entry = {"name": name, "arguments": tests}
            groups.append({"action": rng.choice(ACTIONS), "names_with_args": [entry]})
    groups.append({"action": rng.choice(ACTIONS), "names": ["dup", "getpid"]})
    default, unknown = rng.choice(ACTIONS), rng.choice(ACTIONS)
    return {
        "arches": ["x86_64"],
        "default_action": default,
        "syscalls": groups,
        "unknown_action": unknown,
        "bad_arch_action": "kill_thread",
    }


@pytest.mark.long("renders and compiles many modules")
@needs_libseccomp
def test_random_policies(tmp_path: Path) -> None:
    rng = random.Random(7)
    tables, several, proved = shipped_tables(), 0, 0
    path = tmp_path / "demo.yml"
    while proved < 3:
        path.write_text(json.dumps(random_policy(rng)))
        try:
            policy, _ = load_policy(path, tables)
            made = profile(policy, ABIS["x86_64"], tables)
        except InputError:  # a rule that never matches, or too many alternatives
            continue
        (tmp_path / "demo.x86_64.json").write_bytes(render_profile(made))
        prove_profile(path, "x86_64", tmp_path, rng.choice([1, 2]))
        several += sum(bool(rule.matches) for rule in made.rules) > 4
        proved += 1
    assert several > 2


def test_a_wrong_profile_is_found(tmp_path: Path) -> None:
    """Whatever is wrong with it: by the proof before it is written, and by the one of the tests."""
    path, abi, tables = tmp_path / "demo.yml", ABIS["x86_64"], shipped_tables()
    path.write_text((GOLDEN / "container.yml").read_text())
    program = build_policy(path, tables, [abi]).programs[0]
    policy, _ = load_policy(path, tables)
    right = profile(policy, abi, tables)
    require_read_back("oci", render_profile(right), policy, program, tables)
    last = right.rules[-1]
    wrong = [
        replace(right, default=right.default + 1),
        replace(right, rules=right.rules[:-1]),
        replace(right, rules=(*right.rules[:-1], replace(last, ret=last.ret ^ 1 << 31))),
        replace(right, rules=(*right.rules[:-1], replace(last, names=last.names[1:]))),
    ]
    for one in wrong:
        with pytest.raises(AnswerNo, match="a wrong oci file for x86_64"):
            require_read_back("oci", render_profile(one), policy, program, tables)
        if libseccomp.is_here():
            numbers = tables.tables["x86_64"].numbers
            loaded, _ = containers.loaded(json.loads(render_profile(one)), numbers)
            assert containers.difference(policy, abi, tables, loaded) is not None


# --- what is refused -----------------------------------------------------------------------------

REFUSED = """
arches: [x86_64, ppc64le]
compat_arches: [i386]
default_action: allow
flags: [new_listener]
syscalls:
- {action: user_notif, names: [mkdir]}
- {action: trap(7), names: [rmdir]}
"""


def refused(policy: str, where: Path, *options: str) -> list[str]:
    (where / "demo.yml").write_text(policy)
    command = ("build", "demo.yml", "--format", "oci", *options, "-o", "out")
    code, out, err = said(inside(*command, cwd=where))
    assert (code, out) == (2, [])
    assert not (where / "out").exists()
    return err


def test_all_that_a_profile_cannot_say_is_told_at_once_and_where(tmp_path: Path) -> None:
    assert refused(REFUSED, tmp_path) == [
        "demo.yml:2:1: an OCI profile cannot express bad_arch_action kill_process, which is the "
        "default: runtimes answer calls through other ABIs with kill_thread; say "
        "`bad_arch_action: kill_thread`, in a policy that includes this one if others need it as "
        "it is, or build with `--accept bad_arch_action`",
        "demo.yml: an OCI profile has a listener only if its runtime gets a socket for it; "
        "take new_listener and wait_killable_recv out of flags",
        "demo.yml:7:3: an OCI profile cannot express user_notif: the runtime needs a socket for "
        "the listener; use another action",
        "demo.yml:8:3: an OCI profile cannot express trap(7): libseccomp's trap carries no number; "
        "write trap",
    ]


def test_calls_that_libseccomp_reaches_through_others(tmp_path: Path) -> None:
    policy = f"arches: [s390x]\ndefault_action: allow{CONTAINER}syscalls:\n"
    rule = "- {action: errno(EPERM), names: [socket]}\n"
    (line,) = refused(policy + rule, tmp_path)
    assert line.startswith("demo.yml:5:3: on s390x socketcall also makes other calls, and")


def test_too_many_rules_for_one_call(tmp_path: Path) -> None:
    tests = [f"{{argument: {n}, operation: NotEqual, value: 0}}" for n in (0, 1)]
    policy = f"""
arches: [x86_64]
default_action: allow
bad_arch_action: kill_thread
syscalls:
- action: errno(EPERM)
  names_with_args:
  - {{name: read, arguments: [{tests[0]}, {tests[1]}]}}
- {{action: log, names: [read]}}
"""
    assert refused(policy, tmp_path) == [
        "demo.yml:8:12: an OCI profile would take more than 256 rules for read; make its "
        "conditions simpler"
    ]


def test_abis_without_profiles_are_left_out_and_told(tmp_path: Path) -> None:
    policy = f"default_action: allow{CONTAINER}syscalls:\n- {{action: log, names: [read]}}\n"
    (tmp_path / "demo.yml").write_text(f"arches: [x86_64, i386, alpha]\n{policy}")
    run = inside("build", "demo.yml", "--format", "oci", "-o", "out", cwd=tmp_path)
    assert run.code == 0
    assert "demo.yml: note: oci has nothing for i386, alpha, so these are left out" in run.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["demo.x86_64.json"]
    (tmp_path / "out" / "demo.x86_64.json").unlink()
    (tmp_path / "out").rmdir()
    assert refused(f"arches: [i386]\n{policy}", tmp_path) == [
        "demo.yml:1:9: oci has files for none of i386, but for "
        "x86_64, aarch64, riscv64, loongarch64, s390x, ppc64le, ppc64"
    ]


@pytest.mark.long("renders and compiles many modules")
def test_check_tells_a_stale_profile(tmp_path: Path) -> None:
    written((GOLDEN / "container.yml").read_text(), tmp_path)
    check = ("build", "demo.yml", "--format", "oci", "-o", "out", "--check")
    assert inside(*check, cwd=tmp_path).code == 0
    stale = tmp_path / "out" / "demo.aarch64.json"
    stale.write_text(stale.read_text().replace("ALLOW", "LOG"))
    expected: tuple[int, list[str], list[str]] = (1, [], ["out/demo.aarch64.json: is stale", RENEW])
    assert said_but_warnings(inside(*check, cwd=tmp_path)) == expected


@pytest.mark.few(1, "renders and compiles many modules")
@pytest.mark.parametrize("form", ["oci", "spo"])
def test_what_is_written_comes_back(form: str, tmp_path: Path) -> None:
    """`build` reads each profile back before it writes it; `equiv` does so from outside."""
    policy = """
arches: [x86_64, s390x]
default_action: allow
unknown_action: errno(EPERM)
bad_arch_action: kill_thread
syscalls:
- action: errno(EACCES)
  names_with_args: [{name: clone, when: flags & CLONE_NEWUSER}]
- {action: kill_process, names: [ptrace]}
"""
    (tmp_path / "demo.yml").write_text(policy)
    run = inside("build", "demo.yml", "--format", form, "-o", "out", cwd=tmp_path)
    assert run.code == 0, run.err
    for abi in ("x86_64", "s390x"):
        [path] = (tmp_path / "out").glob(f"demo.{abi}.*")
        run = inside("equiv", path, "demo.yml", "--runtime", "crun", "--arch", abi, cwd=tmp_path)
        assert run.code == 0, run.out + run.err


def test_what_an_object_of_the_operator_cannot_say(tmp_path: Path) -> None:
    policy = """
arches: [x86_64]
default_action: errno(ENOSYS)
bad_arch_action: kill_thread
syscalls: [{action: allow, names: [read]}]
"""
    (tmp_path / "demo.yml").write_text(policy)
    run = inside("build", "demo.yml", "--format", "spo", "-o", "out", cwd=tmp_path)
    assert run.code == 2
    assert "demo.yml:3:17: a SeccompProfile has no number for its default action" in run.err
