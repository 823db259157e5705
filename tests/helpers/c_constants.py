"""Constants as C compilers see them: every name of the table that a compiler knows, with its value.

A compiler reads the tag's own headers as a program of an ABI would, and says what a name comes to
in assembly, so that neither assembler nor library of the ABI are needed.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.kernel.parse.headers import SHARED_HEADERS, SOCKET, asm_headers
from seccompgen.kernel.parse.sources import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from seccompgen.core.facts import Constant

FLAGS = (
    "-w",
    "-ftrack-macro-expansion=0",
    "-nostdinc",
    "-O0",
    "-std=gnu11",
    "-D__EXPORTED_HEADERS__",
    # Remarks for the kernel's checkers, which `make headers_install` takes out.
    "-D__user=",
    "-D__force=",
    "-D__iomem=",
    "-D__packed=__attribute__((packed))",
    "-D__attribute_const__=",
)
_FIRST = ("stddef.h", "stdint.h", "linux/types.h", "linux/socket.h", "linux/time.h")
"""The headers that every program begins with, where they are: others count on them."""
_LIBC = """\
typedef __kernel_sa_family_t sa_family_t;
struct sockaddr { sa_family_t sa_family; char sa_data[14]; };
#define sockaddr_storage __kernel_sockaddr_storage
"""
_STDDEF = """\
#pragma once
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
#define NULL ((void *)0)
#define offsetof(t, m) __builtin_offsetof(t, m)
"""
_STDINT = "#pragma once\n" + "".join(
    f"typedef __{sign.upper()}INT{bits}_TYPE__ {sign}int{bits}_t;\n"
    for bits in (8, 16, 32, 64)
    for sign in ("", "u")
)
_HEADERS = {
    "stddef.h": _STDDEF,
    "stdint.h": _STDINT + "typedef __UINTPTR_TYPE__ uintptr_t;\n",
    "stdbool.h": "#define bool _Bool\n",
    "string.h": "".join(
        f"#define {name} __builtin_{name}\n" for name in ("memcpy", "memset", "strlen", "strcpy")
    ),
    **dict.fromkeys(("endian.h", "errno.h", "stdlib.h", "sys/ioctl.h", "sys/socket.h"), ""),
    **dict.fromkeys(("sys/time.h", "sys/types.h", "time.h"), ""),
    "netinet/in.h": "#include <linux/in.h>\n",
    "netinet/if_ether.h": "",
    "linux/compiler.h": "",
    "asm/unistd.h": "",
}
_INCLUDED = re.compile(r"(?:In file included from|\s+from) [^:\n]*program\.c:(\d+)")
_ERROR = re.compile(r"^[^:\n]*program\.c:(\d+):\d+: (?:fatal )?error: ", re.MULTILINE)
_WORD = re.compile(r"^\s*\.(?:long|word|4byte|int|uaword|ualong)\s+(\d+)\s*$", re.MULTILINE)
_PIECES = 5


@dataclass(frozen=True)
class Compiler:
    """A compiler of an ABI: ``command`` reads a program and writes assembly to standard output."""

    command: tuple[str, ...]
    compile: tuple[str, ...] = ("-S",)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Compared:
    """The answers of a compiler about the names of an ABI."""

    values: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Headers that cannot be compiled, with the compiler's first error."""


_SOCKET_NAME = re.compile(r"#\s*define\s+(?:AF|PF|MSG|SOL|SCM)_\w+\s[^\\]*")
_NEAR_NUMBERS = "MSG_CMSG_COMPAT"
"""Depends on how a kernel was configured, so that it is no constant."""


def compared(
    abi: str, compiler: Compiler, tree: Path, constants: Mapping[str, Constant], place: Path
) -> tuple[int, dict[str, tuple[int, int]]]:
    """Return how many constants of an ABI a compiler knows, and those to which it gives others.

    The kernel's own header of AF_, MSG_ and SOL_ names is not for programs, so that its lines are
    taken one by one.
    """
    srcarch = VIEWS[abi].srcarch
    includes = include_directories(tree, srcarch, place)
    ours = {name: one.on(ABIS[abi]) for name, one in constants.items()}
    headers = [
        name
        for name in (*SHARED_HEADERS, *asm_headers(srcarch))
        if any((directory / name).exists() for directory in includes)
    ]
    socket = tree / SOCKET
    lines = socket.read_text().splitlines() if socket.exists() else []
    numbers = [one for one in lines if _SOCKET_NAME.fullmatch(one) and _NEAR_NUMBERS not in one]
    theirs = ask(compiler, headers, constants, includes, place, "\n".join([*numbers, ""])).values
    known = {name: value for name, value in ours.items() if value is not None and name in theirs}
    return len(known), {
        name: (value, theirs[name]) for name, value in known.items() if value != theirs[name]
    }


