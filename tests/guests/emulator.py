"""Boot a guest, run a script of ours in it, and return what it reports.

The script is ``/trial/main.py``, and has a function ``main() -> bytes``. It runs as root in the
guest's first process, which `inside/init.py` is.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from guests import image
from guests.cache import kept
from guests.packages import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guests.machines import Guest

__all__ = ["GuestFailed", "NoAnswer", "Unavailable", "boot"]

_PARAMETERS = (
    "panic=-1",
    "loglevel=1",
    "cryptomgr.notests=1",
    "init_on_alloc=0",
    "PYTHONHASHSEED=0",
    "PYTHONMALLOC=malloc",
    "MALLOC_TOP_PAD_=33554432",
)
"""A parameter that the kernel does not know becomes a variable of init. There Python wants no
randomness, which the machine has not gathered yet, and takes memory ahead, so that no filter sees
it ask for some. To clear each page that the kernel takes, as Debian has it, takes emulated time."""

_INITCALLS = ("load_system_certificate_list", "crypto_kdf108_init")
"""Functions of the kernel's start that nothing here needs, and that take long, emulated."""

_NO_BACKLOG = "audit_backlog_limit=0"
"""No limit to the records that wait for the kernel's thread that logs them. With one, a call whose
record finds no room waits to be woken by that thread, for up to a minute (``audit_log_start`` of
kernel/audit.c), also where the thread has just taken all there was and sleeps: between the look and
the wait it may run, as happens where a busy host lets the guest's clock tick late."""

_LONGEST = {"malta": 210}
"""Bytes of a command line, by machine: malta takes 256 with what the emulator adds about the
initramfs (``ENVP_ENTRY_SIZE`` in its hw/mips/malta.c), and silently cuts off the rest."""

_REPORT = re.compile(
    rb"^@report (done|failed) (\d+) ([0-9a-f]{64})\r*\n(.*?)^@end\r*\n", re.M | re.S
)
_LINE = re.compile(rb"^\|([A-Za-z0-9+/=]+)\|\r*$", re.M)
_END = re.compile(rb"^@end\r*\n", re.M)

_BEGUN = b"@init"
"""The first words of the guest's first process."""
_CRASHED = b"Attempted to kill init! exitcode=0x0000000b"
"""The last words of a kernel whose first process, Debian's Python, had a segmentation fault."""
_BOOTS = 2
"""The starts of a kernel that does not come to its first process, or whose first process crashes.

Until then nothing of ours runs, and an emulator may hang; a crash of the interpreter was seen once
in hundreds of guests, on a busy machine, and is none of a filter's answers.
"""
_PIPE = 1 << 20
"""Bytes that we may be behind with reading: QEMU drops what a virtio console writes to a full pipe,
where other consoles wait (``flush_buf`` of its hw/char/virtio-console.c)."""
_COMPILES = 120.0
"""Seconds that a guest may take to compile the standard library's modules."""
_SHOWN = 40
"""Lines of the console that an error tells."""

_INSIDE = Path(__file__).parent / "inside"


class NoAnswer(RuntimeError):  # noqa: N818 - it is one
    """The guest ended without a whole report, or gave none in time."""


class GuestFailed(RuntimeError):  # noqa: N818 - it did
    """A script raised in the guest; the text is the traceback there."""


def boot(
    guest: Guest,
    files: Mapping[str, bytes],
    *,
    timeout: float = 300.0,
    processor: int | None = None,
    archives: Sequence[Path] = (),
) -> bytes:
    """Boot ``guest`` with ``files`` in its ``/trial``; return what ``main()`` of main.py returned.

    ``archives`` are unpacked over the user space. The emulator may take ``timeout`` seconds, on one
    ``processor`` of ours if that is given; those in which other processes kept it from running do
    not count.
    Raises Unavailable, NoAnswer, GuestFailed.
    """
    below = _user_space(guest, processor)
    if modules := image.modules(guest):
        below.append(modules)
    return _boot(guest, [*below, *archives], files, timeout, processor)


def _user_space(guest: Guest, processor: int | None) -> list[Path]:
    """Return the archives that hold Python and the bytecode of its library."""
    user_space = image.user_space(guest)
    precompile = (_INSIDE / "precompile.py").read_bytes()

    def compiled() -> bytes:
        files = {"main.py": precompile}
        report = json.loads(_boot(guest, [user_space.path], files, _COMPILES, processor))
        return image.overlay({name: base64.b64decode(code) for name, code in report.items()})

    # The first guest that has this version of Python compiles for all.
    name = f"bytecode/{user_space.library}"
    return [user_space.path, kept(name, (precompile.decode(),), compiled)]


