"""The JSON Schema of the policy language, by which editors complete, explain and mark mistakes.

It says what `schema` checks, and what of `resolve` can be known without looking at the whole file:
the names of calls, constants and arguments. A test holds it to both.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS, ALIASES
from seccompgen.core.errnos import ERRNO_NAMES
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U32, U64, ActionKind, FilterFlag, Op
from seccompgen.policy.groups import MARK, stock_groups
from seccompgen.policy.json_facts import (
    CallConditions,
    call_descriptions,
    offer,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.tables import Tables

_WIDTH = 120
_ESCAPE = re.compile(r"[][$()*+.?\\^{|}]")
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_PLAIN = {
    ActionKind.ALLOW: "The call is made.",
    ActionKind.LOG: "The call is made, and logged by the kernel.",
    ActionKind.ERRNO: "The call fails with EPERM; errno(EACCES) fails with that error.",
    ActionKind.TRAP: "The call is not made; the thread gets SIGSYS.",
    ActionKind.TRACE: "The call is left to a tracer; without one it fails with ENOSYS.",
    ActionKind.USER_NOTIF: "The call is left to a supervisor; needs the flag new_listener.",
    ActionKind.KILL_THREAD: "The thread ends.",
    ActionKind.KILL_PROCESS: "The process ends.",
}
_OPERATIONS = {
    Op.EQ: "arg == value",
    Op.NE: "arg != value",
    Op.GT: "arg > value, unsigned",
    Op.GE: "arg >= value, unsigned",
    Op.LT: "arg < value, unsigned",
    Op.LE: "arg <= value, unsigned",
    Op.ANY_BITS: "any of the bits is set: arg & value != 0",
    Op.NO_BITS: "none of the bits is set: arg & value == 0",
    Op.MASKED_EQ: "arg & mask == value",
}
_FLAGS = {
    FilterFlag.TSYNC: "Confine every thread of the process.",
    FilterFlag.LOG: "Have the kernel log what is refused.",
    FilterFlag.SPEC_ALLOW: "Leave speculative store bypass as it is.",
    FilterFlag.NEW_LISTENER: "install() returns the descriptor of a listener, for user_notif.",
    FilterFlag.TSYNC_ESRCH: "Where threads diverge, fail with ESRCH; for tsync with new_listener.",
    FilterFlag.WAIT_KILLABLE_RECV: "Only fatal signals interrupt a call that a supervisor has.",
}
_POLICY = {
    "description": "One paragraph for reviewers; it heads the generated module.",
    "arches": "ABIs that get a program each. Default: all with seccomp filters.",
    "compat_arches": "Further ABIs of the same kernel that a program answers for.",
    "kernel": "The release that the author knew, as v6.1: newer calls that no rule names get "
    "unknown_action, with any tables.",
    "default_action": "The answer to calls that the tables name and no rule matches.",
    "unknown_action": "The answer to numbers that the pinned tables do not name. Default: "
    "errno(ENOSYS) with kernel, else default_action.",
    "bad_arch_action": "The answer to calls through any other ABI. Default: kill_process.",
    "no_new_privs": "Whether install() sets the bit first. Default: true.",
    "flags": "Flags of seccomp(2).",
    "install_on_import": "Whether importing the generated module installs the filter.",
    "multiplexed": "The answer to socketcall and ipc where a condition cannot be seen there.",
    "include": "Files to read first, relative to this one, or stock policies by name.",
    "groups": "Names for lists of calls and groups, mentioned as '@NAME'.",
    "syscalls": "The rules. The first that matches a call decides it.",
}
_GROUP = {
    "action": "The answer to these calls.",
    "names": "Calls, and groups as '@NAME'.",
    "names_with_args": "Calls with conditions on their arguments.",
    "when": "An expression that must hold: family in {AF_UNIX, AF_INET}, not prot & PROT_EXEC",
    "arches": "The ABIs that this group is for. Default: all of the policy.",
    "multiplexed": "The answer to socketcall and ipc where the condition cannot be seen there.",
    "optional": "Whether calls may be missing on ABIs without a word.",
}
_ENTRY = {
    "name": "The call.",
    "arguments": "Conditions, all of which must hold.",
    "when": _GROUP["when"],
}
_ARGUMENT = {
    "argument": "The argument: its name, or its place from 0 to 5. Default: 0.",
    "operation": "The comparison.",
    "value": "A number, a constant, or these joined by |. Default: 0.",
    "mask": "For MaskedEqual: the bits that are compared.",
    "width": "The bits that are compared. Default: those that the kernel reads.",
}


def policy_schema(tables: Tables) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of policy files for calls and constants of ``tables``."""
    conditions = CallConditions(tables.facts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"seccompgen policy, Linux {tables.tag}",
        "type": "object",
        "if": {"required": ["seccomp"]},
        "then": _mapping({"seccomp": _ref("policy")}, {"seccomp": "The policy."}),
        "else": _ref("policy"),
        "$defs": {
            "policy": _policy(),
            "group": _group(),
            "entry": _entry(conditions),
            "argument": _argument(),
            "action": _action(),
            "operation": _in_any_case({str(op): t for op, t in _OPERATIONS.items()}, "operation"),
            "flag": _in_any_case({flag.names[0]: text for flag, text in _FLAGS.items()}, "flag"),
            "abi": _abi(),
            "call": _call(tables),
            "mention": _mention(),
            "number": {"type": "integer", "minimum": -1, "maximum": U32},
            "value": _value(conditions),
            "when": {"type": "string", "minLength": 1, "examples": _EXAMPLES},
            **conditions.definitions,
        },
    }


