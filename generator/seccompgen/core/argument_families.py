"""The constants that the arguments of system calls are made of, by the names of call and argument.

Arguments have the names of the kernel's prototypes; the man page's, where that differs, is listed
beside it. Sources: section 2 of the manual, and ``include/uapi``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.constant_families import ConstantFamily, flags_family, values_family
from seccompgen.core.known_families import (
    ADDRESS_FAMILIES,
    AT_FLAGS,
    BPF_COMMANDS,
    CAPABILITIES,
    CLOCKS,
    CLONE_FLAGS,
    DESCRIPTOR_FLAGS,
    DIRECTORY_DESCRIPTORS,
    FCNTL_COMMANDS,
    FILE_MODES,
    FUTEX_OPERATIONS,
    INET_PROTOCOLS,
    INOTIFY_EVENTS,
    IOCTL_REQUESTS,
    IP_OPTIONS,
    IPV6_OPTIONS,
    MAP_FLAGS,
    MEMORY_ADVICE,
    MEMORY_POLICIES,
    MESSAGE_FLAGS,
    MOUNT_FLAGS,
    NAMESPACES,
    NETLINK_PROTOCOLS,
    OPEN_FLAGS,
    OPTION_LEVELS,
    PACKET_OPTIONS,
    PERSONALITIES,
    PRCTL_OPTIONS,
    PROTECTIONS,
    PTRACE_REQUESTS,
    SCHEDULERS,
    SEALS,
    SIGNALS,
    SOCKET_CALLS,
    SOCKET_FLAG_NAMES,
    SOCKET_OPTIONS,
    SOCKET_TYPES,
    STATX_FLAGS,
    STATX_MASK,
    TCP_OPTIONS,
    UDP_OPTIONS,
    UMOUNT_FLAGS,
    WAIT_OPTIONS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_IPC = "IPC_RMID IPC_SET IPC_STAT IPC_INFO"


def _control(names: str) -> ConstantFamily:
    """Return the commands of semctl, msgctl or shmctl; IPC_64 is set by some C libraries."""
    return ConstantFamily(flags="IPC_64", part=f"{_IPC} {names}", mask="0xff")


_BY_NAME: dict[str, ConstantFamily] = {
    "dfd dirfd olddfd newdfd olddirfd newdirfd from_dfd to_dfd from_dirfd to_dirfd mountdirfd "
    "mount_fd": DIRECTORY_DESCRIPTORS,
    "clockid which_clock clk_id": CLOCKS,
    "sig signum": SIGNALS,
    "whence origin": values_family("SEEK_* -SEEK_MAX"),
    "at_flags": AT_FLAGS,
}
"""Arguments of every call that have these names."""

_CALLS: dict[str, dict[str, ConstantFamily]] = {
    "socket socketpair": {"family domain": ADDRESS_FAMILIES, "type": SOCKET_TYPES},
    "accept4": {"flags": flags_family(SOCKET_FLAG_NAMES)},
    "setsockopt getsockopt": {"level": OPTION_LEVELS},
    "send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64": {
        "flags": MESSAGE_FLAGS
    },
    "shutdown": {"how": values_family("SHUT_RD SHUT_WR SHUT_RDWR")},
    "socketcall": {"call": SOCKET_CALLS},
    "mmap mmap2 remap_file_pages": {"prot": PROTECTIONS, "flags": MAP_FLAGS},
    "mprotect pkey_mprotect": {"prot": PROTECTIONS},
    "madvise process_madvise": {"behavior advice": MEMORY_ADVICE},
    "mremap": {"flags": flags_family("MREMAP_*")},
    "mlock2": {"flags": flags_family("MLOCK_ONFAULT")},
    "mlockall": {"flags": flags_family("MCL_*")},
    "msync": {"flags": flags_family("MS_ASYNC MS_INVALIDATE MS_SYNC")},
    "mbind": {"mode": MEMORY_POLICIES, "flags": flags_family("MPOL_MF_* -MPOL_MF_VALID")},
    "move_pages": {"flags": flags_family("MPOL_MF_* -MPOL_MF_VALID")},
    "set_mempolicy": {"mode": MEMORY_POLICIES},
    "get_mempolicy": {"flags": flags_family("MPOL_F_NODE MPOL_F_ADDR MPOL_F_MEMS_ALLOWED")},
    "memfd_create": {"flags": flags_family("MFD_* -MFD_HUGE_*")},
    "memfd_secret pidfd_getfd": {"flags": flags_family("O_CLOEXEC")},
    "pkey_alloc": {"init_val access_rights": flags_family("PKEY_DISABLE_*")},
    "map_shadow_stack": {"flags": flags_family("SHADOW_STACK_SET_*")},
    "open openat": {"flags": OPEN_FLAGS, "mode": FILE_MODES},
    "open_by_handle_at": {"flags": OPEN_FLAGS},
    "creat mkdir mkdirat chmod fchmod fchmodat fchmodat2 mknod mknodat": {"mode": FILE_MODES},
    "mq_open": {"oflag": OPEN_FLAGS, "mode": FILE_MODES},
    "pipe2 dup3": {"flags": DESCRIPTOR_FLAGS},
    "delete_module": {"flags": DESCRIPTOR_FLAGS},
    "fcntl fcntl64": {"cmd op": FCNTL_COMMANDS},
    "ioctl": {"cmd request op": IOCTL_REQUESTS},
    "flock": {"cmd op operation": flags_family("LOCK_SH LOCK_EX LOCK_NB LOCK_UN")},
    "fallocate": {"mode": flags_family("FALLOC_FL_*")},
    "fadvise64 fadvise64_64": {"advice": values_family("POSIX_FADV_*")},
    "sync_file_range sync_file_range2": {"flags": flags_family("SYNC_FILE_RANGE_*")},
    "splice tee vmsplice": {"flags": flags_family("SPLICE_F_*")},
    "preadv2 pwritev2": {"flags": flags_family("RWF_* -RWF_SUPPORTED")},
    "close_range": {"flags": flags_family("CLOSE_RANGE_*")},
    "setxattr lsetxattr fsetxattr": {"flags": flags_family("XATTR_CREATE XATTR_REPLACE")},
    "newfstatat fstatat64": {"flag flags": AT_FLAGS},
    "statx": {"flags": STATX_FLAGS, "mask": STATX_MASK},
    "unlinkat": {"flag flags": flags_family("AT_REMOVEDIR")},
    "linkat fchownat fchmodat2 utimensat utimensat_time64": {"flag flags": AT_FLAGS},
    "faccessat2": {"flags": flags_family("AT_EACCESS AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH")},
    "execveat": {
        "flags": flags_family("AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH AT_EXECVE_CHECK"),
    },
    "name_to_handle_at": {
        "flag flags": flags_family(
            "AT_SYMLINK_FOLLOW AT_EMPTY_PATH AT_HANDLE_FID AT_HANDLE_MNT_ID_UNIQUE "
            "AT_HANDLE_CONNECTABLE"
        )
    },
    "renameat2": {"flags": flags_family("RENAME_*")},
    "mount": {"flags mountflags": MOUNT_FLAGS},
    "umount2 umount": {"flags": UMOUNT_FLAGS},
    "fanotify_mark": {"flags": flags_family("FAN_MARK_*")},
    "open_tree open_tree_attr": {
        "flags": flags_family(
            "OPEN_TREE_* AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH AT_NO_AUTOMOUNT AT_RECURSIVE"
        )
    },
    "move_mount": {"flags ms_flags": flags_family("MOVE_MOUNT_* -MOVE_MOUNT__MASK")},
    "mount_setattr": {
        "flags": flags_family("AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH AT_NO_AUTOMOUNT AT_RECURSIVE")
    },
    "fsopen": {"flags": flags_family("FSOPEN_CLOEXEC")},
    "fsconfig": {"cmd": values_family("FSCONFIG_*")},
    "fsmount": {
        "flags": flags_family("FSMOUNT_*"),
        "attr_flags ms_flags": flags_family("MOUNT_ATTR_* -MOUNT_ATTR__ATIME -MOUNT_ATTR_SIZE_*"),
    },
    "fspick": {"flags": flags_family("FSPICK_*")},
    "swapon": {"swap_flags swapflags": flags_family("SWAP_FLAG_PREFER SWAP_FLAG_DISCARD")},
    "inotify_init1": {"flags": flags_family("IN_CLOEXEC IN_NONBLOCK")},
    "inotify_add_watch": {"mask": INOTIFY_EVENTS},
    "fanotify_init": {
        "flags": flags_family(
            "FAN_CLOEXEC FAN_NONBLOCK FAN_CLASS_CONTENT FAN_CLASS_PRE_CONTENT FAN_UNLIMITED_* "
            "FAN_ENABLE_AUDIT FAN_REPORT_*"
        ),
        "event_f_flags": OPEN_FLAGS,
    },
    "epoll_create1": {"flags": flags_family("EPOLL_CLOEXEC")},
    "epoll_ctl": {"op": values_family("EPOLL_CTL_*")},
    "eventfd2": {"flags": flags_family("EFD_* -EFD_SHARED_FCNTL_FLAGS -EFD_FLAGS_SET")},
    "signalfd4": {"flags": flags_family("SFD_*")},
    "timerfd_create": {"flags": flags_family("TFD_CLOEXEC TFD_NONBLOCK")},
    "timerfd_settime timerfd_settime64": {"flags": flags_family("TFD_TIMER_*")},
    "userfaultfd": {"flags": flags_family("UFFD_USER_MODE_ONLY O_CLOEXEC O_NONBLOCK")},
    "clone": {"flags clone_flags": CLONE_FLAGS},
    "unshare": {"unshare_flags flags": NAMESPACES},
    "setns": {"nstype flags": NAMESPACES},
    "personality": {"personality persona": PERSONALITIES},
    "prctl": {"option op": PRCTL_OPTIONS},
    "arch_prctl": {"option code op": values_family("ARCH_*")},
    "ptrace": {"request op": PTRACE_REQUESTS},
    "seccomp": {
        "op operation": values_family(
            "SECCOMP_SET_MODE_STRICT SECCOMP_SET_MODE_FILTER SECCOMP_GET_ACTION_AVAIL "
            "SECCOMP_GET_NOTIF_SIZES"
        ),
        "flags": flags_family("SECCOMP_FILTER_FLAG_*"),
    },
    "bpf": {"cmd": BPF_COMMANDS},
    "keyctl": {
        "cmd option op operation": values_family(
            "KEYCTL_* -KEYCTL_SUPPORTS_* -KEYCTL_CAPS0_* -KEYCTL_CAPS1_* -KEYCTL_MOVE_EXCL"
        )
    },
    "rt_sigprocmask sigprocmask": {"how": values_family("SIG_BLOCK SIG_UNBLOCK SIG_SETMASK")},
    "pidfd_open": {"flags": flags_family("PIDFD_NONBLOCK PIDFD_THREAD")},
    "pidfd_send_signal": {"flags": flags_family("PIDFD_SIGNAL_*")},
    "wait4 waitpid": {"options": WAIT_OPTIONS},
    "waitid": {
        "which idtype": values_family("P_ALL P_PID P_PGID P_PIDFD"),
        "options": WAIT_OPTIONS,
    },
    "kcmp": {"type": values_family("KCMP_* -KCMP_TYPES")},
    "futex futex_time64": {"op futex_op": FUTEX_OPERATIONS},
    "futex_wait futex_wake futex_requeue": {
        "flags": ConstantFamily(
            flags="FUTEX2_NUMA FUTEX2_MPOL FUTEX2_PRIVATE",
            part="FUTEX2_SIZE_U8 FUTEX2_SIZE_U16 FUTEX2_SIZE_U32 FUTEX2_SIZE_U64",
            mask="FUTEX2_SIZE_MASK",
        )
    },
    "clock_nanosleep clock_nanosleep_time64 timer_settime timer_settime64": {
        "flags": flags_family("TIMER_ABSTIME")
    },
    "getitimer setitimer": {"which": values_family("ITIMER_*")},
    "getrlimit setrlimit prlimit64 ugetrlimit": {"resource": values_family("RLIMIT_*")},
    "getrusage": {"who": values_family("RUSAGE_*")},
    "getpriority setpriority": {"which": values_family("PRIO_PROCESS PRIO_PGRP PRIO_USER")},
    "ioprio_get ioprio_set": {"which": values_family("IOPRIO_WHO_*")},
    "sched_setscheduler sched_get_priority_max sched_get_priority_min": {"policy": SCHEDULERS},
    "membarrier": {
        "cmd": values_family("MEMBARRIER_CMD_* -MEMBARRIER_CMD_FLAG_*"),
        "flags": flags_family("MEMBARRIER_CMD_FLAG_*"),
    },
    "getrandom": {"flags": flags_family("GRND_*")},
    "io_uring_enter": {"flags": flags_family("IORING_ENTER_*")},
    "io_uring_register": {
        "op opcode": ConstantFamily(
            flags="IORING_REGISTER_USE_REGISTERED_RING",
            part="IORING_REGISTER_* IORING_UNREGISTER_* -IORING_REGISTER_LAST "
            "-IORING_REGISTER_USE_REGISTERED_RING -IORING_REGISTER_FILES_SKIP "
            "-IORING_REGISTER_SRC_REGISTERED -IORING_REGISTER_DST_REPLACE",
            mask="0xff",
        )
    },
    "landlock_create_ruleset": {"flags": flags_family("LANDLOCK_CREATE_RULESET_*")},
    "landlock_add_rule": {"rule_type": values_family("LANDLOCK_RULE_*")},
    "landlock_restrict_self": {"flags": flags_family("LANDLOCK_RESTRICT_SELF_*")},
    "perf_event_open": {"flags": flags_family("PERF_FLAG_*")},
    "finit_module": {"flags": flags_family("MODULE_INIT_*")},
    "kexec_load": {"flags": flags_family("KEXEC_ON_CRASH KEXEC_PRESERVE_CONTEXT KEXEC_UPDATE_*")},
    "kexec_file_load": {"flags": flags_family("KEXEC_FILE_*")},
    "reboot": {
        "magic1 magic": values_family("LINUX_REBOOT_MAGIC1"),
        "magic2": values_family("LINUX_REBOOT_MAGIC2*"),
        "cmd op": values_family("LINUX_REBOOT_CMD_*"),
    },
    "semctl": {
        "cmd op": _control(
            "GETPID GETVAL GETALL GETNCNT GETZCNT SETVAL SETALL SEM_STAT SEM_INFO SEM_STAT_ANY"
        )
    },
    "msgctl": {"cmd op": _control("MSG_STAT MSG_INFO MSG_STAT_ANY")},
    "shmctl": {"cmd op": _control("SHM_LOCK SHM_UNLOCK SHM_STAT SHM_INFO SHM_STAT_ANY")},
    "semget": {"semflg": flags_family("IPC_CREAT IPC_EXCL")},
    "msgget": {"msgflg": flags_family("IPC_CREAT IPC_EXCL")},
    "shmget": {"flag shmflg": flags_family("IPC_CREAT IPC_EXCL SHM_HUGETLB SHM_NORESERVE")},
    "shmat": {"shmflg": flags_family("SHM_RDONLY SHM_RND SHM_REMAP SHM_EXEC")},
    "msgrcv msgsnd": {"msgflg": flags_family("IPC_NOWAIT MSG_NOERROR MSG_EXCEPT MSG_COPY")},
    "ipc": {
        "call": ConstantFamily(
            part="SEMOP SEMGET SEMCTL SEMTIMEDOP MSGSND MSGRCV MSGGET MSGCTL SHMAT SHMDT SHMGET "
            "SHMCTL",
            mask="0xffff",
        )
    },
}

_BY_OTHER: dict[tuple[str, str, str], dict[str, ConstantFamily]] = {
    ("setsockopt getsockopt", "optname", "level"): {
        "SOL_SOCKET": SOCKET_OPTIONS,
        "IPPROTO_TCP": TCP_OPTIONS,
        "SOL_TCP": TCP_OPTIONS,
        "SOL_UDP": UDP_OPTIONS,
        "SOL_IP": IP_OPTIONS,
        "SOL_IPV6": IPV6_OPTIONS,
        "IPPROTO_MPTCP": TCP_OPTIONS,
        "IPPROTO_UDP": UDP_OPTIONS,
        "IPPROTO_IP": IP_OPTIONS,
        "IPPROTO_IPV6": IPV6_OPTIONS,
        "SOL_NETLINK": values_family(
            "NETLINK_ADD_MEMBERSHIP NETLINK_DROP_MEMBERSHIP NETLINK_PKTINFO"
        ),
        "SOL_PACKET": PACKET_OPTIONS,
    },
    ("socket socketpair", "protocol", "family domain"): {
        "AF_INET": INET_PROTOCOLS,
        "AF_INET6": INET_PROTOCOLS,
        "AF_NETLINK": NETLINK_PROTOCOLS,
    },
    ("fcntl fcntl64", "arg", "cmd op"): {
        "F_SETFL": OPEN_FLAGS,
        "F_SETFD": flags_family("FD_CLOEXEC"),
        "F_ADD_SEALS": SEALS,
        "F_SETSIG": SIGNALS,
        "F_SETLEASE": values_family("F_RDLCK F_WRLCK F_UNLCK"),
    },
    ("prctl", "arg2", "option op"): {
        "PR_SET_PDEATHSIG": SIGNALS,
        "PR_CAPBSET_READ": CAPABILITIES,
        "PR_CAPBSET_DROP": CAPABILITIES,
        "PR_CAP_AMBIENT": values_family("PR_CAP_AMBIENT_*"),
        "PR_SET_SECCOMP": values_family("SECCOMP_MODE_*"),
        "PR_SET_MM": values_family("PR_SET_MM_*"),
        "PR_SET_VMA": values_family("PR_SET_VMA_*"),
        "PR_SET_MDWE": flags_family("PR_MDWE_*"),
        "PR_SET_SPECULATION_CTRL": values_family("PR_SPEC_STORE_BYPASS PR_SPEC_INDIRECT_BRANCH"),
        "PR_GET_SPECULATION_CTRL": values_family("PR_SPEC_STORE_BYPASS PR_SPEC_INDIRECT_BRANCH"),
    },
}
"""Arguments whose constants depend on another one: calls, argument, the other, and by its value."""


def _flat(table: Mapping[str, dict[str, ConstantFamily]]) -> dict[tuple[str, str], ConstantFamily]:
    return {
        (call, name): family
        for calls, arguments in table.items()
        for call in calls.split()
        for names, family in arguments.items()
        for name in names.split()
    }


_FAMILIES = _flat(_CALLS)
_ANYWHERE = {name: family for names, family in _BY_NAME.items() for name in names.split()}
_DEPENDENT = {
    (call, argument): (tuple(other.split()), families)
    for (calls, argument, other), families in _BY_OTHER.items()
    for call in calls.split()
}


def family_of(call: str, argument: str) -> ConstantFamily | None:
    """Return the constants that ``argument`` of ``call`` is made of.

    None if it is of none, or if that depends on another argument.
    """
    return _FAMILIES.get((call, argument)) or _ANYWHERE.get(argument)


def dependent_families(
    call: str, argument: str
) -> tuple[tuple[str, ...], Mapping[str, ConstantFamily]]:
    """Return on what the constants of ``argument`` of ``call`` depend.

    That is another argument, by its possible names, and a family for each constant that this one
    may be. Both are empty where nothing depends on anything.
    """
    return _DEPENDENT.get((call, argument), ((), {}))


def families_of(call: str, argument: str) -> tuple[ConstantFamily, ...]:
    """Return every family that ``argument`` of ``call`` may be of, whatever the others are."""
    found = family_of(call, argument)
    families = dependent_families(call, argument)[1].values()
    return (found,) if found else tuple(dict.fromkeys(families))
