"""Open files for a confined worker that can open none itself: only these, and only to read."""

import errno
import os
import pathlib
import socket
import sys

from sandbox import notification, worker

LIBRARY = pathlib.Path(__file__).resolve().with_name("library")


def work(broker: socket.socket, names: "list[str]") -> None:
    """Confine this process, then open files as any program does."""
    with broker:
        notification.send_listener(broker, worker.install())
    for name in names:
        try:
            with pathlib.Path(name).open(encoding="utf-8") as file:
                print(f"{name}: {file.readline()}", end="", flush=True)
        except OSError as error:
            print(f"{name}: {error.strerror}", flush=True)
    if "--misbehave" in names:
        socket.socket()


def answer(call: notification.Notification) -> int:
    """Open a file of the library for the worker; what this raises is what openat(2) fails with."""
    # A copy: what the worker makes of its memory from here on does not matter.
    name = os.fsdecode(call.read_string(call.args[1]))
    if call.args[2] & 0xFFFFFFFF & ~os.O_CLOEXEC != os.O_RDONLY or "/" in name or name == "..":
        raise PermissionError(errno.EACCES, "not a file of the library, or not to be read only")
    descriptor = os.open(LIBRARY / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return call.respond_descriptor(descriptor, close_on_exec=True)
    finally:
        os.close(descriptor)


def main() -> None:
    """Fork the worker, and be its broker until it ends."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        work(theirs, sys.argv[1:])
        return
    theirs.close()
    with ours, notification.Listener.receive_from(ours) as listener:
        listener.serve(answer)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(f"broker: the worker ended by signal {-code}" if code < 0 else code)


if __name__ == "__main__":
    main()
