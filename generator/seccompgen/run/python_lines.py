"""The lines of Python that a thread executes, if its program is CPython 3.11 to 3.14.

They are read from the interpreter's memory while the thread waits: `_PyRuntime` leads to the
interpreters, these to their threads, a thread to its frame, a frame to its code. From 3.13 on an
interpreter describes its own offsets (`_Py_DebugOffsets`); for 3.11 and 3.12 they are listed here.
The offsets change with each release, so those of an unknown release are not guessed.

Sources, each at its release: Include/internal/pycore_{runtime,interp,frame,debug_offsets}.h,
Include/cpython/{pystate,code,unicodeobject}.h, Objects/locations.md.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from seccompgen.core.text import printable
from seccompgen.run.process import UnreadableError
from seccompgen.run.symbols import symbols_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.run.process import Process

_PROGRAM = re.compile(r"(lib)?python3[.0-9]*(\.so[.0-9]*)?")
STANDARD_LIBRARY = r"/lib/python3[.0-9]*/(?!(site|dist)-packages/)|^<frozen "
"""A regular expression for the files of the standard library."""
_FRAMES_MAX = 64
"""The number of frames searched for those outside the standard library."""
_CALLERS_SHOWN = 4
_THREADS_MAX = 4096
_INTERPRETERS_MAX = 256
_TABLE_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class _InterpreterLayout:
    """Offsets in bytes into the interpreter's structures, on 64 bits.

    ``cframe`` is None if the thread's state contains ``current_frame`` itself. Frames whose owner
    is ``shim`` or higher are not Python's; None if there are no such frames.
    """

    interpreters: int
    next_interpreter: int
    threads: int
    next_thread: int
    native_id: int
    current_frame: int
    cframe: int | None
    code: int
    previous: int
    instruction: int
    owner: int
    shim: int | None
    filename: int
    qualname: int
    first_line: int
    line_table: int
    bytecode: int
    ascii_text: int
    wide_text: int


_LAYOUTS = {
    (3, 11): _InterpreterLayout(
        *(40, 0, 16, 8, 160, 8, 56), *(32, 48, 56, 69, None), *(112, 128, 72, 136, 184), *(48, 72)
    ),
    (3, 12): _InterpreterLayout(
        *(40, 0, 72, 8, 144, 0, 56), *(0, 8, 56, 70, 3), *(112, 128, 68, 136, 192), *(40, 56)
    ),
}
_DESCRIBED = {(3, 13): (3, 13, 9, 6), (3, 14): (3, 16, 9, 8)}
"""By release, the number of offsets in each of the first four structures of `_described`."""
_COOKIE = b"xdebugpy"
_CODE_OFFSETS = 10
"""The number of offsets read for code objects; 3.14 has one more."""
_LENGTH, _STATE, _BYTES_SIZE, _BYTES = 16, 32, 16, 32
"""Offsets into str and bytes objects, the same in all these releases."""
_ENCODINGS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
"""The encoding of a str object's characters, by their width in bytes."""


def python_lines(process: Process) -> tuple[str, ...]:
    """Return ``file:line in function`` of the thread's innermost frame and a few of its callers.

    The callers are the nearest outside the standard library. A forked child that has not executed a
    program may show the frames of the thread that started it. Empty if the program is not such a
    Python, or unreadable.
    """
    try:
        return tuple(islice(_own(process), 1 + _CALLERS_SHOWN))
    except (UnreadableError, struct.error, IndexError):
        return ()


def _own(process: Process) -> Iterator[str]:
    for at, (file, line, function) in enumerate(_frames(process)):
        if at == 0 or not re.search(STANDARD_LIBRARY, file):
            yield f"{file}:{line} in {function}"


def _frames(process: Process) -> Iterator[tuple[str, int, str]]:
    """Yield file, line and function of the thread's frames, innermost first."""
    found = _runtime(process)
    if found is None:
        return
    runtime, version = found
    layout = _LAYOUTS.get(version)
    if version in _DESCRIBED:
        layout = _described(process, runtime, _DESCRIBED[version])
    if layout is None:
        return
    thread = _thread(process, runtime, layout)
    holder = thread if layout.cframe is None else process.pointer(thread + layout.cframe)
    frame = process.pointer(holder + layout.current_frame)
    for _ in range(_FRAMES_MAX):
        if not frame:
            return
        owner = process.exactly(frame + layout.owner, 1)[0]
        if layout.shim is None or owner < layout.shim:
            yield _location(process, frame, layout)
        frame = process.pointer(frame + layout.previous)


def _text(process: Process, address: int, layout: _InterpreterLayout) -> str:
    """Return the characters of a str object, made safe to show.

    They follow the object's header, which contains their width and whether all are ASCII. Raises
    UnreadableError for a subclass of str, which has them elsewhere.
    """
    length = process.pointer(address + _LENGTH)
    state = process.exactly(address + _STATE, 1)[0]
    width, is_compact, is_ascii = state >> 2 & 7, state & 1 << 5, state & 1 << 6
    if length > _TABLE_MAX or width not in _ENCODINGS or not is_compact:
        raise UnreadableError
    header = layout.ascii_text if is_ascii else layout.wide_text
    data = process.exactly(address + header, length * width)
    try:
        return printable(data.decode(_ENCODINGS[width], "surrogatepass"))
    except UnicodeDecodeError:
        raise UnreadableError from None


