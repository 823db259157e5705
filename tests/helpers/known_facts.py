"""A few constants and prototypes, by hand from the headers of Linux."""

from __future__ import annotations

from dataclasses import replace

from seccompgen.core.abis import ABIS
from seccompgen.core.facts import Constant, Facts, Parameter, Prototype
from seccompgen.kernel.shipped import shipped_tables

_VALUES = """
AF_UNSPEC=0 AF_UNIX=1 AF_LOCAL=1 AF_INET=2 AF_INET6=10 AF_NETLINK=16 AF_ROUTE=16 AF_MAX=46
SOCK_STREAM=1 SOCK_DGRAM=2 SOCK_RAW=3 SOCK_SEQPACKET=5 SOCK_CLOEXEC=0o2000000 SOCK_NONBLOCK=0o4000
SOL_SOCKET=1 SO_REUSEADDR=2 SO_KEEPALIVE=9 SO_EE_ORIGIN_LOCAL=1 IPPROTO_TCP=6 SOL_TCP=6
TCP_NODELAY=1 TCP_CORK=3 TCP_KEEPCNT=6 TCP_ESTABLISHED=1
PROT_NONE=0 PROT_READ=1 PROT_WRITE=2 PROT_EXEC=4 PROT_GROWSDOWN=0x1000000
MAP_TYPE=0xf MAP_SHARED=1 MAP_PRIVATE=2 MAP_FIXED=0x10 MAP_ANONYMOUS=0x20
O_ACCMODE=3 O_RDONLY=0 O_WRONLY=1 O_RDWR=2 O_CREAT=0o100 O_TRUNC=0o1000 O_CLOEXEC=0o2000000
O_NONBLOCK=0o4000 O_DIRECTORY=0o200000 O_TMPFILE=0o20200000 __O_TMPFILE=0o20000000 O_NDELAY=0o4000
AT_FDCWD=-100 AT_EMPTY_PATH=0x1000
CLONE_NEWUSER=0x10000000 CLONE_NEWNS=0x20000 CLONE_VM=0x100 CLONE_THREAD=0x10000 CSIGNAL=0xff
SIGCHLD=17 SIGKILL=9 SIG_BLOCK=0 SIGABRT=6 SIGIOT=6
F_DUPFD=0 F_GETFD=1 F_SETFD=2 F_SETFL=4 F_SETLK=6 F_SETLKW=7 F_RDLCK=0 FD_CLOEXEC=1
FIONREAD=0x541b TIOCINQ=0x541b FIONBIO=0x5421 TCGETS=0x5401 TIOCSTI=0x5412 TIOCM_OUT1=0x2000
KVM_RUN=0xae80 KVM_CAP_IRQCHIP=0 KVM_CAP_ODD=0xae81 SNDCTL_TMR_TIMEBASE=0x5401
PR_SET_NAME=15 PR_GET_NAME=16 PR_CAPBSET_READ=23 CAP_SYS_ADMIN=21 PR_SET_MM_MAP=14
FUTEX_WAIT=0 FUTEX_WAKE=1 FUTEX_PRIVATE_FLAG=128 FUTEX_WAKE_PRIVATE=129 FUTEX_CMD_MASK=-385
S_IFMT=0o170000 S_IFREG=0o100000 S_ISUID=0o4000
PER_MASK=0xff PER_LINUX=0 ADDR_NO_RANDOMIZE=0x40000
"""
_ELSEWHERE: dict[str, dict[str, int | None]] = {
    "SOL_SOCKET": {"mips": 0xFFFF, "alpha": 0xFFFF},
    "SOCK_STREAM": {"mips": 2},
    "SOCK_DGRAM": {"mips": 1},
    "FIONREAD": {"mips": 0x467F, "alpha": 0x4004667F},
    "TIOCINQ": {"mips": 0x467F, "alpha": 0x4004667F},
    "FIONBIO": {"mips": 0x667E, "alpha": 0x8004667E},
    "TCGETS": {"mips": 0x540D, "alpha": None},
    "O_CREAT": {"mips": 0x100, "alpha": 0o1000},
    "O_TRUNC": {"mips": 0x200, "alpha": 0o2000},
    "MAP_ANONYMOUS": {"mips": 0x800, "alpha": 0x10},
}
_PROTOTYPES = """
socket family:i type:i protocol:i
setsockopt fd:i level:i optname:i optval:p optlen:i
mmap addr:l len:l prot:l flags:l fd:l off:l
mprotect start:l len:l prot:l
open filename:p flags:i mode:h
openat dfd:i filename:p flags:i mode:h
mkdir pathname:p mode:h
ioctl fd:u cmd:u arg:l
fcntl fd:u cmd:u arg:l
prctl option:i arg2:l arg3:l arg4:l arg5:l
futex uaddr:p op:i val:u utime:p uaddr2:p val3:u
kill pid:i sig:i
unshare unshare_flags:l
personality personality:u
rt_sigprocmask how:i set:p oset:p sigsetsize:l
clone flags:u newsp:l parent_tidptr:p child_tidptr:p tls:l
"""
_CLONE_BACKWARDS2 = "clone newsp:l flags:u parent_tidptr:p child_tidptr:p tls:l"
_KINDS = {
    "i": (32, True, False),
    "u": (32, False, False),
    "h": (16, False, False),
    "l": (64, False, False),
    "p": (64, False, True),
}


def _prototype(line: str, long: int) -> Prototype:
    name, *parameters = line.split()
    found = []
    for one in parameters:
        argument, kind = one.split(":")
        bits, signed, pointer = _KINDS[kind]
        found.append(Parameter(argument, kind, min(bits, long), signed, pointer))
    return Prototype(f"sys_{name}", tuple(found))


def known_facts() -> Facts:
    """Return them: of each ABI, but for calls of mips64, which nobody knows."""
    pairs = (pair.split("=") for pair in _VALUES.split())
    constants = {
        name: Constant(name, int(value, 0), _ELSEWHERE.get(name, {})) for name, value in pairs
    }
    lines = _PROTOTYPES.strip().splitlines()
    prototypes = {
        abi.name: {line.split()[0]: _prototype(line, abi.bits) for line in lines}
        for abi in ABIS.values()
        if abi.name != "mips64"
    }
    for name in ("s390", "s390x"):
        prototypes[name]["clone"] = _prototype(_CLONE_BACKWARDS2, ABIS[name].bits)
    return Facts(constants, prototypes)


KNOWN_TABLES = replace(shipped_tables(), facts=known_facts())
"""The shipped tables, with these facts."""
