"""The JSON Schema of the policy language, for completion, help and errors in editors.

It contains the declarations of `keys`, and the checks of `resolve` that do not need the whole file:
the names of calls, constants and arguments. A test compares it with the checks.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS, ALIASES
from seccompgen.core.errnos import ERRNO_NAMES
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U32, U64, ActionKind, Op
from seccompgen.core.settings import FilterFlag
from seccompgen.policy.form import Key, ValueForm, defined, keys_of, needed_keys, text
from seccompgen.policy.groups import MARK, stock_groups
from seccompgen.policy.keys import (
    NAME,
    POLICY_KEYS,
    Condition,
    NameWithConditions,
    SyscallGroup,
)
from seccompgen.policy.ring_keys import IoUring, OperationGroup
from seccompgen.policy.schema_facts import (
    CallConditions,
    any_of,
    call_descriptions,
    folded,
    offer,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.tables import Tables

_WIDTH = 120
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


def policy_schema(tables: Tables) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of policy files for calls and constants of ``tables``."""
    conditions = CallConditions(tables.facts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"seccompgen policy, Linux {tables.tag}",
        "type": "object",
        "if": {"required": ["seccomp"]},
        "then": _mapping({"seccomp": Key(ValueForm(text.check, defined("policy")), "The policy.")}),
        "else": defined("policy"),
        "$defs": {
            "policy": _mapping(POLICY_KEYS),
            "group": _group(),
            "entry": _entry(conditions),
            "io_uring": _section(IoUring, anyOf=_RULES_OF_RINGS),
            "operation_group": _section(OperationGroup),
            "argument": _argument(),
            "action": _action(),
            "operation": _in_any_case({str(op): t for op, t in _OPERATIONS.items()}, "operation"),
            "flag": _in_any_case({flag.names[0]: text for flag, text in _FLAGS.items()}, "flag"),
            "abi": _abi(),
            "call": _call(tables),
            "mention": _mention(),
            "place": {
                "anyOf": [
                    {"type": "integer"},
                    {"type": "string", "pattern": "^arg[0-5]$"},
                ]
            },
            "number": {"type": "integer", "minimum": -1, "maximum": U32},
            "value": _value(conditions),
            "when": {"type": "string", "minLength": 1, "examples": _EXAMPLES},
            **conditions.definitions,
        },
    }


_RULES_OF_RINGS = [
    {"required": ["operations"]},
    {"required": ["mirror"], "properties": {"mirror": {"const": True}}},
]
_EXAMPLES = [
    "family in {AF_UNIX, AF_INET}",
    "not prot & PROT_EXEC",
    "flags & O_ACCMODE == O_RDONLY",
    "cmd == FIONREAD",
]


