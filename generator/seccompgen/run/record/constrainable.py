"""Arguments whose values select what a call does, and how recorded values are generalised.

Those that select what a call does, from few values: not descriptors, sizes and addresses. Sources:
the man page of each call; which argument of a call it is, and how wide, is the prototype's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64, Comparison, Op

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts, Prototype


@dataclass(frozen=True, slots=True)
class Worth:
    """An argument worth constraining: 0 to 5, of this ``name``.

    ``bits`` is True where it is a set of flags, False where it is one of several values. The
    kernel reads ``width`` bits of it, 32 or 64; of a 64-bit argument it then ignores the rest.
    With ``part`` only these bits select something.
    """

    name: str
    index: int
    bits: bool = False
    width: int = 32
    part: int = 0

    @property
    def mask(self) -> int:
        """The bits that count."""
        return self.part or (U64 if self.width == 64 else U32)

    def condition(self, value: int) -> Comparison:
        """Return the condition that the argument is ``value``; of flags, that it has no others."""
        if self.bits:
            return Comparison(self.index, Op.NO_BITS, ~value & self.mask, width=self.width)
        if self.part:
            return Comparison(self.index, Op.MASKED_EQ, value, self.part, self.width)
        return Comparison(self.index, Op.EQ, value, width=self.width)


_WORTH = {
    "arch_prctl": Worth("option", 0),
    "bpf": Worth("cmd", 0),
    "clone": Worth("flags", 0, bits=True),
    "fcntl": Worth("cmd", 1),
    "fcntl64": Worth("cmd", 1),
    "ipc": Worth("call", 0),
    "ioctl": Worth("cmd", 1),
    "keyctl": Worth("cmd", 0),
    "mmap": Worth("prot", 2, bits=True, width=64),
    "mmap2": Worth("prot", 2, bits=True, width=64),
    "mprotect": Worth("prot", 2, bits=True, width=64),
    "personality": Worth("personality", 0),
    "pkey_mprotect": Worth("prot", 2, bits=True, width=64),
    "prctl": Worth("option", 0),
    "ptrace": Worth("request", 0, width=64),
    "seccomp": Worth("op", 0),
    "setns": Worth("nstype", 1, bits=True),
    "socket": Worth("family", 0),
    "socketcall": Worth("call", 0),
    "socketpair": Worth("family", 0),
    "unshare": Worth("unshare_flags", 0, bits=True, width=64),
}
NAMESPACES = 0x7E020080
"""CLONE_NEW of cgroup, IPC, net, mount, PID, time, user and UTS."""
_SOCKET = (Worth("family", 0), Worth("type", 1, part=0xF), Worth("protocol", 2))
_OPTION = (Worth("level", 1), Worth("optname", 2))
_SELECTORS = {
    "socket": _SOCKET,
    "socketpair": _SOCKET,
    "unshare": (Worth("unshare_flags", 0, bits=True, part=NAMESPACES),),
    "getsockopt": _OPTION,
    "setsockopt": _OPTION,
    **dict.fromkeys(
        (
            *("kill", "tkill", "tgkill", "pidfd_send_signal"),
            *("rt_sigqueueinfo", "rt_tgsigqueueinfo"),
        ),
        (Worth("sig", 1),),
    ),
}
"""By calls, where that is more than `_WORTH` has."""
# Without prototypes: calls of the same name that take something else there. A pointer to all
# arguments (old_mmap), the stack before the flags (CLONE_BACKWARDS2).
_OTHERWISE = {
    "mmap": {"i386", "m68k", "s390", "s390x"},
    "clone": {"s390", "s390x"},
}


def worth(name: str, abi: Abi, facts: Facts) -> Worth | None:
    """Return which argument of a call is worth constraining on ``abi``, None if there is none."""
    known, prototype = _WORTH.get(name), facts.prototype(name, abi)
    if known is None or prototype is None:
        return None if abi.name in _OTHERWISE.get(name, ()) else known
    return _on(prototype, known)


def selectors(name: str, abi: Abi, facts: Facts) -> tuple[Worth, ...]:
    """Return the arguments of a call on ``abi`` that select what it gives, where it is mighty.

    These are more than one of some calls: the family, type and protocol of a socket.
    """
    prototype = facts.prototype(name, abi)
    if prototype is None or name not in _SELECTORS:
        about = worth(name, abi, facts)
        return (about,) if about else ()
    found = (_on(prototype, one) for one in _SELECTORS[name])
    return tuple(one for one in found if one)


def _on(prototype: Prototype, known: Worth) -> Worth | None:
    """Return an argument as a prototype has it; None if that lacks it."""
    index = prototype.index(known.name)
    if index is None:
        return None
    bits = prototype.parameters[index].bits or 64
    return replace(known, index=index, width=64 if bits > 32 else 32)
