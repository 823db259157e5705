"""The numbers that a kernel must have, by our tables; ``inside.table`` asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from oracle import errnos_of
from plain_history import bounds, plain_since
from plain_history import numbers as numbers_of
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BEYOND = 30
"""The count of numbers past the end of a table that are asked for."""


class Absent(NamedTuple):
    """Calls of a table that a kernel has not, and why; on ``abis`` only, if any are named."""

    why: str
    names: str
    abis: str = ""


ABSENT = (
    Absent(
        "Linux dropped them, or never had them, and keeps the numbers",
        "_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle "
        "lock mpx multiplexer nfsservctl prof profil putpmsg query_module reserved177 reserved193 "
        "security stty timerfd tuxcall ulimit vserver cachectl epoll_ctl_old epoll_wait_old "
        "lookup_dcookie",
    ),
    Absent("Debian configures out what only old binaries use", "uselib sysfs"),
    Absent("Debian's kernel has no CONFIG_VM86 here", "vm86 vm86old", "i386"),
    Absent(
        "for 32-bit programs only",
        "oldstat umount oldfstat oldolduname sigaction sigsuspend sigpending getrlimit select "
        "oldlstat readdir olduname sigreturn sigprocmask",
        "ppc64le",
    ),
    Absent("for 32-bit programs only", "readdir", "s390x"),
    Absent("for 32-bit programs only", "set_thread_area get_thread_area", "x86_64"),
    Absent(
        "names without a function behind them",
        "ioperm iopl vm86 modify_ldt sys_debug_setcontext",
        "ppc64le",
    ),
    Absent(
        "the Cell processor and 4K pages on hash tables only",
        "spu_run spu_create subpage_prot",
        "ppc64le",
    ),
    Absent("machines with that kind of PCI only", "pciconfig_iobase", "arm"),
    Absent(
        "ARM processors of old only; 64-bit kernels leave these out",
        "breakpoint usr26 usr32 get_tls",
        "arm",
    ),
    Absent(
        "Debian's kernel has no CONFIG_NUMA here",
        "mbind get_mempolicy set_mempolicy migrate_pages move_pages set_mempolicy_home_node",
        "i386 arm s390x mips64el",
    ),
    Absent(
        "the kernel has no memory protection keys here",
        "pkey_mprotect pkey_alloc pkey_free",
        "aarch64 arm i386 loongarch64 mips64el riscv64 s390x",
    ),
    Absent(
        "Debian's kernel has no CONFIG_KEXEC_FILE here",
        "kexec_file_load",
        "aarch64 arm loongarch64 ppc64le riscv64 s390x",
    ),
    Absent("Debian's kernel has no CONFIG_KEXEC here", "kexec_load", "s390x"),
    Absent(
        "needs a processor with shadow stacks",
        "map_shadow_stack",
        "arm loongarch64 ppc64le s390x",
    ),
    Absent("64-bit kernels only", "mseal", "arm"),
    Absent(
        "switched off before Linux 6.5, or not made for that architecture",
        "memfd_secret",
        "x86_64 aarch64 i386",
    ),
    Absent("Debian's kernel has no CONFIG_RSEQ_SLICE_EXTENSION", "rseq_slice_yield"),
)
"""Calls configured out or never there. A reason that nowhere applies any more is an error."""


def numbers(abi: str) -> list[int]:
    """Return all numbers to ask for: those of the table, the gaps in it, some beyond."""
    known = set(plain_tables()[abi].values())
    first = min(known)
    # The calls of arm with numbers of their own, far above, are no end of the table.
    last = max(nr for nr in known if nr - first < 10_000)
    return sorted(known | set(range(first, last + 1 + BEYOND)))


def enosys(abi: str) -> int:
    """Return ENOSYS there."""
    return errnos_of(abi)["ENOSYS"]


def reasons(abi: str) -> dict[str, Absent]:
    """Return, for names that a kernel may lack, why."""
    return {
        name: one
        for one in ABSENT
        if not one.abis or abi in one.abis.split()
        for name in one.names.split()
    }


def newer_than(abi: str, release: str) -> set[str]:
    """Return the calls that our history says came after that release, such as ``6.1.0-26``."""
    here = numbers_of(".".join(release.split(".")[:2]))
    return {call for call, cell in plain_since()[abi].items() if bounds(cell)[0] > here}


def differences(
    abi: str, release: str, table: Mapping[str, int], absent: Iterable[int]
) -> list[str]:
    """Say what of a table the kernel of that release contradicts; ``absent`` is what it lacks."""
    newer = newer_than(abi, release)
    excused = reasons(abi)
    lacking = set(absent)
    found = []
    for name, nr in sorted(table.items(), key=lambda item: item[1]):
        if name in newer and nr not in lacking:
            found.append(f"{name} ({nr}) is newer than Linux {release}, which has the number")
        if name not in newer and nr in lacking and name not in excused:
            found.append(f"{name} ({nr}): Linux {release} says ENOSYS")
    known = set(table.values())
    found += [
        f"{nr} is not in the table, but Linux {release} has it"
        for nr in numbers(abi)
        if nr not in known and nr not in lacking
    ]
    return found


def excuses(abi: str, release: str, absent: Iterable[int]) -> dict[str, Absent]:
    """Return which names this kernel lacks for a reason other than its age, and the reason."""
    table = plain_tables()[abi]
    newer = newer_than(abi, release)
    lacking = set(absent)
    return {
        name: why
        for name, why in reasons(abi).items()
        if name in table and table[name] in lacking and name not in newer
    }


def idle(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say which parts of ABSENT no result of any guest needs: names of it, and ABIs."""
    needed = {(why, name, one["abi"]) for one in results for name, why in one["excuses"].items()}
    found = []
    for absent in ABSENT:
        names = {name for why, name, _ in needed if why == absent.why}
        abis = {abi for why, _, abi in needed if why == absent.why}
        # Where several entries give one reason, each has names or ABIs of its own.
        unneeded = [name for name in absent.names.split() if name not in names]
        unneeded += [abi for abi in absent.abis.split() if abi not in abis]
        if unneeded:
            found.append(f"{absent.why}: no kernel needs {', '.join(unneeded)}")
    return found
