"""Sockets: to come by one that is not AF_UNIX."""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.foreign import PROGRAMS
from escape.scene import (
    ESCAPED,
    HIGH,
    IS_64_BIT,
    SECONDS,
    Foiled,
    Scene,
    Unavailable,
    raise_errno,
    until,
)

Steps = Generator[None, None, None]

STREAM = socket.SOCK_STREAM
MISSING = (
    errno.EAFNOSUPPORT,
    errno.EPROTONOSUPPORT,
    errno.ESOCKTNOSUPPORT,
    errno.ENODEV,
)
"""Errnos of a kernel that has no sockets of a family, kind or protocol."""


_KINDS: "dict[int, str]" = {
    socket.SOCK_STREAM: "stream",
    socket.SOCK_DGRAM: "datagram",
    socket.SOCK_RAW: "raw",
    socket.SOCK_SEQPACKET: "packet",
}


def kind_name(kind: int) -> str:
    """Return a name for a kind of socket and its flags, whose numbers differ between ABIs."""
    flags = "_cloexec" * bool(kind & socket.SOCK_CLOEXEC)
    flags += "_nonblock" * bool(kind & socket.SOCK_NONBLOCK)
    return _KINDS[kind & 0xF] + flags


def must_be_inet(number: int) -> None:
    """Check that a descriptor is a socket of AF_INET."""
    with socket.socket(fileno=os.dup(number)) as one:
        if one.family != socket.AF_INET:
            raise Foiled(f"it is of family {one.family}")


# --- Making one ----------------------------------------------------------------------------------


def _family(family: int, kind: int = STREAM, protocol: int = 0) -> None:
    def body(scene: Scene) -> Steps:
        if family in (17,):  # AF_PACKET
            scene.privileged()
        try:
            os.close(scene.call("socket", family, kind, protocol))
        except OSError as error:
            if error.errno in MISSING:
                raise Unavailable("the kernel has no sockets of that family") from error
        yield
        os.close(scene.call("socket", family, kind, protocol))

    body.__name__ = f"socket_of_family_{family}_{kind_name(kind)}_protocol_{protocol}"
    plain = family in (2, 10) and kind != socket.SOCK_RAW and protocol in (0, 262)
    rare = not (plain or (family, protocol) == (16, 0))
    attack(abis=(), no_network="sockets", **{"no_escape": "sockets"} if rare else {})(body)


for _arguments in (
    (2, STREAM), (2, socket.SOCK_DGRAM), (2, STREAM, 262), (2, STREAM | socket.SOCK_CLOEXEC),
    (2, socket.SOCK_RAW, 1), (2, STREAM, 132), (2, socket.SOCK_SEQPACKET),
    (2, socket.SOCK_DGRAM, 136),
    (10, STREAM), (10, socket.SOCK_DGRAM), (16, socket.SOCK_RAW), (16, socket.SOCK_RAW, 15),
    (17, socket.SOCK_RAW), (17, socket.SOCK_DGRAM), (3, socket.SOCK_DGRAM), (4, socket.SOCK_DGRAM),
    (15, socket.SOCK_RAW, 2), (21, socket.SOCK_SEQPACKET), (29, socket.SOCK_RAW, 1),
    (30, STREAM), (31, socket.SOCK_RAW), (38, socket.SOCK_SEQPACKET), (40, STREAM),
    (40, socket.SOCK_DGRAM), (41, socket.SOCK_DGRAM), (42, socket.SOCK_DGRAM), (43, STREAM),
    (44, socket.SOCK_RAW),
):  # fmt: skip
    _family(*_arguments)


@attack(no_network="sockets", compute_only="making", web_worker="connections")
def family_with_garbage_above(scene: Scene) -> Steps:
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    yield
    must_be_inet(scene.call("socket", HIGH | 2, STREAM, 0))


@attack(no_network="sockets")
def family_with_the_high_word_of_unix(scene: Scene) -> Steps:
    """The low word is AF_INET; what a filter that looks at the wrong half takes for AF_UNIX."""
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    yield
    must_be_inet(scene.call("socket", 1 << 32 | 2, 1 << 32 | STREAM, 1 << 32))


@attack(no_network="sockets")
def pair_of_inet(scene: Scene) -> Steps:
    """TIPC has pairs; whatever else has none must be asked by its own family."""
    yield
    try:
        scene.call("socketpair", 30, STREAM, 0, bytes(8))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            raise Unavailable("the kernel has no sockets of that family") from error
        raise


