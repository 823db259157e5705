"""The names that C++ and Rust programmers know functions by, from those that a linker sees.

Only the path is given, as it is what leads to the source: `std::vector::push_back`, not the types
of parameters and of what a template was made for. A name that is not understood stays as it is.

Sources: the Itanium C++ ABI, 5.1 "External Names"; Rust's "v0 Symbol Format", and its legacy one.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LEGACY = re.compile(r"_ZN(?P<parts>.*)17h[0-9a-f]{16}E", re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\$(u[0-9a-f]{1,6}|[A-Z]{1,2})\$|\.\.")
_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}
_SUFFIX = re.compile(r"\.llvm\.[0-9A-F]+")
_LONGEST = 1024
"""Characters of a name that is tried; as many as `symbols` reads."""


@lru_cache(maxsize=4096)
def readable(name: str) -> str:
    """Return the path that a mangled name is for; the name where it is none, or not understood.

    What compilers append to parts of a function that they moved, such as ``.cold``, is kept.
    """
    if not name.startswith(("_Z", "_R")) or len(name) > _LONGEST:
        return name
    mangled, dot, suffix = name.partition(".")
    legacy = _LEGACY.match(name)
    if legacy:  # the parts may have dots
        mangled, dot, suffix = legacy[0], "", name[legacy.end() :]
    path = _legacy(legacy["parts"]) if legacy else _path(mangled)
    return path + _SUFFIX.sub("", dot + suffix) if path else name


def _path(mangled: str) -> str | None:
    if mangled.startswith("_R"):
        from seccompgen.run.mangled_rust import rust_path  # noqa: PLC0415 - rarely needed

        return rust_path(mangled)
    from seccompgen.run.mangled_cxx import cxx_path  # noqa: PLC0415 - rarely needed

    return cxx_path(mangled)


def _legacy(text: str) -> str | None:
    """Return the path of Rust's legacy names, which are those of C++ with a hash at the end."""
    parts = []
    while text:
        digits = re.match(r"[1-9][0-9]{0,3}", text, re.ASCII)
        size = int(digits[0]) if digits else 0
        if not digits or len(text) < len(digits[0]) + size:
            return None
        end = len(digits[0]) + size
        part, text = text[len(digits[0]) : end], text[end:]
        parts.append(_ESCAPE.sub(_unescaped, part[1:] if part.startswith("_$") else part))
    return "::".join(parts)


def _unescaped(found: re.Match[str]) -> str:
    if found[0] == "..":
        return "::"
    code = found[1]
    if code[0] != "u":
        return _ESCAPES.get(code, found[0])
    number = int(code[1:], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]
