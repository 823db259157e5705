"""Policies as values: they say what a file says, are checked as one, and print as Python."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import seccompgen
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen import (
    ABIS,
    Action,
    Condition,
    Filter,
    FilterFlag,
    InputError,
    NamedGroup,
    NameWithConditions,
    Op,
    Policy,
    SyscallGroup,
    read_filter,
    validate,
)
from seccompgen.api.values import document_of
from seccompgen.core.model import ActionKind
from seccompgen.formats import load_policy
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.stock import stock_policies
from strategies import plain_tables, policies

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
NAMES = {name: getattr(seccompgen, name) for name in seccompgen.__all__}
SMALL = Policy(
    Action.errno("EACCES"),
    [
        SyscallGroup(Action.ALLOW, ["read", "write", "@mine"]),
        SyscallGroup(
            Action.trace(7),
            names_with_args=[
                NameWithConditions("socket", [Condition(0, Op.EQ, 1)]),
                NameWithConditions(
                    "mmap", [Condition(2, Op.NO_BITS, 4, width=32), Condition(3, Op.NE)]
                ),
                NameWithConditions("ioctl", [Condition(1, Op.MASKED_EQ, 0x5400, mask=0xFF00)]),
            ],
            optional=True,
        ),
    ],
    name="small",
    arches=["x86_64", "arm64"],
    unknown_action=Action.errno("ENOSYS"),
    groups=[NamedGroup("mine", ["close", "@basic-io"]), NamedGroup("no", ["lseek"])],
)
WHOLE = Filter(SMALL, flags=FilterFlag.TSYNC | FilterFlag.LOG, no_new_privs=False)


def meaning_of(source: object) -> object:
    """Return what a policy means: all but where it stands, and what it was read from."""
    policy, _ = load_policy(source, TABLES)  # type: ignore[arg-type] # a path or a document
    rules = [(r.name, r.condition, r.action) for r in policy.rules]
    actions = policy.default_action, policy.unknown_action, policy.bad_arch_action
    return policy.settings, policy.arches, policy.compat_arches, actions, rules, policy.description


@pytest.mark.parametrize(
    "value",
    [
        SMALL,
        WHOLE,
        *(Action.ALLOW, Action.KILL_PROCESS, Action.KILL_THREAD, Action.LOG, Action.USER_NOTIF),
        *(Action.errno("EACCES"), Action.errno(0), Action.errno(), Action.trap(1), Action.trace()),
        *(*Op, *FilterFlag, FilterFlag(0), FilterFlag.TSYNC | FilterFlag.LOG, FilterFlag(65)),
        *(ABIS["x86_64"], ActionKind.TRAP, seccompgen.Instruction(6, 0, 0, 0)),
    ],
    ids=repr,
)
def test_a_value_prints_as_what_makes_it_and_is_frozen(value: object) -> None:
    assert eval(repr(value), NAMES) == value
    assert "<" not in repr(value)
    hash(value)
    if dataclasses.is_dataclass(value):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_a_value_prints_as_one_would_type_it() -> None:
    assert repr(Condition(3, Op.NE)) == "Condition(3, Op.NE)"
    group = SyscallGroup(
        Action.errno("EPERM"),
        ["ptrace"],
        names_with_args=[NameWithConditions("clone", [Condition(0, Op.ANY_BITS, 16)])],
    )
    assert repr(Filter(Policy(Action.ALLOW, [group]), flags=FilterFlag.TSYNC)) == (
        "Filter(Policy(Action.ALLOW, (SyscallGroup(Action.errno('EPERM'), ('ptrace',), "
        "names_with_args=(NameWithConditions('clone', (Condition(0, Op.ANY_BITS, 16),)),)),)), "
        "flags=FilterFlag.TSYNC)"
    )


@pytest.mark.parametrize("kind", [Action, Op, FilterFlag])
def test_text_goes_round(kind: type[Action | Op | FilterFlag]) -> None:
    actions = [Action.parse(text) for text in ("errno(0)", "errno(13)", "errno(ENOSYS)", "trap(9)")]
    values = [*actions, *(Action(one) for one in ActionKind)] if kind is Action else [*kind]  # type: ignore[misc] # two are enums
    for value in values:
        assert kind.parse(str(value)) == value
        assert kind.parse(str(value).upper()) == value


def test_flags_go_round_together() -> None:
    for bits in range(64):
        assert FilterFlag.parse(str(FilterFlag(bits))) == FilterFlag(bits)
    with pytest.raises(ValueError, match=r"unknown flag 'tsinc' \(did you mean 'tsync'\?\)"):
        FilterFlag.parse("log|tsinc")


def test_a_value_is_the_text_that_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "small.yml"
    path.write_text(WHOLE.to_yaml())
    assert read_filter(path) == WHOLE
    assert read_filter(str(path)).to_yaml() == path.read_text()
    assert meaning_of(path) == meaning_of(document_of(WHOLE))


@pytest.mark.few(3, "compiles many policies")
@pytest.mark.parametrize("name", sorted(stock_policies()))
def test_stock_policies_go_round(name: str, tmp_path: Path) -> None:
    value = read_filter(name)
    assert eval(repr(value), NAMES) == value
    assert meaning_of(document_of(value)) == meaning_of(stock_policies()[name])
    path = tmp_path / f"{name}.yml"
    path.write_text(value.to_yaml())
    assert read_filter(path) == value


@pytest.mark.long("compiles many policies")
@settings(max_examples=8)
@given(policies(plain_tables(), "x86_64"))
def test_a_value_means_what_its_file_means(
    tmp_path_factory: pytest.TempPathFactory, policy: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("p") / "p.json"
    path.write_text(json.dumps(policy))
    value = read_filter(path)
    assert eval(repr(value), NAMES) == value
    assert meaning_of(document_of(value)) == meaning_of(path)
    path = path.with_suffix(".yml")
    path.write_text(value.to_yaml())
    assert read_filter(path) == value


WRONG_TEXT = st.text(max_size=8) | st.sampled_from(
    ["true", "Null", "no", "~", "1", "a: b", "#c", "a \nb", "a\n b", "a\n\n"]
)


@pytest.mark.long("compiles many policies")
@given(WRONG_TEXT, WRONG_TEXT)
def test_any_text_is_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, description: str, abi: str
) -> None:
    value = Filter(dataclasses.replace(SMALL, description=description, arches=[abi]))
    try:
        text = value.to_yaml()
    except InputError:
        return
    path = tmp_path_factory.mktemp("p") / "small.yml"
    path.write_bytes(text.encode())
    assert read_filter(path) == value


# --- problems ------------------------------------------------------------------------------------


def places(policy: Policy | Filter) -> list[str]:
    return [one.position.place if one.position else "" for one in validate(policy)]


def test_all_problems_are_told_with_their_places() -> None:
    policy = Policy(
        Action.ALLOW,
        [
            SyscallGroup(Action.errno("EPERM"), ["ptrace"]),
            SyscallGroup(Action.ALLOW, ["read", "wirte"]),
            SyscallGroup(Action.LOG, ["mount", "opne"], names_with_args=[]),
        ],
        arches=["x86_64", "vax"],
    )
    problems = validate(policy)
    assert [str(one) for one in problems] == [
        "policy: arches[1]: unknown architecture 'vax'",
        "policy: syscalls[1].names[1]: unknown system call 'wirte' (did you mean 'write'?)",
        "policy: syscalls[2].names[1]: unknown system call 'opne' (did you mean 'open'?)",
    ]
    assert [one.kind.value for one in problems if one.kind] == [
        "unknown-abi",
        "unknown-call",
        "unknown-call",
    ]
    assert places(policy) == ["arches[1]", "syscalls[1].names[1]", "syscalls[2].names[1]"]
    assert places(Filter(policy)) == [f"policy.{place}" for place in places(policy)]
    with pytest.raises(InputError) as caught:
        seccompgen.compile(policy)
    assert caught.value.diagnostics == problems


def test_a_place_leads_to_the_value() -> None:
    wrong = Condition(9, Op.MASKED_EQ, 1 << 64, mask=-(1 << 64), width=16)
    group = SyscallGroup(Action.ALLOW, names_with_args=[NameWithConditions("a b", [wrong])])
    policy = Filter(Policy(Action.ALLOW, [group]), flags=FilterFlag(64))
    found = {place: eval(f"policy.{place}", {"policy": policy}) for place in places(policy)}
    assert found == {
        "flags": FilterFlag(64),
        "policy.syscalls[0].names_with_args[0].name": "a b",
        "policy.syscalls[0].names_with_args[0].arguments[0].argument": 9,
        "policy.syscalls[0].names_with_args[0].arguments[0].value": 1 << 64,
        "policy.syscalls[0].names_with_args[0].arguments[0].mask": -(1 << 64),
        "policy.syscalls[0].names_with_args[0].arguments[0].width": 16,
    }


ONE = [SyscallGroup(Action.LOG, ["read"])]
OTHER = [SyscallGroup(Action.ALLOW, ["read"])]


@pytest.mark.parametrize(
    ("policy", "place", "said"),
    [
        (Policy("alow", ONE), "default_action", "unknown action 'alow'"),  # type: ignore[arg-type] # wrong on purpose
        (Policy(None, ONE), "", "'default_action' is missing"),  # type: ignore[arg-type] # wrong on purpose
        (Policy(Action(ActionKind.ALLOW, 5), ONE), "default_action", "allow takes no data"),
        (Policy(Action(ActionKind.ERRNO, 4096), ONE), "default_action", "delivers 0 to 4095"),
        (
            Policy(Action.ALLOW, [SyscallGroup(Action.LOG, "read")]),
            "syscalls[0].names",
            "be a list",
        ),
        (Policy(Action.ALLOW, [SyscallGroup(Action.LOG)]), "syscalls[0]", "names no system call"),
        (Policy(Action.ALLOW, ONE, description="\ud800"), "description", "surrogate"),
        (Policy(Action.USER_NOTIF, ONE), "default_action", "needs the flag new_listener"),
        (Filter(Policy(Action.ALLOW, ONE), flags=FilterFlag(32)), "flags", "needs new_listener"),
        (Filter(Policy(Action.ALLOW, ONE), no_new_privs=1), "no_new_privs", "true or false"),  # type: ignore[arg-type] # wrong on purpose
        (Policy(Action.ALLOW, [*ONE, *OTHER]), "syscalls[1].names[0]", "can never match"),
        (
            Policy(Action.ALLOW, [SyscallGroup(Action.LOG, ["read"], when="fd == O_CRAET")]),
            "syscalls[0].when",
            "unknown constant 'O_CRAET' (did you mean 'O_CREAT'?)",
        ),
        (
            Policy(Action.ALLOW, ONE, groups=[NamedGroup("a", ["reed"])]),
            *("groups[0].members[0]", "unknown system call 'reed'"),
        ),
        (
            Filter(Policy(Action.ALLOW, ONE, groups=[NamedGroup("a", []), NamedGroup("a", [])])),
            *("policy.groups[1].name", "@a is defined already"),
        ),
        (
            Policy(Action.ALLOW, [SyscallGroup(Action.LOG, ["@none"])]),
            *("syscalls[0].names[0]", "unknown group '@none'"),
        ),
        (
            Policy(Action.ALLOW, ONE, groups=[NamedGroup("@a", ["read"])]),
            *("groups[0].members", "not the name of a group"),
        ),
        (Policy(Action.ALLOW, ONE, groups=["a"]), "groups", "must be a mapping"),  # type: ignore[list-item] # wrong on purpose
        (Policy(Action.ALLOW, ONE, name="a\nb"), "", "cannot be the name of a file"),
    ],
)
def test_each_problem_has_its_place(policy: Policy | Filter, place: str, said: str) -> None:
    (problem,) = validate(policy)
    assert said in problem.message
    assert (problem.position.place if problem.position else "") == place


def test_a_file_is_told_of_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text("default_action: allow\nsyscalls:\n- {action: log, names: [wirte]}\n")
    (problem,) = validate(path)
    assert str(problem).startswith(f"{path}:3:25: unknown system call 'wirte'")
    assert problem.position and problem.position.place == ""
    assert validate("no_exec") == ()
    with pytest.raises(InputError, match="neither a file nor a stock policy"):
        validate("no_such")


def test_notes_are_no_problems() -> None:
    policy = Policy(Action.ALLOW, [SyscallGroup(Action.LOG, ["open"])], arches=["x86_64", "arm64"])
    assert validate(policy) == ()
    assert [str(one) for one in seccompgen.notes(policy)] == [
        "policy: syscalls[0].names[0]: 'open' does not exist on aarch64: skipped there"
    ]


# --- the front door ------------------------------------------------------------------------------


def test_names_are_imported_when_they_are_asked_for() -> None:
    code = """
