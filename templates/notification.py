"""Answer the calls of a process whose filter says user_notif: the supervisor's side.

A filter whose policy has the flag new_listener makes a listener when it is installed. The confined
process hands it over with `send_listener`; its supervisor gets a `Listener`, and through it a
`Notification` for each call that the filter does not decide. The calling thread sleeps until the
supervisor has answered. If the listener is closed instead, such calls fail with ENOSYS.

A notification can go stale at any time: the caller may be killed, or a signal may interrupt its
call. Then what is done with it raises `SeccompError` with the cause "gone".

This module lies beside the runtime and needs it; the standard library only, Python 3.9 and newer.

Sources: seccomp_unotify(2), proc_pid_mem(5), unix(7), and the kernel's
include/uapi/linux/seccomp.h and asm/ioctl.h.
"""

import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator  # noqa: TC003 - typing takes long to load

from ._questions import _is_foreign
from ._runtime import SeccompError, _Kernel, _refusal, running_abi

__all__ = ("Listener", "Notification", "SeccompError", "send_listener")

_GET_NOTIF_SIZES = 3
_FLAG_CONTINUE = 1
_ADDFD_SETFD = 1
_ADDFD_SEND = 2

# In native byte order, without padding of its own: each field lies where its alignment puts it.
_SIZES = struct.Struct("=HHH")
_NOTIF = struct.Struct("=QIIiIQ6Q")  # id, pid, flags; nr, arch, instruction pointer, args
_RESPONSE = struct.Struct("=QqiI")  # id, val, error, flags
_ADDFD = struct.Struct("=QIIII")  # id, flags, srcfd, newfd, newfd_flags
_ID = struct.Struct("=Q")
_DESCRIPTOR = struct.Struct("=i")

# asm/ioctl.h: where the direction of an ioctl stands, and its two bits.
_READ, _WRITE = 1, 2
_DIRECTIONS = (30, 2, 1)
_OTHER_DIRECTIONS = {
    **dict.fromkeys(("alpha", "ppc", "ppc64", "ppc64le"), (29, 2, 4)),
    **dict.fromkeys(("mips", "mipsel", "mips64", "mips64el"), (29, 2, 4)),
    **dict.fromkeys(("mips64n32", "mips64n32el"), (29, 2, 4)),
    **dict.fromkeys(("parisc", "parisc64"), (30, 1, 2)),
}

_ERRNO_END = 4096  # MAX_ERRNO is 4095
_CHUNK = 4096  # no page is smaller, so that what does not cross a multiple is there or not


def send_listener(connection: socket.socket, listener: int) -> None:
    """Send what install() returned over a socket of the family AF_UNIX, and close it here.

    For the confined process. Its filter is in force already, and must allow sendmsg(2): to ask
    the supervisor for it would wait for ever. Raises OSError.
    """
    try:
        socket.send_fds(connection, [b"\0"], [listener])
    finally:
        # Who holds the listener can answer for itself.
        os.close(listener)