@attack(no_network="sockets", compute_only="making", web_worker="connections")
def socketcall(scene: Scene) -> Steps:
    words = struct.pack("@3L", 2, STREAM, 0)
    yield
    must_be_inet(scene.call("socketcall", 1, words))


@attack(no_network="sockets", compute_only="making", web_worker="connections", abis=("x86_64",))
def inet_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    yield
    must_be_inet(call("socket", 2, STREAM, 0))


@attack(no_network="sockets", compute_only="making", web_worker="connections", abis=("x86_64",))
def inet_by_socketcall_and_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    words = scene.low(struct.pack("=3I", 2, STREAM, 0))
    yield
    must_be_inet(call("socketcall", 1, words))


@by_numbers(no_network="sockets", compute_only="making", web_worker="connections")
def inet(scene: Scene, call: "Callable[..., int]") -> Steps:
    yield
    must_be_inet(call("socket", 2, STREAM, 0))


@attack(no_network="sockets", compute_only="making", web_worker="connections", abis=("i386",))
def inet_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    yield
    must_be_inet(call("socket", 2, STREAM, 0))


@attack(no_network="sockets", abis=("s390x",))
def socketcall_by_a_number_in_the_instruction(scene: Scene) -> Steps:
    """``svc 102``, which has the number where ``svc 0`` has a register."""
    call = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_void_p)(
        scene.code(bytes((0x0A, scene.numbers["socketcall"], 0x07, 0xFE)))
    )
    words = struct.pack("@3L", 2, STREAM, 0)
    yield
    number = call(1, words)
    raise_errno(-number)
    must_be_inet(number)


@attack(no_network="sockets", compute_only="making", abis=("mips64el",))
def inet_by_an_indirect_call(scene: Scene) -> Steps:
    """Call 4000 of o32 makes the call that its first argument says."""
    call = scene.calls_of("mipsel")
    yield
    must_be_inet(call("syscall", scene.foreign["mipsel"]["socket"], 2, STREAM, 0))


@attack(no_network="sockets", compute_only="making", abis=("mips64el",))
def socketcall_by_the_number_of_o32(scene: Scene) -> Steps:
    call = scene.calls_of("mipsel")
    words = scene.low(struct.pack("=3I", 2, STREAM, 0))
    yield
    must_be_inet(call("socketcall", 1, words))


@attack(no_network="sockets")
def in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    yield
    in_thread(lambda: socket.socket(socket.AF_INET).close())


# --- Lasting -------------------------------------------------------------------------------------


@attack(no_network="lasting")
def after_fork(scene: Scene) -> Steps:
    yield
    scene.in_fork(lambda: socket.socket(socket.AF_INET).close())


@attack(no_network="lasting")
def after_fork_of_a_fork(scene: Scene) -> Steps:
    yield
    scene.in_fork(lambda: scene.in_fork(lambda: socket.socket(socket.AF_INET).close()))


@attack(no_network="lasting")
def after_exec(scene: Scene) -> Steps:
    program = (
        "import _socket, os\n"
        "try: _socket.socket(2, 1)\n"
        "except OSError as error: os._exit(error.errno)\n"
        f"os._exit({ESCAPED})"
    )
    yield
    scene.in_fork(lambda: os.execv(sys.executable, [sys.executable, "-IS", "-c", program]))


@attack(no_network="lasting", abis=tuple(PROGRAMS))
def in_a_program_of_another_abi(scene: Scene) -> Steps:
    """The filter goes along, and knows no other ABI."""
    path = scene.program_of_another_abi()
    yield
    scene.in_fork(lambda: os.execv(path, [path]))


@attack(no_network="lasting")
def in_a_new_user_namespace(scene: Scene) -> Steps:
    """All capabilities, as far as that namespace reaches."""
    yield

    def body() -> None:
        scene.call("unshare", 0x50000000)  # CLONE_NEWUSER, CLONE_NEWNET
        socket.socket(socket.AF_INET).close()

    scene.in_fork(body)


@attack(no_network="lasting")
def under_a_filter_that_allows_all(scene: Scene) -> Steps:
    """Of several filters the strictest answer counts."""
    allow = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
    program = ctypes.create_string_buffer(allow, len(allow))
    described = struct.pack("@HP", 1, ctypes.addressof(program))
    yield
    libc_prctl(scene, 38, 1)
    scene.call("seccomp", 1, 0, described)
    socket.socket(socket.AF_INET).close()


