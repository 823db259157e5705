"""The horizon of a policy, ``kernel: v6.1``: newer calls that no rule names."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import interpreter
import pytest
from first_releases import first_releases, lacking, release
from longer import long_but
from old_tables import tables_at
from oracle import ABIS, Meaning
from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import proved_program
from stock_policies import in_calls
from strategies import plain_tables_with_facts

TABLES = shipped_tables()
PIN = f"v{'.'.join(map(str, release(TABLES.tag)[:2]))}"
ALLOW, EPERM, EXDEV = 0x7FFF0000, 0x00050001, 0x00050012
ENOSYS = 0x00050026
HEAD = "kernel: v6.1\narches: [x86_64]\ndefault_action: errno(EPERM)\n"
NO_CALL = 401
"""A number in the middle of x86_64's that no call has."""


def answer(text: str, call: str | int, args: tuple[int, ...] = (0,) * 6, *, abi: str = "x86_64",
           program: str = "") -> int:  # fmt: skip
    """Return what the program for a policy, which is proved to be right, answers to a call."""
    file = Path("p.yml")
    file.write_text(text)
    policy = load_policy(file, TABLES)[0]
    target = TABLES.tables[program or abi].abi
    made = proved_program(policy, target, TABLES)
    order = ABIS[target.name].byte_order
    nr = TABLES.tables[abi].numbers[call] if isinstance(call, str) else call
    data = interpreter.seccomp_data(nr, ABIS[abi].audit_arch, args, 0, order)
    return interpreter.run(made.to_bytes(), data, order).value


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rules(text: str) -> str:
    return f"{HEAD}syscalls:\n{text}"


READ = "- {action: allow, names: [read]}\n"


@pytest.mark.parametrize(
    ("text", "call", "expected"),
    [
        (READ, "cachestat", ENOSYS),  # v6.5
        (READ, "openat2", EPERM),  # v5.6
        (READ, "futex_waitv", EPERM),
        (READ, NO_CALL, ENOSYS),
        (READ, 0xFFFFFFFF, ENOSYS),
        (READ, 5000, ENOSYS),
        (READ + "- {action: allow, names: [cachestat]}\n", "cachestat", ALLOW),
        (READ + "- {action: errno(EXDEV), names: [cachestat]}\n", "cachestat", EXDEV),
        (READ + "- {action: allow, optional: true, names: [mseal]}\n", "mseal", ALLOW),
        (READ + "- {action: allow, arches: [x86_64], names: [451]}\n", "cachestat", ALLOW),
        (READ + "- {action: allow, names: ['@basic-io']}\n", "preadv2", ALLOW),
    ],
)
def test_newer_calls_that_no_rule_names(text: str, call: str | int, expected: int) -> None:
    assert answer(rules(text), call) == expected


def test_a_call_with_conditions_is_named_whatever_its_arguments_are() -> None:
    text = rules("- {action: allow, names: [cachestat], when: flags == 0}\n")
    assert answer(text, "cachestat") == ALLOW
    assert answer(text, "cachestat", (0, 0, 0, 1, 0, 0)) == EPERM


@pytest.mark.parametrize(
    ("kernel", "expected"), [("v6.5", ENOSYS), ("v6.6", ALLOW), ("v7.3", ALLOW), ("v5.10", ENOSYS)]
)
def test_groups_are_those_of_the_horizon(kernel: str, expected: int) -> None:
    text = rules(READ + "- {action: allow, names: ['@fattr']}\n").replace("v6.1", kernel)
    assert answer(text, "fchmodat2") == expected
    assert answer(text, "fchmodat") == ALLOW


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("['@fattr']", ENOSYS),
        ("['@fattr', fchmodat2]", ALLOW),
        ("[fchmodat2, '@fattr']", ALLOW),
        ("['@inner']", ALLOW),
    ],
)
def test_a_group_of_ones_own_names_what_it_spells_out(members: str, expected: int) -> None:
    text = f"groups:\n  inner: [fchmodat2]\n  mine: {members}\n"
    text += rules("- {action: allow, names: ['@mine', read]}\n")
    assert answer(text, "fchmodat2") == expected


