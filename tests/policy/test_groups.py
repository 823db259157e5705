"""Groups of calls: those that come with seccompgen, a policy's own, and what is wrong with them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import seccompgen.policy.groups
from command import ROOT
from pages import blocks
from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy
from seccompgen.kernel.powers import powers
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.groups import Member, StockGroup, calls_of, find_stock_group, stock_groups

if TYPE_CHECKING:
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

TABLES = shipped_tables()
GOLDEN = Path(__file__).parent / "golden" / "groups.txt"
PAGE = ROOT / "docs" / "groups.md"
FILE = Path(seccompgen.policy.groups.__file__).with_name("groups.toml")
HEAD = "default_action: errno\narches: [x86_64]\n"


def load(directory: Path, text: str) -> tuple[ResolvedPolicy, list[str]]:
    path = directory / "p.yml"
    path.write_text(text)
    policy, found = load_policy(path, TABLES)
    return policy, [str(one).replace(f"{directory}/", "") for one in found]


def errors(directory: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(directory, text)
    assert all(one.kind for one in caught.value.diagnostics)
    return [str(one).replace(f"{directory}/", "") for one in caught.value.diagnostics]


def names(policy: ResolvedPolicy) -> list[str]:
    return [rule.name for rule in policy.rules]


def expansions(tables: Tables) -> str:
    """Return what each group means, read without the code that policies are read with."""
    groups: dict[str, dict[str, Any]] = tomllib.loads(FILE.read_text())

    def calls(name: str) -> list[str]:
        group = groups[name]
        found = [
            f"{call} where {when}" if when else call
            for kind in group.get("kinds", ())
            for call, when in powers().given(kind)
            if call not in group.get("without", ())
        ]
        for member in group.get("members", ()):
            if isinstance(member, dict):
                found += [f"{call} where {member['when']}" for call in member["names"]]
            elif member.startswith("="):
                found += next(line.calls for line in always if member[1:] in line.calls)
            else:
                found += calls(member[1:]) if member.startswith("@") else [member]
        return sorted(set(found))

    always = [line for line in powers().lines if not line.when]

    lines = []
    for name in sorted(groups):
        lines.append(f"[{name}]")
        for call in calls(name):
            number = call.split()[0]
            having = [abi for abi, table in tables.tables.items() if number in table.numbers]
            lacking = [abi for abi in tables.tables if abi not in having]
            where = f" (on {' '.join(having)})" if len(having) < len(lacking) else ""
            where = where or (f" (not on {' '.join(lacking)})" if lacking else "")
            lines.append(f"{call}{where}")
        lines.append("")
    return "\n".join(lines)


def test_no_group_came_to_mean_something_else() -> None:
    found = expansions(TABLES)
    assert found == GOLDEN.read_text(), (
        "a group that was released never changes. Where it has its calls from kernel/powers.toml, "
        "name what it would gain in 'without' and what it would lose in 'members', and add a "
        'version, such as ["memory.v2"]. For a new group, or a new pin: '
        "PYTHONPATH=tests/helpers .venv/bin/python tests/policy/test_groups.py"
    )


def test_groups_mean_what_the_golden_file_says() -> None:
    listed = [part.splitlines() for part in GOLDEN.read_text().strip().split("\n\n")]
    golden = {
        lines[0].strip("[]"): {re.sub(r" \((not )?on [a-z0-9_ ]*\)$", "", one) for one in lines[1:]}
        for lines in listed
    }
    assert golden.keys() == stock_groups().keys()
    for name, group in stock_groups().items():
        calls = calls_of(group)
        found = {f"{one.name} where {one.when}" if one.when else one.name for one in calls}
        # A call that some part of the group has in any case needs no conditions of others.
        needed = {one for one in golden[name] if one.split()[0] not in found or " " not in one}
        assert found == needed


def test_every_group_makes_a_promise_and_names_calls_of_the_pin() -> None:
    known = {name for table in TABLES.tables.values() for name in table.numbers}
    for group in stock_groups().values():
        assert group.promise.endswith("."), group.name
        assert {one.name for one in calls_of(group)} <= known
        assert len(set(group.members)) == len(group.members)


def test_a_released_group_keeps_its_members_when_the_table_gains_a_call() -> None:
    """A new call in a kind, and one that left it: the group names both."""
    (left,) = calls_of(StockGroup("end", ".", kinds=("end",), without=frozenset({"exit"})))
    assert left.name == "exit_group"
    again = StockGroup("end", ".", (Member("exit"),), ("end",), frozenset({"exit"}))
    assert calls_of(again) == calls_of(stock_groups()["end"])


def test_the_page_lists_the_groups() -> None:
    """In two tables: groups of kinds that give nothing, and all others."""
    page = PAGE.read_text()
    nothing = {name for name, kind in powers().kinds.items() if not kind.gives}
    for free in (True, False):
        rows = "\n".join(
            f"| `@{one.name}` | {one.promise} |"
            for one in stock_groups().values()
            if (bool(one.kinds) and nothing.issuperset(one.kinds)) is free
        )
        assert f"\n|---|---|\n{rows}\n\n" in page


def test_the_policy_of_the_page_builds(tmp_path: Path) -> None:
    policy, notes = load(tmp_path, blocks("yaml", PAGE.read_text())[0])
    assert notes == []
    assert "rule 2, @logging" in {rule.origin.label for rule in policy.rules}


def test_a_mention_stands_for_the_calls_that_an_abi_has(tmp_path: Path) -> None:
    policy, notes = load(tmp_path, HEAD + "syscalls: [{action: allow, names: ['@swap', read]}]\n")
    assert names(policy) == ["swapoff", "swapon", "read"]
    assert notes == []
    assert [(rule.group, rule.origin.label) for rule in policy.rules] == [
        ("@swap", "rule 1, @swap"),
        ("@swap", "rule 1, @swap"),
        ("", "rule 1"),
    ]
    mention = policy.rules[0]
    assert (mention.position.line, mention.position.column) == (3, 36)
    assert mention.origin.position == mention.position


def test_the_first_version_is_the_group_without_one(tmp_path: Path) -> None:
    assert find_stock_group("swap.v1") is find_stock_group("swap")
    policy, _ = load(tmp_path, HEAD + "syscalls: [{action: allow, names: ['@swap.v1']}]\n")
    assert names(policy) == ["swapoff", "swapon"]


def test_a_policy_defines_groups_in_any_order(tmp_path: Path) -> None:
    text = HEAD + (
        "groups:\n  outer: [read, '@inner', '@swap']\n  inner: [write, read]\n"
        "syscalls: [{action: allow, names: ['@outer']}]\n"
    )
    assert names(load(tmp_path, text)[0]) == ["read", "write", "swapoff", "swapon"]


def test_groups_of_included_files_are_seen(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("groups: {mine: [read, write]}\n")
    main = HEAD + "include: [base.yml]\nsyscalls: [{action: allow, names: ['@mine']}]\n"
    assert names(load(tmp_path, main)[0]) == ["read", "write"]
    again = main + "groups: {mine: [read]}\n"
    assert errors(tmp_path, again) == [
        "p.yml:5:10: @mine is defined already, at base.yml:1:10",
    ]


def test_an_included_file_does_not_see_the_groups_of_who_includes_it(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("syscalls: [{action: allow, names: ['@of_ours']}]\n")
    main = HEAD + "include: [base.yml]\ngroups: {of_ours: [read]}\n"
    assert errors(tmp_path, main) == ["base.yml:1:36: unknown group '@of_ours'"]


WRONG = {
    "unknown": (
        "syscalls: [{action: allow, names: ['@basic-oi', '@nonsense']}]\n",
        [
            "p.yml:3:36: unknown group '@basic-oi' (did you mean '@basic-io'?)",
            "p.yml:3:49: unknown group '@nonsense'",
        ],
    ),
    "unknown in a group": (
        "groups: {mine: ['@basic-oi', reed, '@mien']}\n"
        "syscalls: [{action: allow, names: ['@mine', read]}]\n",
        [
            "p.yml:3:17: unknown group '@basic-oi' (did you mean '@basic-io'?)",
            "p.yml:3:30: unknown system call 'reed' (did you mean 'read'?)",
            "p.yml:3:36: unknown group '@mien' (did you mean '@mine'?)",
        ],
    ),
    "a version that is not there": (
        "syscalls: [{action: allow, names: ['@swap.v2', '@swap.1']}]\n",
        [
            "p.yml:3:36: unknown group '@swap.v2': there is @swap only",
            "p.yml:3:48: unknown group '@swap.1' (did you mean '@swap'?)",
        ],
    ),
    "a circle": (
        "groups:\n  a: ['@b']\n  b: [read, '@c']\n  c: ['@b']\n"
        "syscalls: [{action: allow, names: ['@a']}]\n",
        ["p.yml:6:7: a circle of groups: @b has @c has @b"],
    ),
    "itself": (
        "groups: {a: ['@a']}\nsyscalls: [{action: allow, names: ['@a']}]\n",
        ["p.yml:3:14: a circle of groups: @a has @a"],
    ),
    "ours": (
        "groups: {swap: [read]}\nsyscalls: [{action: allow, names: ['@swap']}]\n",
        ["p.yml:3:10: @swap comes with seccompgen: choose another name"],
    ),
    "names of groups": (
        "groups: {'@mine': [read], swap.v2: [read]}\nsyscalls: [{action: allow, names: [read]}]\n",
        [
            "p.yml:3:10: '@mine' is not the name of a group: write it without '@' where it is "
            "defined",
            "p.yml:3:27: 'swap.v2' is not the name of a group",
        ],
    ),
    "forms": (
        "groups: {mine: [], yours: read, his: [1]}\nsyscalls: [{action: allow, names: [read]}]\n",
        [
            "p.yml:3:16: 'mine' must not be empty",
            "p.yml:3:27: 'yours' must be a list, not 'read': write [read]",
            "p.yml:3:39: an item here must be text, not 1",
        ],
    ),
    "no mapping": (
        "groups: [mine]\nsyscalls: [{action: allow, names: [read]}]\n",
        ["p.yml:3:9: 'groups' must be a mapping, not ['mine']"],
    ),
    "with arguments": (
        "syscalls:\n- action: allow\n  names_with_args:\n"
        "  - {name: '@swap', arguments: [{operation: Equal}]}\n",
        ["p.yml:6:12: '@swap' is not the name of a system call; put a group under 'names'"],
    ),
    "hidden": (
        "syscalls:\n- {action: trap, names: [swapon]}\n- {action: log, names: [swapoff]}\n"
        "- {action: allow, names: ['@swap']}\n",
        [
            "p.yml:6:27: @swap can never match: earlier rules answer all of its calls, the first "
            "trap at p.yml:4:26"
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, case: str) -> None:
    text, expected = WRONG[case]
    assert errors(tmp_path, HEAD + text) == expected


def test_groups_overlap_and_have_exceptions_without_a_word(tmp_path: Path) -> None:
    text = HEAD + (
        "syscalls:\n- {action: errno(EPERM), names: [ptrace]}\n"
        "- {action: allow, names: ['@debug', '@basic-io', '@system-service']}\n"
    )
    policy, notes = load(tmp_path, text)
    assert notes == []
    first = next(rule for rule in policy.rules if rule.name == "ptrace")
    assert str(first.action) == "errno(EPERM)"


def test_a_group_said_before_is_a_note(tmp_path: Path) -> None:
    text = HEAD + "syscalls: [{action: allow, names: ['@process', '@exec']}]\n"
    assert load(tmp_path, text)[1] == [
        "p.yml:3:48: earlier rules have every call of @exec, the first at p.yml:3:36"
    ]


def test_calls_that_a_group_should_refuse_and_earlier_rules_allow_are_a_note(
    tmp_path: Path,
) -> None:
    text = HEAD + (
        "syscalls:\n- {action: allow, names: [ptrace, kcmp]}\n- {action: trap, names: ['@debug']}\n"
    )
    (note,) = load(tmp_path, text)[1]
    assert note == "p.yml:5:26: earlier rules allow calls of @debug: kcmp, ptrace"


@pytest.mark.few(1, "reads many policies")
@pytest.mark.parametrize("leaf_first", [False, True])
def test_groups_nest_to_a_depth(tmp_path: Path, leaf_first: bool) -> None:
    def chain(length: int) -> str:
        groups = [f"  g{i}: ['@g{i + 1}', '@g{i + 1}']\n" for i in range(length)]
        groups.append(f"  g{length}: [read]\n")
        groups = groups[::-1] if leaf_first else groups
        return f"{HEAD}groups:\n{''.join(groups)}syscalls: [{{action: allow, names: ['@g0']}}]\n"

    assert names(load(tmp_path, chain(32))[0]) == ["read"]
    found = errors(tmp_path, chain(33))
    assert [text.partition(": ")[2] for text in found] == ["groups nested deeper than 32"]
    assert all("deeper" in text for text in errors(tmp_path, chain(3000)))


@pytest.mark.long("reads many policies")
def test_no_policy_has_more_rules_than_can_be_read(tmp_path: Path) -> None:
    mentions = ", ".join(["'@system-service'"] * 1000)
    (found,) = errors(tmp_path, HEAD + f"syscalls: [{{action: allow, names: [{mentions}]}}]\n")
    assert "more than 100,000 rules" in found


if __name__ == "__main__":
    GOLDEN.write_text(expansions(TABLES))