@attack(no_network="lasting")
def strict_mode_cannot_replace_it(scene: Scene) -> Steps:
    """PR_SET_SECCOMP knows no way back to mode 0."""
    yield
    with contextlib.suppress(OSError):
        libc_prctl(scene, 22, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_DISABLED
    socket.socket(socket.AF_INET).close()


def libc_prctl(scene: Scene, option: int, value: int) -> None:
    scene.call("prctl", option, value, 0, 0, 0)


@attack(no_network="lasting")
def by_a_tracer_that_suspends_filters(scene: Scene) -> Steps:
    """PTRACE_O_SUSPEND_SECCOMP, which the kernel grants to no tracer with a filter of its own."""
    from escape.tracing import traced

    scene.privileged()
    yield
    code = traced(scene, lambda: socket.socket(socket.AF_INET).close(), options=1 << 21)
    if code:
        raise OSError(code, os.strerror(code))


@attack(no_network="lasting")
def by_a_tracer_that_changes_the_number(scene: Scene) -> Steps:
    """A child asks for getppid(2), and its tracer makes it socket(2). Filters see it since 4.8."""
    from escape.tracing import traced_to_change

    yield
    code = traced_to_change(scene, "getppid", "socket", (2, STREAM, 0))
    if code:
        raise OSError(code, os.strerror(code))


# --- Out of another process ----------------------------------------------------------------------
_DESCRIPTORS = {
    **dict.fromkeys(
        ("no_network", "no_path_sockets", "no_listen", "sandboxed_code"), "descriptors"
    ),
    "compute_only": "names",
    "web_worker": "others",
}


def _owner(scene: Scene) -> "tuple[int, int]":
    """Start a neighbour that has a socket of AF_INET; return its number and the descriptor's."""
    with socket.socket() as one:
        neighbour = scene.neighbour()
        return neighbour.pid, one.fileno()


@attack(abis=(), no_escape="processes", **_DESCRIPTORS)
def pidfd_getfd(scene: Scene) -> Steps:
    pid, number = _owner(scene)
    pidfd = scene.call("pidfd_open", pid, 0)
    yield
    must_be_inet(scene.call("pidfd_getfd", pidfd, number, 0))


@attack(abis=(), no_escape="processes", **_DESCRIPTORS)
def pidfd_open_and_getfd(scene: Scene) -> Steps:
    pid, number = _owner(scene)
    yield
    must_be_inet(scene.call("pidfd_getfd", scene.call("pidfd_open", pid, 0), number, 0))


@attack(abis=(), no_escape="processes", **_DESCRIPTORS)
def pidfd_getfd_with_garbage_above(scene: Scene) -> Steps:
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    pid, number = _owner(scene)
    pidfd = scene.call("pidfd_open", pid, 0)
    yield
    must_be_inet(scene.call("pidfd_getfd", HIGH | pidfd, HIGH | number, 0))


@attack(no_network="descriptors")
def reopen_through_proc(scene: Scene) -> Steps:
    pid, number = _owner(scene)
    yield
    try:
        os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise Unavailable("the kernel opens no sockets by their links in /proc") from error
        raise


# --- Names ---------------------------------------------------------------------------------------
# For a key of the type dns_resolver the kernel starts /sbin/request-key as root, to ask the DNS.


def _resolve(ask: "Callable[..., int]", *strings: "bytes | int") -> None:
    try:
        ask("request_key", *strings, -2)  # KEY_SPEC_PROCESS_KEYRING
    except OSError as error:
        # It has tried. Without the program, or without a network, that is its answer.
        if error.errno not in (errno.ENOKEY, errno.ENOENT):
            raise


@attack(no_network="names")
def have_the_kernel_resolve_a_name(scene: Scene) -> Steps:
    yield
    _resolve(scene.call, b"dns_resolver\0", b"localhost\0", b"\0")


@by_numbers(no_network="names")
def have_a_name_resolved(scene: Scene, call: "Callable[..., int]") -> Steps:
    words = [scene.low(word) for word in (b"dns_resolver\0", b"localhost\0", b"\0")]
    yield
    _resolve(call, *words)


# --- Outside -------------------------------------------------------------------------------------


@outside(no_network="before")
def a_socket_that_it_has(scene: Scene) -> Steps:
    server = scene.listening()
    client = socket.socket()
    yield
    client.connect(server.getsockname())
    accepted, _ = server.accept()
    client.sendall(b"x")
    assert accepted.recv(1) == b"x"


@outside(no_network="before")
def a_datagram_socket_that_it_has(scene: Scene) -> Steps:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield
    own.sendto(b"x", peer.getsockname())
    assert peer.recv(1) == b"x"


@outside(no_network="helpers")
def a_socket_that_another_passes(scene: Scene) -> Steps:
    here, there = socket.socketpair()

    def serve() -> None:
        there.recv(1)
        with socket.socket() as inet:
            socket.send_fds(there, [b"x"], [inet.fileno()])
        there.recv(1)

    scene.neighbour(serve)
    yield
    here.sendall(b"x")
    _, (number,), _, _ = socket.recv_fds(here, 1, 1)
    must_be_inet(number)


@outside(no_network="helpers")
def a_proxy(scene: Scene) -> Steps:
    here, there = socket.socketpair()
    server = scene.listening()

    def serve() -> None:
        there.recv(1)
        with scene.connected(server.getsockname()) as connection:
            connection.sendall(b"x")

    scene.neighbour(serve)
    yield
    here.sendall(b"x")
    assert server.accept()[0].recv(1) == b"x"


def _at_work(scene: Scene) -> "tuple[int, ctypes.c_int]":
    """Start a neighbour that waits for a number of its memory to be no longer 0, then connects.

    Return its pid and that number, which has the same address here.
    """
    word = ctypes.c_int(0)
    server = scene.listening()

    def work() -> None:
        until(lambda: word.value, "it was never told")
        scene.connected(server.getsockname())

    scene.server = server  # type: ignore[attr-defined]
    return scene.neighbour(work).pid, word


def _must_connect(scene: Scene) -> None:
    server = scene.server  # type: ignore[attr-defined]
    server.settimeout(SECONDS)
    server.accept()


@outside(no_network="neighbours")
def write_to_the_memory_of_another(scene: Scene) -> Steps:
    pid, word = _at_work(scene)
    yield
    value = ctypes.c_int(1)
    mine = struct.pack("@PN", ctypes.addressof(value), 4)
    its = struct.pack("@PN", ctypes.addressof(word), 4)
    scene.call("process_vm_writev", pid, mine, 1, its, 1, 0)
    _must_connect(scene)


@outside(no_network="neighbours", no_path_sockets="neighbours")
def write_to_the_file_of_the_memory_of_another(scene: Scene) -> Steps:
    pid, word = _at_work(scene)
    yield
    memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    os.pwrite(memory, struct.pack("@i", 1), ctypes.addressof(word))
    _must_connect(scene)


@outside(no_network="neighbours")
def trace_another(scene: Scene) -> Steps:
    pid, word = _at_work(scene)
    yield
    scene.call("ptrace", 16, pid, 0, 0)  # PTRACE_ATTACH
    os.waitpid(pid, 0)
    scene.call("ptrace", 5, pid, ctypes.addressof(word), -1)  # PTRACE_POKEDATA, of a long
    scene.call("ptrace", 17, pid, 0, 0)  # PTRACE_DETACH
    _must_connect(scene)


@outside(no_network="root")
def an_interface_up_and_down(scene: Scene) -> Steps:
    """By requests that any socket takes; here of a network of its own."""
    scene.privileged()
    scene.call("unshare", 0x40000000)  # CLONE_NEWNET
    own = socket.socket(socket.AF_UNIX)
    yield
    import fcntl

    for wanted in (1, 0):
        fcntl.ioctl(own, 0x8914, struct.pack("=16sH22x", b"lo", wanted))  # SIOCSIFFLAGS, IFF_UP
        flags = fcntl.ioctl(own, 0x8913, struct.pack("=16s24x", b"lo"))  # SIOCGIFFLAGS
        assert struct.unpack_from("=H", flags, 16)[0] & 1 == wanted


@outside(no_network="root")
def a_network_device(scene: Scene) -> Steps:
    scene.privileged()
    if not os.path.exists("/dev/net/tun"):
        raise Unavailable("there is no /dev/net/tun")
    yield
    import fcntl

    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, 0x400454CA, struct.pack("=16sH22x", b"", 0x1001))  # TUNSETIFF, IFF_TUN
    os.close(device)
