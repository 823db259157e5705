"""kafel's own tables and its own compiler, from its sources.

    python tests/helpers/kafel_sources.py ../shared/peers/kafel

writes the table that our reader of kafel's language has.
"""

from __future__ import annotations

import csv
import ctypes
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from seccompgen.formats.kafel import calls as kafel_calls

SOURCES = Path(__file__).parents[3] / "shared" / "peers" / "kafel"
_FILES = {
    "aarch64": "aarch64", "amd64": "x86_64", "arm": "arm", "i386": "i386", "m68k": "m68k",
    "mips64": "mips64", "mipso32": "mips", "riscv64": "riscv64",
}  # fmt: skip
"""Our names of the architectures, by kafel's files."""
_BITS = {
    "arm": 1, "aarch64": 2, "i386": 3, "x86_64": 4, "mips": 5, "mips64": 6, "riscv64": 7, "m68k": 8,
}  # fmt: skip
"""The bit of each architecture (KAFEL_TARGET_ARCH_* of include/kafel.h)."""
_CALL = re.compile(r'\{"(\w+)",\s*(\d+),\s*\{(.*?)\}\s*\}', re.DOTALL)
_ARGUMENT = re.compile(r'\[ARG_(\d)\]\s*=\s*\{"(\w+)",\s*(\d)\}')
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def table(sources: Path) -> str:
    """Return what `calls.csv` has to be for these sources of kafel."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, abi in sorted(_FILES.items(), key=lambda one: one[1]):
        source = _COMMENT.sub("", (sources / f"src/syscalls/{name}_syscalls.c").read_text())
        source = source[source.index("_syscall_list[]") :]
        calls = _CALL.findall(source)
        assert len(calls) == source.count('{"') - len(_ARGUMENT.findall(source)), name
        for call, nr, arguments in sorted(calls):
            found = _ARGUMENT.findall(arguments)
            assert [int(index) for index, _, _ in found] == [*range(len(found))], call
            writer.writerow([abi, call, nr, " ".join(f"{n}:{size}" for _, n, size in found)])
    return text.getvalue()


class Kafel:
    """libkafel, built from its sources in a directory."""

    def __init__(self, directory: Path) -> None:
        if not (directory / "libkafel.so").exists():
            shutil.copytree(SOURCES, directory, dirs_exist_ok=True)
            subprocess.run(["make"], cwd=directory, check=True, capture_output=True)
        self._library = library = ctypes.CDLL(str(directory / "libkafel.so"))
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        library.kafel_ctxt_create.restype = ctypes.c_void_p
        library.kafel_error_msg.restype = ctypes.c_char_p

    def compiled(self, text: str, abi: str) -> bytes | str:
        """Return the program for an ABI, little-endian instructions, or what kafel says."""
        context, program = ctypes.c_void_p(self._library.kafel_ctxt_create()), _Program()
        source = ctypes.create_string_buffer(text.encode())
        self._library.kafel_set_input_string(context, source)
        self._library.kafel_set_target_archs(context, 1 << _BITS[abi])
        try:
            if self._library.kafel_compile(context, ctypes.byref(program)):
                said: bytes = self._library.kafel_error_msg(context)
                return said.decode().strip()
            found = ctypes.string_at(program.filter, program.len * 8)
            self._free(program.filter)
            return found
        finally:
            self._library.kafel_ctxt_destroy(ctypes.byref(context))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


if __name__ == "__main__":
    Path(kafel_calls.__file__).with_suffix(".csv").write_text(table(Path(sys.argv[1])))
