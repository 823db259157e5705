"""Make one call, behind a filter if one is named: ``refused.py FILTER|- WAY NUMBER ARGUMENT...``

WAY is 0 for the machine's own instruction, 1 for ``int $0x80``. The filter is installed with the
flag LOG. The exit status is that of a process that got an errno: 100, or 0 if the call was made.
"""

import ctypes
import mmap
import sys

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP, _SET_MODE_FILTER, _LOG = 317, 1, 2
_INT80 = bytes.fromhex("53 89f8 89f3 89d1 cd80 5b c3")
"""push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; pop rbx; ret"""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main(program: str, way: str, number: str, *arguments: str) -> int:
    """Install the filter, make the call."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(int(one)) for one in arguments]
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_INT80)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
    int80 = kind(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    if program != "-":
        with open(program, "rb") as file:
            code = file.read()
        made = _Program(len(code) // 8, code)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.syscall(_SECCOMP, _SET_MODE_FILTER, _LOG, ctypes.byref(made)):
            raise OSError(ctypes.get_errno(), "seccomp")
    if way == "1":
        result = int80(int(number), *(one.value for one in (*given, *[ctypes.c_long()] * 2)[:2]))
    else:
        result = libc.syscall(ctypes.c_long(int(number)), *given)
    return 100 if result < 0 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
