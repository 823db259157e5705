"""Arguments whose values select what a call does, such as `ioctl`'s request.

Source: the man page of each call; the prototype gives the argument's position and width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64, Comparison, Op

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts


MOST_VALUES = 64
"""The most conditions that are listed per call; a call with more is permitted with any."""


@dataclass(frozen=True, slots=True)
class ConstrainableArgument:
    """The argument ``name``, at ``index``; the kernel reads ``width`` bits of it.

    ``bits`` is True for a set of flags, False for one of several values. If ``part`` is not 0, only
    these bits of it select something.
    """

    name: str
    bits: bool = False
    part: int = 0
    index: int = 0
    width: int = 32

    @property
    def mask(self) -> int:
        """The bits of the argument that a condition compares."""
        return self.part or (U64 if self.width == 64 else U32)

    def condition(self, value: int) -> Comparison:
        """Return the condition that the argument is ``value``; for flags, that it has no others."""
        if self.bits:
            return Comparison(self.index, Op.NO_BITS, ~value & self.mask, width=self.width)
        if self.part:
            return Comparison(self.index, Op.MASKED_EQ, value, self.part, self.width)
        return Comparison(self.index, Op.EQ, value, width=self.width)


_VALUES = {
    "arch_prctl": "option",
    "bpf": "cmd",
    "fcntl": "cmd",
    "fcntl64": "cmd",
    "ipc": "call",
    "ioctl": "cmd",
    "keyctl": "cmd",
    "personality": "personality",
    "prctl": "option",
    "ptrace": "request",
    "seccomp": "op",
    "socket": "family",
    "socketcall": "call",
    "socketpair": "family",
}
_FLAGS = {
    "clone": "flags",
    "mmap": "prot",
    "mmap2": "prot",
    "mprotect": "prot",
    "pkey_mprotect": "prot",
    "setns": "nstype",
    "unshare": "unshare_flags",
}
_ARGUMENTS = {call: ConstrainableArgument(name) for call, name in _VALUES.items()} | {
    call: ConstrainableArgument(name, bits=True) for call, name in _FLAGS.items()
}
NAMESPACES = 0x7E020080
"""CLONE_NEW of cgroup, IPC, net, mount, PID, time, user and UTS."""
_SOCKET = (
    ConstrainableArgument("family"),
    ConstrainableArgument("type", part=0xF),
    ConstrainableArgument("protocol"),
)
_OPTION = (ConstrainableArgument("level"), ConstrainableArgument("optname"))
_SIGNAL = (ConstrainableArgument("sig"),)
_SENDERS = ("kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_SELECTORS = {
    "socket": _SOCKET,
    "socketpair": _SOCKET,
    "unshare": (ConstrainableArgument("unshare_flags", bits=True, part=NAMESPACES),),
    "getsockopt": _OPTION,
    "setsockopt": _OPTION,
    **dict.fromkeys(_SENDERS, _SIGNAL),
}
"""By call, the arguments that select, if they are others than in `_ARGUMENTS`."""


def constrainable_argument(name: str, abi: Abi, facts: Facts) -> ConstrainableArgument | None:
    """Return the argument of a call to constrain on ``abi``; None if there is none."""
    known = _ARGUMENTS.get(name)
    return _located(known, name, abi, facts) if known else None


def selectors(name: str, abi: Abi, facts: Facts) -> tuple[ConstrainableArgument, ...]:
    """Return the arguments of a call on ``abi`` that select what it gives, for mighty kinds.

    Some calls have several: the family, type and protocol of a socket.
    """
    known = _SELECTORS.get(name) or ((_ARGUMENTS[name],) if name in _ARGUMENTS else ())
    return tuple(found for one in known if (found := _located(one, name, abi, facts)))


def _located(
    known: ConstrainableArgument, name: str, abi: Abi, facts: Facts
) -> ConstrainableArgument | None:
    """Return ``known`` with index and width from the prototype; None if that lacks it."""
    prototype = facts.prototype(name, abi)
    index = prototype.index(known.name) if prototype else None
    if prototype is None or index is None:
        return None
    bits = prototype.parameters[index].bits or 64
    return replace(known, index=index, width=64 if bits > 32 else 32)
