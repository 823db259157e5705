"""Find a command and start it under a filter: as this process itself, or as a child.

Once the filter is in force, it judges every call of the launcher. So the launcher prepares
everything before that. Afterwards it makes only single calls, with the token of `launch_token`
where the filter would refuse them.

Sources: execve(2), seccomp(2), unix(7), environ(7), exec(3) for the search and for scripts
without ``#!``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import os
import signal
import socket
import stat
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from seccompgen.core.errors import OutsideError, SeccompgenError
from seccompgen.core.model import ActionKind
from seccompgen.core.program import BPF_MAXINSNS, RET_K, Instruction, actions_of, decode, encode
from seccompgen.core.settings import FilterFlag
from seccompgen.core.text import printable
from seccompgen.run.descriptor_message import DescriptorMessage
from seccompgen.run.launch_token import LaunchToken, with_token
from seccompgen.run.notify_rewrite import lets_through
from seccompgen.run.ptrace import wait
from seccompgen.run.ring_installer import ring_installer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Table
    from seccompgen.render.ring_source import RingValue

EXIT_CANNOT_RUN = 126
"""The command was found but cannot be run, as for env(1)."""
EXIT_NOT_FOUND = 127
"""The command was not found, as for env(1)."""

_PR_SET_PDEATHSIG = 1
_STDERR = 2
_LAST_WORDS = 4096
"""The largest message, in bytes, in which a child reports why it has no filter."""
_SHELL = b"/bin/sh"


class CommandError(SeccompgenError):
    """The command cannot be started (exit code 126), or does not exist (127)."""

    def __init__(self, text: str, code: int = EXIT_CANNOT_RUN) -> None:
        super().__init__(text)
        self.exit_code = code


class FilterError(OutsideError):
    """The kernel did not accept the filter; ``errno`` is the reason."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.errno = number


class KilledError(OutsideError):
    """A signal ended the child before it became the command; ``status`` is its wait status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the command could not be started: {signal.strsignal(status)}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Command:
    """A program's file, its arguments (its name first), and its environment."""

    path: bytes
    arguments: tuple[bytes, ...]
    environment: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Confinement:
    """A filter for a command: ``instructions`` for the ABI of ``table``, the one this process has.

    ``name`` is used in messages. ``rings`` is what the filter has for rings.
    """

    name: str
    table: Table
    instructions: tuple[Instruction, ...]
    settings: Settings
    rings: RingValue | None = None


@dataclass(slots=True)
class Started:
    """A child that runs the command; ``listener`` is -1 if none was asked for.

    ``link`` is the socket for `let_go` and `failure`; its other end closes when the command begins.
    """

    pid: int
    listener: int
    link: socket.socket


def find_command(words: Sequence[str]) -> Command:
    """Return the command that a shell would run for ``words``, with this process's environment.

    Raises CommandError if there is none, or its file cannot be executed.
    """
    environment = original_environment()
    name = words[0]
    if "/" in name:
        candidates = [name]
    else:
        path = os.fsdecode(environment.get(b"PATH", os.defpath.encode()))
        candidates = [f"{place or '.'}/{name}" for place in path.split(":")] if name else []
    unfit = {}
    for place in candidates:
        number = _unfit(place)
        if not number:
            return Command(
                os.fsencode(place),
                tuple(os.fsencode(word) for word in words),
                tuple(key + b"=" + value for key, value in environment.items()),
            )
        if number not in {errno.ENOENT, errno.ENOTDIR}:
            unfit[place] = number
    for place, number in unfit.items():
        raise CommandError(f"{place}: cannot be executed: {os.strerror(number)}")
    where = "no such file" if "/" in name else "no directory in PATH has it"
    raise CommandError(f"{name or repr(name)}: {where}", EXIT_NOT_FOUND)