_EXAMPLES = [
    "family in {AF_UNIX, AF_INET}",
    "not prot & PROT_EXEC",
    "flags & O_ACCMODE == O_RDONLY",
    "cmd == FIONREAD",
]


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _list(item: Mapping[str, Any], *, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": dict(item)} | ({"minItems": least} if least else {})


def _mapping(
    properties: Mapping[str, Any], told: Mapping[str, str], required: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the schema of a mapping with these keys only; ``told`` explains each."""
    assert properties.keys() == told.keys()
    described = {key: {"description": told[key], **one} for key, one in properties.items()}
    result = {"type": "object", "properties": described, "additionalProperties": False}
    return result | ({"required": list(required)} if required else {})


def _policy() -> dict[str, Any]:
    boolean = {"type": "boolean"}
    properties = {
        "description": {"type": "string"},
        "arches": _list(_ref("abi"), least=1),
        "compat_arches": _list(_ref("abi")),
        "kernel": {"type": "string", "pattern": "^v[0-9]{1,3}\\.[0-9]{1,3}$"},
        "default_action": _ref("action"),
        "unknown_action": _ref("action"),
        "bad_arch_action": _ref("action"),
        "no_new_privs": boolean,
        "flags": _list(_ref("flag")),
        "install_on_import": boolean,
        "multiplexed": _ref("action"),
        "include": _list({"type": "string"}),
        "groups": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"},
            "additionalProperties": _list({"anyOf": [_ref("call"), _ref("mention")]}, least=1),
        },
        "syscalls": _list(_ref("group")),
    }
    return _mapping(properties, _POLICY)


def _group() -> dict[str, Any]:
    properties = {
        "action": _ref("action"),
        "names": {"type": "array"},
        "names_with_args": _list(_ref("entry")),
        "when": _ref("when"),
        "arches": _list(_ref("abi"), least=1),
        "multiplexed": _ref("action"),
        "optional": {"type": "boolean"},
    }
    known = [_ref("call"), _ref("mention"), _ref("number")]
    filled = [{"required": [key], "properties": {key: {"minItems": 1}}} for key in _NAMED]
    return _mapping(properties, _GROUP, ["action"]) | {
        "if": {"properties": {"optional": {"const": True}}, "required": ["optional"]},
        "then": _named([*known, {"type": "string", "pattern": f"^{_NAME}$"}]),
        "else": _named(known),
        "anyOf": filled,
    }


_NAMED = ("names", "names_with_args")


def _named(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what holds of a group whose calls are one of ``calls``."""
    entries = {"items": {"properties": {"name": {"anyOf": [c for c in calls if c != _MENTION]}}}}
    return {"properties": {"names": {"items": {"anyOf": calls}}, "names_with_args": entries}}


_MENTION = _ref("mention")


def _entry(conditions: CallConditions) -> dict[str, Any]:
    properties = {
        "name": {"type": ["string", "integer"]},
        "arguments": _list(_ref("argument"), least=1),
        "when": _ref("when"),
    }
    something = [{"required": ["arguments"]}, {"required": ["when"]}]
    rules = {"allOf": conditions.rules} if conditions.rules else {}
    return _mapping(properties, _ENTRY, ["name"]) | {"anyOf": something, **rules}


def _argument() -> dict[str, Any]:
    properties = {
        "argument": {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 5},
                {"type": "string", "pattern": "^[a-z_][a-z0-9_]*$"},
            ]
        },
        "operation": _ref("operation"),
        "value": _ref("value"),
        "mask": _ref("value"),
        "width": {"enum": [32, 64]},
    }
    masked = {"properties": {"operation": {"pattern": f"^\\s*{_folded('MaskedEqual')}\\s*$"}}}
    narrow = {"properties": {"width": {"const": 32}}, "required": ["width"]}
    fits = {"if": {"type": "integer"}, "then": {"maximum": U32}}
    return _mapping(properties, _ARGUMENT, ["operation"]) | {
        "if": masked | {"required": ["operation"]},
        "then": {"required": ["mask"]},
        "else": {"properties": {"mask": False}},
        "allOf": [{"if": narrow, "then": {"properties": {"value": fits, "mask": fits}}}],
    }


