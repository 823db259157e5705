"""Policy files of several formats, read as rules for call numbers of x86_64.

Written from what their tools document; nothing of it is seccompgen's. An entry is as
``../shared/corpus/README.md`` describes it: the first rule of a call whose condition holds decides.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from oracle import RETURN_VALUES, U64, action_value, errnos_of
from ruamel.yaml import YAML
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Atom = tuple[int, str, int, int, int]
"""``(argument, op, value, mask, width)``."""
Conjunction = list[Atom]
Entry = dict[str, Any]
"""A policy without a format: ``name``, ``default``, ``arch``, and ``rules`` by number."""

OPERATIONS = {
    "eq": "Equal",
    "ne": "NotEqual",
    "lt": "LessThan",
    "le": "LessOrEqual",
    "gt": "GreaterThan",
    "ge": "GreaterOrEqual",
    "set": "BitsSet",
    "meq": "MaskedEqual",
    "in": "MaskedEqual",
}
_BY_OPERATION = {name: op for op, name in OPERATIONS.items() if op != "in"}

Rule = tuple[str, "list[Conjunction] | None", int]
"""A call's name, the alternatives of which one must hold, None for any call, and the action."""


class Unreadable(Exception):  # noqa: N818 - nothing is wrong with such a file
    """A policy file that says more than is understood here."""


def read(path: Path) -> Entry:
    """Read a policy file whose format its suffix tells."""
    formats = {".yml": go_seccomp_bpf, ".json": oci, ".policy": minijail}
    return formats[path.suffix](path)


def _entry(path: Path, default: int, rules: Iterable[Rule]) -> Entry:
    """Number the calls; those that x86_64 does not have are left out."""
    table = plain_tables()["x86_64"]
    numbered: dict[str, list[list[Any]]] = {}
    for name, condition, action in rules:
        if name in table:
            numbered.setdefault(str(table[name]), []).append([condition, action])
    return {"name": path.stem, "default": default, "arch": "x86_64", "rules": numbered}


# --- go-seccomp-bpf, and ours as far as it is the same -------------------------------------------


def go_seccomp_bpf(path: Path) -> Entry:
    """Read a policy file of the plain kind: names, and arguments in numbers.

    Raises Unreadable if it says more than that. ``unknown_action`` is left out.
    """
    policy = YAML(typ="safe").load(path)
    policy = policy.get("seccomp", policy)
    if "include" in policy:
        raise Unreadable(f"{path.name} includes others")
    rules: list[Rule] = []
    for group in policy["syscalls"]:
        listed = [{"name": name} for name in group.get("names", ())]
        for entry in [*listed, *group.get("names_with_args", ())]:
            if "when" in group or entry["name"].startswith("@"):
                raise Unreadable(f"{path.name} has groups or expressions")
            conjunction = [_atom(path, one) for one in entry.get("arguments", ())]
            action = action_value(group["action"], "x86_64")
            rules.append((entry["name"], [conjunction] if conjunction else None, action))
    return _entry(path, action_value(policy["default_action"], "x86_64"), rules)


def _atom(path: Path, argument: dict[str, Any]) -> Atom:
    operation, value = argument["operation"], argument.get("value", 0)
    mask, width = argument.get("mask", 0), argument.get("width", 64)
    if operation == "BitsNotSet":
        operation, value, mask = "MaskedEqual", 0, value
    if operation not in _BY_OPERATION or not isinstance(value, int) or not isinstance(mask, int):
        raise Unreadable(f"{path.name} has {operation} {value}, which is not in numbers")
    return argument.get("argument", 0), _BY_OPERATION[operation], value, mask, width


# --- the OCI's container profiles ----------------------------------------------------------------

CAPABILITIES = frozenset({"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"})
"""Facts of a container, for which ``includes`` and ``excludes`` ask."""


def oci(path: Path) -> Entry:
    """Read a profile as Docker writes them, for a container with CAPABILITIES."""
    profile = json.loads(path.read_text())

    def action(name: str, errno: int) -> int:
        value = RETURN_VALUES[name.removeprefix("SCMP_ACT_").lower()]
        return value | errno if name == "SCMP_ACT_ERRNO" else value

    rules: list[Rule] = []
    for group in profile["syscalls"]:
        wanted = group.get("includes", {}).get("caps", [])
        unwanted = group.get("excludes", {}).get("caps", [])
        if {*wanted} <= CAPABILITIES and not CAPABILITIES & {*unwanted}:
            conjunction = [_compared(one) for one in group.get("args", ())]
            condition = [conjunction] if conjunction else None
            value = action(group["action"], group.get("errnoRet", 1))
            rules += [(name, condition, value) for name in group["names"]]
    return _entry(path, action(profile["defaultAction"], profile.get("defaultErrnoRet", 1)), rules)


def _compared(argument: dict[str, Any]) -> Atom:
    index, value = argument["index"], argument["value"]
    op = argument["op"].removeprefix("SCMP_CMP_").lower()
    if op == "masked_eq":
        return index, "meq", argument["valueTwo"], value, 64
    return index, op, value, 0, 64


# --- minijail ------------------------------------------------------------------------------------

_MINIJAIL_ATOM = re.compile(r"arg([0-5]) (==|!=|<=|>=|<|>|&|in) (\S+)")
_MINIJAIL_OPS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_MINIJAIL_OPS |= {"&": "set", "in": "in"}
_MINIJAIL_DEFAULTS = {"kill-process": "kill_process", "kill-thread": "kill_thread", "log": "log"}


def minijail(path: Path) -> Entry:
    """Read a policy file, and what it includes; a default kills the thread unless it says else."""
    default = "kill_thread"
    rules: list[Rule] = []
    constants = json.loads((path.parent / "constants.json").read_text()) | errnos_of("x86_64")
    for name, text in _statements(path):
        if name == "@default":
            default = _MINIJAIL_DEFAULTS[text]
        else:
            rules += _meant(name, text, constants)
    return _entry(path, RETURN_VALUES[default], rules)


def _statements(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``name, rule`` of each line, those of an included file in its place."""
    for line in path.read_text().replace("\\\n", " ").split("\n"):
        statement = line.partition("#")[0].strip()
        if statement.startswith("@include "):
            yield from _statements(path.parent / statement.split()[1])
        elif statement:
            name, _, rule = statement.partition(" " if statement[0] == "@" else ":")
            yield name, rule.strip()


def _meant(name: str, text: str, constants: dict[str, int]) -> Iterator[Rule]:
    condition, _, otherwise = text.partition(";")
    if condition.startswith("return "):
        condition, otherwise = "", condition
    if condition == "1":
        yield name, None, RETURN_VALUES["allow"]
    elif condition:
        alternatives = []
        for alternative in condition.split("||"):
            matches = [_MINIJAIL_ATOM.fullmatch(word.strip()) for word in alternative.split("&&")]
            alternatives.append(
                [
                    (int(one[1]), _MINIJAIL_OPS[one[2]], _value(one[3], constants), 0, 64)
                    for one in matches
                    if one
                ]
            )
            assert all(matches), f"{name}: {text}"
        yield name, alternatives, RETURN_VALUES["allow"]
    if otherwise:
        number = _value(otherwise.split()[1], constants)
        yield name, None, RETURN_VALUES["errno"] | number


def _value(text: str, constants: dict[str, int]) -> int:
    """Return the bits of ``A|0x10``, or of ``~A``, where they are those of 64."""
    if text.startswith("~"):
        return ~_value(text[1:], constants) & U64
    value = 0
    for word in text.split("|"):
        value |= int(word, 0) if word[0].isdecimal() else constants[word]
    return value