def include_directories(tree: Path, srcarch: str, place: Path) -> list[Path]:
    """Return where a program of an architecture finds its headers; ``place`` is for those made."""
    for name, text in _HEADERS.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    own = tree / "arch" / srcarch / "include" / "uapi"
    for header in (tree / "include" / "uapi" / "asm-generic").glob("*.h"):
        if not (own / "asm" / header.name).exists() and header.name != "unistd.h":
            (place / "asm" / header.name).write_text(f"#include <asm-generic/{header.name}>\n")
    return [place, own, tree / "include" / "uapi"]


def ask(
    compiler: Compiler,
    headers: Sequence[str],
    names: Iterable[str],
    includes: Sequence[Path],
    place: Path,
    extra: str = "",
) -> Compared:
    """Return what the compiler makes of ``names``, each with those of ``headers`` that define it.

    Headers that do not go together go into programs of their own. ``extra`` is text that each of
    the programs begins with.
    """
    wanted = set(names)
    result = Compared()
    first = [name for name in _FIRST if any((place / name).exists() for place in includes)]
    start = "".join(f"#include <{name}>\n" for name in first) + _LIBC + extra
    run = _Runner(compiler, includes, place, start)
    waiting = list(headers)
    while waiting:
        group, waiting = run.group(waiting, result)
        if group:
            _ask_group(run, run.text(group), wanted - result.values.keys(), result)
    for name in result.values:
        result.refused.pop(name, None)
    return result


class _Runner:
    def __init__(
        self, compiler: Compiler, includes: Sequence[Path], place: Path, start: str
    ) -> None:
        self._start = start
        self._compiler = compiler
        self.compile = compiler.compile
        self._includes = [f"-I{path}" for path in includes]
        self._program = place / "program.c"
        self._output = place / "program.out"

    def text(self, group: Sequence[str]) -> str:
        """Return a program that includes the headers ``group``."""
        return self._start + "".join(f"#include <{name}>\n" for name in group)

    def run(self, text: str, *arguments: str) -> tuple[str, str]:
        """Return output and errors."""
        self._program.write_text(text)
        self._output.unlink(missing_ok=True)
        done = subprocess.run(
            [
                *self._compiler.command,
                *FLAGS,
                *self._includes,
                *arguments,
                str(self._program),
                "-o",
                str(self._output),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **self._compiler.environment},
        )
        output = self._output.read_text(errors="replace") if self._output.exists() else ""
        return output, done.stderr

    def group(self, headers: Sequence[str], result: Compared) -> tuple[list[str], list[str]]:
        """Return headers that compile together, and those that are left for another program."""
        group, later = list(headers), list[str]()
        first = self._start.count("\n") + 1
        while group:
            _, errors = self.run(self.text(group), "-fsyntax-only", "-fmax-errors=1")
            if "error:" not in errors:
                return group, later
            lines = [int(line) for line in _INCLUDED.findall(errors)]
            lines += [int(line) for line in _ERROR.findall(errors)]
            at = max(lines, default=0) - first
            if at < 0:
                raise AssertionError(errors[:2000])
            bad = group.pop(at)
            if at == 0:
                message = next(line for line in errors.splitlines() if "error:" in line)
                result.left_out[bad] = message
            else:
                later.append(bad)
        return [], later


def _ask_group(run: _Runner, text: str, wanted: set[str], result: Compared) -> None:
    """Ask for those of ``wanted`` that occur in a program."""
    defined, _ = run.run(text, "-E", "-dM")
    plain, _ = run.run(text, "-E", "-P")
    known = set(re.findall(r"^#define (\w+)\s", defined, re.MULTILINE))
    known |= set(re.findall(r"[A-Za-z_]\w*", plain))
    names = sorted(wanted & known)
    start = text + "const int seccompgen_values[] = {\n"
    first = start.count("\n") + 1
    while names:
        rows = "".join(
            f"0x10000|(({name})<0), "
            + ", ".join(
                f"0x10000|(int)((unsigned long long)({name})>>{shift}&0xffff)"
                for shift in (0, 16, 32, 48)
            )
            + ",\n"
            for name in names
        )
        output, errors = run.run(start + rows + "};\n", *run.compile, "-fmax-errors=0")
        bad = {int(line) - first for line in _ERROR.findall(errors)}
        bad |= {int(line) - first for line in _INCLUDED.findall(errors) if int(line) >= first}
        bad = {index for index in bad if 0 <= index < len(names)}
        if not bad and "error:" in errors:
            raise AssertionError(errors[:2000])
        if not bad:
            words = [int(word) for word in _WORD.findall(output)]
            words = [word & 0xFFFF for word in words if word >> 16 == 1]
            assert len(words) == _PIECES * len(names), (len(words), len(names))
            for index, name in enumerate(names):
                sign, *parts = words[_PIECES * index : _PIECES * (index + 1)]
                value = sum(part << 16 * place for place, part in enumerate(parts))
                result.values[name] = value - (1 << 64) if sign else value
            return
        for index in bad:
            result.refused[names[index]] = "the compiler refuses it"
        names = [name for index, name in enumerate(names) if index not in bad]