import sys
import seccompgen
loaded = {name.partition(".")[2] for name in sys.modules if name.startswith("seccompgen")}
assert loaded == {""}, loaded
from seccompgen import Action, Condition, Filter, FilterFlag, Op, Policy, SyscallGroup, find_abi
policy = Policy(Action.parse("errno(EACCES)"), [SyscallGroup(Action.ALLOW, ["read"])])
repr(Filter(policy, flags=FilterFlag.TSYNC)), find_abi("amd64")
heavy = {"yaml", "jinja2", "numpy", "requests", "click", "black", "z3"}
assert not heavy & {*sys.modules}, heavy & {*sys.modules}
assert {*seccompgen.__all__} <= {*dir(seccompgen)}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there_and_says_what_it_is() -> None:
    for name in seccompgen.__all__:
        value = getattr(seccompgen, name)
        assert getattr(value, "__doc__", None) or name == "ABIS", name
    with pytest.raises(AttributeError, match="no attribute 'complie'"):
        getattr(seccompgen, "complie")  # noqa: B009 - what is asked for


def test_a_module_of_the_name_of_a_function_does_not_hide_it() -> None:
    code = """
import seccompgen.verify, seccompgen.compile, seccompgen.filters
from seccompgen.verify import prove
from seccompgen import compile, verify
assert callable(seccompgen.verify) and seccompgen.verify is verify
assert callable(seccompgen.compile) and seccompgen.compile is compile
assert sys.modules["seccompgen.verify"].prove is prove
assert seccompgen.filters is sys.modules["seccompgen.filters"]
"""
    subprocess.run([sys.executable, "-c", f"import sys\n{code}"], check=True)


def test_names_and_expressions_go_round(tmp_path: Path) -> None:
    groups = [
        SyscallGroup(Action.ALLOW, ["read", 500, -1], arches=["x86_64"]),
        SyscallGroup(
            Action.ALLOW,
            ["socket"],
            when="family in {AF_UNIX, AF_INET} and not type & ~(SOCK_CLOEXEC | 0xf)",
            multiplexed=Action.errno("EACCES"),
        ),
        SyscallGroup(
            Action.LOG,
            names_with_args=[
                NameWithConditions("fcntl", when="cmd == F_GETFL"),
                NameWithConditions(
                    "openat", [Condition("flags", Op.MASKED_EQ, "O_RDONLY", mask="O_ACCMODE")]
                ),
                NameWithConditions("lseek", [Condition(1, Op.EQ, -1, width=64)]),
            ],
        ),
    ]
    policy = Policy(
        Action.errno(), groups, arches=["x86_64", "i386"], multiplexed=Action.LOG, name="p"
    )
    path = tmp_path / "p.yml"
    path.write_text(Filter(policy).to_yaml())
    assert read_filter(path).policy == policy
    assert validate(path) == validate(policy) == ()
    assert eval(repr(policy), vars(seccompgen)) == policy