def _mapping(keys: Mapping[str, Key], needed: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of a mapping with only these keys, each with a description."""
    properties = {
        name: {"description": _help(one), **one.form.schema} for name, one in keys.items()
    }
    result = {"type": "object", "properties": properties, "additionalProperties": False}
    return result | ({"required": list(needed)} if needed else {})


def _help(one: Key) -> str:
    """Return the help of a key without Markdown."""
    text = f"{one.help} Default: {one.otherwise}." if one.otherwise else one.help
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).replace("`", "")


def _section(form: type, **rules: Any) -> dict[str, Any]:
    """Return the schema of a section; ``rules`` state which keys need or exclude each other."""
    return _mapping(keys_of(form), needed_keys(form)) | rules


def _group() -> dict[str, Any]:
    known = [defined("call"), _MENTION, defined("number")]
    return _section(
        SyscallGroup,
        **{"if": {"properties": {"optional": {"const": True}}, "required": ["optional"]}},
        then=_named([*known, {"type": "string", "pattern": f"^{NAME}$"}]),
        anyOf=[
            {"required": [key], "properties": {key: {"minItems": 1}}}
            for key in ("names", "names_with_args")
        ],
        **{"else": _named(known)},
    )


_MENTION = defined("mention")


def _named(calls: list[Mapping[str, str]]) -> dict[str, Any]:
    """Return the schema of a group; each of its calls matches one of the schemas ``calls``."""
    entries = {"items": {"properties": {"name": {"anyOf": [c for c in calls if c != _MENTION]}}}}
    return {"properties": {"names": {"items": {"anyOf": calls}}, "names_with_args": entries}}


def _entry(conditions: CallConditions) -> dict[str, Any]:
    something = [{"required": ["arguments"]}, {"required": ["when"]}]
    rules = {"allOf": conditions.rules} if conditions.rules else {}
    return _section(NameWithConditions, anyOf=something, **rules)


def _argument() -> dict[str, Any]:
    masked = {"properties": {"operation": {"pattern": f"^\\s*{folded('MaskedEqual')}\\s*$"}}}
    narrow = {"properties": {"width": {"const": 32}}, "required": ["width"]}
    fits = {"if": {"type": "integer"}, "then": {"maximum": U32}}
    return _section(
        Condition,
        **{"if": masked | {"required": ["operation"]}, "else": {"properties": {"mask": False}}},
        then={"required": ["mask"]},
        allOf=[{"if": narrow, "then": {"properties": {"value": fits, "mask": fits}}}],
    )


def _value(conditions: CallConditions) -> dict[str, Any]:
    """Return the schema of a number in a policy, including known constants."""
    named = {"type": "string", "pattern": f"^{NAME}$"}
    return {
        "anyOf": [
            conditions.constant(),
            {"type": "string", "minLength": 1, "not": named},
            {"type": "integer", "minimum": -(1 << 63), "maximum": U64},
        ]
    }


def _in_any_case(described: Mapping[str, str], what: str) -> dict[str, Any]:
    """Return the schema of one of several words, in any case, with optional spaces around it."""
    pattern = f"^\\s*{any_of(described, folded)}\\s*$"
    return offer(described) | {"pattern": pattern, "patternErrorMessage": f"no {what}"}


def _call(tables: Tables) -> dict[str, Any]:
    calls = call_descriptions(tables)
    return offer(calls) | one_of(calls, f"no system call of Linux {tables.tag}")


def _abi() -> dict[str, Any]:
    """Return the schema of an ABI: an editor offers canonical names, and accepts all aliases."""
    known = [abi for abi in ABIS.values() if abi.filters_since]
    shown = {abi.name: f"{abi.bits} bits, {abi.byte_order}-endian" for abi in known}
    names = [alias for alias, name in sorted(ALIASES.items()) if name in shown]
    return _in_any_case(dict.fromkeys(names, ""), "ABI with seccomp filters") | offer(shown)


def _mention() -> dict[str, Any]:
    groups = {f"{MARK}{one.name}": one.promise for one in stock_groups().values()}
    return offer(groups) | {"type": "string", "pattern": f"^{MARK}[A-Za-z_][A-Za-z0-9_.-]*$"}


def _action() -> dict[str, Any]:
    shown = {kind.name.lower(): text for kind, text in _PLAIN.items()}
    shown |= {f"errno({name})": f"The call fails with {name}." for name in sorted(ERRNO_NAMES)}
    names = any_of(ERRNO_NAMES, folded)
    forms = [folded(kind.name) for kind in ActionKind]
    for kind, most in (("trap", RET_DATA_MAX), ("trace", RET_DATA_MAX), ("errno", ERRNO_MAX)):
        data = _up_to(most) + (f"|{names}" if kind == "errno" else "")
        forms.append(f"{folded(kind)}\\s*\\(\\s*({data})\\s*\\)")
    wrong = "no action, such as allow, errno(EACCES) or kill_process"
    return offer(shown) | {
        "pattern": f"^\\s*({'|'.join(forms)})\\s*$",
        "patternErrorMessage": wrong,
    }


def _up_to(most: int) -> str:
    """Return a pattern for the numbers from 0 to ``most``, which must be 16**n - 1."""
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
    """Return the JSON Schema as the text of a file; a value that fits into one line is on one."""
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
