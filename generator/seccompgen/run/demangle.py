"""Turn the linker's names of functions into the names that C++ and Rust programmers know.

LLVM's demangler (pycxxfilt) reads them. Only the path in its answer is kept, which is enough to
find the source: `std::vector::push_back`, without parameters and template arguments. A name stays
as it is if it is not understood, or if pycxxfilt is not installed.

Sources: the Itanium C++ ABI, 5.1 "External Names"; Rust's "v0" and "legacy" symbol formats.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LONGEST = 1024
"""Longer names, in characters, are left as they are; `symbols` reads no more than this."""
_MOST_REFERENCES = 32
"""Names with more references to earlier parts are left: each nesting doubles the answer."""
_LONGEST_ANSWER = 1 << 16
"""Characters of an answer that is read: templates of templates can say a short name at length."""
_REFERENCE = re.compile(r"[STB][0-9A-Za-z]*_")
_RUST_HASH = re.compile(r"17h[0-9a-f]{16}E")
_ESCAPE = re.compile(r"\$(u[0-9a-f]{1,6}|[A-Z]{1,2})\$|\.\.")
_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}
_LLVM_SUFFIX = re.compile(r"\.llvm\.[0-9A-F]+")
_TOKEN = re.compile(
    r"\boperator(?:<=>|->\*?|(?:<<=?|>>=?|<=?|>=?)(?=[<(]|$)|\(\)|\[\]| (?:new|delete)\[\])"
    r"|\(anonymous namespace\)|::<|.",
    re.DOTALL,
)
_OPENING = {")": "(", ">": "<", "]": "["}
_QUALIFIER = re.compile(r" (const|volatile|&&?)(?= |::|$)")
_UNNAMED = re.compile(r"'(lambda|unnamed)(\d*)'")
_PATH = re.compile(
    r"((?:[a-zA-Z -]+ (?:to|for) )?)(?:.*? )??"
    r"((?:\(anonymous namespace\)|\S)*?(?:\boperator(?:\"\")? .+|\S))"
)
"""A name without brackets: a prefix such as "vtable for", a template's result type, the path."""


@lru_cache(maxsize=4096)
def readable(name: str) -> str:
    """Return the path that a mangled name stands for, or the name itself if it is not understood.

    Suffixes that compilers append to parts of a function, such as ``.cold``, are kept.
    """
    if not name.startswith(("_Z", "_R")) or len(name) > _LONGEST:
        return name
    legacy = _RUST_HASH.search(name)  # its parts may have dots
    end = legacy.end() if legacy else name.find(".") % (len(name) + 1)
    text = _demangled(name[:end])
    if legacy:
        path = "::".join(map(_unescaped, text.split("::")[:-1]))
    elif name.startswith("_R"):
        path = _without_arguments(text, {"::<"})
    else:
        path = _cxx_path(text)
    return path + _LLVM_SUFFIX.sub("", name[end:]) if path else name


def _demangled(name: str) -> str:
    """Return LLVM's whole answer for a name; "" if it does not understand the name."""
    try:
        from pycxxfilt import demangle  # noqa: PLC0415 - in an extra
    except ImportError:
        return ""
    if len(_REFERENCE.findall(name)) > _MOST_REFERENCES:
        return ""
    try:
        answer = demangle(name) or ""
    except ValueError:
        return ""
    return answer if len(answer) <= _LONGEST_ANSWER else ""


def _unescaped(part: str) -> str:
    """Return a part of a legacy Rust path, with the codes of special characters replaced."""
    return _ESCAPE.sub(_character, part[1:] if part.startswith("_$") else part)


def _character(found: re.Match[str]) -> str:
    code = found[1]
    if not code or code[0] != "u":
        return _ESCAPES.get(code, found[0]) if code else "::"
    number = int(code[1:], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]


def _cxx_path(text: str) -> str:
    """Return the path in a demangled C++ name: without arguments, result types and qualifiers."""
    found = _PATH.fullmatch(_QUALIFIER.sub("", _without_arguments(text, {"(", "<", "["})))
    path = "".join(found.groups()).rstrip() if found else ""
    return _UNNAMED.sub(_numbered, path)


def _numbered(found: re.Match[str]) -> str:
    kind = "lambda" if found[1] == "lambda" else "unnamed type"
    return f"{{{kind}#{int(found[2]) + 2 if found[2] else 1}}}"


def _without_arguments(text: str, opening: set[str]) -> str:
    """Return a name without the bracketed parts that begin with one of ``opening``."""
    kept: list[str] = []
    within: list[str] = []
    for token in _TOKEN.findall(text):
        if within and token in _OPENING:
            bracket = _OPENING[token]
            if bracket == "(" and bracket in within:
                while within.pop() != bracket:  # a comparison in here has no closing bracket
                    pass
            elif within[-1] == bracket:
                within.pop()
        elif token in opening or (within and token in {"(", "<", "[", "::<"}):
            within.append(token[-1])
        elif not within:
            kept.append(token)
    return "".join(kept)
