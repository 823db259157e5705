"""Filters that are wrong in ways compilers have been wrong, which every guest must catch."""

from __future__ import annotations

import copy
import dataclasses
import json
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oracle import ABIS
from seccompgen.compile import compile_policy
from seccompgen.core.abis import HighWords
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from oracle import PolicyDict
    from seccompgen.core.tables import Tables

_ARGUMENTS = 16
_LOAD, _JEQ, _RET = 0x20, 0x15, 0x06
_RET_ALLOW = 0x7FFF0000

Rules = list[dict[str, Any]]
Instruction = tuple[int, int, int, int]


def _rule(name: str, action: str, operation: str, argument: int, value: int, **more: int) -> Any:
    entry = {"argument": argument, "operation": operation, "value": value, **more}
    return {"action": action, "names_with_args": [{"name": name, "arguments": [entry]}]}


_RULES: Rules = [
    _rule("getpid", "allow", "Equal", 0, 0x100000005),
    _rule("getppid", "errno(257)", "GreaterOrEqual", 1, 0x80000000),
    _rule("gettid", "trap(258)", "BitsSet", 2, 0x80000001),
    {"action": "allow", "names": ["getuid"]},
    {"action": "errno(13)", "names": ["geteuid"]},
    _rule("getgid", "allow", "MaskedEqual", 3, 0x0503, mask=0xFF0F),
]
POLICY: dict[str, Any] = {
    "default_action": "errno(7)",
    "bad_arch_action": "errno(9)",
    "syscalls": _RULES,
}
"""The policy that most of the filters should be, but for ``arches``."""
_WITH_UNKNOWN = {**POLICY, "unknown_action": "errno(8)"}
_KILLING = {**POLICY, "syscalls": [*_RULES, _rule("getegid", "kill_process", "Equal", 4, 1)]}
_WITH_I386 = {**POLICY, "compat_arches": ["i386"]}
MEANT = (POLICY, _WITH_UNKNOWN, _KILLING, _WITH_I386)
"""The policies that the filters should be. Right ones must differ in nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its name, a program that has it, and the ABIs on which it matters ("" for all)."""

    what: str
    program: Callable[[str], bytes]
    abis: str = ""
    policy: PolicyDict = field(default_factory=lambda: POLICY)
    """The policy that it should be."""


def _compiled(policy: dict[str, Any], abi: str, tables: Tables) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "policy.json")
        path.write_text(json.dumps({"arches": [abi], **policy}))
        loaded, _ = load_policy(path, tables)
    return compile_policy(loaded, loaded.arches[0], tables).to_bytes()


def _other_policy(
    change: Callable[[dict[str, Any]], object], meant: dict[str, Any] = POLICY
) -> Callable[[str], bytes]:
    """Return a maker of programs for another policy than the one that is meant."""
    policy = copy.deepcopy(meant)
    change(policy)
    return lambda abi: _compiled(policy, abi, shipped_tables())


def _other_argument(place: int, **change: object) -> Callable[[str], bytes]:
    """Return a maker of programs that compare otherwise in the rule at ``place``."""

    def edit(policy: dict[str, Any]) -> None:
        entry = policy["syscalls"][place]["names_with_args"][0]["arguments"][0]
        entry.update(change)
        if entry["operation"] != "MaskedEqual":
            entry.pop("mask", None)

    return _other_policy(edit)


def _other_table(change: Callable[[str, int], int]) -> Callable[[str], bytes]:
    """Return a maker of programs by a table whose numbers are changed."""

    def make(abi: str) -> bytes:
        tables = shipped_tables()
        table = tables.tables[abi]
        numbers = {name: change(name, nr) for name, nr in table.numbers.items()}
        changed = dataclasses.replace(table, numbers=numbers)
        others = {**tables.tables, abi: changed}
        return _compiled(POLICY, abi, dataclasses.replace(tables, tables=others))

    return make


