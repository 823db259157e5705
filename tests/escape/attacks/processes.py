"""Processes: to start them, and to have them signalled."""

import errno
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.scene import (
    ANOTHER_USER,
    ESCAPED,
    HIGH,
    IS_64_BIT,
    SECONDS,
    Foiled,
    Neighbour,
    Scene,
    Unavailable,
    narrow,
)

Steps = Generator[None, None, None]

MACHINE = os.uname().machine
IS_MIPS = MACHINE.startswith("mips")
O_ASYNC = 0x1000 if IS_MIPS else 0x2000
F_SETOWN, F_SETSIG, F_SETOWN_EX, F_NOTIFY = fcntl.F_SETOWN, 10, 15, 1026
FIOASYNC = termios.FIOASYNC
FIOSETOWN, SIOCSPGRP = (0x8004667C, 0x80047308) if IS_MIPS else (0x8901, 0x8902)
# _IOW, of which MIPS and powerpc have the direction elsewhere.
TIOCSIG = 0x80045436 if IS_MIPS or MACHINE.startswith("ppc") else 0x40045436
TIOCLINUX = 0x5483 if IS_MIPS else 0x541C
SO_PEERPIDFD = 77
DN_ACCESS = 1

# --- Starting ------------------------------------------------------------------------------------


def _started(child: int) -> None:
    """End a child; check, in the parent, that there was one. To wait might be refused."""
    if child == 0:
        os._exit(0)
    assert child > 0


@attack(compute_only="making", web_worker="programs")
def fork(scene: Scene) -> Steps:
    yield
    _started(os.fork())


def _start(attack_name: str, name: str, *arguments: int) -> None:
    def body(scene: Scene) -> Steps:
        words = list(arguments)
        if scene.abi == "s390x" and name == "clone":
            words[:2] = [words[1], words[0]]
        yield
        _started(scene.call(name, *words))

    body.__name__ = attack_name
    attack(compute_only="making", web_worker="programs")(body)


_start("fork_by_number", "fork")
_start("clone", "clone", signal.SIGCHLD, 0, 0, 0, 0)
_start("clone_with_garbage_above", "clone", HIGH | signal.SIGCHLD, 0, 0, 0, 0)


@attack(compute_only="making", web_worker="programs")
def clone3(scene: Scene) -> Steps:
    arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    yield
    _started(scene.call("clone3", arguments, len(arguments)))


@attack(compute_only="making", web_worker="programs", abis=("x86_64",))
def fork_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    yield
    _started(call("fork"))


@attack(compute_only="making", web_worker="programs", abis=("i386",))
def fork_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    yield
    _started(call("fork"))


@attack(compute_only="signals", web_worker="others", abis=("i386",))
def kill_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    neighbour = scene.neighbour()
    yield
    call("kill", neighbour.pid, int(signal.SIGTERM))
    neighbour.must_die()


@by_numbers(compute_only="making", web_worker="programs")
def fork_a_process(scene: Scene, call: "Callable[..., int]") -> Steps:
    yield
    _started(call("fork"))


@attack(compute_only="making")
def a_thread(scene: Scene) -> Steps:
    yield
    try:
        threading.Thread(target=int).start()
    except RuntimeError as error:
        raise Foiled(str(error)) from error


# --- Signals by number ---------------------------------------------------------------------------


def _killed(name: str, kill: "Callable[[Scene, int], object]") -> None:
    def body(scene: Scene) -> Steps:
        neighbour = scene.neighbour()
        yield
        kill(scene, neighbour.pid)
        neighbour.must_die()

    body.__name__ = name
    attack(compute_only="signals", web_worker="others")(body)


def _siginfo() -> bytes:
    """Return a ``siginfo_t`` of SI_QUEUE; MIPS has si_code before si_errno."""
    code = (-1, 0) if IS_MIPS else (0, -1)
    return struct.pack("=iii", signal.SIGTERM, *code) + bytes(116)


_killed("kill", lambda s, pid: os.kill(pid, signal.SIGTERM))
_killed("kill_by_number", lambda s, pid: s.call("kill", pid, signal.SIGTERM))
_killed("kill_its_group", lambda s, pid: os.killpg(pid, signal.SIGTERM))
_killed("kill_with_garbage_above", lambda s, pid: s.call("kill", HIGH | pid, signal.SIGTERM)
        if IS_64_BIT else narrow())  # fmt: skip
_killed("tkill", lambda s, pid: s.call("tkill", pid, signal.SIGTERM))
_killed("tgkill", lambda s, pid: s.call("tgkill", pid, pid, signal.SIGTERM))
_killed("queue_a_signal", lambda s, pid: s.call("rt_sigqueueinfo", pid, signal.SIGTERM, _siginfo()))
_killed(
    "queue_a_signal_to_a_thread",
    lambda s, pid: s.call("rt_tgsigqueueinfo", pid, pid, signal.SIGTERM, _siginfo()),
)
_killed(
    "signal_by_pidfd",
    lambda s, pid: s.call("pidfd_send_signal", s.call("pidfd_open", pid, 0), signal.SIGTERM, 0, 0),
)


