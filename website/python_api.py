"""The reference of the Python API: the signature and docstring of each exported name."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re

import seccompgen
from seccompgen.policy.form import keys_of

_HEAD = """\
# Python API

Each name that `import seccompgen` has, made from the code. [The Python library](library.md) shows
them in use.

"""
_KINDS = {
    "Policies": "Policy SyscallGroup NameWithConditions Condition NamedGroup Action ActionKind Op "
    "FilterFlag Filter IoUring OperationGroup Without validate notes build vendor read_filter",
    "Programs": "compile CompiledProgram Program Instruction Assembler assemble disassemble dump "
    "Objective Optimize Profile",
    "Proofs and comparisons": "verify equiv subset Verdict Proof Method Difference CallClass",
    "Findings": "lint Finding Severity Witness RuleCode",
    "Tables": "Abi ABIS find_abi Table Tables shipped_tables load_tables",
    "Running": "supported set_no_new_privs SeccompError",
    "Errors": "SeccompgenError InputError OutsideError AnswerNo UndecidedError Diagnostic Position "
    "Problem",
}


def api_page() -> str:
    """Return the page; a name without a place on it, or without a docstring, is an error."""
    placed = [name for names in _KINDS.values() for name in names.split()]
    if left := sorted({*seccompgen.__all__} ^ {*placed}):
        message = f"website/python_api.py: no place, or no such name: {', '.join(left)}"
        raise ValueError(message)
    parts = [_HEAD]
    for title, names in _KINDS.items():
        parts.append(f"## {title}\n\n")
        parts += [_entry(name) for name in names.split()]
    return "".join(parts)


def _entry(name: str) -> str:
    value = getattr(seccompgen, name)
    head = f"### `{name}` {{ #{name} }}\n\n"
    if name == "ABIS":
        rows = ", ".join(f"`{one}`" for one in value)
        return f"{head}Each ABI by its name: {rows}.\n\n"
    if inspect.isfunction(value):
        return f"{head}{_signature(name, value)}{_prose(value, name)}"
    return f"{head}{_signature(name, value)}{_prose(value, name)}{_members(value)}"


def _prose(value: object, name: str) -> str:
    text = inspect.getdoc(value)
    if not text:
        message = f"{name} has no docstring"
        raise ValueError(message)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", text)
    return re.sub(r"`(\w+)`(?!\])", lambda m: _linked(m[1]), text) + "\n\n"


def _linked(name: str) -> str:
    return f"[`{name}`](#{name})" if name in seccompgen.__all__ else f"`{name}`"


def _signature(name: str, value: object) -> str:
    if isinstance(value, enum.EnumMeta):
        return ""
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type] # others raise
    except (TypeError, ValueError):
        return ""
    kept = [one for one in signature.parameters.values() if one.name not in {"self", "cls"}]
    shown = [_parameter(one) for one in kept]
    starred = next((i for i, one in enumerate(kept) if one.kind is one.KEYWORD_ONLY), None)
    if starred is not None and not any(one.kind is one.VAR_POSITIONAL for one in kept):
        shown.insert(starred, "*")
    line = f"{name}({', '.join(shown)})"
    if len(line) > 80:
        line = f"{name}(\n    " + ",\n    ".join(shown) + ",\n)"
    answer = signature.return_annotation
    if inspect.isfunction(value) and answer is not inspect.Signature.empty:
        line += f" -> {_annotation(answer)}"
    return f"```python\n{line}\n```\n\n"


def _parameter(one: inspect.Parameter) -> str:
    stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(one.kind.name, "")
    text = f"{stars}{one.name}"
    typed = one.annotation is not one.empty
    if typed:
        text += f": {_annotation(one.annotation)}"
    if one.default is one.empty:
        return text
    default = repr(one.default)
    if default.startswith("<") or " at 0x" in default:
        default = "..."
    return f"{text} = {default}" if typed else f"{text}={default}"


def _annotation(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation.strip("'\"")
    return inspect.formatannotation(annotation)


def _members(value: object) -> str:
    """Return the members of an enumeration, or the methods and properties of a class."""
    if not isinstance(value, type):
        return ""
    if issubclass(value, enum.Enum):
        members = [f"`{one.name}`" for one in value]
        return f"{len(members)} members: {', '.join(members)}.\n\n"
    keys = keys_of(value).items() if dataclasses.is_dataclass(value) else ()
    lines = [f"- `{name}`: {one.help}" for name, one in keys]
    for name, member in vars(value).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            said, shown = inspect.getdoc(member), name
        elif callable(found := getattr(member, "__func__", member)) and inspect.isfunction(found):
            said, shown = inspect.getdoc(found), _call(name, found)
        else:
            continue
        if said:
            first = re.sub(r"``([^`]+)``", r"`\1`", " ".join(said.split("\n\n")[0].split()))
            lines.append(f"- `{shown}`: {first}")
    return "\n".join(lines) + "\n\n" if lines else ""


def _call(name: str, function: object) -> str:
    """Return a method as it is called: its name and its parameters, without types."""
    assert callable(function)
    kept = inspect.signature(function).parameters.values()
    names = [one.name if one.default is one.empty else f"{one.name}=..." for one in kept]
    return f"{name}({', '.join(one for one in names if one not in {'self', 'cls'})})"
