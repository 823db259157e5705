"""`diff`: every class of calls that changed and no other, whatever form the filters have."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import oracle
import pytest
import small_filters
from command import ROOT, inside
from longer import few_and_many
from proving import TABLES, little
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.filter_changes import ChangedCall, ChangeEffect, Subject
from seccompgen.filters.compare.meaning_diff import diff_filters
from seccompgen.filters.find.loaded_filter import LoadedFilter, load_filter
from seccompgen.render.listing import ret_action
from strategies import plain_tables_with_facts

if TYPE_CHECKING:
    from seccompgen.core.filter_changes import FilterDiff

DOCKER = ROOT.parent / "shared" / "corpus" / "oci" / "moby-default.json"
HISTORIC = ROOT / "tests" / "lint" / "historic"
THROUGH = {"allow", "log"}


def diff_of(before: Path, after: Path) -> FilterDiff:
    return diff_filters(load_filter(before, TABLES), load_filter(after, TABLES), TABLES)


# --- against brute force -------------------------------------------------------------------------


def covers(
    one: ChangedCall, diff: FilterDiff, program: str, call: tuple[int, int, tuple[int, ...]]
) -> bool:
    """Return whether a change is about a call, by what it says of itself."""
    arch, nr, args = call
    abi = _abi_of(arch, nr)
    if program not in one.programs:
        return False
    if one.subject is Subject.OTHER_ABIS:
        answered = {program, *oracle.ABIS[program].same_kernel} & {*diff.answered}
        known = {oracle.ABIS[name].audit_arch for name in answered}
        return arch not in known and _within(nr, dict(one.numbers)[program])
    if abi is None or abi not in one.abis:
        return False
    name = TABLES.tables[abi].names.get(nr, "")
    if name != one.syscall:
        return False
    if one.subject is Subject.UNNAMED:
        return _within(nr, dict(one.numbers)[abi])
    return not one.condition or _holds(one.condition, name, abi, args)


def _holds(condition: str, name: str, abi: str, args: tuple[int, ...]) -> bool:
    facts = plain_tables_with_facts().facts
    most = 32 if abi in oracle.LOW_WORDS else 64
    reader = oracle.Reader(facts.parameters[abi].get(name, ()), most)
    return oracle.expression_test(condition, facts.constants[abi], reader)(args)


def _within(nr: int, spans: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= nr <= last for first, last in spans)


def _abi_of(arch: int, nr: int) -> str | None:
    x32 = bool(nr & 0x40000000) and nr != 0xFFFFFFFF
    names = [name for name in plain_tables_with_facts() if oracle.ABIS[name].audit_arch == arch]
    return next((name for name in names if (name == "x32") == x32), names[0] if names else None)


def _answers(policy: dict[str, Any], call: Any, program: str) -> str:
    value = oracle.Meaning(policy, plain_tables_with_facts(), program).decide(*call)
    return ret_action(value, ABIS[program])


def check_pair(seed: int, directory: Path) -> Counter[str]:
    """Assert for each call of the small domain that it is told if, and only if, it changed."""
    policies = small_filters.pair(seed)
    paths = [directory / "before.json", directory / "after.json"]
    for path, policy in zip(paths, policies, strict=True):
        path.write_text(json.dumps(policy))
    seen: Counter[str] = Counter()
    try:
        diff = diff_of(*paths)
    except InputError:  # a rule that can never match
        return seen
    by_name: defaultdict[str, list[ChangedCall]] = defaultdict(list)
    for one in diff.changes:
        by_name[one.syscall].append(one)
    for program in small_filters.ARCHES:
        meant = [oracle.Meaning(policy, plain_tables_with_facts(), program) for policy in policies]
        for call in small_filters.calls(program, plain_tables_with_facts()):
            before, after = (ret_action(m.decide(*call), ABIS[program]) for m in meant)
            abi = _abi_of(call[0], call[1])
            name = TABLES.tables[abi].names.get(call[1], "") if abi else ""
            candidates = [*by_name[name], *(by_name[""] if name else ())]
            told = [one for one in candidates if covers(one, diff, program, call)]
            where = (seed, program, call, before, after, told)
            if before == after:
                assert not told, where
                continue
            assert len(told) == 1, where
            one = told[0]
            assert (one.before, one.after) == (before, after), where
            assert one.effect is _effect(before, after), where
            seen[one.effect.name] += 1
    for one in diff.changes:
        example = (one.example.arch, one.example.nr, one.example.arguments)
        assert any(covers(one, diff, program, example) for program in one.programs), (seed, one)
    assert not diff.unlisted
    return seen


def _effect(before: str, after: str) -> ChangeEffect:
    if (before in THROUGH) == (after in THROUGH):
        return ChangeEffect.OTHERWISE
    return ChangeEffect.PERMITTED if after in THROUGH else ChangeEffect.REFUSED


@few_and_many(12, 24)
def test_random_pairs_change_as_brute_force_says(tmp_path: Path, examples: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(examples):
        seen += check_pair(seed, tmp_path)
    assert set(seen) == {effect.name for effect in ChangeEffect}, seen


# --- filters that others made --------------------------------------------------------------------


def told(diff: FilterDiff) -> set[tuple[str, str, str, str, str]]:
    """Return what changed, whichever ABIs and rules: the contract of a reviewer."""
    return {
        (
            one.effect.value,
            one.syscall,
            one.condition.replace("u64(family)", "family"),
            one.before,
            one.after,
        )
        for one in diff.changes
    }


@pytest.mark.long("makes and proves filters of many forms")
@pytest.mark.skipif(not DOCKER.exists(), reason="the corpus is not beside this checkout")
def test_three_edits_of_dockers_profile_are_found_exactly(tmp_path: Path) -> None:
    profile = json.loads(DOCKER.read_text())
    (tmp_path / "before.json").write_text(json.dumps(profile))
    first = profile["syscalls"][0]["names"]
    first.append("io_uring_setup")
    first.remove("mknod")
    above_vsock = [
        group
        for group in profile["syscalls"]
        if group["names"] == ["socket"] and group["args"][0]["op"] == "SCMP_CMP_GT"
    ]
    above_vsock[0]["args"][0]["value"] = 39
    (tmp_path / "after.json").write_text(json.dumps(profile))
    found = diff_of(tmp_path / "before.json", tmp_path / "after.json")
    assert told(found) == {
        ("newly permitted", "io_uring_setup", "", "errno(EPERM)", "allow"),
        ("newly permitted", "socket", "family == AF_VSOCK", "errno(EPERM)", "allow"),
        ("newly refused", "mknod", "", "allow", "errno(EPERM)"),
    }
    (refused,) = [one for one in found.changes if one.effect is ChangeEffect.REFUSED]
    has_it = {name for name in found.answered if "mknod" in TABLES.tables[name].numbers}
    assert set(refused.abis) == has_it


WIDE = "u64({0}) & 0xffffffff00000000"
HOLES = {
    "docker-vsock-wide": {
        ("socket", f"family == AF_VSOCK and {WIDE.format('family')}", "errno(EPERM)"),
    },
    "docker-io-uring": {
        (f"io_uring_{name}", "", "errno(EPERM)") for name in ("setup", "enter", "register")
    },
    "flatpak-clone3": {
        ("clone3", "", "errno(ENOSYS)"),
        (
            "clone",
            "not flags & CLONE_NEWUSER and flags & (CLONE_NEWNS|CLONE_NEWCGROUP|CLONE_NEWUTS"
            "|CLONE_NEWIPC|CLONE_NEWPID|CLONE_NEWNET)",
            "errno(EPERM)",
        ),
    },
    "flatpak-tiocsti-wide": {
        ("ioctl", "cmd in {TIOCSTI, TIOCLINUX} and u64(cmd) != TIOCSTI", "errno(EPERM)"),
    },
}


@pytest.mark.few(2, "makes and proves filters of many forms")
@pytest.mark.parametrize("name", HOLES)
def test_two_releases_of_a_public_sandbox_differ_by_the_hole(name: str) -> None:
    holed, mended = HISTORIC / f"{name}.yml", HISTORIC / f"{name}.mended.yml"
    found = {(one.syscall, one.condition, one.after) for one in diff_of(holed, mended).changes}
    assert found == HOLES[name]
    back = diff_of(mended, holed).changes
    assert {one.effect for one in back} == {ChangeEffect.PERMITTED}
    assert {(one.syscall, one.condition, one.before) for one in back} == HOLES[name]


# --- one filter in several forms -----------------------------------------------------------------


@pytest.mark.long("makes and proves filters of many forms")
def test_a_filter_and_its_recompilations_differ_by_nothing(tmp_path: Path) -> None:
    policy = ROOT / "policies" / "no_network.yml"
    forms = [
        ("build", policy, "-o", tmp_path / "size", "--optimize", "size"),
        ("build", policy, "-o", tmp_path / "old", "--no-bitmap"),
        ("build", policy, "-o", tmp_path / "raw", "--format", "bpf"),
    ]
    arch = ["--arch", "x86_64", "--arch", "s390x"]
    for words in forms:
        assert inside(*words, *arch).code == 0
    made = [tmp_path / "size" / "no_network", tmp_path / "old" / "no_network"]
    made += sorted((tmp_path / "raw").glob("*.bpf"))
    assert len(made) == 4
    for one in made:
        abi = "s390x" if "s390x" in one.name else "x86_64"
        for pair in ((policy, one), (one, policy), (made[0], one)):
            run = inside("diff", *pair, "--arch", abi)
            assert (run.code, run.err) == (0, ""), (pair, run.out)
            assert " ".join(run.out.split()).endswith(": no difference in meaning")


def test_abis_settings_and_answers_of_the_policy_are_told(tmp_path: Path) -> None:
    text = "arches: [x86_64, aarch64]\ndefault_action: errno\nsyscalls: []\n"
    (tmp_path / "a.yml").write_text(text)
    (tmp_path / "b.yml").write_text(
        text.replace("aarch64", "s390x").replace("errno", "errno(ENOSYS)")
        + "flags: [tsync, log]\nno_new_privs: false\nunknown_action: kill_process\n"
    )
    found = diff_of(tmp_path / "a.yml", tmp_path / "b.yml")
    assert (found.abis, found.only_before, found.only_after) == (
        ("x86_64",),
        ("aarch64",),
        ("s390x",),
    )
    assert {(one.name, one.before, one.after) for one in found.settings} == {
        ("flags", "none", "tsync|log"),
        ("no_new_privs", "true", "false"),
    }
    assert {(one.name, one.before, one.after) for one in found.policy_actions} == {
        ("default_action", "errno(EPERM)", "errno(ENOSYS)"),
        ("unknown_action", "errno(EPERM)", "kill_process"),
    }
    assert {one.subject for one in found.changes} == {Subject.CALL, Subject.UNNAMED}
    assert {one.effect for one in found.changes} == {ChangeEffect.OTHERWISE}


def test_what_cannot_be_listed_is_shown_by_one_call() -> None:
    add_one, ret_allow, ret_kill = (0x04, 0, 0, 1), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0)
    left, right = (
        LoadedFilter(
            Path("a.bpf"),
            "",
            {"x86_64": little((0x20, 0, 0, 0), add_one, (0x15, 0, 1, nr + 1), ret_allow, ret_kill)},
        )
        for nr in (41, 42)
    )
    (lack,) = diff_filters(left, right, TABLES, ("a", "b")).unlisted
    assert lack.example is not None
    assert "a says" in lack.example
    assert "computes with a part of the call" in lack.reason
    assert diff_filters(left, right, TABLES).differs
    assert not diff_filters(left, left, TABLES).differs
