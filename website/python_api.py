"""The reference of the Python API: each name that seccompgen exports, by signature and docstring."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re

import seccompgen

_HEAD = """\
# Python API

Each name that `import seccompgen` has, made from the code. [The Python library](library.md) shows
them in use.

"""
_KINDS = {
    "Policies": "Policy SyscallGroup NameWithConditions Condition NamedGroup Action ActionKind Op "
    "FilterFlag Filter validate notes build vendor read_filter",
    "Programs": "compile CompiledProgram Program Instruction Assembler assemble disassemble dump "
    "Objective Optimize Profile",
    "Proofs and comparisons": "verify equiv subset Verdict Proof Method Difference CallClass",
    "Findings": "lint Finding Severity Witness",
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
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    text = f"{stars}{one.name}"
    if one.annotation is not one.empty:
        text += f": {_annotation(one.annotation)}"
    if one.default is one.empty:
        return text
    default = repr(one.default)
    if default.startswith("<") or " at 0x" in default:
        default = "..."
    return f"{text} = {default}" if one.annotation is not one.empty else f"{text}={default}"


def _annotation(annotation: object) -> str:
    return (
        annotation.strip("'\"")
        if isinstance(annotation, str)
        else inspect.formatannotation(annotation)
    )


def _members(value: object) -> str:
    """Return the members of an enumeration, or the public methods and properties of a class."""
    if not isinstance(value, type):
        return ""
    if issubclass(value, enum.Enum):
        shown = [f"`{one.name}`" for one in value]
        return f"{len(shown)} members: {', '.join(shown)}.\n\n"
    fields = (
        {one.name for one in dataclasses.fields(value)}
        if dataclasses.is_dataclass(value)
        else set()
    )
    lines = []
    for name, member in vars(value).items():
        if name.startswith("_") or name in fields:
            continue
        target = member
        if isinstance(member, property):
            target, shown = member.fget, name
        elif isinstance(member, (classmethod, staticmethod)) or inspect.isfunction(member):
            target = getattr(member, "__func__", member)
            shown = f"{name}()"
        else:
            continue
        said = inspect.getdoc(target)
        if said:
            first = re.sub(r"``([^`]+)``", r"`\1`", " ".join(said.split("\n\n")[0].split()))
            lines.append(f"- `{shown}`: {first}")
    return "\n".join(lines) + "\n\n" if lines else ""
