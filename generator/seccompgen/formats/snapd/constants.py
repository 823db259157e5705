"""The constants that snapd's policies may name, and their values.

snap-seccomp knows these names alone, 225 at bee548f, 220 of them since before 2.70. It takes values
from the headers of the machine that it is built for, also for calls through other ABIs.

Source: cmd/snap-seccomp/main.go of canonical/snapd; a test compares with its program's values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts

_NAMES = {
    "AF_": (
        "UNIX LOCAL INET INET6 IPX NETLINK X25 AX25 ATMPVC APPLETALK PACKET ALG BRIDGE NETROM "
        "ROSE NETBEUI SECURITY KEY ASH ECONET SNA IRDA PPPOX WANPIPE BLUETOOTH RDS LLC TIPC "
        "IUCV RXRPC ISDN PHONET IEEE802154 CAIF NFC VSOCK IB MPLS CAN CONN QIPCRTR XDP"
    ),
    "SOCK_": "STREAM DGRAM SEQPACKET RAW RDM PACKET",
    "PR_": (
        "CAP_AMBIENT CAPBSET_READ CAPBSET_DROP SET_CHILD_SUBREAPER GET_CHILD_SUBREAPER "
        "SET_DUMPABLE GET_DUMPABLE SET_ENDIAN GET_ENDIAN SET_FPEMU GET_FPEMU SET_FPEXC "
        "GET_FPEXC SET_KEEPCAPS GET_KEEPCAPS MCE_KILL MCE_KILL_GET SET_MM "
        "MPX_ENABLE_MANAGEMENT MPX_DISABLE_MANAGEMENT SET_NAME GET_NAME SET_NO_NEW_PRIVS "
        "GET_NO_NEW_PRIVS SET_PDEATHSIG GET_PDEATHSIG SET_PTRACER SET_SECCOMP GET_SECCOMP "
        "SET_SECUREBITS GET_SECUREBITS SET_THP_DISABLE TASK_PERF_EVENTS_DISABLE "
        "TASK_PERF_EVENTS_ENABLE GET_THP_DISABLE GET_TID_ADDRESS SET_TIMERSLACK "
        "GET_TIMERSLACK SET_TIMING GET_TIMING SET_TSC GET_TSC SET_UNALIGN GET_UNALIGN"
    ),
    "PR_CAP_AMBIENT_": "RAISE LOWER IS_SET CLEAR_ALL",
    "PR_SET_MM_": (
        "START_CODE END_CODE START_DATA END_DATA START_STACK START_BRK BRK ARG_START ARG_END "
        "ENV_START ENV_END AUXV EXE_FILE"
    ),
    "PRIO_": "PROCESS PGRP USER",
    "CLONE_": "NEWIPC NEWNET NEWNS NEWPID NEWUSER NEWUTS",
    "TIOC": "STI LINUX",
    "Q_": (
        "SYNC QUOTAON QUOTAOFF GETFMT GETINFO SETINFO GETQUOTA SETQUOTA XQUOTAON XQUOTAOFF "
        "XGETQUOTA XSETQLIM XGETQSTAT XQUOTARM"
    ),
    "S_": "IFREG IFCHR IFBLK IFIFO IFSOCK ISUID ISGID",
    "NETLINK_": (
        "ROUTE USERSOCK FIREWALL SOCK_DIAG NFLOG XFRM SELINUX ISCSI AUDIT FIB_LOOKUP "
        "CONNECTOR NETFILTER IP6_FW DNRTMSG KOBJECT_UEVENT GENERIC SCSITRANSPORT ECRYPTFS "
        "RDMA CRYPTO INET_DIAG"
    ),
    "PTRACE_": (
        "ATTACH DETACH GETREGS GETFPREGS GETFPXREGS GETREGSET PEEKDATA PEEKUSR PEEKUSER CONT"
    ),
    "KCMP_": "FILE VM FILES FS SIGHAND IO SYSVSEM EPOLL_TFD",
    "O_": "CREAT TMPFILE NOTIFICATION_PIPE",
}
"""The names without what they begin with; each of AF_ has a twin of PF_."""
CONSTANTS = frozenset(
    begin + name
    for start, names in _NAMES.items()
    for name in names.split()
    for begin in ({start, "PF_"} if start == "AF_" else {start})
)
NEWER = frozenset({"O_CREAT", "O_TMPFILE", "O_NOTIFICATION_PIPE", "S_ISUID", "S_ISGID"})
"""Constants that snapd 2.68 refuses."""
_OWN = {
    "AF_CONN": 123, "PF_CONN": 123, "PTRACE_GETREGS": 12, "PTRACE_GETFPREGS": 14,
    "PTRACE_GETFPXREGS": 18, "TIOCLINUX": 0x541C,
}  # fmt: skip
"""Values that snapd defines where the headers do not."""
_SPELLED = {"PTRACE_PEEKUSER": "PTRACE_PEEKUSR"}
"""The kernel's name of a constant that has another in the C library."""


def constant_value(name: str, machine: Abi, facts: Facts) -> int | None:
    """Return the value of a constant as snapd has it on ``machine``; None if it knows none."""
    if name not in CONSTANTS:
        return None
    value = facts.value(_SPELLED.get(name, name), machine)
    return _OWN.get(name) if value is None else value
