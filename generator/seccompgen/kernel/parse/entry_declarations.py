"""Read declarations of system call entry points from the kernel's headers.

A header contains far more than prototypes; everything else is skipped. Each declaration keeps the
preprocessor conditions around it, because a few entry points are declared several times, for
different configurations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seccompgen.kernel.entry_points import HALVES, Declared

_TYPE_WORDS = frozenset(
    {"char", "const", "enum", "int", "long", "short", "signed", "struct", "union", "unsigned"}
    | {"void", "__user"}
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*(\w+)[ \t]*(.*)")
_PROTOTYPE = re.compile(
    r"(?:^|[;{}])\s*(?:asmlinkage\s+|extern\s+)*"
    r"(?:notrace\s+)?(?:(?:unsigned\s+)?(?:long|int)|void|ssize_t)\s+"
    r"(?P<name>\w+)\s*\((?P<parameters>(?:[^()]|\([^()]*\))*)\)(?=\s*;)"
)
_SPLIT = re.compile(r"(?:compat_arg_u64|SC_ARG64|arg_u32p)\s*\(\s*(\w+)\s*\)")
_TOKEN = re.compile(r"\w+|\*|\S")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One declaration of an entry point.

    ``conditions`` are the texts of the surrounding ``#if`` lines, each with False if the
    declaration is in the ``#else`` part.
    """

    parameters: tuple[Declared, ...]
    conditions: tuple[tuple[str, bool], ...] = ()


def read_declarations(text: str) -> dict[str, list[Declaration]]:
    """Return the declarations in ``text``, in order, by the name of the entry point."""
    found: dict[str, list[Declaration]] = {}
    for conditions, piece in _pieces(_COMMENT.sub(" ", text.replace("\\\n", "  "))):
        at = 0
        while match := _PROTOTYPE.search(piece, at):
            declared = Declaration(_parameters(match["parameters"]), conditions)
            found.setdefault(match["name"], []).append(declared)
            at = match.end()
    return found


def _pieces(text: str) -> list[tuple[tuple[tuple[str, bool], ...], str]]:
    """Split ``text`` at its conditionals; return each piece with the conditions around it."""
    pieces: list[tuple[tuple[tuple[str, bool], ...], str]] = []
    stack: list[tuple[str, bool]] = []
    lines: list[str] = []
    for line in text.split("\n"):
        directive = _DIRECTIVE.match(line)
        if not directive:
            lines.append(line)
            continue
        word, rest = directive[1], directive[2].strip()
        if word not in {"if", "ifdef", "ifndef", "elif", "else", "endif"}:
            continue
        pieces.append((tuple(stack), "\n".join(lines)))
        lines = []
        if word in {"if", "ifdef", "ifndef"}:
            stack.append((rest, word != "ifndef"))
        elif stack:
            condition, holds = stack.pop()
            if word == "elif":
                stack.append((rest, True))
            elif word == "else":
                stack.append((condition, not holds))
    pieces.append((tuple(stack), "\n".join(lines)))
    return pieces


def _parameters(text: str) -> tuple[Declared, ...]:
    declared = []
    for part in text.split(","):
        split = _SPLIT.fullmatch(part.strip())
        declared.append(Declared(split[1], HALVES) if split else _parameter(part))
    if declared == [Declared("", "void")]:
        return ()
    return tuple(declared)


def _parameter(text: str) -> Declared:
    tokens = _TOKEN.findall(text)
    name = ""
    if len(tokens) > 1 and tokens[-1] not in _TYPE_WORDS and tokens[-1] != "*":
        before = tokens[-2]
        if before not in {"struct", "union", "enum"}:
            name = tokens.pop()
    return Declared(name, " ".join(tokens))