def test_a_blocklist_lets_no_newer_call_through() -> None:
    text = "kernel: v6.1\narches: [x86_64]\ndefault_action: allow\nsyscalls:\n"
    text += "- {action: errno(EXDEV), names: [ptrace]}\n"
    answers = [answer(text, call) for call in ("cachestat", "openat2", "ptrace", NO_CALL)]
    assert answers == [ENOSYS, ALLOW, EXDEV, ENOSYS]


def test_unknown_action_says_otherwise() -> None:
    text = "unknown_action: errno(EXDEV)\n" + rules(READ)
    assert [answer(text, call) for call in ("cachestat", NO_CALL)] == [EXDEV, EXDEV]


def test_each_abi_has_its_own_releases() -> None:
    # clone3 came to riscv32 with v5.15, elsewhere long before.
    text = "kernel: v5.14\narches: [riscv32, riscv64]\ndefault_action: errno(EPERM)\n"
    text += f"syscalls:\n{READ}"
    assert answer(text, "clone3", abi="riscv32") == ENOSYS
    assert answer(text, "clone3", abi="riscv64") == EPERM
    text += "- {action: allow, arches: [riscv64], names: [clone3]}\n"
    assert answer(text, "clone3", abi="riscv32") == ENOSYS
    assert answer(text, "clone3", abi="riscv64") == ALLOW


@pytest.mark.long("reads many policies")
def test_compat_abis_are_answered_by_their_own_releases() -> None:
    # uretprobe is x86_64's alone; x32's numbers come under its audit value.
    text = rules(READ).replace("[x86_64]", "[x86_64]\ncompat_arches: [i386, x32]", 1)
    got = {abi: answer(text, "cachestat", abi=abi, program="x86_64") for abi in ("i386", "x32")}
    assert got == {"i386": ENOSYS, "x32": ENOSYS}
    assert answer(text, "openat2", abi="i386", program="x86_64") == EPERM


def test_an_abi_that_came_later_began_with_old_calls() -> None:
    text = "kernel: v5.10\narches: [loongarch64]\ndefault_action: errno(EPERM)\nsyscalls:\n"
    text += "- {action: allow, names: ['@basic-io']}\n"
    answers = [
        answer(text, call, abi="loongarch64")
        for call in ("read", "openat2", "landlock_add_rule", "newfstatat")
    ]
    # It began with v5.19, which had landlock (v5.13); newfstatat came to it with v6.11.
    assert answers == [ALLOW, EPERM, ENOSYS, ENOSYS]


@pytest.mark.parametrize("seed", long_but([0, 1], range(6), "more random policies"))
def test_all_abis_answer_as_the_oracle_says(seed: int) -> None:
    rng = random.Random(seed)
    tables = plain_tables_with_facts()
    abi = rng.choice(sorted(tables))
    known = first_releases()[abi]
    kernel = rng.choice(["v5.10", "v5.15", "v6.1", "v6.6", "v6.12", "v7.0"])
    calls = sorted(tables[abi])
    late = sorted(lacking(kernel, abi, calls))
    chosen = rng.sample(calls, 5) + rng.sample(late, min(3, len(late)))
    group: dict[str, Any] = {"action": "allow", "names": [*dict.fromkeys(chosen), "@rpath"]}
    policy: dict[str, Any] = {
        "kernel": kernel, "arches": [abi], "default_action": "errno(EPERM)", "multiplexed": "allow",
        "syscalls": [group],
    }  # fmt: skip
    text = "".join(f"{key}: {value}\n" for key, value in policy.items())
    assert set(late) == {call for call in calls if known[call] > release(kernel)} or min(
        known.values()
    ) > release(kernel)
    policy["syscalls"] = [in_calls(group)]
    oracle = Meaning(policy, tables, abi, late={abi: frozenset(late)})
    file = Path("p.yml")
    file.write_text(text)
    resolved = load_policy(file, TABLES)[0]
    target = TABLES.tables[abi].abi
    program = proved_program(resolved, target, TABLES)
    order, least = ABIS[abi].byte_order, min(tables[abi].values())
    for nr in range(least, max(tables[abi].values()) + 30) if abi != "arm" else range(600):
        data = interpreter.seccomp_data(nr, ABIS[abi].audit_arch, (0,) * 6, 0, order)
        got = interpreter.run(program.to_bytes(), data, order).value
        assert got == oracle.decide(ABIS[abi].audit_arch, nr, (0,) * 6), (abi, kernel, nr)


