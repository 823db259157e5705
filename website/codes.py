"""The reference of error codes: each kind of diagnostic, with the texts that the code gives it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import seccompgen
from seccompgen.core.problems import Problem
from seccompgen.lint.registry import rule_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(seccompgen.__file__).parent
_MOST_TEXTS = 4
_HEAD = """\
# Error codes

The kind of each error, warning and note, as `--json` has it under `kind`, and as
[`Problem`](python.md#Problem) has it in Python. A code keeps its meaning for ever; texts may
change. The tables show texts as the source has them, with “…” for what the message names. {count}
codes in all. The rules of `lint` have [a page of their own](lint.md#codes), with a policy that gets
each finding, and the policy mended.

"""


def codes_page() -> str:
    """Return the page: a table for each group of kinds, in the order of the source."""
    texts = _texts()
    groups = _groups()
    said = {
        title: [(kind.value, _cell(texts.get(kind.name, []))) for kind in kinds]
        for title, kinds in groups.items()
    }
    known = {code for rows in said.values() for code, _ in rows}
    rules = [code for code in rule_modules() if code not in known]
    said["Lint"] = [(code, f"[explained](lint.md#{code})") for code in rules]
    parts = [_HEAD.format(count=sum(map(len, said.values())))]
    for title, rows in said.items():
        parts.append(f"## {title}\n\n| code | says |\n|---|---|\n")
        parts += [f'| <a id="{code}"></a>`{code}` | {text} |\n' for code, text in rows]
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
