"""Pairs of datagram sockets reach servers where no socket of AF_UNIX can be made."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from running_kernel import install_raw, require_x86_64, run
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()

DENY = """\
default_action: allow
arches: [x86_64]
syscalls:
- action: errno(EACCES)
  names_with_args:
  - {name: socket, when: family == AF_UNIX}
"""
ALLOW = """\
default_action: errno
arches: [x86_64]
syscalls:
- action: allow
  names: [exit_group, rt_sigreturn, read, write, recvmsg, %s]
  names_with_args:
  - {name: close, when: fd != 0}
"""
PAIR = "  - {name: socketpair, when: '%s'}\n"
SOCKET = "  - {name: socket, when: '%s'}\n"
STREAMS = "type & 0xf in {SOCK_STREAM, SOCK_SEQPACKET}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (DENY, True),
        (DENY + PAIR % "type & 0xf == SOCK_DGRAM", True),  # SOCK_RAW is left
        (DENY + PAIR % "type & 0xf in {SOCK_DGRAM, SOCK_RAW}", False),
        (DENY.replace("AF_UNIX", "AF_INET"), False),
        (DENY + "- {action: errno, names: [connect, sendto, sendmsg, sendmmsg]}\n", False),
        (ALLOW % "socketpair, sendmsg", True),
        (ALLOW % "socketpair", False),
        (ALLOW % "sendmsg" + PAIR % STREAMS, False),
        (ALLOW % "sendmsg, sendto" + PAIR % "family == AF_UNIX", True),
        (ALLOW % "socketpair" + "  - {name: sendto, when: addr == 0}\n", False),
        (ALLOW % "socketpair, sendmsg" + SOCKET % "family == AF_INET", True),
        (ALLOW % "sendmsg" + PAIR % "type == SOCK_DGRAM|SOCK_CLOEXEC", True),
        (ALLOW % "socketpair, sendmsg" + SOCKET % "family == AF_UNIX", False),
        # Who permits streams of AF_UNIX has not refused it.
        (
            ALLOW % "socketpair, sendmsg" + SOCKET % "family == AF_UNIX and type == SOCK_STREAM",
            False,
        ),
    ],
)
def test_where_they_are_found(tmp_path: Path, form: str, text: str, *, found: bool) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(text)
    codes = [one.kind.value for one in findings(path, form, shipped_tables())]
    assert ("unix-datagrams" in codes) is found


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_RAW])
def test_a_pair_reaches_a_server(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(DENY)
    (program,) = build_policy(path, shipped_tables()).programs
    address = str(tmp_path / "server")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(address)
    server.setblocking(False)

    def send() -> str:
        install_raw(program.to_bytes())
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        one.sendto(b"by name", address)
        one.sendmsg([b"by message"], [], 0, address)
        other.connect(address)
        other.send(b"connected")
        try:
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except PermissionError:
            return "refused"
        return "made"

    with server:
        assert run(send).value == "refused"
        assert [server.recv(16) for _ in range(3)] == [b"by name", b"by message", b"connected"]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_pair_of_streams_does_not(tmp_path: Path, kind: int) -> None:
    address = str(tmp_path / "server")
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.setblocking(False)
        with contextlib.suppress(OSError):
            one.sendto(b"by name", address)  # SOCK_SEQPACKET takes no notice of the name
        with pytest.raises(OSError, match=r"\[Errno"):
            one.connect(address)
        with pytest.raises(BlockingIOError):
            server.recv(16)