# --- what the file may say ----------------------------------------------------------------------


def errors(text: str, name: str = "p.yml") -> list[str]:
    file = Path(name)
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        load_policy(file, TABLES)
    return [str(one) for one in raised.value.diagnostics]


def notes(text: str, tag: str = "") -> list[str]:
    Path("p.yml").write_text(text)
    told = load_policy(Path("p.yml"), tables_at(tag) if tag else TABLES)[1]
    return [str(one) for one in told]


@pytest.mark.parametrize(
    "value", ["6.10", "v6", "v6.1.2", "'6.1'", "v6.1-rc1", "newest", "6", "[]"]
)
def test_other_spellings_are_refused(value: str) -> None:
    (error,) = errors(rules(READ).replace("v6.1", value))
    assert error.startswith("p.yml:1:9: 'kernel' must be a mainline release such as v6.1, not ")


def test_a_release_without_filters_is_refused() -> None:
    told = errors(rules(READ).replace("v6.1", "v3.4"))
    assert told == ["p.yml:1:9: v3.4 has no seccomp filters: 'kernel' is v3.5 at least"]


def test_a_number_in_toml_is_refused() -> None:
    text = 'kernel = 6.10\ndefault_action = "errno"\nsyscalls = []\n'
    assert "'kernel' must be a mainline release" in errors(text, "p.toml")[0]


def test_the_including_file_says_which_kernel_counts() -> None:
    Path("base.yml").write_text("kernel: v6.6\nsyscalls:\n- {action: allow, names: ['@fattr']}\n")
    own = "arches: [x86_64]\ndefault_action: errno(EPERM)\ninclude: [base.yml]\nsyscalls:\n" + READ
    assert answer(own, "fchmodat2") == ALLOW
    assert answer(f"kernel: v6.1\n{own}", "fchmodat2") == ENOSYS
    assert answer(f"kernel: v6.1\n{own}", "cachestat") == ENOSYS
    assert answer(own, "cachestat") == EPERM


def test_included_files_must_agree_where_the_policy_says_nothing() -> None:
    for name, kernel in (("a", "v6.1"), ("b", "v6.6")):
        Path(f"{name}.yml").write_text(f"kernel: {kernel}\nsyscalls: []\n")
    own = (
        "arches: [x86_64]\ndefault_action: errno(EPERM)\ninclude: [a.yml, b.yml]\nsyscalls:\n"
        + READ
    )
    assert errors(own) == [
        "p.yml:1:1: a.yml:1:9 says v6.1, and b.yml:1:9 v6.6: say here which one this policy is for"
    ]
    assert answer(f"kernel: v6.6\n{own}", "cachestat") == EPERM


def test_a_horizon_beyond_the_tables_is_told() -> None:
    (note,) = notes(rules(READ).replace("v6.1", "v6.12"), "v6.1")
    assert note == (
        "p.yml:1:9: v6.12 is newer than the tables, those of Linux v6.1: until they have the calls "
        "that came between, these get unknown_action"
    )
    assert notes(rules(READ).replace("v6.1", PIN)) == []


def test_calls_of_uncertain_age_count_as_newer_and_are_told() -> None:
    text = "kernel: v4.4\narches: [arm]\ndefault_action: errno(EPERM)\nsyscalls:\n" + READ
    (note,) = notes(text)
    assert note.startswith("p.yml:1:9: nobody knows whether v4.4 has ")
    unsure = [call for call, since in first_releases()["arm"].items() if since == (4, 9)]
    assert {answer(text, call, abi="arm") for call in unsure[:2]} == {ENOSYS}


def test_a_group_of_newer_calls_alone_is_told() -> None:
    text = "kernel: v4.20\narches: [x86_64]\ndefault_action: errno(EPERM)\nsyscalls:\n"
    text += "- {action: allow, names: [read, '@io-uring']}\n"
    assert notes(text) == ["p.yml:5:33: v4.20 has no call of @io-uring: it names none here"]


def test_user_notif_for_newer_calls_needs_a_listener_once() -> None:
    text = "unknown_action: user_notif\n" + rules(READ)
    assert len(errors(text)) == 1