@attack(compute_only="signals", web_worker="others")
def signal_by_a_pidfd_that_it_has(scene: Scene) -> Steps:
    neighbour = scene.neighbour()
    pidfd = scene.call("pidfd_open", neighbour.pid, 0)
    yield
    scene.call("pidfd_send_signal", pidfd, signal.SIGTERM, 0, 0)
    neighbour.must_die()


def _prepared(scene: Scene, prepare: "Callable[[], object]", missing: str) -> Neighbour:
    """Start a neighbour that prepares something, and has when this returns, then waits for its end.

    Raises Unavailable, with what is ``missing``, where the kernel refuses it.
    """
    told, tells = os.pipe()

    def wait() -> None:
        try:
            kept = prepare()
        except OSError:
            os.write(tells, b"-")
            return
        os.write(tells, b"x")
        time.sleep(60)
        del kept

    neighbour = scene.neighbour(wait)
    if os.read(told, 1) != b"x":
        raise Unavailable(missing)
    return neighbour


@attack(compute_only="signals", web_worker="others")
def signal_by_the_pidfd_of_a_peer(scene: Scene) -> Steps:
    """SO_PEERPIDFD takes no number, and is answered under web_worker; to use it is refused."""
    peer, own = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    peer.bind(f"\0peer-{os.getpid()}")
    neighbour = _prepared(scene, peer.listen, "no AF_UNIX")
    own.connect(peer.getsockname())
    yield
    try:
        pidfd = own.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            raise Unavailable("Linux before 6.5 has no SO_PEERPIDFD") from error
        raise
    scene.call("pidfd_send_signal", pidfd, signal.SIGTERM, 0, 0)
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others", abis=("x86_64",))
def kill_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    neighbour = scene.neighbour()
    yield
    call("kill", neighbour.pid, int(signal.SIGTERM))
    neighbour.must_die()


@by_numbers(compute_only="signals", web_worker="others")
def kill_a_process(scene: Scene, call: "Callable[..., int]") -> Steps:
    neighbour = scene.neighbour()
    yield
    call("kill", neighbour.pid, int(signal.SIGTERM))
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others")
def kill_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    neighbour = scene.neighbour()
    yield
    in_thread(lambda: os.kill(neighbour.pid, signal.SIGTERM))
    neighbour.must_die()


# --- Signals by descriptors ----------------------------------------------------------------------


def _on_terminal(name: str, act: "Callable[[Scene, int, int], object]") -> None:
    """Register an attack by a terminal whose foreground is another user's process."""

    def body(scene: Scene) -> Steps:
        master, slave, neighbour = scene.terminal_of_another()
        yield
        act(scene, master, slave)
        os.write(master, b"x\n")
        neighbour.must_die()

    body.__name__ = name
    attack(compute_only="signals", web_worker="others")(body)


_on_terminal("sigio_of_a_terminal", lambda s, m, t: fcntl.fcntl(t, fcntl.F_SETFL, O_ASYNC))
_on_terminal(
    "sigio_of_a_terminal_with_other_flags",
    lambda s, m, t: fcntl.fcntl(t, fcntl.F_SETFL, O_ASYNC | os.O_NONBLOCK | os.O_APPEND),
)
_on_terminal(
    "sigio_of_a_terminal_with_garbage_above",
    lambda s, m, t: (
        s.call("fcntl", t, HIGH | fcntl.F_SETFL, HIGH | O_ASYNC) if IS_64_BIT else narrow()
    ),
)
_on_terminal("sigio_of_a_terminal_by_fcntl64", lambda s, m, t: s.call("fcntl64", t, 4, O_ASYNC))
_on_terminal(
    "sigio_of_a_terminal_by_ioctl", lambda s, m, t: fcntl.ioctl(t, FIOASYNC, struct.pack("@i", 1))
)
_on_terminal(
    "sigio_of_a_terminal_by_ioctl_with_garbage_above",
    lambda s, m, t: (
        s.call("ioctl", t, HIGH | FIOASYNC, struct.pack("@i", 1)) if IS_64_BIT else narrow()
    ),
)
_on_terminal(
    "sigkill_of_a_terminal",
    lambda s, m, t: (
        fcntl.fcntl(t, F_SETSIG, signal.SIGKILL),
        fcntl.fcntl(t, fcntl.F_SETFL, O_ASYNC),
    ),
)
_on_terminal(
    "a_signal_of_a_terminals_master",
    lambda s, m, t: fcntl.ioctl(m, TIOCSIG, int(signal.SIGINT)),
)
_on_terminal("hang_up_a_terminal", lambda s, m, t: _hang_up(s, t))