def _with_high_words_of_i386(abi: str) -> bytes:
    tables = shipped_tables()
    table = tables.tables["i386"]
    wide = dataclasses.replace(table.abi, high_words=HighWords.COUNT)
    others = {**tables.tables, "i386": dataclasses.replace(table, abi=wide)}
    return _compiled(_WITH_I386, abi, dataclasses.replace(tables, tables=others))


def _other_code(change: Callable[[Instruction, str], Instruction]) -> Callable[[str], bytes]:
    """Return a maker of programs whose instructions are changed."""

    def make(abi: str) -> bytes:
        layout = ("<" if ABIS[abi].byte_order == "little" else ">") + "HBBI"
        right = _compiled(POLICY, abi, shipped_tables())
        changed = [change(one, abi) for one in struct.iter_unpack(layout, right)]
        return b"".join(struct.pack(layout, *one) for one in changed)

    return make


def _swap_words(one: Instruction, _: str) -> Instruction:
    code, jt, jf, k = one
    return (code, jt, jf, k ^ 4) if code == _LOAD and k >= _ARGUMENTS else one


def _flip_audit_value(one: Instruction, abi: str) -> Instruction:
    code, jt, jf, k = one
    wrong = code == _JEQ and k == ABIS[abi].audit_arch
    return (code, jt, jf, k ^ 0x80000000) if wrong else one


def _swap_bytes(abi: str) -> bytes:
    right = _compiled(POLICY, abi, shipped_tables())
    return b"".join(struct.pack(">HBBI", *one) for one in struct.iter_unpack("<HBBI", right))


def _nothing(abi: str) -> bytes:
    layout = ("<" if ABIS[abi].byte_order == "little" else ">") + "HBBI"
    return struct.pack(layout, _RET, 0, 0, _RET_ALLOW)


def _set(key: str, value: object) -> Callable[[str], bytes]:
    return _other_policy(lambda policy: policy.update({key: value}))


FAULTS = (
    Fault("the words of arguments swapped", _other_code(_swap_words)),
    Fault("a wrong audit value", _other_code(_flip_audit_value)),
    Fault("the instructions in the other byte order", _swap_bytes),
    Fault("the base of MIPS numbers forgotten", _other_table(lambda _, nr: nr - 5000), "mips64el"),
    Fault(
        "a number off by one in the table",
        _other_table(lambda name, nr: nr + (name == "gettid")),
    ),
    Fault("calls of other ABIs let through", _set("bad_arch_action", "allow"), "x86_64 mips64el"),
    Fault("x32 taken for x86_64", _set("compat_arches", ["x32"]), "x86_64"),
    Fault(
        "unknown numbers taken for known ones",
        lambda abi: _compiled(POLICY, abi, shipped_tables()),
        policy=_WITH_UNKNOWN,
    ),
    Fault("a filter that does nothing", _nothing),
    Fault(
        "the upper half of arguments ignored",
        _other_argument(0, value=5, width=32),
        "x86_64 aarch64 riscv64 ppc64le s390x mips64el loongarch64",
    ),
    Fault(
        "the upper half of i386's arguments looked at",
        _with_high_words_of_i386,
        "x86_64",
        _WITH_I386,
    ),
    Fault("greater for greater or equal", _other_argument(1, operation="GreaterThan")),
    Fault("bits set for bits not set", _other_argument(2, operation="BitsNotSet")),
    Fault("a mask ignored", _other_argument(5, operation="Equal")),
    Fault("a rule lost", _other_policy(lambda policy: policy["syscalls"].pop(4))),
    Fault(
        "an errno cut to a byte",
        _other_policy(lambda policy: policy["syscalls"][1].update(action="errno(1)")),
    ),
    Fault(
        "the data of a trap lost",
        _other_policy(lambda policy: policy["syscalls"][2].update(action="trap")),
    ),
    Fault(
        "the thread killed instead of the process",
        _other_policy(lambda policy: policy["syscalls"][6].update(action="kill_thread"), _KILLING),
        policy=_KILLING,
    ),
)
