"""The filters that firejail installs for a profile, as answers by ABI and number.

firejail loads several programs. The kernel takes the severest answer, and of equal ones that of the
filter installed last, which firejail loaded first. A program for x86_64 gives the numbers of x32
its refusal, and lets calls through other ABIs pass; so does one for i386 with those of x86_64.
Arguments are compared by their low words.

Sources: seccomp.c and sandbox.c of firejail 0.9.74, and its fseccomp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.formats.stacked import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.errors import Position
    from seccompgen.formats.firejail.lists import ListProgram
    from seccompgen.formats.stacked import Answer

EPERM = "errno(EPERM)"
FAMILIES = {
    "unix": "AF_UNIX", "inet": "AF_INET", "inet6": "AF_INET6", "netlink": "AF_NETLINK",
    "packet": "AF_PACKET", "bluetooth": "AF_BLUETOOTH",
}  # fmt: skip
"""firejail's names of socket families, and the kernel's."""
_SECONDARY = (
    "mount umount2 ptrace kexec_load name_to_handle_at open_by_handle_at create_module "
    "init_module finit_module delete_module iopl ioperm ioprio_set swapon swapoff syslog "
    "process_vm_readv process_vm_writev sysfs _sysctl adjtimex clock_adjtime lookup_dcookie "
    "perf_event_open fanotify_init kcmp add_key request_key keyctl uselib acct modify_ldt "
    "pivot_root io_setup io_destroy io_getevents io_submit io_cancel remap_file_pages mbind "
    "set_mempolicy migrate_pages move_pages vmsplice chroot reboot nfsservctl get_kernel_syms"
)
"""The calls of i386 that a profile with ``seccomp`` refuses, whatever its list says."""
_MAPPINGS: dict[str, dict[str, str | None]] = {
    "x86_64": {"mmap": "u32(arg2) & 6 == 6"},
    "i386": {"mmap2": "u32(arg2) & 6 == 6", "mmap": None},
}
"""By ABI: the calls that map memory, and when they are refused: None for always."""


Calls: TypeAlias = "dict[str | int, tuple[str | None, Answer]]"
"""Answers to calls by name or number, each with a condition in our language, or None."""


class InstalledFilter(NamedTuple):
    """A filter: its answers to calls by ABI, and to all others by ABI."""

    calls: Mapping[str, Calls]
    others: Mapping[str, Answer]


def of_list(program: ListProgram, abi: str, refusal: str, at: Position) -> InstalledFilter:
    """Return a filter for ``abi`` that is made of a list."""
    answers: Calls = {number: (None, answer) for number, answer in program.answers().items()}
    others = {abi: (program.rest, at)}
    if abi == "x86_64":
        others["x32"] = refusal, at
    return InstalledFilter({abi: answers}, others)


def secondary(refusal: str, at: Position) -> InstalledFilter:
    """Return firejail's own filter for i386."""
    return InstalledFilter({"i386": dict.fromkeys(_SECONDARY.split(), (None, (refusal, at)))}, {})


def block_secondary(refusal: str, at: Position) -> InstalledFilter:
    """Return the filter that refuses all ABIs but x86_64, and the change to another one."""
    answer = refusal, at
    when = "u64(arg0) not in {0, 0xffffffff}"
    return InstalledFilter(
        {"x86_64": {"personality": (when, answer)}}, {"x32": answer, "i386": answer}
    )


def protocols(named: Mapping[str, Position], refusal: str, at: Position) -> InstalledFilter:
    """Return the filter of address families: it knows socket, but no socketcall."""
    families = [FAMILIES[one] for one in named]
    other = f"not in {{{', '.join(families)}}}" if len(families) > 1 else f"!= {families[0]}"
    answer = f"u32(arg0) {other}", ("errno(EOPNOTSUPP)", at)
    calls: dict[str, Calls] = {abi: {"socket": answer} for abi in ("x86_64", "i386")}
    return InstalledFilter(calls, {"x32": (refusal, at)})


def written_code(abi: str, refusal: str, at: Position) -> InstalledFilter:
    """Return the filter for ``abi`` that refuses memory that is written and executed."""
    conditions: dict[str, str | None] = {
        **_MAPPINGS[abi], "mprotect": "u32(arg2) & PROT_EXEC",
        "pkey_mprotect": "u32(arg2) & PROT_EXEC", "shmat": "u32(arg2) & SHM_EXEC",
        "memfd_create": None,
    }  # fmt: skip
    answers: Calls = {call: (when, (refusal, at)) for call, when in conditions.items()}
    others = {"x32": (refusal, at)} if abi == "x86_64" else {}
    return InstalledFilter({abi: answers}, others)


def namespaces(
    abi: str, named: Mapping[str, Position], refusal: str, at: Position
) -> InstalledFilter:
    """Return the filter for ``abi`` that refuses new namespaces of the ``named`` kinds.

    clone has no flag for time: its bit means something else there.
    """
    answer = refusal, at
    flags = sum(NAMESPACES[one] for one in named)
    answers: Calls = {
        "clone3": (None, ("errno(ENOSYS)", at)),
        "unshare": (f"u32(arg0) & {flags:#x}", answer),
        "setns": (f"u32(arg1) == 0 or u32(arg1) & {flags:#x}", answer),
    }
    if cloned := flags & ~NAMESPACES["time"]:
        answers["clone"] = f"u32(arg0) & {cloned:#x}", answer
    return InstalledFilter({abi: answers}, {"x32": answer} if abi == "x86_64" else {})