def _value(conditions: CallConditions) -> dict[str, Any]:
    """Return the schema of a number as a policy writes it, with constants that are known."""
    named = {"type": "string", "pattern": f"^{_NAME}$"}
    return {
        "anyOf": [
            conditions.constant(),
            {"type": "string", "minLength": 1, "not": named},
            {"type": "integer", "minimum": -(1 << 63), "maximum": U64},
        ]
    }


def _in_any_case(described: Mapping[str, str], what: str) -> dict[str, Any]:
    """Return the schema of one of several words, in any case and with spaces around."""
    pattern = f"^\\s*({'|'.join(map(_folded, described))})\\s*$"
    return offer(described) | {"pattern": pattern, "patternErrorMessage": f"no {what}"}


def _folded(word: str) -> str:
    """Return a pattern for ``word`` in any case; JSON Schema's have no flag for that."""
    # ECMAScript's Unicode mode, which many validators use, refuses to have a hyphen escaped.
    letters = (
        f"[{c.upper()}{c.lower()}]" if c.isalpha() else _ESCAPE.sub(r"\\\g<0>", c) for c in word
    )
    return "".join(letters)


def _call(tables: Tables) -> dict[str, Any]:
    calls = call_descriptions(tables)
    return offer(calls) | one_of(calls, f"no system call of Linux {tables.tag}")


def _abi() -> dict[str, Any]:
    """Return the schema of an ABI: an editor offers our names, and takes every other."""
    known = [abi for abi in ABIS.values() if abi.filters_since]
    told = {abi.name: f"{abi.bits} bits, {abi.byte_order}-endian" for abi in known}
    names = [alias for alias, name in sorted(ALIASES.items()) if name in told]
    return _in_any_case(dict.fromkeys(names, ""), "ABI with seccomp filters") | offer(told)


def _mention() -> dict[str, Any]:
    groups = {f"{MARK}{one.name}": one.promise for one in stock_groups().values()}
    return offer(groups) | {"type": "string", "pattern": f"^{MARK}[A-Za-z_][A-Za-z0-9_.-]*$"}


def _action() -> dict[str, Any]:
    told = {kind.name.lower(): text for kind, text in _PLAIN.items()}
    told |= {f"errno({name})": f"The call fails with {name}." for name in sorted(ERRNO_NAMES)}
    names = "|".join(_folded(name) for name in sorted(ERRNO_NAMES))
    forms = [_folded(kind.name) for kind in ActionKind]
    for kind, most in (("trap", RET_DATA_MAX), ("trace", RET_DATA_MAX), ("errno", ERRNO_MAX)):
        data = _up_to(most) + (f"|{names}" if kind == "errno" else "")
        forms.append(f"{_folded(kind)}\\s*\\(\\s*({data})\\s*\\)")
    wrong = "no action, such as allow, errno(EACCES) or kill_process"
    return offer(told) | {"pattern": f"^\\s*({'|'.join(forms)})\\s*$", "patternErrorMessage": wrong}


def _up_to(most: int) -> str:
    """Return a pattern for the numbers from 0 to ``most``, which is all ones in hexadecimal."""
    digits = len(f"{most:x}")
    assert most == 16**digits - 1
    hexadecimal = f"0[xX]0{{0,{16 - digits}}}[0-9a-fA-F]{{1,{digits}}}"
    text = str(most)
    shorter = f"[1-9][0-9]{{0,{len(text) - 2}}}"
    same = [
        f"{text[:i]}[{1 if i == 0 else 0}-{int(digit) - 1}][0-9]{{{len(text) - i - 1}}}"
        for i, digit in enumerate(text)
        if int(digit) > (1 if i == 0 else 0)
    ]
    return "|".join([hexadecimal, "0", shorter, *same, text])


def schema_text(tables: Tables) -> str:
    """Return the JSON Schema as the text of a file: what fits into a line stands in one."""
    return "\n".join(_lines(policy_schema(tables))) + "\n"


def _lines(value: Any, before: str = "") -> Iterator[str]:
    whole = before + json.dumps(value, ensure_ascii=False)
    if len(whole) <= _WIDTH or not isinstance(value, dict | list):
        yield whole
        return
    if isinstance(value, list):
        first, last, items = "[", "]", [("", one) for one in value]
    else:
        first, last, items = "{", "}", [(f'"{key}": ', one) for key, one in value.items()]
    yield before + first
    for i, (key, item) in enumerate(items):
        lines = list(_lines(item, key))
        lines[-1] += "," * (i < len(items) - 1)
        yield from (f" {line}" for line in lines)
    yield last