def _bytes(process: Process, address: int) -> bytes:
    size = process.pointer(address + _BYTES_SIZE)
    if size > _TABLE_MAX:
        raise UnreadableError
    return process.exactly(address + _BYTES, size)


def _thread(process: Process, runtime: int, layout: _InterpreterLayout) -> int:
    tid = process.own_tid
    states: dict[int, int] = {}
    interpreter = process.pointer(runtime + layout.interpreters)
    for _ in range(_INTERPRETERS_MAX):
        if not interpreter:
            break
        state = process.pointer(interpreter + layout.threads)
        while state and len(states) < _THREADS_MAX:
            native_id = process.pointer(state + layout.native_id)
            if native_id == tid:
                return state
            states[native_id] = state
            state = process.pointer(state + layout.next_thread)
        interpreter = process.pointer(interpreter + layout.next_interpreter)
    # A forked child may not have updated its TID yet, or never does, but has a single thread. A
    # child of subprocess has the states of all threads, and is about to execute a program.
    if len(states) == 1:
        return next(iter(states.values()))
    starter = process.starter if process.threads == 1 else None
    if starter in states:
        return states[starter]
    raise UnreadableError


def _location(process: Process, frame: int, layout: _InterpreterLayout) -> tuple[str, int, str]:
    # From 3.14 on the lowest bits of the reference are a tag.
    code = process.pointer(frame + layout.code) & ~3
    offset = process.pointer(frame + layout.instruction) - (code + layout.bytecode)
    first = int.from_bytes(process.exactly(code + layout.first_line, 4), "little")
    table = _bytes(process, process.pointer(code + layout.line_table))
    return (
        _text(process, process.pointer(code + layout.filename), layout),
        line_at(table, first, max(offset, 0)),
        _text(process, process.pointer(code + layout.qualname), layout),
    )


def line_at(table: bytes, first: int, offset: int) -> int:
    """Return the line of the bytecode at ``offset``, from a ``co_linetable``; 0 if it has none."""
    line, end, at = first, 0, 0
    while at < len(table):
        kind, units = table[at] >> 3 & 15, (table[at] & 7) + 1
        at += 1
        if kind == 15:
            here = 0
        else:
            if kind in {13, 14}:
                delta, at = _signed_varint(table, at)
                line += delta
                for _ in range(3 if kind == 14 else 0):
                    _, at = _varint(table, at)
            elif kind >= 10:
                line += kind - 10
                at += 2
            else:
                at += 1
            here = line
        end += 2 * units
        if offset < end:
            return here
    return 0


def _varint(table: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (table[at] & 63) << shift
        at += 1
        if not table[at - 1] & 64:
            return value, at
        shift += 6
        if shift > 64:
            raise UnreadableError


def _signed_varint(table: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(table, at)
    return (-(value >> 1) if value & 1 else value >> 1), at


def _described(
    process: Process, runtime: int, counts: tuple[int, ...]
) -> _InterpreterLayout | None:
    """Return the layout that an interpreter describes; None if it has none or is free-threaded.

    The description is struct _Py_DebugOffsets: a cookie, the version, whether the build is
    free-threaded, and the offsets of runtime_state, interpreter_state, thread_state,
    interpreter_frame (``counts`` of each) and code_object; the first of each is its size.
    """
    total = sum(counts) + _CODE_OFFSETS
    words = struct.unpack(f"<8s{2 + total}Q", process.exactly(runtime, 8 * (3 + total)))
    cookie, _, free_threaded, *offsets = words
    if cookie != _COOKIE or free_threaded:
        return None
    left = iter(offsets)
    state, interpreter, thread, frame = (tuple(islice(left, count)) for count in counts)
    code = tuple(left)
    return _InterpreterLayout(
        *(state[2], interpreter[2], interpreter[3], thread[2], thread[6], thread[4], None),
        *(frame[2], frame[1], frame[3], frame[5], 3),
        *(code[1], code[3], code[5], code[4], code[9], *(40, 56)),
    )


def _runtime(process: Process) -> tuple[int, tuple[int, int]] | None:
    """Return the address of ``_PyRuntime`` and the release; None if the program is not CPython."""
    for mapping in process.mappings:
        if mapping.offset or not _PROGRAM.fullmatch(mapping.file.rpartition("/")[2]):
            continue
        symbols = symbols_of(process, mapping)
        if symbols and {"_PyRuntime", "Py_Version"} <= symbols.objects.keys():
            loaded = mapping.start - symbols.base
            data = process.memory(symbols.objects["Py_Version"] + loaded, 8)
            if data is None or len(data) < 8:
                return None
            release = int.from_bytes(data, "little")
            return symbols.objects["_PyRuntime"] + loaded, (release >> 24, release >> 16 & 0xFF)
    return None
