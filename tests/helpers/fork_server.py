"""A process that has loaded the command line and nothing else, and forks to run a command.

A fork of a process that runs tests would copy what that keeps, a gigabyte at times; and each page
that either of the two writes to afterwards.

Run as a script (``python fork_server.py``), it serves `Order`s on its standard input, a socket.
"""

from __future__ import annotations

import gc
import os
import pickle
import socket
import struct
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import NamedTuple, NoReturn

_LENGTH = struct.Struct("!q")
_POLICY = "arches: [x86_64]\ndefault_action: errno\nsyscalls: [{action: allow, names: [read]}]\n"


class Order(NamedTuple):
    """A command: its arguments, directory and environment; descriptors of its output come along."""

    args: list[str]
    cwd: str
    env: dict[str, str]


def send(sock: socket.socket, content: bytes, descriptors: tuple[int, ...] = ()) -> None:
    """Send ``content``, its length first."""
    socket.send_fds(sock, [_LENGTH.pack(len(content))], descriptors)
    sock.sendall(content)


def receive(sock: socket.socket, descriptors: int = 0) -> tuple[bytes, list[int]]:
    """Return what `send` sent; raise EOFError if the other side is gone."""
    head, found, _, _ = socket.recv_fds(sock, _LENGTH.size, descriptors)
    content = b""
    wanted = _LENGTH.unpack(head)[0] if head else -1
    while len(content) < wanted:
        content += sock.recv(wanted - len(content))
    if wanted < 0:
        raise EOFError
    return content, found


def serve(sock: socket.socket) -> None:
    """Run a command after the other: send the child's PID, then how it ended.

    With the latter come the seconds of CPU that this process and the commands have used until then.
    """
    _load()
    while True:
        try:
            content, output = receive(sock, 2)
        except EOFError:
            return
        pid = os.fork()
        if pid == 0:
            sock.close()
            _run(Order(*pickle.loads(content)), *output)
        for descriptor in output:
            os.close(descriptor)
        send(sock, str(pid).encode())
        status = os.waitpid(pid, 0)[1]
        send(sock, f"{status} {sum(os.times()[:4])}".encode())


def _load() -> None:
    """Load what commands load while they run, and make what all of them make first."""
    import_module("requests")
    for name in ("cli", "filters", "formats", "run", "scan", "render"):
        package = import_module(f"seccompgen.{name}")
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    main = import_module("seccompgen.__main__").main
    with tempfile.TemporaryDirectory() as directory:
        policy = Path(directory, "p.yml")
        policy.write_text(_POLICY)
        words = (str(policy), "-o", directory)
        sys.argv = ["seccompgen", "build", *words, "--no-cache", "--jobs", "1"]
        try:
            main()
        except SystemExit as stop:
            assert stop.code == 0
    tables = import_module("seccompgen.pipeline.build").shipped_tables()
    for stock in import_module("seccompgen.policy.stock").stock_policies().values():
        import_module("seccompgen.formats").load_policy(stock, tables)
    gc.collect()
    gc.freeze()


def _run(order: Order, out: int, err: int) -> NoReturn:
    code: object = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, max(out, err) + 1)
        os.environ.clear()
        os.environ |= order.env
        os.chdir(order.cwd)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - descriptors
        sys.argv = ["seccompgen", *order.args]
        warnings.simplefilter("error")
        try:
            import_module("seccompgen.__main__").main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:  # noqa: BLE001, RUF100 - the caller shows it
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    del sys.path[0]  # this directory, which no command has
    serve(socket.socket(fileno=os.dup(0)))
