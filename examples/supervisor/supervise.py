"""Run a command that opens, changes and connects nothing but what is granted to it.

It runs under the policy of seccomp/supervised.yml. Each of its calls about a file or an address
waits for this process, which reads what it is about, decides, and makes the call in its place.
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import kernel
from files import Files
from sandbox import notification, supervised

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = (
    "/usr /bin /sbin /lib /lib64 /etc/alternatives /etc/ld.so.cache /etc/nsswitch.conf /etc/passwd "
    "/etc/group /etc/hosts /etc/ssl /dev/urandom /dev/zero"
)
"""Where programs and libraries are, and what these read."""


class Supervisor:
    """Decisions on the calls of one command."""

    def __init__(self, files: Files, addresses: set[tuple[str, int]]) -> None:
        self._files = files
        self._addresses = addresses

    def answer(self, call: notification.Notification) -> None:
        """Make a call, or have it fail with the errno of what refused it."""
        name = kernel.NAMES[call.arch, call.nr]
        try:
            if name == "connect":
                self._connect(call)
            elif name in ("open", "openat", "openat2", "creat"):
                self._open(call, name)
            else:
                self._change(call, name)
            if not call.answered:
                call.respond(0)
        except notification.SeccompError as error:
            if error.cause == "unreadable":
                call.fail(error.errno or errno.EFAULT)
        except OSError as error:
            call.fail(error.errno or errno.EIO)
        finally:
            if not call.answered and call.is_waiting():  # a mistake of ours
                call.fail(errno.EIO)

    def _connect(self, call: notification.Notification) -> None:
        """Connect the caller's own socket, to the address that was read."""
        address = call.read(call.args[1], min(call.args[2] & 0xFFFFFFFF, 128))
        if peer(address) not in self._addresses:
            raise PermissionError(errno.EACCES, "not granted")
        descriptor = kernel.fetched(call.pid, call.args[0])
        try:
            # If the call still waits, this came out of its caller. Whichever socket it is: it gets
            # no other peer than the one that was decided on.
            if call.is_waiting():
                kernel.connect(descriptor, address)
        finally:
            os.close(descriptor)

    def _open(self, call: notification.Notification, name: str) -> None:
        """Open a file, and put it into the caller."""
        resolve = 0
        at, path, *rest = (
            call.args if name in ("openat", "openat2") else (kernel.AT_FDCWD, *call.args)
        )
        flags, mode = rest[:2]
        if name == "creat":
            flags, mode = os.O_CREAT | os.O_WRONLY | os.O_TRUNC, rest[0]
        if name == "openat2":
            if rest[1] != 24:
                raise OSError(errno.E2BIG, "another struct open_how")
            flags, mode, resolve = struct.unpack("=QQQ", call.read(rest[0], 24))
        flags, mode = flags & 0xFFFFFFFF, mode & ~kernel.umask(call.pid)
        with self._path(call, at, path) as (directory, text):
            descriptor = self._files.open(directory, text, flags, mode, resolve)
        try:
            call.respond_descriptor(descriptor, close_on_exec=bool(flags & os.O_CLOEXEC))
        finally:
            os.close(descriptor)

    def _change(self, call: notification.Notification, name: str) -> None:
        """Make, rename or remove a file, or change its mode."""
        args = list(call.args)
        target = call.read_string(args.pop(0)) if name.startswith("symlink") else b""
        # As the calls that take directories, which end in "at".
        if name in ("rename", "link"):
            args = [kernel.AT_FDCWD, args[0], kernel.AT_FDCWD, args[1], 0]
        elif name == "fchmod":
            args = [args[0], 0, args[1], 0]
        elif "at" not in name:
            args = [kernel.AT_FDCWD, *args]
        with ExitStack() as stack:
            at, path = stack.enter_context(self._path(call, args[0], args[1]))
            if "chmod" in name:
                follow = not (name == "fchmodat2" and args[3] & 0x100)  # AT_SYMLINK_NOFOLLOW
                self._files.chmod(at, path, args[2], follow=follow)
            elif name.startswith(("rename", "link")):
                other = stack.enter_context(self._path(call, args[2], args[3]))
                if args[4] and name != "renameat":
                    raise OSError(errno.EINVAL, "flags that file systems need not have")
                (self._files.link if "link" in name else self._files.rename)(at, path, *other)
            else:
                mode = args[2] & ~kernel.umask(call.pid)
                self._files.change(name, at, path, args[2] if "unlink" in name else mode, target)

    @contextmanager
    def _path(
        self, call: notification.Notification, at: int, address: int
    ) -> Iterator[tuple[int, bytes]]:
        """Pin the directory from which a call goes; yield it with the path, as it was read."""
        text = call.read_string(address) if address else b""
        at = struct.unpack("=i", struct.pack("=I", at & 0xFFFFFFFF))[0]
        door = "cwd" if at == kernel.AT_FDCWD else f"fd/{at}"
        try:
            directory = os.open(f"/proc/{call.pid}/{door}", os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(errno.EBADF, "no such descriptor") from None
        try:
            if not call.is_waiting():  # what was opened may be another process's
                raise OSError(errno.EINTR, "the caller is gone")
            yield directory, text
        finally:
            os.close(directory)


def peer(address: bytes) -> tuple[str, int] | None:
    """Return the host and port of an address, None of other families."""
    family = struct.unpack_from("=H", address)[0] if len(address) > 1 else -1
    if family == socket.AF_INET and len(address) >= 16:
        return str(ipaddress.IPv4Address(address[4:8])), struct.unpack_from("!H", address, 2)[0]
    if family == socket.AF_INET6 and len(address) >= 24:
        host = ipaddress.IPv6Address(address[8:24])
        if host.is_link_local:  # another one on each link
            return None
        return str(host.ipv4_mapped or host), struct.unpack_from("!H", address, 2)[0]
    return None


def confined(command: list[str], broker: socket.socket) -> None:
    """Hand the listener over and become the command; all that this takes was imported before."""
    code, what = 125, "not confined"
    try:
        notification.send_listener(broker, supervised.install())
        os.closerange(3, (1 << 31) - 1)
        code, what = 127, command[0]
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"supervise.py: {what}: {error.strerror}\n".encode())
    os._exit(code)


def granted_address(text: str) -> tuple[str, int]:
    """Read ADDRESS:PORT, or [ADDRESS]:PORT."""
    host, _, port = text.rpartition(":")
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)


def system() -> list[str]:
    """Return what may be read without being said: that of the system, and of this Python."""
    return [*SYSTEM.split(), sys.prefix, sys.base_prefix]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", action="append", default=system(), metavar="PATH")
    parser.add_argument("--write", action="append", default=["/dev/null"], metavar="PATH")
    parser.add_argument("--connect", action="append", default=[], type=granted_address)
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def serve(broker: socket.socket, supervisor: Supervisor) -> None:
    """Answer until nobody is left under the filter; some calls take long, such as connect."""
    try:
        listener = notification.Listener.receive_from(broker)
    except notification.SeccompError:
        return  # the command was not confined, and says why
    with listener, ThreadPoolExecutor(16) as pool:
        for call in listener:
            pool.submit(supervisor.answer, call)


def main() -> None:
    """Fork the command, and answer for it until it and all that it started have ended."""
    given = arguments()
    supervisor = Supervisor(Files(given.read, given.write), set(given.connect))
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        confined(given.command, theirs)
    theirs.close()
    os.umask(0)  # the caller's counts
    with ours:
        serve(ours, supervisor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    main()
