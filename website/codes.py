"""The reference of error codes: each kind of diagnostic, with the texts that the code gives it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import seccompgen
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(seccompgen.__file__).parent
_MOST_TEXTS = 4
_HEAD = """\
# Error codes

The kind of each error, warning and note, as `--json` has it under `kind`, and as
[`Problem`](python.md#Problem) has it in Python. A code keeps its meaning for ever; texts may
change. The tables show texts as they stand in the source, where “…” stands for what the message
names. {count} codes in all. The findings of `lint` have [a page of their own](lint.md#codes), with
a policy that gets each, and the policy mended.

"""


def codes_page() -> str:
    """Return the page: a table for each group of kinds, in the order of the source."""
    texts = _texts()
    groups = _groups()
    parts = [_HEAD.format(count=sum(map(len, groups.values())))]
    for title, kinds in groups.items():
        parts.append(f"## {title}\n\n| code | says |\n|---|---|\n")
        for kind in kinds:
            lint = title.startswith(("Findings", "Comments"))
            code = f'<a id="{kind.value}"></a>`{kind.value}`'
            said = f"[explained](lint.md#{kind.value})" if lint else _cell(texts.get(kind.name, []))
            parts.append(f"| {code} | {said} |\n")
        parts.append("\n")
    return "".join(parts)


def _groups() -> dict[str, list[Problem]]:
    """Return the kinds by the comment that stands over them."""
    source = (_PACKAGE / "core" / "problems.py").read_text()
    groups: dict[str, list[Problem]] = {}
    title = ""
    for line in source.splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            title = comment[1]
        elif member := re.match(r"    ([A-Z_0-9]+) = \"", line):
            groups.setdefault(title, []).append(Problem[member[1]])
    if sum(map(len, groups.values())) != len(Problem):
        message = "core/problems.py: not every kind was found"
        raise ValueError(message)
    return groups


def _cell(texts: list[str]) -> str:
    shown = [re.sub(r"([<>*_\[\]|`])", r"\\\1", text) for text in texts[:_MOST_TEXTS]]
    if len(texts) > _MOST_TEXTS:
        shown.append(f"and {len(texts) - _MOST_TEXTS} other texts")
    return "<br>".join(shown)


def _texts() -> dict[str, list[str]]:
    """Return the texts that stand beside each kind in the source."""
    found: dict[str, list[str]] = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        if "Problem." not in (source := path.read_text()):
            continue
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, (ast.FunctionDef, ast.Module)):
                for kind, text in _calls(function):
                    if text not in found.setdefault(kind, []):
                        found[kind].append(text)
    return found


def _calls(scope: ast.FunctionDef | ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of calls in a scope; a text may be a variable that was set before."""
    known: dict[str, list[tuple[int, str]]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and (text := _text(node.value)):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    known.setdefault(target.id, []).append((node.lineno, text))
    for node in ast.walk(scope):
        if not isinstance(node, ast.Call):
            continue
        given = [*node.args, *(one.value for one in node.keywords)]
        kinds = [one.attr for one in given if isinstance(one, ast.Attribute) and _is_problem(one)]
        for one in given if kinds else []:
            if text := _text(one):
                yield kinds[0], text
            elif isinstance(one, ast.Name):
                before = [text for line, text in known.get(one.id, []) if line <= node.lineno]
                yield from ((kinds[0], text) for text in before[-1:])


def _is_problem(one: ast.Attribute) -> bool:
    return isinstance(one.value, ast.Name) and one.value.id == "Problem"


def _text(node: ast.expr) -> str | None:
    """Return a literal text of several words; what it names is an ellipsis."""
    match node:
        case ast.Constant(value=str(text)):
            pass
        case ast.JoinedStr(values=values):
            text = "".join(
                str(one.value) if isinstance(one, ast.Constant) else "…" for one in values
            )
        case _:
            return None
    return text if " " in text.strip() else None