def _unfit(place: str) -> int:
    """Return the errno with which executing a file would fail; 0 if it is worth trying."""
    try:
        mode = Path(place).stat().st_mode
    except OSError as error:
        return error.errno or errno.EACCES
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    if not stat.S_ISREG(mode):
        return errno.EACCES  # as execve(2) says
    return 0 if os.access(place, os.X_OK, effective_ids=True) else errno.EACCES


def original_environment() -> dict[bytes, bytes]:
    """Return this process's environment, including changes since it started.

    The LC_CTYPE that Python itself adds under the C locale (PEP 538) is left out.
    """
    environment = dict(os.environb)
    try:
        initial = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return environment
    coerced = environment.get(b"LC_CTYPE") in {b"C.UTF-8", b"C.utf8", b"UTF-8"}
    if coerced and not any(entry.startswith(b"LC_CTYPE=") for entry in initial):
        del environment[b"LC_CTYPE"]
    return environment


def become(command: Command, confinement: Confinement) -> NoReturn:
    """Put the filter in force and become the command, without a process in between.

    Raises FilterError, with nothing in force, if the kernel does not accept the filter. If the
    command cannot be executed after all, this process ends with a line on stderr and 126 or 127.
    """
    launcher = _Launcher(command, confinement, ("execve", "write", "exit_group"))
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        launcher.go(None)
    except OSError as error:
        raise FilterError(error.strerror or str(error), error.errno or 0) from None


def is_below_listener(table: Table) -> bool:
    """Return True if this process has a filter with a listener: the kernel permits only one."""
    from seccomp_filters import _runtime  # noqa: PLC0415 - generated: it may not be there yet

    allow = encode((Instruction(RET_K, 0, 0, ActionKind.ALLOW.value),), table.abi)
    programs = {table.abi.name: (table.numbers["seccomp"], allow)}
    flags = FilterFlag.NEW_LISTENER.value
    pid = _fork()
    if pid == 0:
        try:
            _runtime.install("probe", programs, flags=flags, no_new_privs=True, actions=())
        except OSError as error:
            os._exit(int(error.errno == errno.EBUSY))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def _fork() -> int:
    with warnings.catch_warnings():
        # Compiling the policy may have left threads of BLAS. The child needs none of them:
        # it makes a few prepared calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def start(
    command: Command, confinement: Confinement, *, mask: set[int | signal.Signals] | None = None
) -> Started:
    """Start the command under the filter in a child, which dies with this process.

    The child waits for `let_go` before it does anything. With NEW_LISTENER among the flags, it then
    hands its listener to `take_over`. Its signal mask is ``mask``, or this thread's.
    """
    calls = ["execve", "write", "exit_group"]
    listens = bool(confinement.settings.flags & FilterFlag.NEW_LISTENER)
    if listens:
        calls.append("sendmsg")
    launcher = _Launcher(command, confinement, calls)
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    if mask is None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pid = _fork()
    if pid == 0:
        ours.close()
        _in_child(launcher, theirs, parent, mask)
    theirs.close()
    return Started(pid, -1, ours)


def end(started: Started) -> None:
    """Kill the child, reap it, and close its descriptors."""
    with contextlib.suppress(ChildProcessError):
        # Raises if the child was reaped already: its PID may be another process's by now.
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        os.kill(started.pid, signal.SIGKILL)
        # The kernel reports a process's end to a tracer only after that of its other threads.
        while wait()[0] != started.pid:
            pass
    close(started)


def close(started: Started) -> None:
    """Close the descriptors of a child that ended."""
    started.link.close()
    if started.listener >= 0:
        os.close(started.listener)
        started.listener = -1


def let_go(started: Started) -> None:
    """Let a child that has just started go on; do nothing if it was killed meanwhile."""
    with contextlib.suppress(BrokenPipeError):
        started.link.send(b"g")


def failure(started: Started) -> FilterError | None:
    """Return the error with which a child failed to install its filter, None if it did not fail.

    Waits until the child has ended or runs its command.
    """
    with contextlib.suppress(ConnectionResetError):  # killed before it read that it may go on
        return _filter_failure(started.link.recv(_LAST_WORDS))
    return None