class Listener:
    """The calls that filters leave to this process, until `close`.

    ``descriptor`` is the listener's file descriptor, and belongs to the object from then on.
    Iterating gives the notifications, until nobody is left who could make a call; one thread
    may do that. Raises SeccompError if the kernel has no user notification.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ioctls = _ioctls(running_abi())
        # Buffers have the kernel's sizes, or ours where a structure has become shorter.
        notif, response, _ = _sizes()
        self._notif_size = max(notif, _NOTIF.size)
        self._response_size = max(response, _RESPONSE.size)
        # What the kernel told, until receive() has returned it.
        self._received = bytearray(self._notif_size)

    @classmethod
    def receive_from(cls, connection: socket.socket) -> "Listener":
        """Return the listener that `send_listener` sent over ``connection``.

        Raises SeccompError if the other side ended, or sent something else.
        """
        # Not recv_fds(), which drops its flags. This has room for one descriptor.
        room, flags = socket.CMSG_LEN(_DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC
        messages = connection.recvmsg(1, room, flags)[1]
        if [message[:2] for message in messages] != [(socket.SOL_SOCKET, socket.SCM_RIGHTS)]:
            raise _refusal("receive a listener", "no_listener", "EPIPE")
        return cls(*_DESCRIPTOR.unpack(messages[0][2]))

    def __enter__(self) -> "Listener":  # noqa: PYI034 - Self is newer than Python 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor: readable when a call waits, hung up when nobody is left."""
        return self._descriptor

    def close(self) -> None:
        """Stop listening: calls that wait, and those to come, fail with ENOSYS."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __iter__(self) -> "Iterator[Notification]":
        while True:
            notification = self.receive()
            if notification is None:
                return
            yield notification

    def receive(self, timeout: "float | None" = None) -> "Notification | None":
        """Wait for a call; return None when nobody is left under the filter.

        A kernel before 5.8 does not tell that. Raises TimeoutError after ``timeout`` seconds,
        and SeccompError. If a signal handler's exception ends it, no call is lost: the next
        receive() returns it.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        end = None if timeout is None else time.monotonic() + timeout
        while not any(self._received):
            events = poll.poll(None if end is None else max(0, end - time.monotonic()) * 1000)
            if not events:
                raise TimeoutError(f"no call within {timeout} seconds")
            if not events[0][1] & select.POLLIN:
                if events[0][1] & select.POLLHUP:
                    return None
                # No listener; or one of which the kernel said POLLERR, as a signal came while it
                # waited for a lock (seccomp_notify_poll()): to take that for the end would leave
                # all callers with ENOSYS.
                self._require_listener("receive a call")
                continue
            try:
                # The kernel wants it zeroed, and leaves it so where it fails.
                fcntl.ioctl(self._descriptor, self._ioctls["RECV"], self._received)
            except OSError as error:
                if _is_foreign(error):
                    raise
                # ENOENT: the caller was killed meanwhile. EINTR: a handler has run.
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise _failed("receive a call", error) from None
        notification = Notification(self, self._received)
        self._received = bytearray(self._notif_size)
        return notification

    def serve(self, answer: "Callable[[Notification], int]") -> None:
        """Answer each call with what ``answer`` returns for it, until nobody is left.

        Where ``answer`` raises OSError, the call fails with its errno, or with EIO if that is
        none of the kernel's, as of socket.gaierror. Where it has answered itself, by a method of
        the notification, what it returns does not matter. A call that went stale meanwhile is
        passed over. Whatever else it raises ends this; close the listener then, as ``with`` does.
        """
        for notification in self:
            try:
                try:
                    value = answer(notification)
                except OSError as error:
                    if isinstance(error, SeccompError) and error.cause == "gone":
                        continue
                    if not notification.answered:
                        number = error.errno
                        if not isinstance(number, int) or not 0 < number < _ERRNO_END:
                            number = errno.EIO
                        notification.fail(number)
                else:
                    if not notification.answered:
                        notification.respond(value)
            except SeccompError as error:
                if error.cause != "gone":
                    raise

    def _require_listener(self, what: str) -> None:
        """Raise SeccompError if the descriptor is none, for example closed."""
        try:
            self._ioctl("ID_VALID", _ID.pack(0), what)
        except SeccompError as error:
            if error.cause != "gone":
                raise

    def _ioctl(self, name: str, data: bytes, what: str) -> int:
        """Do an ioctl whose argument the kernel only reads; return its result."""
        while True:
            try:
                return int(fcntl.ioctl(self._descriptor, self._ioctls[name], bytearray(data)))
            except OSError as error:
                if _is_foreign(error):
                    raise
                if error.errno != errno.EINTR:
                    raise _failed(what, error) from None


