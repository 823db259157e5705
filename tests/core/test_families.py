"""Families of constants, held against the kernel's own constants and prototypes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.argument_families import (
    dependent_families,
    families_of,
    family_of,
    known_families,
)
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from seccompgen.core.constant_families import ConstantFamily

FACTS = shipped_tables().facts
KNOWN = known_families()
ARGUMENTS = sorted({*KNOWN.of_calls, *KNOWN.dependent})
FAMILIES = {family: place for place in ARGUMENTS for family in families_of(*place)} | {
    family: ("*", name) for name, family in KNOWN.anywhere.items()
}


@cache
def valued() -> set[str]:
    """Return the constants that have a value on some ABI."""
    return {
        name
        for name, one in FACTS.constants.items()
        if {one.value, *one.elsewhere.values()} != {None}
    }


NOT_EXPORTED = {
    *("SHUT_RD", "SHUT_WR", "SHUT_RDWR"),  # include/linux/net.h
    *("MNT_FORCE", "MNT_DETACH", "MNT_EXPIRE", "UMOUNT_NOFOLLOW"),  # include/linux/fs.h
    *("SWAP_FLAG_PREFER", "SWAP_FLAG_DISCARD"),  # include/linux/swap.h
    *("IPV6_JOIN_GROUP", "IPV6_LEAVE_GROUP"),  # the C library's, of IPV6_ADD_MEMBERSHIP
    "PER_HPUX",  # of older tags
}
"""Words that a user of the kernel knows, and that its own exported headers may lack."""


def test_every_named_family_is_one_of_an_argument() -> None:
    assert {*KNOWN.named.values()} <= {*FAMILIES}


@pytest.mark.few(35, "tries many values")
@pytest.mark.parametrize(
    "family", FAMILIES, ids=["-".join(place) + f"-{n}" for n, place in enumerate(FAMILIES.values())]
)
def test_every_word_of_a_family_is_a_constant(family: ConstantFamily) -> None:
    for words in family._words:
        for word in words._wanted:
            known = any(map(word.fits, valued()))
            assert known or any(word.text.startswith(one) for one in NOT_EXPORTED), word.text
    if family.part:
        assert family.on(FACTS, ABIS["x86_64"]).mask, family.mask


def test_every_argument_is_one_of_a_prototype() -> None:
    names: dict[str, set[str]] = {}
    for calls in FACTS.prototypes.values():
        for call, prototype in calls.items():
            names.setdefault(call, set()).update(one.name for one in prototype.parameters)
    for call, argument in ARGUMENTS:
        assert call in names, call
        same = families_of(call, argument)
        spellings = {a for c, a in ARGUMENTS if c == call and families_of(c, a) == same}
        assert spellings & names[call], (call, argument, sorted(names[call]))
        others, _ = dependent_families(call, argument)
        assert not others or set(others) & names[call], (call, argument)


def test_what_sandboxes_ask_for_has_its_names() -> None:
    for call, argument, constant in (
        ("ioctl", "cmd", "TIOCSTI"),
        ("ioctl", "cmd", "FS_IOC_FSGETXATTR"),
        ("ioctl", "cmd", "KVM_RUN"),
        ("ioctl", "cmd", "DRM_IOCTL_VERSION"),
        ("socket", "family", "AF_VSOCK"),
        ("socket", "type", "SOCK_SEQPACKET"),
        ("clone", "flags", "CLONE_NEWUSER"),
        ("unshare", "unshare_flags", "CLONE_NEWTIME"),
        ("prctl", "option", "PR_SET_VMA"),
        ("madvise", "behavior", "MADV_GUARD_INSTALL"),
        ("personality", "personality", "ADDR_NO_RANDOMIZE"),
        ("tgkill", "sig", "SIGABRT"),
        ("sched_setscheduler", "policy", "SCHED_BATCH"),
        ("chmod", "mode", "S_ISUID"),
        ("seccomp", "op", "SECCOMP_SET_MODE_FILTER"),
        ("ptrace", "request", "PTRACE_ATTACH"),
        ("openat", "dfd", "AT_FDCWD"),
    ):
        family = family_of(call, argument)
        assert family is not None, call
        assert constant in family.names(FACTS), (call, constant)
        values = family.on(FACTS, ABIS["x86_64"])
        named = (values.whole, values.flags, values.part)
        assert any(constant in some.values() for some in named), (call, constant)
    # Constants that only begin like one of a family are none of it.
    for call, argument, constant in (
        ("ioctl", "cmd", "KVM_CAP_IRQCHIP"),
        ("ioctl", "cmd", "TIOCM_OUT1"),
        ("fcntl", "cmd", "F_RDLCK"),
        ("prctl", "option", "PR_SET_MM_BRK"),
        ("ptrace", "request", "PTRACE_O_TRACEEXEC"),
        ("socket", "family", "AF_MAX"),
    ):
        family = family_of(call, argument)
        assert family is not None
        assert constant in FACTS.constants
        assert constant not in family.names(FACTS)


def test_a_request_has_its_name_on_every_abi() -> None:
    ioctl = family_of("ioctl", "cmd")
    assert ioctl is not None
    for name in ("TIOCGWINSZ", "TIOCSTI", "FIONREAD", "FIONBIO", "TCGETS"):
        for abi in (one for one in ABIS.values() if FACTS.value(name, one) is not None):
            value = FACTS.value(name, abi)
            assert value is not None
            assert ioctl.on(FACTS, abi).whole.get(value) == name, (name, abi)
