"""The calls refused by those settings of systemd whose filters compare arguments.

Each setting makes a filter of its own, which permits all other calls. systemd installs it before
that of SystemCallFilter, on the ABIs that its source names for the setting.

Sources: seccomp-util.c and load-fragment.c of systemd 252 to 262. Tests compare with the filters
that the functions of these releases make, and with those in force in a guest that boots one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.formats.stacked import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.errors import Position
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.formats.systemd.unit_file import Assignment, UnitWord

_EVERY = sum(NAMESPACES.values())
_TIME_SINCE = 262
"""The first release known here that counts time among all namespaces. Earlier ones refuse it with
any other, but make no filter for it alone."""
_SET_ID = "0o6000"

_BITS_64 = frozenset(name for name, abi in ABIS.items() if abi.bits == 64)

WITH_SOCKET = frozenset({
    "x86_64", "x32", "arm", "aarch64", "loongarch64", "riscv64",
    "mips64", "mips64n32", "mips64el", "mips64n32el",
})  # fmt: skip
"""ABIs on which systemd restricts address families: those without socketcall."""
_FLAGS_FIRST = frozenset(ABIS) - {"s390", "s390x"}
"""ABIs whose clone has the flags as its first argument."""
_MAPPING: dict[str, tuple[str, str | None, str | None]] = {
    "i386": ("mmap2", "mmap", None), "s390": ("mmap2", "mmap", None),
    "ppc": ("mmap", None, None), "ppc64": ("mmap", None, None), "ppc64le": ("mmap", None, None),
    "s390x": ("mmap", None, None), "arm": ("mmap2", None, "shmat"),
    **dict.fromkeys(
        ("x86_64", "x32", "aarch64", "loongarch64", "riscv64"), ("mmap", None, "shmat")
    ),
}  # fmt: skip
"""By ABI: the call that maps memory, one that is refused altogether, one that maps segments."""

_PER_LINUX32 = 8
_NAMES_OF_32_BITS = {
    "x86_64": ("x86",), "aarch64": ("arm", "arm-be"), "s390x": ("s390",),
    "ppc64": ("ppc", "ppc-le"), "ppc64le": ("ppc", "ppc-le"),
}  # fmt: skip
"""By ABI: the values of Personality that mean its 32-bit personality."""

_LOW_WORDS = _SCHED_SETATTR = 262
"""The first release known here that compares refused families, and setns's 0, by 32 bits, and the
first whose RestrictRealtime refuses sched_setattr."""
_MDWE_RELEASE, _MDWE_KERNEL = 253, (6, 3)
"""The first release that asks the kernel, instead of a filter, to refuse memory that is written and
executed, and the first kernel that can."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A call that a setting refuses with ``answer``, if ``when`` holds or is None.

    ``abis`` are the ABIs on which the setting does so, None for all.
    """

    call: str
    when: str | None
    answer: str
    position: Position
    abis: frozenset[str] | None = None


def _compared(
    call: str, when: str, answer: str, at: Position, abis: frozenset[str] = frozenset(ABIS)
) -> Iterator[Restriction]:
    """Yield a refusal that compares whole arguments, as libseccomp does.

    ``when`` writes them as ``uN(arg0)``. 32-bit ABIs, x32 and n32 compare the low words.
    """
    yield Restriction(call, when.replace("uN(", "u64("), answer, at, abis & _BITS_64)
    yield Restriction(call, when.replace("uN(", "u32("), answer, at, abis - _BITS_64)


class Families:
    """The address families that assignments of RestrictAddressFamilies list."""

    def __init__(self) -> None:
        self.allows = self._begun = False
        self.named: dict[str, Position] = {}
        self.position: Position | None = None

    def assign(self, one: Assignment, tables: Tables) -> Iterator[Diagnostic]:
        """Apply an assignment; yield its errors."""
        words = [word.text for word in one.words]
        if not words or words == ["none"]:
            self.named.clear()
            self.allows, self._begun = bool(words), False
            self.position = one.position if words else None
            return
        takes, rest = _inverted(one)
        if not self._begun:
            self.allows, self._begun, self.position = not takes, True, one.position
        known = {
            name
            for name in tables.facts.constants
            if name.startswith("AF_") and name not in {"AF_UNSPEC", "AF_MAX"}
        }
        for word, name in rest:
            if name not in known:
                hint = did_you_mean(name, known)
                text = f"{name!r} is no address family{hint}; systemd would skip it"
                yield Diagnostic(text, word.position, Problem.WRONG_VALUE)
            elif takes != self.allows:
                self.named[name] = word.position
            else:
                self.named.pop(name, None)

    def restrictions(self, release: int) -> Iterator[Restriction]:
        """Yield what the filter of a release refuses."""
        if self.position is None or not (self.allows or self.named):
            return
        answer, at = "errno(EAFNOSUPPORT)", self.position
        if not self.named:
            yield Restriction("socket", None, answer, at, WITH_SOCKET)
            return
        listed = "{" + ", ".join(sorted(self.named)) + "}"
        bits = "32" if release >= _LOW_WORDS and not self.allows else "N"
        when = f"u{bits}(arg0) {'not in' if self.allows else 'in'} {listed}"
        yield from _compared("socket", when, answer, at, WITH_SOCKET)


class Namespaces:
    """The namespaces that assignments of RestrictNamespaces keep permitted; None: no filter."""

    def __init__(self, release: int) -> None:
        self.release = release
        self.every = _EVERY if release >= _TIME_SINCE else _EVERY & ~NAMESPACES["time"]
        self.kept: int | None = None
        self.position: Position | None = None

    def assign(
        self, one: Assignment, on: frozenset[str], off: frozenset[str]
    ) -> Iterator[Diagnostic]:
        """Apply an assignment; yield its errors. ``on`` and ``off`` are words for yes and no."""
        self.position = one.position
        said = one.words[0].text.lower() if len(one.words) == 1 else ""
        if not one.words or said in off:
            self.kept = None if not one.words else self.every
            return
        if said in on:
            self.kept = 0
            return
        takes, rest = _inverted(one)
        flags = 0
        for word, name in rest:
            if name not in NAMESPACES:
                text = f"{name!r} is no namespace{did_you_mean(name, NAMESPACES)}; "
                text += "systemd would skip the line"
                yield Diagnostic(text, word.position, Problem.WRONG_VALUE)
            flags |= NAMESPACES.get(name, 0)
        if self.kept is None:
            self.kept = self.every & ~flags if takes else flags
        else:
            self.kept = self.kept & ~flags if takes else self.kept | flags

    def restrictions(self) -> Iterator[Restriction]:
        """Yield what the filter refuses."""
        if self.kept is None or self.position is None or not self.every & ~self.kept:
            return
        at, refused = self.position, _EVERY & ~self.kept
        yield Restriction("clone3", None, "errno(ENOSYS)", at)
        yield Restriction("unshare", f"u64(arg0) & {refused:#x}", "errno(EPERM)", at)
        for argument, abis in ((0, _FLAGS_FIRST), (1, frozenset(ABIS) - _FLAGS_FIRST)):
            when = f"u64(arg{argument}) & {refused:#x}"
            yield Restriction("clone", when, "errno(EPERM)", at, abis)
        if not self.kept & self.every:
            yield Restriction("setns", None, "errno(EPERM)", at)
        else:
            bits = "32" if self.release >= _LOW_WORDS else "N"
            when = f"u{bits}(arg1) == 0 or u64(arg1) & {refused:#x}"
            yield from _compared("setns", when, "errno(EPERM)", at)


def realtime(at: Position, release: int) -> Iterator[Restriction]:
    """Yield what RestrictRealtime refuses: policies other than OTHER, BATCH and IDLE."""
    when = "uN(arg1) in {1, 2, 4} or uN(arg1) > 5"
    yield from _compared("sched_setscheduler", when, "errno(EPERM)", at)
    if release >= _SCHED_SETATTR:
        yield Restriction("sched_setattr", None, "errno(EPERM)", at)


def set_id_files(at: Position) -> Iterator[Restriction]:
    """Yield what RestrictSUIDSGID refuses: files that are set-user-ID or set-group-ID."""
    for call in ("chmod", "fchmod", "mkdir", "mknod", "creat"):
        yield Restriction(call, f"u64(arg1) & {_SET_ID}", "errno(EPERM)", at)
    for call in ("fchmodat", "fchmodat2", "mkdirat", "mknodat"):
        yield Restriction(call, f"u64(arg2) & {_SET_ID}", "errno(EPERM)", at)
    for call, flags, mode in (("open", 1, 2), ("openat", 2, 3)):
        when = f"u64(arg{flags}) & O_CREAT and u64(arg{mode}) & {_SET_ID}"
        yield Restriction(call, when, "errno(EPERM)", at)
    yield Restriction("openat2", None, "errno(ENOSYS)", at)


def personality(at: Position, said: str | None, abi: str) -> Iterator[Restriction]:
    """Yield what LockPersonality refuses: all but the personality that Personality ``said``."""
    kept = _PER_LINUX32 if said in _NAMES_OF_32_BITS.get(abi, ()) else 0
    yield from _compared("personality", f"uN(arg0) != {kept}", "errno(EPERM)", at)


def asks_kernel(release: int, reading: Reading) -> bool:
    """Return True if MemoryDenyWriteExecute makes no filter: the kernel itself refuses."""
    return release >= _MDWE_RELEASE and (reading.kernel is None or reading.kernel >= _MDWE_KERNEL)


def written_code(at: Position) -> Iterator[Restriction]:
    """Yield what MemoryDenyWriteExecute refuses if the kernel does not."""
    every = frozenset(_MAPPING)
    for call in ("mprotect", "pkey_mprotect"):
        yield Restriction(call, "u64(arg2) & PROT_EXEC", "errno(EPERM)", at, every)
    for abi, (maps, refused, attaches) in _MAPPING.items():
        when = "u64(arg2) & 6 == 6"  # PROT_WRITE|PROT_EXEC
        yield Restriction(maps, when, "errno(EPERM)", at, frozenset({abi}))
        if refused:
            yield Restriction(refused, None, "errno(EPERM)", at, frozenset({abi}))
        if attaches:
            when = "u64(arg2) & 0o100000"  # SHM_EXEC
            yield Restriction(attaches, when, "errno(EPERM)", at, frozenset({abi}))


def _inverted(one: Assignment) -> tuple[bool, list[tuple[UnitWord, str]]]:
    """Return whether a list begins with ``~``, and its words without that sign."""
    words = [(word, word.text) for word in one.words]
    takes = words[0][1].startswith("~")
    if takes:
        words[0] = words[0][0], words[0][1][1:]
    return takes, [pair for pair in words if pair[1]]
