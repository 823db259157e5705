"""The JSON Schema of policies: it accepts what a build accepts, and refuses what it can know."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import corpus
import pytest
from command import ROOT, inside
from hypothesis import example, given, settings
from jsonschema import Draft202012Validator
from longer import few_and_many, long_but
from pages import blocks
from policy.test_arbitrary import GOOD, mutated
from policy.test_errors import CASES
from policy.test_groups import HEAD, WRONG
from random_policies import random_policy
from ruamel.yaml import YAML
from seccompgen.core.errors import SeccompgenError
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.document import Document, read_document
from seccompgen.policy.form import keys_of, needed_keys
from seccompgen.policy.json_schema import schema_text
from seccompgen.policy.keys import POLICY_KEYS, Condition, NameWithConditions, SyscallGroup
from seccompgen.policy.ring_keys import IoUring, OperationGroup
from seccompgen.policy.schema import validate

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
COMMITTED = ROOT / "docs" / "policy.schema.json"
SCHEMA = json.loads(COMMITTED.read_text())
"""What is committed, which one of the tests holds to what the code makes: that takes a second."""


def without_offers(schema: Any) -> Any:
    """Return a schema that accepts the same: words for editors beside "any text" are left out."""
    if isinstance(schema, list):
        return [without_offers(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: without_offers(one) for key, one in schema.items()}
    if {"type": "string"} in schema.get("anyOf", ()):
        rest = [one for one in schema["anyOf"] if isinstance(one, dict) and "const" not in one]
        result["anyOf"] = without_offers(rest)
    return result


VALIDATOR = Draft202012Validator(without_offers(SCHEMA))
"""Ten times as fast as one that tries each call for each name."""
MOST_BYTES = 1_500_000

FILES = sorted(
    path
    for pattern in ("policies/*", "examples/**/*", "docs/**/*", "tests/data/policies/*")
    for path in ROOT.glob(pattern)
    if path.suffix in {".yml", ".yaml", ".toml"} and not {"sandbox", "templates"} & set(path.parts)
)
POLICIES = [
    path for path in FILES if "default_action" in path.read_text() or path.parent.name == "policies"
]

BY_FORM = {
    Problem.UNKNOWN_KEY,
    Problem.MISPLACED_KEY,
    Problem.WRONG_VALUE,
    Problem.EMPTY_GROUP,
    Problem.UNKNOWN_ABI,
    Problem.ABI_WITHOUT_FILTERS,
}
"""Kinds of errors that the schema can know of, whatever else the policy says."""


def refusals(data: object) -> list[str]:
    return [f"{one.json_path}: {one.message[:120]}" for one in VALIDATOR.iter_errors(data)]


def read(path: Path) -> Any:
    return read_document(path.read_bytes(), str(path)).data


@pytest.mark.long("looks at every word that it offers")
@pytest.mark.parametrize("offers", [False, True])
def test_it_is_a_schema(offers: bool) -> None:
    Draft202012Validator.check_schema(SCHEMA if offers else without_offers(SCHEMA))


def patterns(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {one for item in schema for one in patterns(item)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return own | {one for item in schema.values() for one in patterns(item)}


def test_its_patterns_escape_what_unicode_mode_lets_them() -> None:
    """ECMAScript's mode "u", in which Ajv and others read patterns, takes no other escapes."""
    found = patterns(SCHEMA)
    assert len(found) > 5
    escapes = {escape for one in found for escape in re.findall(r"\\(.)", one)}
    assert escapes <= {*"^$\\.*+?()[]{}|/", *"dDwWsSbB"}