def _hang_up(scene: Scene, terminal: int) -> None:
    scene.privileged()
    fcntl.ioctl(terminal, 0x5437)  # TIOCVHANGUP: SIGHUP to the session


@attack(compute_only="signals", web_worker="others", no_escape="terminal")
def typed_into_a_terminal(scene: Scene) -> Steps:
    """TIOCSTI types what the foreground reads; here ^C, which is SIGINT."""
    _, slave, neighbour = scene.terminal_of_another()
    scene.privileged()
    yield
    try:
        fcntl.ioctl(slave, termios.TIOCSTI, b"\x03")
    except OSError as error:
        if error.errno == errno.EIO:
            raise Unavailable("the kernel was told not to have TIOCSTI") from error
        raise
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others", no_escape="terminal")
def ask_a_console(scene: Scene) -> Steps:
    """TIOCLINUX, by which root pastes into a console, ^C too; here it asks for the shift key."""
    scene.privileged()
    try:
        console = os.open("/dev/tty1", os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise Unavailable("there is no virtual console") from error
    yield
    fcntl.ioctl(console, TIOCLINUX, b"\x06")


@attack(compute_only="signals", web_worker="others", no_escape="terminal", abis=("x86_64",))
def typed_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    _, slave, neighbour = scene.terminal_of_another()
    scene.privileged()
    letter = scene.low(b"\x03")
    yield
    call("ioctl", slave, termios.TIOCSTI, letter)
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others", abis=("x86_64",))
def sigio_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    master, slave, neighbour = scene.terminal_of_another()
    yield
    call("fcntl64", slave, fcntl.F_SETFL, O_ASYNC)
    os.write(master, b"x\n")
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others")
def sigio_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    master, slave, neighbour = scene.terminal_of_another()
    yield
    in_thread(lambda: fcntl.fcntl(slave, fcntl.F_SETFL, O_ASYNC))
    os.write(master, b"x\n")
    neighbour.must_die()


def _owned(name: str, own: "Callable[[Scene, int, int], object]") -> None:
    """Register an attack by a socket whose owner, another process, gets SIGIO."""

    def body(scene: Scene) -> Steps:
        neighbour = scene.neighbour()
        here, there = socket.socketpair()
        yield
        own(scene, here.fileno(), neighbour.pid)
        fcntl.fcntl(here, fcntl.F_SETFL, O_ASYNC)
        there.sendall(b"x")
        neighbour.must_die()

    body.__name__ = name
    attack(compute_only="signals", web_worker="others")(body)


_owned("own_by_fcntl", lambda s, n, pid: fcntl.fcntl(n, F_SETOWN, pid))
_owned("own_by_fcntl_as_a_group", lambda s, n, pid: fcntl.fcntl(n, F_SETOWN, -pid))
_owned(
    "own_by_the_newer_fcntl",
    lambda s, n, pid: fcntl.fcntl(n, F_SETOWN_EX, struct.pack("@ii", 1, pid)),
)
_owned(
    "own_by_fcntl_with_garbage_above",
    lambda s, n, pid: s.call("fcntl", n, HIGH | F_SETOWN, pid) if IS_64_BIT else narrow(),
)
_owned("own_by_fcntl64", lambda s, n, pid: s.call("fcntl64", n, F_SETOWN, pid))
_owned("own_by_ioctl", lambda s, n, pid: fcntl.ioctl(n, FIOSETOWN, struct.pack("@i", pid)))
_owned(
    "own_by_the_other_ioctl", lambda s, n, pid: fcntl.ioctl(n, SIOCSPGRP, struct.pack("@i", pid))
)


@attack(compute_only="signals", web_worker="others")
def sigio_of_what_has_an_owner(scene: Scene) -> Steps:
    """The owner was set before the filter, by whoever made the descriptor."""
    neighbour = scene.neighbour()
    here, there = socket.socketpair()
    fcntl.fcntl(here, F_SETOWN, neighbour.pid)
    yield
    fcntl.fcntl(here, fcntl.F_SETFL, O_ASYNC)
    there.sendall(b"x")
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others")
def another_signal_of_what_is_asynchronous(scene: Scene) -> Steps:
    """The neighbour expects SIGIO, and gets SIGKILL."""
    neighbour = scene.neighbour(_that_ignores_sigio)
    here, there = socket.socketpair()
    fcntl.fcntl(here, F_SETOWN, neighbour.pid)
    fcntl.fcntl(here, fcntl.F_SETFL, O_ASYNC)
    yield
    fcntl.fcntl(here, F_SETSIG, signal.SIGKILL)
    there.sendall(b"x")
    neighbour.must_die()


def _that_ignores_sigio() -> None:
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    time.sleep(60)


@attack(compute_only="signals", web_worker="others")
def urgent_data_for_an_owner(scene: Scene) -> Steps:
    """SIGURG, which does no harm, by F_SETSIG's default; here it must come with F_SETOWN."""
    told, tells = os.pipe()

    def sit() -> None:
        signal.signal(signal.SIGURG, lambda *_: os.write(tells, b"x"))
        os.write(tells, b".")
        while True:
            time.sleep(60)

    neighbour = scene.neighbour(sit)
    os.read(told, 1)
    server = scene.listening()
    client = scene.connected(server.getsockname())
    accepted, _ = server.accept()
    yield
    fcntl.fcntl(accepted, F_SETOWN, neighbour.pid)
    client.send(b"x", socket.MSG_OOB)
    if not select.select([told], [], [], SECONDS)[0]:
        raise Foiled("no SIGURG came")


@attack(compute_only="signals", web_worker="others")
def notice_of_a_directory(scene: Scene) -> Steps:
    neighbour = scene.neighbour()
    folder = os.open(scene.folder, os.O_RDONLY)
    yield
    try:
        fcntl.fcntl(folder, F_NOTIFY, 0x80000004)  # DN_CREATE, DN_MULTISHOT
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel has no dnotify") from error
        raise
    fcntl.fcntl(folder, F_SETOWN, neighbour.pid)
    with open(scene.new, "w"):
        pass
    neighbour.must_die()


@attack(compute_only="signals", web_worker="others")
def a_timer_for_another(scene: Scene) -> Steps:
    """SIGEV_THREAD_ID is for threads of the same process; the kernel says EINVAL otherwise."""
    neighbour = scene.neighbour()
    event = struct.pack("@Niii", 0, signal.SIGTERM, 4, neighbour.pid) + bytes(44)
    yield
    try:
        scene.call("timer_create", 1, event, bytes(8))
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel makes no timer for another process") from error
        raise


# --- Outside -------------------------------------------------------------------------------------


@outside(compute_only="descriptors")
def type_into_a_terminal_whose_master_it_has(scene: Scene) -> Steps:
    master, _, neighbour = scene.terminal_of_another()
    yield
    os.write(master, b"\x03")
    neighbour.must_die()


@outside(compute_only="signals it causes", web_worker="signals it causes")
def end_of_a_pipe(scene: Scene) -> Steps:
    """SIGPIPE to who writes to what nobody reads any more."""
    reader, writer = os.pipe()

    def write() -> None:
        os.close(reader)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        while True:
            os.write(writer, b"x")
            time.sleep(0.01)

    neighbour = scene.neighbour(write)
    yield
    os.close(reader)
    neighbour.must_die()


@outside(web_worker="signals it causes")
def open_what_another_has_a_lease_on(scene: Scene) -> Steps:
    """SIGIO to who has the lease; opening waits until it has given it up, or ended."""

    def lease() -> int:
        number = os.open(scene.old, os.O_RDWR)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return number

    neighbour = _prepared(scene, lease, "the file system has no leases")
    yield
    os.open(scene.old, os.O_RDONLY)
    neighbour.must_die()


@outside(compute_only="signals it causes", web_worker="signals it causes")
def read_where_another_watches(scene: Scene) -> Steps:
    """SIGIO to who watches the directory of a file that is read."""
    number = os.open(scene.old, os.O_RDONLY)

    def watch() -> int:
        folder = os.open(scene.folder, os.O_RDONLY)
        fcntl.fcntl(folder, F_NOTIFY, DN_ACCESS)
        return folder

    neighbour = _prepared(scene, watch, "the kernel has no dnotify")
    yield
    os.read(number, 1)
    neighbour.must_die()


@outside(compute_only="signals it causes", web_worker="signals it causes")
def end_of_a_session(scene: Scene) -> Steps:
    """SIGHUP to the foreground of the terminal of the session that ends; another user's process."""
    _, slave = os.openpty()
    lives, kept = os.pipe()
    told, tells = os.pipe()

    def hung_up() -> None:
        os.close(kept)
        if not select.select([lives], [], [], SECONDS)[0]:
            raise Foiled("the foreground lives on")

    scene.goes_on_in_a_child(hung_up)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    foreground = os.fork()
    if foreground == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if os.geteuid() == 0:
            os.setresuid(ANOTHER_USER, ANOTHER_USER, ANOTHER_USER)
        os.write(tells, b"x")
        time.sleep(2 * SECONDS)
        os._exit(0)
    os.read(told, 1)
    os.tcsetpgrp(slave, foreground)
    yield
    os._exit(ESCAPED)
