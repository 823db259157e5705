"""Escapes and terminals, and what the policies that compose leave open."""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.attacks.kernel import NAMESPACES
from escape.attacks.local_sockets import (
    DATAGRAM,
    PACKET,
    RAW,
    UNIX,
    local_names,
    local_server,
    must_come,
)
from escape.attacks.sockets import STREAM, libc_prctl
from escape.foreign import PROGRAMS
from escape.scene import (
    ESCAPED,
    HIGH,
    IS_64_BIT,
    Scene,
    Unavailable,
    narrow,
)

Steps = Generator[None, None, None]
Call = Callable[..., int]


# --- Namespaces and mounts ------------------------------------------------------------------------


@attack(no_escape="namespaces")
def a_process_in_a_new_namespace_by_clone3(scene: Scene) -> Steps:
    """Its flags are in memory, so the whole call has to be refused."""
    arguments = struct.pack("=11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, *[0] * 6)
    yield
    child = scene.call("clone3", arguments, len(arguments))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attack(no_escape="namespaces", abis=("x86_64",))
def a_new_namespace_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    yield
    call("unshare", NAMESPACES["users"])


@by_numbers(no_escape="namespaces")
def a_new_namespace(scene: Scene, call: Call) -> Steps:
    yield
    call("unshare", NAMESPACES["users"])


@attack(no_escape="namespaces")
def a_new_namespace_with_garbage_above(scene: Scene) -> Steps:
    if not IS_64_BIT:
        narrow()
    arguments = [HIGH | NAMESPACES["users"] | signal.SIGCHLD, 0]
    if scene.abi == "s390x":
        arguments.reverse()
    yield
    child = scene.call("clone", *arguments, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attack(no_escape="namespaces")
def a_new_namespace_for_a_thread(scene: Scene) -> Steps:
    """A thread's flags and a namespace's together."""
    yield
    scene.call("unshare", 0x400 | 0x200 | NAMESPACES["users"])


@attack(no_escape="mounts")
def open_a_file_by_its_handle(scene: Scene) -> Steps:
    scene.privileged()
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount = (ctypes.c_int * 1)()
    try:
        scene.call("name_to_handle_at", -100, b"/\0", handle, mount, 0)
    except OSError as error:
        raise Unavailable(f"no handles here: {error.strerror}") from error
    root = os.open("/", os.O_RDONLY)
    yield
    os.close(scene.call("open_by_handle_at", root, handle, os.O_RDONLY))


def _own_namespaces(scene: Scene) -> None:
    """Become root of namespaces of users and mounts, before the filter."""
    try:
        scene.call("unshare", NAMESPACES["users"] | NAMESPACES["mounts"])
    except OSError as error:
        raise Unavailable(f"no namespaces for users here: {error.strerror}") from error


@attack(no_escape="mounts")
def mount_as_root_of_a_namespace(scene: Scene) -> Steps:
    _own_namespaces(scene)
    path = scene.folder.encode() + b"\0"
    yield
    scene.call("mount", b"none\0", path, b"tmpfs\0", 0, 0)
    assert os.listdir(scene.folder) == []


@attack(no_escape="mounts")
def mount_a_copy_as_root_of_a_namespace(scene: Scene) -> Steps:
    """OPEN_TREE_CLONE, then move_mount(2) with MOVE_MOUNT_F_EMPTY_PATH (Linux 5.2)."""
    _own_namespaces(scene)
    path = scene.folder.encode() + b"\0"
    yield
    copy = scene.call("open_tree", -100, b"/proc\0", 1 | 0x8000)  # AT_RECURSIVE
    scene.call("move_mount", copy, b"\0", -100, path, 4)
    assert os.path.exists(scene.folder + "/self")


@attack(no_escape="mounts")
def change_its_root_as_root_of_a_namespace(scene: Scene) -> Steps:
    _own_namespaces(scene)
    yield
    scene.call("chroot", scene.folder.encode() + b"\0")
    assert os.path.exists("/old")


@attack(no_escape="mounts")
def another_root_directory(scene: Scene) -> Steps:
    scene.privileged()
    yield
    scene.call("chroot", scene.folder.encode() + b"\0")


@attack(no_escape="machine")
def log_of_the_kernel(scene: Scene) -> Steps:
    scene.privileged()
    yield
    scene.call("syslog", 3, bytes(4096), 4096)  # SYSLOG_ACTION_READ_ALL


# --- Sockets of rare kinds ------------------------------------------------------------------------


@attack(no_escape="sockets")
def packets_by_the_old_name(scene: Scene) -> Steps:
    """SOCK_PACKET, by which the kernel makes a socket of AF_PACKET where AF_INET was asked for."""
    scene.privileged()
    yield
    number = scene.call("socket", 2, 10, 0)
    with socket.socket(fileno=number) as own:
        assert own.family == socket.AF_PACKET


def _rare(name: str, family: int, protocol: int = 0, kind: int = STREAM) -> None:
    def body(scene: Scene) -> Steps:
        if not IS_64_BIT:
            narrow()
        try:
            os.close(scene.call("socket", family, kind, protocol))
        except OSError as error:
            raise Unavailable(f"not in this kernel: {error.strerror}") from error
        yield
        os.close(scene.call("socket", HIGH | family, HIGH | kind, HIGH | protocol))

    body.__name__ = name
    attack(no_escape="sockets")(body)


_rare("vsock_with_garbage_above", 40)
_rare("cryptography_with_garbage_above", 38, kind=PACKET)
_rare("audit_with_garbage_above", 16, protocol=9, kind=RAW)


@attack(no_escape="sockets", abis=("x86_64",))
def cryptography_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    try:
        socket.socket(38, PACKET).close()
    except OSError as error:
        raise Unavailable("the kernel has no AF_ALG") from error
    yield
    os.close(call("socket", 38, PACKET, 0))


@attack(no_escape="sockets")
def vsock_by_socketcall(scene: Scene) -> Steps:
    words = struct.pack("@3L", 16, RAW, 15)
    yield
    os.close(scene.call("socketcall", 1, words))


# --- Terminals ------------------------------------------------------------------------------------


def _typed(name: str, high: int = 0) -> None:
    """Register an attack that types into its own terminal, which a shell reads later."""

    def body(scene: Scene) -> Steps:
        if high and not IS_64_BIT:
            narrow()
        _, slave = os.openpty()

        def type_it() -> None:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for letter in (b"x", b"\n"):
                scene.call("ioctl", slave, high | termios.TIOCSTI, letter)
            assert os.read(slave, 2) == b"x\n"

        yield
        try:
            scene.in_fork(type_it)
        except OSError as error:
            if error.errno == errno.EIO:
                raise Unavailable("the kernel was told not to have TIOCSTI") from error
            raise

    body.__name__ = name
    attack(no_escape="terminal")(body)


_typed("type_a_line")
_typed("type_a_line_with_garbage_above", HIGH)


@attack(no_escape="terminal")
def another_line_discipline(scene: Scene) -> Steps:
    """TIOCSETD; here to that which it has, as others may be missing."""
    _, slave = os.openpty()
    request = getattr(termios, "TIOCSETD", 0)
    if not request:
        raise Unavailable("Python has no name for it here")
    yield
    scene.call("ioctl", slave, request, struct.pack("=i", 0))


# --- Lasting --------------------------------------------------------------------------------------
# Each layer has one act that it refuses, done again where a filter might have been lost.


def _unix(scene: Scene) -> None:
    os.close(scene.call("socket", 1, STREAM, 0))


def _listening(scene: Scene) -> None:
    scene.call("listen", scene.call("socket", 2, STREAM, 0), 5)


def _persona(scene: Scene) -> None:
    scene.call("personality", 0x0400000)


_ACTS = {
    "no_path_sockets": (_unix, "_socket.socket(1, _socket.SOCK_STREAM)"),
    "no_listen": (_listening, "_socket.socket(2, _socket.SOCK_STREAM).listen(5)"),
    "no_escape": (
        _persona,
        "ctypes.CDLL(None, use_errno=True).personality(0x0400000) != -1 or 1/0",
    ),
}
"""By policy what it refuses, by a call of its own and in a program."""


def _lasting(policy: str, act: "Callable[[Scene], None]", code: str) -> None:
    def register(name: str, body: "Callable[[Scene], Steps]") -> None:
        body.__name__ = f"{policy}_{name}"
        attack(abis=(), **{policy: "lasting"})(body)

    def after_fork(scene: Scene) -> Steps:
        yield
        scene.in_fork(lambda: scene.in_fork(lambda: act(scene)))

    def after_exec(scene: Scene) -> Steps:
        program = (
            "import _socket, ctypes, os\n"
            f"try: {code}\n"
            "except (OSError, ZeroDivisionError): os._exit(1)\n"
            f"os._exit({ESCAPED})"
        )
        yield
        scene.in_fork(lambda: os.execv(sys.executable, [sys.executable, "-IS", "-c", program]))

    def in_a_thread(scene: Scene) -> Steps:
        in_thread = scene.early_thread()
        yield
        in_thread(lambda: act(scene))

    def under_another_filter(scene: Scene) -> Steps:
        allow = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
        program = ctypes.create_string_buffer(allow, len(allow))
        described = struct.pack("@HP", 1, ctypes.addressof(program))
        yield
        libc_prctl(scene, 38, 1)
        scene.call("seccomp", 1, 0, described)
        act(scene)

    def once_no_mode_was_asked_for(scene: Scene) -> Steps:
        yield
        with contextlib.suppress(OSError):
            libc_prctl(scene, 22, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_DISABLED
        act(scene)

    register("after_fork", after_fork)
    register("after_exec", after_exec)
    register("in_a_thread_that_ran_before", in_a_thread)
    register("under_a_filter_that_allows_all", under_another_filter)
    register("once_no_mode_was_asked_for", once_no_mode_was_asked_for)


for _policy, (_act, _code) in _ACTS.items():
    _lasting(_policy, _act, _code)


@attack(
    no_path_sockets="lasting",
    no_listen="lasting",
    no_escape="lasting",
    abis=tuple(PROGRAMS),
)
def as_a_program_of_another_abi(scene: Scene) -> Steps:
    """The filter goes along, and knows no other ABI."""
    path = scene.program_of_another_abi()
    yield
    scene.in_fork(lambda: os.execv(path, [path]))


# --- Outside --------------------------------------------------------------------------------------


@outside(no_path_sockets="before")
def a_local_socket_that_it_has(scene: Scene) -> Steps:
    server, name = local_server(scene, STREAM, "path")
    own = socket.socket(UNIX)
    yield
    own.connect(name)
    must_come(server, STREAM)


def _passes(scene: Scene, make: "Callable[[], socket.socket]") -> "Callable[[], int]":
    """Start a neighbour that passes a socket; return what takes it."""
    here, there = socket.socketpair()

    def serve() -> None:
        there.recv(1)
        with make() as one:
            socket.send_fds(there, [b"x"], [one.fileno()])
        there.recv(1)

    scene.neighbour(serve)

    def take() -> int:
        here.sendall(b"x")
        return int(socket.recv_fds(here, 1, 1)[1][0])

    return take


@outside(no_path_sockets="passed")
def a_local_socket_that_another_passes(scene: Scene) -> Steps:
    take = _passes(scene, lambda: socket.socket(UNIX))
    yield
    os.close(take())


@outside(no_path_sockets="network", sandboxed_code="network", no_listen="out")
def connect_to_a_port(scene: Scene) -> Steps:
    server = scene.listening()
    address = server.getsockname()
    if not scene.has_direct_sockets():
        raise Unavailable("the C library makes its sockets by socketcall")
    yield
    scene.connected(address)


@outside(no_path_sockets="names")
def name_a_socket_of_a_pair(scene: Scene) -> Steps:
    path = local_names(scene)["path"]
    one, _ = socket.socketpair()
    yield
    one.bind(path)
    assert os.path.exists(path)


@outside(no_listen="datagrams")
def be_sent_a_datagram(scene: Scene) -> Steps:
    own = socket.socket(socket.AF_INET, DATAGRAM)
    peer = socket.socket(socket.AF_INET, DATAGRAM)
    yield
    own.bind(("127.0.0.1", 0))
    peer.sendto(b"x", own.getsockname())
    assert own.recv(1) == b"x"


@outside(no_listen="passed")
def a_connection_that_another_accepted(scene: Scene) -> Steps:
    server = scene.listening()
    client = scene.connected(server.getsockname())
    take = _passes(scene, lambda: server.accept()[0])
    client.sendall(b"x")
    yield
    assert os.read(take(), 1) == b"x"


@outside(no_listen="root")
def listen_to_all_packets(scene: Scene) -> Steps:
    scene.privileged()
    if not scene.has_direct_sockets():
        raise Unavailable("the C library makes its sockets by socketcall")
    yield
    socket.socket(socket.AF_INET, RAW, socket.IPPROTO_UDP).close()


@outside(no_escape="files", sandboxed_code="files", no_listen="neighbours")
def write_to_its_memory_by_a_file(scene: Scene) -> Steps:
    word = ctypes.c_int(0)
    neighbour = scene.neighbour()
    yield
    memory = os.open(f"/proc/{neighbour.pid}/mem", os.O_RDWR)
    os.pwrite(memory, struct.pack("@i", 1), ctypes.addressof(word))


@outside(no_escape="signals", sandboxed_code="signals")
def signal_another(scene: Scene) -> Steps:
    neighbour = scene.neighbour()
    yield
    os.setpriority(os.PRIO_PROCESS, neighbour.pid, 5)
    os.kill(neighbour.pid, signal.SIGTERM)
    neighbour.must_die()


@outside(no_escape="helpers")
def ask_a_helper(scene: Scene) -> Steps:
    """A server at a path makes a namespace for whoever asks."""
    server, name = local_server(scene, STREAM, "path")
    own = socket.socket(UNIX)

    def help_it() -> None:
        connection, _ = server.accept()
        connection.recv(1)
        scene.call("unshare", 0x200)
        connection.sendall(b"x")

    scene.neighbour(help_it)
    yield
    own.connect(name)
    own.sendall(b"x")
    assert own.recv(1) == b"x"


@outside(no_escape="devices", sandboxed_code="devices")
def type_into_a_terminal_by_its_master(scene: Scene) -> Steps:
    master, slave = os.openpty()
    yield
    os.write(master, b"x\n")
    assert os.read(slave, 2) == b"x\n"


@outside(no_escape="before", sandboxed_code="before")
def a_rare_socket_that_it_has(scene: Scene) -> Steps:
    own = socket.socket(16, RAW, 15)  # NETLINK_KOBJECT_UEVENT
    yield
    own.bind((0, 1))
    assert fcntl.fcntl(own, fcntl.F_GETFD) >= 0


@outside(no_escape="root", sandboxed_code="root")
def make_a_device(scene: Scene) -> Steps:
    scene.privileged()
    path = scene.folder + "/device"
    yield
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError as error:
        raise Unavailable("root may make none here") from error
