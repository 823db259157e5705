"""Arguments whose values select what a call does, and how recorded values are generalised.

Those that select what a call does, from few values: not descriptors, sizes and addresses. Where
names of constants are known some day, this is what says which family of names an argument has.
Sources: the man page of each call; the kernel's own types, for the width that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi


@dataclass(frozen=True, slots=True)
class Worth:
    """An argument worth constraining: 0 to 5.

    ``bits`` is True where it is a set of flags, False where it is one of several values. The
    kernel reads ``width`` bits of it, 32 or 64; of a 64-bit argument it then ignores the rest.
    ``constants`` is how the names of its values begin.
    """

    index: int
    constants: str
    bits: bool = False
    width: int = 32

    @property
    def mask(self) -> int:
        """The bits that the kernel reads."""
        return U64 if self.width == 64 else U32


_WORTH = {
    "arch_prctl": Worth(0, "ARCH_"),
    "bpf": Worth(0, "BPF_"),
    "clone": Worth(0, "CLONE_", bits=True),
    "fcntl": Worth(1, "F_"),
    "fcntl64": Worth(1, "F_"),
    "ipc": Worth(0, ""),
    "ioctl": Worth(1, ""),
    "keyctl": Worth(0, "KEYCTL_"),
    "mmap": Worth(2, "PROT_", bits=True, width=64),
    "mmap2": Worth(2, "PROT_", bits=True, width=64),
    "mprotect": Worth(2, "PROT_", bits=True, width=64),
    "personality": Worth(0, "PER_"),
    "pkey_mprotect": Worth(2, "PROT_", bits=True, width=64),
    "prctl": Worth(0, "PR_"),
    "ptrace": Worth(0, "PTRACE_", width=64),
    "seccomp": Worth(0, "SECCOMP_SET_"),
    "setns": Worth(1, "CLONE_", bits=True),
    "socket": Worth(0, "AF_"),
    "socketcall": Worth(0, "SYS_"),
    "socketpair": Worth(0, "AF_"),
    "unshare": Worth(0, "CLONE_", bits=True, width=64),
}
# Calls of the same name that take something else there: a pointer to all arguments (old_mmap),
# the stack before the flags (CLONE_BACKWARDS2).
_OTHERWISE = {
    "mmap": {"i386", "m68k", "s390", "s390x"},
    "clone": {"s390", "s390x"},
}


def worth(name: str, abi: Abi) -> Worth | None:
    """Return which argument of a call is worth constraining on ``abi``, None if there is none."""
    return None if abi.name in _OTHERWISE.get(name, ()) else _WORTH.get(name)
