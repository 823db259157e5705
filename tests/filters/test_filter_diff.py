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
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.filter_changes import ChangedCall, Effect, Subject
from seccompgen.filters.filter_diff import diff_filters
from seccompgen.filters.load import load_filter
from seccompgen.render import ret_action
from strategies import plain_tables_with_facts

if TYPE_CHECKING:
    from seccompgen.core.filter_changes import FilterDiff

TABLES_OF_ORACLE = plain_tables_with_facts()
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
    facts = TABLES_OF_ORACLE.facts
    most = 32 if abi in oracle.LOW_WORDS else 64
    reader = oracle.Reader(facts.parameters[abi].get(name, ()), most)
    return oracle.expression_test(condition, facts.constants[abi], reader)(args)


def _within(nr: int, spans: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= nr <= last for first, last in spans)


def _abi_of(arch: int, nr: int) -> str | None:
    x32 = bool(nr & 0x40000000) and nr != 0xFFFFFFFF
    names = [name for name in TABLES_OF_ORACLE if oracle.ABIS[name].audit_arch == arch]
    return next((name for name in names if (name == "x32") == x32), names[0] if names else None)


def _answers(policy: dict[str, Any], call: Any, program: str) -> str:
    value = oracle.Meaning(policy, TABLES_OF_ORACLE, program).decide(*call)
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
        meant = [oracle.Meaning(policy, TABLES_OF_ORACLE, program) for policy in policies]
        for call in small_filters.calls(program, TABLES_OF_ORACLE):
            before, after = (ret_action(m.decide(*call), ABIS[program]) for m in meant)
            told = [one for one in diff.changes if covers(one, diff, program, call)]
            where = (seed, program, call, before, after, told)
            if before == after:
                assert not told, where
                continue
            (one,) = told or [None]
            assert one is not None, where
            assert (one.before, one.after) == (before, after), where
            assert one.effect is _effect(before, after), where
            seen[one.effect.name] += 1
    for one in diff.changes:
        example = (one.example.arch, one.example.nr, one.example.arguments)
        assert any(covers(one, diff, program, example) for program in one.programs), (seed, one)
    assert not diff.unlisted
    return seen


def _effect(before: str, after: str) -> Effect:
    if (before in THROUGH) == (after in THROUGH):
        return Effect.OTHERWISE
    return Effect.PERMITTED if after in THROUGH else Effect.REFUSED


def test_random_pairs_change_as_brute_force_says(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(16):
        seen += check_pair(seed, tmp_path)
    assert set(seen) == {effect.name for effect in Effect}, seen