def _boot(
    guest: Guest,
    archives: Sequence[Path],
    files: Mapping[str, bytes],
    timeout: float,
    processor: int | None,
) -> bytes:
    if shutil.which(guest.emulator) is None:
        raise Unavailable(f"{guest.emulator} is not installed")
    init = {"/init": (_INSIDE / "init.py").read_bytes()}
    kernel = image.kernel(guest)
    left_out = ",".join(_INITCALLS + guest.initcalls)
    parameters = [*_PARAMETERS, *guest.parameters, f"initcall_blacklist={left_out}"]
    if guest.machine not in _LONGEST:  # whose kernel logs nothing
        parameters.append(_NO_BACKLOG)
    command_line = f"console={guest.console} {' '.join(parameters)}"
    assert len(command_line) <= _LONGEST.get(guest.machine, 500), "it would be cut off"
    # In memory, so that nothing stays behind however we end.
    with open(os.memfd_create("initramfs"), "wb") as initramfs:  # noqa: PTH123 - it has no path
        for archive in archives:
            initramfs.write(archive.read_bytes())
        initramfs.write(image.overlay({**files, **init}))
        initramfs.flush()
        command = [
            guest.emulator, "-M", guest.machine, "-cpu", guest.cpu, "-accel", "tcg",
            "-m", str(guest.memory), "-smp", "1", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", *guest.arguments,
            "-kernel", str(kernel), "-initrd", f"/proc/self/fd/{initramfs.fileno()}",
            "-append", command_line,
        ]  # fmt: skip
        for _ in range(_BOOTS):
            console, end = run(command, [initramfs.fileno()], timeout=timeout, processor=processor)
            if _BEGUN in console and _CRASHED not in console:
                break
    try:
        return _report(console)
    except GuestFailed as failure:
        raise GuestFailed(f"{guest.name}: {failure}") from None
    except NoAnswer as reason:
        raise NoAnswer(f"{guest.name} {end} {reason}:\n{_tail(console)}") from None


def run(
    command: list[str],
    descriptors: Sequence[int] = (),
    *,
    timeout: float,
    processor: int | None = None,
) -> tuple[bytes, str]:
    """Run an emulator, which inherits ``descriptors``, until there is a report or it ends.

    Return the console's output, and how that ended.
    """
    if processor is not None:
        command = ["taskset", "-c", str(processor), *command]
    # The emulator must not outlive us, however we end.
    command = ["setpriv", "--pdeathsig", "KILL", *command]
    console = bytearray()
    end = ""
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        pipesize=_PIPE,
    )
    try:
        assert process.stdout is not None
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while (left := timeout + _kept_waiting(process.pid) - (time.monotonic() - began)) > 0:
            if not poll.poll(left * 1000):
                continue
            seen = max(0, len(console) - 16)
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                end = "ended"
                break
            console += chunk
            if _END.search(console, seen):
                end = "ended"
                break
        if not end:  # work says whether it was busy or hung
            work, waiting = _worked(process.pid), _kept_waiting(process.pid)
            end = (
                f"did not end within {timeout:g} s (of work {work:.1f}, of waiting {waiting:.1f}),"
            )
    finally:
        process.kill()
        process.communicate()
    return bytes(console), end


def _kept_waiting(pid: int) -> float:
    """Return for how many seconds a process was ready to run, but others did.

    That is what its busiest thread had to wait.
    """
    return max((waited for _, waited in _scheduled(pid)), default=0.0)


def _worked(pid: int) -> float:
    """Return for how many seconds all threads of a process ran."""
    return sum(ran for ran, _ in _scheduled(pid))


def _scheduled(pid: int) -> Iterator[tuple[float, float]]:
    """Yield for how many seconds each thread ran, and waited for others to (proc(5))."""
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            ran, waited, _ = (thread / "schedstat").read_text().split()
            yield int(ran) / 1e9, int(waited) / 1e9


def _report(console: bytes) -> bytes:
    """Return the report that the console's output holds. Raises NoAnswer, GuestFailed."""
    found = _REPORT.search(console)
    if found is None:
        raise NoAnswer("without a report")
    state, size, digest, lines = found.groups()
    try:
        report = zlib.decompress(base64.b64decode(b"".join(_LINE.findall(lines))))
    except (ValueError, zlib.error):
        report = b""
    if len(report) != int(size) or hashlib.sha256(report).hexdigest() != digest.decode():
        raise NoAnswer("with a damaged report")
    if state == b"failed":
        raise GuestFailed(report.decode(errors="replace"))
    return report


def _tail(console: bytes) -> str:
    lines = console.decode(errors="replace").replace("\r", "").splitlines()
    return "\n".join(lines[-_SHOWN:])
