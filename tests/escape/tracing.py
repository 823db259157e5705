"""Attacks by a tracer: a child whose calls are changed, or whose filters are suspended."""

import ctypes
import os
import signal
import struct
from collections.abc import Callable

from escape.scene import Scene, Unavailable, libc

libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

_TRACEME, _POKEUSER, _CONT, _SYSCALL, _SETOPTIONS = 0, 6, 7, 24, 0x4200
_GETREGS, _GET_SYSCALL_INFO, _SET_SYSCALL_INFO = 12, 0x420E, 0x4212
_ORIG_RAX, _RDI, _RSI, _RDX = 15 * 8, 14 * 8, 13 * 8, 12 * 8
_TRACESYSGOOD, _ENTRY = 1, 1
_INFO = struct.Struct("=BBHIQQQ6Q8x")
"""op, reserved, flags, arch, instruction pointer, stack pointer, number, arguments."""
_NR = 6


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    ctypes.set_errno(0)
    if libc.ptrace(request, pid, address, data) == -1 and ctypes.get_errno():
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _tracee(body: "Callable[[], object]") -> int:
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            _ptrace(_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            body()
            code = 0
        except OSError as error:
            code = error.errno or 254
        finally:
            os._exit(code)
    os.waitpid(pid, 0)
    return pid


def _errno(pid: int) -> int:
    status = os.waitpid(pid, 0)[1]
    if os.WIFSTOPPED(status):
        assert os.WSTOPSIG(status) == signal.SIGTRAP
        return 0
    assert os.WIFEXITED(status)
    return os.WEXITSTATUS(status)


def traced(scene: Scene, body: "Callable[[], object]", *, options: int) -> int:
    """Have a child do ``body`` under a tracer with ``options``; return its errno, 0 if none.

    0 as well if it executes: then it gets SIGTRAP, and stops.
    """
    assert scene.abi
    pid = _tracee(body)
    try:
        _ptrace(_SETOPTIONS, pid, 0, options)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    _ptrace(_CONT, pid, 0, 0)
    return _errno(pid)


def traced_to_change(scene: Scene, asked: str, made: str, args: "tuple[int, ...]") -> int:
    """Have a child ask for one call without arguments, and its tracer make it another.

    Return the errno, 0 if the call was made, or if it stopped having executed.
    """
    change = _by_registers if scene.abi == "x86_64" else _by_information
    pid = _tracee(lambda: scene.call(asked))
    _ptrace(_SETOPTIONS, pid, 0, _TRACESYSGOOD)
    while True:
        _ptrace(_SYSCALL, pid, 0, 0)
        if not os.WIFSTOPPED(os.waitpid(pid, 0)[1]):
            raise AssertionError("it ended before it asked")
        if change(pid, scene.numbers[asked], scene.numbers[made], args):
            break
    _ptrace(_CONT, pid, 0, 0)
    return _errno(pid)


def _by_registers(pid: int, asked: int, made: int, args: "tuple[int, ...]") -> bool:
    """Change the call, if it is the one asked for; say whether it was. The registers are x86_64's.

    All kernels have this, and that of the host may not have the other way.
    """
    regs = ctypes.create_string_buffer(27 * 8)
    _ptrace(_GETREGS, pid, 0, ctypes.addressof(regs))
    if struct.unpack_from("=Q", regs.raw, _ORIG_RAX)[0] != asked:
        return False
    _ptrace(_POKEUSER, pid, _ORIG_RAX, made)
    for place, value in zip((_RDI, _RSI, _RDX), args):
        _ptrace(_POKEUSER, pid, place, value)
    return True


def _by_information(pid: int, asked: int, made: int, args: "tuple[int, ...]") -> bool:
    """Do the same by ``struct ptrace_syscall_info``, which is one for all ABIs (Linux 6.16)."""
    info = ctypes.create_string_buffer(_INFO.size)
    _ptrace(_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    fields = _INFO.unpack(info.raw)
    if fields[0] != _ENTRY or fields[_NR] != asked:
        return False
    info.raw = _INFO.pack(*fields[:_NR], made, *args, *[0] * (6 - len(args)))
    try:
        _ptrace(_SET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise Unavailable("Linux before 6.16 has registers only, of each ABI its own") from error
    return True