def _filter_failure(message: bytes) -> FilterError | None:
    if not message.startswith(b"{"):
        return None
    said = json.loads(message)
    return FilterError(said["text"], said["errno"])


def killed_by(started: Started) -> int:
    """Return the signal that killed a child; 0 if it is alive or ended by itself."""
    ended = os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    killed = ended and ended.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
    return ended.si_status if ended and killed else 0


def take_over(started: Started) -> None:
    """Receive the listener of a child whose filter has one; call this once the link is readable.

    Raises FilterError if the kernel did not accept the filter, KilledError if a signal came first.
    """
    message = b""
    descriptors: list[int] = []
    with contextlib.suppress(ConnectionResetError):  # killed before it read that it may go on
        message, descriptors, _, _ = socket.recv_fds(started.link, _LAST_WORDS, 1)
    if error := _filter_failure(message):
        raise error
    if not descriptors:
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        if number := killed_by(started):
            raise KilledError(number)
        raise OutsideError("the command could not be started: its launcher ended without a word")
    started.listener = descriptors[0]


def _in_child(
    launcher: _Launcher,
    link: socket.socket,
    parent: int,
    mask: set[int | signal.Signals],
) -> NoReturn:
    """Become the command, or report why not; never return into the parent's code."""
    try:
        _take_signals_from_python()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        launcher.die_with(parent)
        if not link.recv(1):
            os._exit(1)
        launcher.go(link)
    except OSError as error:
        failure = {"text": error.strerror or str(error), "errno": error.errno or 0}
        link.send(json.dumps(failure).encode())
    finally:
        os._exit(1)


def _take_signals_from_python() -> None:
    """Reset the signals that Python changed, so that none of them runs Python code from here on.

    Python ignores two, without recording their former state. It handles SIGINT only if that was not
    ignored.
    """
    for one in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(one, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class _Launcher:
    """Everything needed to start a command, prepared before the filter is in force."""

    def __init__(self, command: Command, confinement: Confinement, calls: Sequence[str]) -> None:
        # PyDLL keeps the GIL: taking it back would be a call under the filter.
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._libc.syscall.argtypes = (ctypes.c_long,)
        self._libc.syscall.restype = ctypes.c_long
        table = confinement.table
        self._numbers = table.numbers
        token = LaunchToken.new(table.abi)
        self._token = tuple(ctypes.c_ulong(word) for word in token.words)
        self._program = _with_calls(confinement, token, calls)
        rings = confinement.rings
        if rings and rings[-1]:
            other = replace(confinement, instructions=tuple(decode(rings[-1], table.abi)))
            rings = (*rings[:-1], encode(_with_calls(other, token, calls), table.abi))
        self._rings = rings
        self._confinement = confinement
        self._path = ctypes.c_char_p(command.path)
        self._arguments = _array(command.arguments)
        script = (_SHELL, command.path, *command.arguments[1:])
        self._script = ctypes.c_char_p(_SHELL), _array(script)
        self._environment = _array(command.environment)
        # Printed by the process that failed to become the command, without running any Python.
        shown = printable(os.fsdecode(command.path)).encode(errors="backslashreplace")
        self._last_words = {
            number: shown + f": cannot be executed: {os.strerror(number)}\n".encode()
            for number in errno.errorcode
        }
        self._message = DescriptorMessage()

    def die_with(self, parent: int) -> None:
        """Have the kernel kill this process when ``parent`` ends; exit if it already has."""
        zero = ctypes.c_ulong(0)
        self._libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), zero, zero, zero)
        if os.getppid() != parent:
            os._exit(1)

    def go(self, link: socket.socket | None) -> NoReturn:
        """Put the filter in force and become the command; send the listener over ``link``.

        Raises OSError if the filter is not in force.
        """
        from seccomp_filters import _runtime  # noqa: PLC0415 - generated: it may not be there yet

        _take_signals_from_python()
        gc.disable()
        descriptor = -1 if link is None else link.fileno()
        install = (
            _runtime.install
            if self._rings is None
            else ring_installer(self._confinement.settings.without)
        )
        listener = self._install(install)
        if listener >= 0:
            self._message.hold(listener)
            self._call("sendmsg", ctypes.c_long(descriptor), self._message.reference, _ZERO)
        self._call("execve", self._path, self._arguments, self._environment)
        if ctypes.get_errno() == errno.ENOEXEC:
            self._call("execve", *self._script, self._environment)
        number = ctypes.get_errno()
        text = self._last_words.get(number, b"")
        self._call("write", ctypes.c_long(_STDERR), ctypes.c_char_p(text), ctypes.c_long(len(text)))
        code = EXIT_NOT_FOUND if number == errno.ENOENT else EXIT_CANNOT_RUN
        while True:
            self._call("exit_group", ctypes.c_long(code), _ZERO, _ZERO)

    def _install(self, install: Callable[..., int]) -> int:
        """Put the program in force; return the listener, or -1."""
        confinement = self._confinement
        abi = confinement.table.abi
        program = encode(self._program, abi)
        rings = () if self._rings is None else (self._rings,)
        # With WAIT_KILLABLE_RECV (Linux 5.19) a signal does not make a waiting call ask again.
        best = FilterFlag.WAIT_KILLABLE_RECV
        flags = confinement.settings.flags
        for extra in (best, FilterFlag(0)) if flags & FilterFlag.NEW_LISTENER else (FilterFlag(0),):
            try:
                return install(
                    confinement.name,
                    {abi.name: (confinement.table.numbers["seccomp"], program, *rings)},
                    flags=int(flags | extra),
                    no_new_privs=confinement.settings.no_new_privs,
                    actions=actions_of(self._program),
                )
            except OSError as error:
                if not extra or error.errno != errno.EINVAL:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _call(self, name: str, first: object, second: object, third: object) -> None:
        """Make a call of three arguments, with the token in the other three."""
        self._libc.syscall(self._numbers[name], first, second, third, *self._token)