class Notification:
    """A call that waits for an answer.

    ``nr``, ``arch``, ``instruction_pointer`` and ``args`` are those of ``struct seccomp_data``:
    numbers as in the caller's table, six arguments of 64 bits without sign. ``pid`` is the
    calling thread's TID as this process sees it, 0 if it does not. ``id`` is unique for the
    listener. ``answered`` is True from the answer on.
    """

    __slots__ = (
        "_listener",
        "answered",
        "arch",
        "args",
        "id",
        "instruction_pointer",
        "nr",
        "pid",
    )

    def __init__(self, listener: Listener, data: "bytes | bytearray") -> None:
        fields = _NOTIF.unpack_from(data)
        self._listener = listener
        self.id: int = fields[0]
        self.pid: int = fields[1]
        self.nr: int = fields[3]
        self.arch: int = fields[4]
        self.instruction_pointer: int = fields[5]
        self.args: tuple[int, ...] = fields[6:]
        self.answered = False

    def respond(self, value: int = 0) -> None:
        """Have the call return ``value``, 0 to 2**63 - 1, without being made."""
        if not 0 <= value < 1 << 63:
            raise ValueError(f"{value} is no result; have the call fail() with an errno")
        self._respond(value, 0, 0)

    def fail(self, number: int) -> None:
        """Have the call fail with the errno ``number``, 1 to 4095, without being made."""
        if not 0 < number < _ERRNO_END:
            raise ValueError(f"{number} is no errno")
        self._respond(0, -number, 0)

    def proceed(self) -> None:
        """Have the kernel make the call as if the filter allowed it (Linux 5.5).

        Nothing that was read of the caller's memory holds for that call: another thread of the
        caller can change it after it was read here and before the kernel reads it. Decide by
        the numbers in ``args`` only, or where the call does no harm whatever it is about.
        """
        self._respond(0, 0, _FLAG_CONTINUE)

    def add_descriptor(
        self, descriptor: int, *, number: "int | None" = None, close_on_exec: bool = False
    ) -> int:
        """Give the caller a duplicate of ``descriptor``; return its number there (Linux 5.9).

        It takes the place of ``number`` there if that is given, and otherwise the lowest free
        one. The call waits on. If a signal ends it before it is answered, the descriptor stays
        open there, and the caller does not know of it: `respond_descriptor` leaves no such gap.
        """
        return self._add(descriptor, number, close_on_exec, 0)

    def respond_descriptor(
        self, descriptor: int, *, number: "int | None" = None, close_on_exec: bool = False
    ) -> int:
        """Give the caller a duplicate, and have the call return it, as one step (Linux 5.14)."""
        result = self._add(descriptor, number, close_on_exec, _ADDFD_SEND)
        self.answered = True
        return result

    def is_waiting(self) -> bool:
        """Return whether the call still waits, so that ``pid`` is still its caller's."""
        try:
            self._listener._ioctl("ID_VALID", _ID.pack(self.id), "ask whether a call waits")
        except SeccompError as error:
            if error.cause != "gone":
                raise
            return False
        return True

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes of the caller's memory from ``address`` on.

        Bound a ``size`` that the caller names: so much memory is taken here. The bytes were the
        caller's while the call waited; they may be others by now, for its threads run on. So act
        on what was read, do not check it and have the caller act (`proceed`).

        Needs what ptrace(2) calls PTRACE_MODE_ATTACH_FSCREDS: the same user and no set-user-ID
        program, or CAP_SYS_PTRACE; with Yama's ptrace_scope a descendant. Raises SeccompError:
        "gone", or "unreadable" with EFAULT where there is no such memory.
        """
        try:
            memory = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = _read_all(memory, address, size)
            finally:
                os.close(memory)
        except SeccompError:
            raise
        except OSError as error:
            self._require_waiting()
            raise _unreadable(f"/proc/{self.pid}/mem", error.errno or 0, address, size) from None
        # A call that waits now has waited all the time: so this was its caller's memory, and not
        # that of a process which got the PID after it, or what a signal handler made of it.
        self._require_waiting()
        return data

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """Return the string at ``address`` up to its NUL, such as a path, which it is not in.

        As `read`; raises SeccompError with ENAMETOOLONG if it has more than ``limit`` bytes with
        the NUL (4096 is PATH_MAX).
        """
        data = b""
        while len(data) < limit:
            start = address + len(data)
            size = min(_CHUNK - start % _CHUNK, limit - len(data))
            text, end, _ = self.read(start, size).partition(b"\0")
            data += text
            if end:
                return data
        facts = {"address": hex(address), "limit": limit}
        raise _refusal(_READING, "unreadable/string", "ENAMETOOLONG", **facts)

    def _respond(self, value: int, error: int, flags: int) -> None:
        data = _RESPONSE.pack(self.id, value, error, flags)
        padded = data.ljust(self._listener._response_size, b"\0")
        self._listener._ioctl("SEND", padded, "answer a call")
        self.answered = True

    def _add(self, descriptor: int, number: "int | None", close_on_exec: bool, flags: int) -> int:
        if number is not None:
            flags |= _ADDFD_SETFD
        cloexec = os.O_CLOEXEC if close_on_exec else 0
        data = _ADDFD.pack(self.id, flags, descriptor, number or 0, cloexec)
        return self._listener._ioctl("ADDFD", data, "add a descriptor")

    def _require_waiting(self) -> None:
        if not self.is_waiting():
            raise _failed("read the caller's memory", OSError(errno.ENOENT, ""))


def _read_all(memory: int, address: int, size: int) -> bytes:
    """Return ``size`` bytes of /proc/PID/mem; raise OSError, EIO where there is no memory."""
    data = b""
    while len(data) < size:
        at = address + len(data)
        part = os.pread(memory, size - len(data), at) if at < 1 << 63 else b""
        if not part:
            raise OSError(errno.EIO, "no memory")
        data += part
    return data


_READING = "read the caller's memory"


def _unreadable(path: str, number: int, address: int, size: int) -> SeccompError:
    if number == errno.EIO:
        return _refusal(_READING, "unreadable/memory", "EFAULT", size=size, address=hex(address))
    return _refusal(_READING, "unreadable/process", number, path=path)


def _sizes() -> "tuple[int, int, int]":
    """Return the kernel's sizes of seccomp_notif, seccomp_notif_resp and seccomp_data."""
    attempt = "ask for the sizes of notifications"
    kernel = _Kernel(attempt)
    failure = kernel.seccomp(_GET_NOTIF_SIZES, 0, b"")[1]
    if failure:
        raise _refusal(attempt, "no_notification", failure)
    notif, response, data = _SIZES.unpack_from(kernel.memory)
    return notif, response, data


def _ioctls(abi: str) -> "dict[str, int]":
    """Return the numbers of the listener's ioctls for a process of ``abi``."""
    shift, read, write = _OTHER_DIRECTIONS.get(abi, _DIRECTIONS)

    def number(direction: int, nr: int, size: int) -> int:
        bits = (read if direction & _READ else 0) | (write if direction & _WRITE else 0)
        return bits << shift | size << 16 | ord("!") << 8 | nr

    return {
        "RECV": number(_READ | _WRITE, 0, _NOTIF.size),
        "SEND": number(_READ | _WRITE, 1, _RESPONSE.size),
        # The direction is wrong, but the only one before Linux 5.8; all kernels take it.
        "ID_VALID": number(_READ, 2, _ID.size),
        "ADDFD": number(_WRITE, 3, _ADDFD.size),
    }


def _failed(what: str, error: OSError) -> SeccompError:
    """Return the error for an ioctl of a listener that failed."""
    number = error.errno or 0
    gone = number in (errno.ENOENT, errno.EINPROGRESS)
    return _refusal(what, "gone" if gone else "refused", number)
