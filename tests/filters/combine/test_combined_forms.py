"""Combined filters in every form: each file answers what its parts do together, or is refused."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command import inside, snapshot
from corpus import SHARED
from oracle import RETURN_VALUES, Meaning, action_value
from probes import interesting_calls
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import meaning
from seccompgen.verify.call import Call as OurCall
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TABLES = shipped_tables()
NAMES = ("read", "ioctl", "openat", "socket", "mmap")
FEW = {
    abi: {name: plain_tables()[abi][name] for name in NAMES if name in plain_tables()[abi]}
    for abi in ("x86_64", "x32", "i386")
}
STRICTEST_FIRST = list(RETURN_VALUES.values())
LETS_THROUGH = {0x7FFF0000, 0x7FFC0000}

FORMS: dict[str, dict[str, Any]] = {
    # The answers that files of each form can have, besides its default.
    "oci": {"foreign": "kill_thread", "default": "errno(1)", "suffix": ".x86_64.json",
            "actions": ["allow", "errno(13)", "kill_process", "trap", "log", "trace(5)"]},
    "spo": {"foreign": "kill_thread", "default": "errno(1)", "suffix": ".x86_64.yml",
            "actions": ["allow", "errno(13)", "kill_process", "trap", "log"]},
    "minijail": {"foreign": "kill_thread", "default": "kill_thread", "suffix": ".x86_64.policy",
                 "actions": ["allow", "errno(13)", "kill_process", "trap", "log"]},
    "seccompiler": {"foreign": "kill_process", "default": "kill_process",
                    "suffix": ".x86_64.json", "actions": ["allow"]},
    "systemd": {"foreign": "kill_thread", "default": "errno(38)", "suffix": ".conf",
                "actions": ["allow", "errno(13)", "log"], "plain": True},
}  # fmt: skip


def together(operation: str, answers: Sequence[int], refusal: int) -> int:
    """Return what an operation makes of the answers to a call, in the words of compare.md."""
    place = [STRICTEST_FIRST.index(one & 0xFFFF0000) for one in answers]
    if operation == "intersect":
        return [one for one, n in zip(answers, place, strict=True) if n == min(place)][-1]
    if operation == "union":
        return [one for one, n in zip(answers, place, strict=True) if n == max(place)][-1]
    if answers[1] & 0xFFFF0000 not in LETS_THROUGH:
        return answers[0]
    return refusal if STRICTEST_FIRST.index(refusal & 0xFFFF0000) < place[0] else answers[0]


def drawn(draw: random.Random, form: str, path: Path) -> dict[str, Any]:
    """Draw a policy that may be written in ``form``, without rules that no call reaches."""
    while True:
        policy = _drawn(draw, form)
        path.write_text(json.dumps(policy))
        try:
            load_policy(path, TABLES)
        except InputError as error:
            assert "can never match" in str(error), error
        else:
            return policy


def _drawn(draw: random.Random, form: str) -> dict[str, Any]:
    about = FORMS[form]
    groups = []
    for _ in range(draw.randint(2, 4)):
        # systemd answers i386's socketcall as it does socket, whatever its arguments.
        names = [name for name in NAMES if form != "systemd" or name not in {"read", "socket"}]
        name, action = draw.choice(names), draw.choice(about["actions"])
        if about.get("plain") or draw.random() < 0.3:
            groups.append({"action": action, "names": [name]})
        else:
            # minijail takes 32 tests for a comparison of 32 bits.
            widths = (64,) if form == "minijail" else (32, 64)
            tests = [test(draw, n, widths) for n in draw.sample(range(3), draw.randint(1, 2))]
            entry = {"name": name, "arguments": tests}
            groups.append({"action": action, "names_with_args": [entry]})
    known = ["read", "write", "execve", "exit_group"]
    policy: dict[str, Any] = {
        "arches": ["x86_64"],
        "bad_arch_action": about["foreign"],
        "default_action": about["default"],
        "syscalls": [*groups, {"action": "allow", "names": known}],
    }
    if form in {"minijail", "seccompiler", "systemd"}:
        policy["compat_arches"] = ["i386", "x32"] if form == "systemd" else ["x32"]
        if form != "systemd":
            for group in policy["syscalls"]:
                group["arches"] = ["x86_64"]
    return policy


def test(draw: random.Random, argument: int, widths: tuple[int, ...]) -> dict[str, Any]:
    relations = ("Equal", "NotEqual", "BitsSet", "BitsNotSet", "GreaterThan", "LessOrEqual")
    value = draw.choice([draw.randrange(8), 1 << draw.randrange(32)])
    width = draw.choice(widths)
    operation = draw.choice(relations)
    found = {"argument": argument, "operation": operation, "value": value, "width": width}
    if draw.random() < 0.3:
        mask = draw.getrandbits(4)
        return found | {"operation": "MaskedEqual", "mask": mask, "value": value & mask}
    return found


test.__test__ = False  # type: ignore[attr-defined] # a helper


def calls(policies: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    draw = random.Random(0)
    each = [list(interesting_calls(policy, FEW, "x86_64")) for policy in policies]
    for mine in each:
        yield from draw.sample(mine, min(len(mine), 300))
    for _ in range(150):
        one, other = draw.choice(each[0]), draw.choice(each[1])
        args = tuple(map(draw.choice, zip(one.args, other.args, strict=True)))
        yield one.arch, one.nr, args


@pytest.mark.few(1, "makes and proves filters of many forms")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operation", ["intersect", "union", "subtract"])
def test_a_file_answers_what_its_parts_do_together(
    form: str, operation: str, tmp_path: Path
) -> None:
    about, seen = FORMS[form], Counter[str]()
    refusal = about["default"]
    read_as = "oci" if form == "spo" else form
    reading = Reading(read_as, abis=("x86_64",))
    if read_as == "oci":  # without runc's own ENOSYS
        reading = replace(reading, runtime=Runtime.LIBSECCOMP)
    for seed in range(2):
        draw = random.Random(seed)
        names = ["part0.json", "part1.json"]
        policies = [drawn(draw, form, tmp_path / name) for name in names]
        if operation == "subtract":
            # What every program needs, systemd's above all, is not taken away.
            policies[1]["syscalls"].pop()
            (tmp_path / names[1]).write_text(json.dumps(policies[1]))
        words = [operation, *names, "--format", form, "--name", f"made{seed}", "-o", "out"]
        words += ["--action", refusal] if operation == "subtract" else []
        run = inside(*words, cwd=tmp_path)
        if run.code == 2 and any(why in run.err for why in ("more than", "below 2**63")):
            seen["refused"] += 1
            continue
        assert run.code == 0, run.err
        path = tmp_path / "out" / f"made{seed}{about['suffix']}"
        policy, _ = load_policy(path, TABLES, reading)
        means = meaning(policy, ABIS["x86_64"], TABLES)
        oracles = [Meaning(one, plain_tables(), "x86_64") for one in policies]
        for arch, nr, args in calls(policies):
            answers = [one.decide(arch, nr, args) for one in oracles]
            expected = together(operation, answers, action_value(refusal, "x86_64"))
            a, b, c, d, e, f = args
            result = means.answer(OurCall(nr, arch, (a, b, c, d, e, f)))
            assert result == expected, (seed, hex(arch), nr, args, list(map(hex, answers)))
            seen["calls"] += 1
            seen[f"{expected & 0xFFFF0000:#x}"] += 1
        seen["files"] += 1
    assert seen["files"], seen
    assert seen["calls"] > 200, seen
    assert sum(name.startswith("0x") for name in seen) > 1, seen


BASE = """\
arches: [x86_64]
compat_arches: [x32]
bad_arch_action: kill_thread
default_action: kill_thread
syscalls:
- {action: allow, arches: [x86_64], names: [read, write, exit_group]}
"""
ERRNO = f"{BASE}- {{action: errno(EACCES), arches: [x86_64], names: [openat]}}\n"
TWO = "read: 1\nwrite: arg0 == 1\nopenat: return EACCES\nclose: return ENOENT\n"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (
            "seccompiler",
            "b.policy:1:1: a filter of seccompiler cannot express bad_arch_action kill_thread",
        ),
        ("seccompiler", "b.policy:4:8: a filter of seccompiler has two actions, here kill_thread"),
        ("systemd", "b.policy:1:1: settings of a unit cannot express kill_thread"),
    ],
)
def test_what_a_form_cannot_hold_is_refused_at_the_rule_that_says_it(
    form: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "a.yml").write_text(ERRNO)
    (tmp_path / "b.policy").write_text(TWO)
    before = snapshot(tmp_path)
    words = ("--for", "x86_64", "--format", form, "--name", "x", "-o", ".")
    run = inside("union", "a.yml", "b.policy", *words, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert any(line.startswith(told) for line in run.err.splitlines()), run.err
    assert snapshot(tmp_path) == before


def test_a_policy_says_how_it_is_installed_and_a_foreign_one_leaves_it_open(
    tmp_path: Path,
) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(profile))
    (tmp_path / "b.policy").write_text(TWO)
    words = ("--for", "x86_64", "--name", "x", "--format", "oci", "-o", "out")
    run = inside("intersect", "a.json", "b.policy", *words, cwd=tmp_path)
    assert run.code == 0, run.err
    assert "a.json: note: its flags spec_allow are not those of the other filters" in run.err
    assert '"flags": []' in (tmp_path / "out" / "x.x86_64.json").read_text()
    run = inside(
        "intersect", "a.json", "a.json", *words, "--runtime", "crun", "--check", cwd=tmp_path
    )
    assert run.code == 1
    run = inside("intersect", "a.json", "a.json", *words, "--runtime", "crun", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert "FLAG_SPEC_ALLOW" in (tmp_path / "out" / "x.x86_64.json").read_text()


@pytest.mark.long("the largest profile, combined twice")
def test_numbers_that_only_runc_answers_otherwise_are_told_once(tmp_path: Path) -> None:
    profile = SHARED / "oci" / "moby-default.json"
    if not profile.exists():
        pytest.skip("needs ../shared")
    words = ("--arch", "riscv64", "--format", "oci", "--name", "x", "-o", "out")
    caps = ("--caps", "1:CAP_SYS_ADMIN", "--caps", "2:")
    run = inside("union", str(profile), str(profile), *caps, *words, cwd=tmp_path)
    (line,) = run.err.splitlines()
    assert run.code == 2
    assert "numbers that none has get errno(EPERM) here" in line
    plain = ("--runtime", "libseccomp")
    run = inside("union", str(profile), str(profile), *caps, *plain, *words, cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    made = str(tmp_path / "out" / "x.riscv64.json")
    for options, code in ((("--caps", "1:CAP_SYS_ADMIN"), 0), (("--caps", ""), 1)):
        runs = ("--arch", "riscv64", "--runtime", "libseccomp", *options)
        assert inside("equiv", str(profile), made, *runs).code == code