_ZERO = ctypes.c_long(0)


def _with_calls(
    confinement: Confinement, token: LaunchToken, calls: Sequence[str]
) -> tuple[Instruction, ...]:
    """Return the program that lets ``calls`` pass, if they carry ``token``."""
    table = confinement.table
    listens = bool(confinement.settings.flags & FilterFlag.NEW_LISTENER)
    program = with_token(
        confinement.instructions,
        table.abi,
        token,
        [table.numbers[name] for name in calls if not _passes(confinement, name, token)],
        asks_for_listeners=table.numbers["seccomp"] if listens else None,
    )
    if len(program) > BPF_MAXINSNS:
        raise OutsideError(
            f"filter {confinement.name!r} leaves no room: it has "
            f"{len(confinement.instructions)} instructions, starting a command under it takes "
            f"{len(program) - len(confinement.instructions)} more, and the kernel takes "
            f"{BPF_MAXINSNS}; make it shorter"
        )
    return program


def _passes(confinement: Confinement, name: str, token: LaunchToken) -> bool:
    """Return True if the program lets the launcher's call through unchanged."""
    last = confinement.instructions[-1]
    if len(confinement.instructions) == 1 and last.code == RET_K:
        return lets_through(last.k)
    from seccompgen.verify.call import Call  # noqa: PLC0415 - record does without, and is quicker
    from seccompgen.verify.machine import Code  # noqa: PLC0415

    abi = confinement.table.abi
    nr = confinement.table.numbers[name]
    first = _STDERR if name == "write" else 0
    call = Call(nr, abi.audit_arch, (first, 0, 0, *token.words))
    return lets_through(Code(confinement.instructions, abi.byte_order).answer(call))


def _array(strings: Sequence[bytes]) -> object:
    return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)
