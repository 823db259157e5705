"""A call as people read it: ``openat(AT_FDCWD</home>, "notes", O_WRONLY|O_CREAT, 0o644)``.

Memory that arguments point to is read while the thread waits. Another thread may change it before
the kernel reads it.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.spelling import number
from seccompgen.core.text import printable
from seccompgen.render.call_names import argument_text, call_name
from seccompgen.run.notification import as_int

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Prototype
    from seccompgen.core.tables import Tables
    from seccompgen.run.process import Process
    from seccompgen.verify.call import Call

_AT_FDCWD = -100
_STRING_SHOWN = 200
"""Bytes of a string that are shown."""
_DATA_SHOWN = 32
_WORDS_SHOWN = 8
"""Words of an array that are shown."""
_ADDRESS_MAX = 128
"""sizeof(struct sockaddr_storage)."""
_KINDS = tuple(
    (re.compile(text), kind)
    for text, kind in (
        (r".* argv", "argv"),
        (r"struct sockaddr .*", "addr"),
        (r"const char .* buf|.* buff", "data"),
        (r"const char .* \w+(?<!envp)|char .* (\w*name|type)|void .* data", "string"),
        (r".*\*.*|unsigned long (\w*addr|start|brk|newsp|tls|data|arg\d?)", "ptr"),
        (r"\w.* (old|new|from_|to_)?dfd", "dirfd"),
        (r"\w.* (\w*fd(_?(in|out))?|fildes)", "fd"),
        (r"umode_t .*", "mode"),
        (r"\w*[ugp]id_t .*|int protocol", "int"),
        (r".*(size_t|off_t) .*|\w.* (\w*(count|len|size|off|cnt)|pos_[lh]|nfds|entries)", "size"),
    )
)
"""The kinds of arguments by type and name; the length of an ``addr`` or ``data`` follows it.

Arguments that are ``signed`` or of no kind are shown as the names of constants, if there are any.
"""
_FAMILIES = {0: "AF_UNSPEC", 1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK"}


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call: its ``name``, or ``nr 0x1d6``, and ``arguments``, 64-bit values and their text.

    ``abi`` is the name of the ABI that the call is made through. Calls of one ``kind`` differ only
    in addresses.
    """

    name: str
    abi: str
    arguments: tuple[tuple[int, str], ...]
    kind: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Render as a call in C."""
        return f"{self.name}({', '.join(text for _, text in self.arguments)})"


def decode_call(call: Call, process: Process, tables: Tables) -> DecodedCall:
    """Return the call with its arguments as text, resolved in ``process``, which makes the call."""
    name, table = call_name(call.nr, call.arch, tables)
    where = table.abi.name if table else f"architecture {call.arch:#010x}"
    prototype = tables.facts.prototype(name, table.abi) if table else None
    if prototype is None:
        # The arguments are unknown: show all up to the last that is not 0.
        last = max((n for n, value in enumerate(call.args, 1) if value), default=0)
        kinds = [""] * last
    else:
        kinds = _kinds(prototype)
    reader = _ArgumentReader(process, table.abi if table else None, call.args)
    texts = [
        reader.text(at, kind, argument_text(name, at, call.args, table, tables))
        for at, kind in enumerate(kinds)
    ]
    alike = [text for text, kind in zip(texts, kinds, strict=True) if kind != "ptr"]
    arguments = tuple(zip(call.args, texts, strict=False))
    return DecodedCall(name, where, arguments, (name, where, *alike))


def _kinds(prototype: Prototype) -> list[str]:
    kinds = []
    for one, following in pairwise((*prototype.parameters, None)):
        assert one
        text = f"{one.type} {one.name}"
        kind = next((kind for pattern, kind in _KINDS if pattern.fullmatch(text)), "")
        if kind in {"addr", "data"} and (following is None or following.pointer):
            kind = "ptr"
        kinds.append(kind or ("signed" if one.signed and "flag" not in one.name else ""))
    return kinds


class _ArgumentReader:
    def __init__(self, process: Process, abi: Abi | None, args: tuple[int, ...]) -> None:
        self._process = process
        self._args = args
        self._bytes = abi.bits // 8 if abi else 8
        self._order = abi.byte_order if abi else "little"

    def text(self, at: int, kind: str, named: str) -> str:
        """Return argument ``at`` as text; ``named`` is its text by the names of constants."""
        value = self._args[at]
        after = self._args[at + 1] if at + 1 < len(self._args) else 0
        match kind:
            case "fd" | "dirfd":
                return self._descriptor(as_int(value), kind)
            case "string":
                return self._string(value)
            case "argv":
                return self._strings(value)
            case "addr":
                return self._address(value, min(after & U32, _ADDRESS_MAX))
            case "data":
                return self._data(value, after)
            case "mode":
                return f"{value & U32:#o}"
            case "int":
                return str(as_int(value))
            case _ if named != number(value) or not kind:
                return named
            case "signed":
                return str(as_int(value))
            case "size":
                return str(value)
        return f"{value:#x}" if value else "NULL"

    def _descriptor(self, descriptor: int, kind: str) -> str:
        if kind == "dirfd" and descriptor == _AT_FDCWD:
            target, text = self._process.directory, "AT_FDCWD"
        else:
            target, text = self._process.descriptor(descriptor), str(descriptor)
        return f"{text}<{printable(target)}>" if target else text

    def _string(self, address: int) -> str:
        if not address:
            return "NULL"
        found = self._process.string(address, _STRING_SHOWN + 1)
        return f"{address:#x}" if found is None else quoted(found, _STRING_SHOWN)

    def _strings(self, address: int) -> str:
        texts: list[str] = []
        for at in range(_WORDS_SHOWN + 1):
            word = self._process.memory(address + at * self._bytes, self._bytes)
            if word is None or len(word) < self._bytes:
                return f"{address:#x}" if not texts else f"[{', '.join(texts)}, ...]"
            pointer = int.from_bytes(word, self._order)
            if not pointer:
                return f"[{', '.join(texts)}]"
            texts.append("..." if at == _WORDS_SHOWN else self._string(pointer))
        return f"[{', '.join(texts)}]"

    def _data(self, address: int, length: int) -> str:
        found = self._process.memory(address, min(length, _DATA_SHOWN + 1)) if address else None
        if found is None:
            return f"{address:#x}" if address else "NULL"
        return quoted(found, _DATA_SHOWN)

    def _address(self, address: int, length: int) -> str:
        data = self._process.memory(address, length) if address else None
        if data is None or len(data) < 2:
            return f"{address:#x}" if address else "NULL"
        family = int.from_bytes(data[:2], self._order)
        name = _FAMILIES.get(family, f"family {family}")
        match family:
            case 1:
                path = data[2:]
                abstract = path[:1] == b"\0"
                text = path[1:] if abstract else path.partition(b"\0")[0]
                return f"{{{name} {'@' if abstract else ''}{quoted(text, _STRING_SHOWN)}}}"
            case 2 if len(data) >= 8:
                port = int.from_bytes(data[2:4], "big")
                return f"{{{name} {socket.inet_ntop(socket.AF_INET, data[4:8])}:{port}}}"
            case 10 if len(data) >= 24:
                port = int.from_bytes(data[2:4], "big")
                return f"{{{name} [{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{port}}}"
        return f"{{{name}}}"


def quoted(data: bytes, limit: int) -> str:
    """Return up to ``limit`` bytes between quotes, on one line; ``...`` follows if some are cut."""
    text = data[:limit].decode(errors="surrogateescape")
    text = printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{text}"' + ("..." if len(data) > limit else "")