@pytest.mark.parametrize(
    "case", long_but([*[*CASES][::12], "good"], [*CASES, "good"], "each error, with a slow schema")
)
def test_words_for_editors_change_no_answer(case: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(CASES[case][0] if case in CASES else json.dumps(GOOD))
    try:
        data = read(path)
    except SeccompgenError:
        return
    assert Draft202012Validator(SCHEMA).is_valid(data) is (not refusals(data))


def test_the_committed_one_is_of_the_pin_and_not_too_large() -> None:
    assert COMMITTED.read_text() == schema_text(TABLES)
    assert COMMITTED.stat().st_size < MOST_BYTES


@pytest.mark.parametrize(
    ("keys", "needed", "name"),
    [
        (POLICY_KEYS, [], "policy"),
        (keys_of(SyscallGroup), needed_keys(SyscallGroup), "group"),
        (keys_of(NameWithConditions), needed_keys(NameWithConditions), "entry"),
        (keys_of(Condition), needed_keys(Condition), "argument"),
        (keys_of(IoUring), needed_keys(IoUring), "io_uring"),
        (keys_of(OperationGroup), needed_keys(OperationGroup), "operation_group"),
    ],
)
def test_it_has_every_key_with_a_description(
    keys: dict[str, object], needed: list[str], name: str
) -> None:
    defined = SCHEMA["$defs"][name]
    assert list(defined["properties"]) == list(keys)
    for one in defined["properties"].values():
        assert one["description"].endswith(".")
        assert not {*"`[]"} & {*one["description"].replace("[] answers", "")}
    assert defined.get("required", []) == needed


def test_there_are_policies_to_try() -> None:
    assert len(POLICIES) >= 8
    assert len(corpus.ours()) >= 10


@pytest.mark.few(7, "reads many policies")
@pytest.mark.parametrize("path", POLICIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_policies_of_the_repository_are_accepted(path: Path) -> None:
    assert refusals(read(path)) == []


@pytest.mark.few(3, "reads many policies")
@pytest.mark.parametrize("name", corpus.EACH_NAME)
def test_the_corpus_is_accepted(name: str) -> None:
    assert refusals(corpus.translated(corpus.corpus()[name])) == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_policies_on_pages_are_accepted(page: Path) -> None:
    for text in blocks("yaml", page.read_text()):
        data = YAML(typ="safe", pure=True).load(text)
        if isinstance(data, dict) and {"syscalls", "seccomp", "default_action"} & set(data):
            assert refusals(data) == [], text


@few_and_many(2, 8)
def test_random_policies_are_accepted(examples: int, tmp_path: Path) -> None:
    for seed in range(examples):
        policy = random_policy(tmp_path, seed, 40, TABLES)
        assert refusals(read(tmp_path / f"{policy.name}.yml")) == []


SPELLINGS = {
    "go-seccomp-bpf's section": "seccomp:\n  default_action: allow\n  syscalls: []\n",
    "any case": (
        "default_action: ALLOW\narches: [AMD64, SCMP_ARCH_ARM]\nflags: [TSYNC]\nsyscalls:\n"
        "- action: ' Errno( eacces ) '\n  names_with_args:\n"
        "  - {name: read, arguments: [{operation: maskedequal, mask: 1}]}\n"
    ),
    "data": (
        "default_action: errno(0xfff)\nunknown_action: trap(65535)\nbad_arch_action: trace(0)\n"
        "syscalls:\n- {action: errno(4095), names: [read]}\n"
    ),
    "a call newer than the tables": (
        HEAD + "syscalls:\n- {action: allow, names: [read, quotactl_of_2030], optional: true}\n"
    ),
    "groups": HEAD
    + "groups: {mine: ['@swap', read]}\nsyscalls: [{action: log, names: ['@mine']}]\n",
    "conditions": (
        "default_action: errno\narches: [x86_64, i386]\nmultiplexed: errno(ENOSYS)\nsyscalls:\n"
        "- {action: allow, names: [mprotect, mmap2], when: not prot & 4, arches: [i386]}\n"
        "- action: allow\n  multiplexed: allow\n  names_with_args:\n"
        "  - {name: socket, when: 'family in {1, 2}'}\n"
        "  - {name: openat, arguments: [{argument: flags, operation: Equal, value: -1}]}\n"
        "  - {name: seccomp, arguments: [{operation: Equal, value: SECCOMP_GET_ACTION_AVAIL}]}\n"
        "  - {name: openat, arguments: [{argument: arg1, operation: Equal, value: 1 << 3 | 7}]}\n"
        "- {action: trap, names: [-1]}\n- {action: log, names: [0x1ffff], arches: [x86_64]}\n"
    ),
    "one answer": "default_action: log\nsyscalls: []\n",
    "a file that others include": "groups: {mine: [read]}\n",
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_all_spellings_are_accepted(case: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(SPELLINGS[case])
    assert refusals(read(path)) == []
    if "default_action" in SPELLINGS[case]:
        load_policy(path, TABLES)


NUMBERS = ["0", "9", "10", "4095", "4096", "65535", "65536", "0xfff", "0x1000", "0x0fff", "0XFFFF"]
NUMBERS += ["0x10000", "00", "01", "-1", "0x", "4.0", "99999", "EPERM", "eperm", "EPREM", ""]


@pytest.mark.parametrize("kind", ["allow", "errno", "trap", "trace", "log", "kill"])
def test_data_of_actions_have_the_same_bounds(kind: str) -> None:
    for text in [kind, *(f"{kind}({number})" for number in NUMBERS)]:
        data = {"default_action": text, "syscalls": []}
        try:
            validate(Document("p", data, {}, {}))
        except SeccompgenError:
            assert refusals(data), text
        else:
            assert not refusals(data), text


@pytest.mark.parametrize("case", [*CASES, *WRONG])
def test_what_it_can_know_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(CASES[case][0] if case in CASES else HEAD + WRONG[case][0])
    with pytest.raises(SeccompgenError) as caught:
        load_policy(path, TABLES)
    found = caught.value.diagnostics
    kinds = {one.kind for one in found}
    unknown = any(one.kind is Problem.UNKNOWN_CALL and " only" not in one.message for one in found)
    if Problem.MALFORMED_FILE not in kinds:
        assert bool(refusals(read(path))) == bool(kinds & BY_FORM or unknown)


def accepted(data: object, directory: Path) -> bool:
    path = directory / "p.json"
    path.write_text(json.dumps(data))
    try:
        load_policy(path, TABLES)
    except SeccompgenError:
        return False
    return True


def has_whole_float(data: object) -> bool:
    """Return True if there is a 1.0, an integer to JSON Schema but not to us."""
    if isinstance(data, dict | list):
        return any(map(has_whole_float, data.values() if isinstance(data, dict) else data))
    return isinstance(data, float) and data.is_integer()


def well_formed(data: object) -> bool:
    try:
        validate(Document("p", data, {}, {}))
    except SeccompgenError:
        return False
    return True


@few_and_many(5, 200)
def test_it_agrees_with_the_checks(tmp_path: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(mutated())
    @example(GOOD)
    @example({"seccomp": GOOD})
    @example({"seccomp": GOOD, "syscalls": []})
    def examine(policy: object) -> None:
        refused = refusals(policy)
        if not well_formed(policy):
            assert refused or has_whole_float(policy)
        elif refused:
            assert not accepted(policy, tmp_path)

    examine()


@pytest.mark.long("reads many policies")
def test_the_command_prints_and_writes_it(tmp_path: Path) -> None:
    text = schema_text(TABLES)
    run = inside("schema")
    assert (run.code, run.out) == (0, text)
    run = inside("schema", "-o", tmp_path / "s.json")
    assert (run.code, (tmp_path / "s.json").read_text()) == (0, text)
