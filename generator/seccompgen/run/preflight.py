"""Warn, before a command starts, about filters that will break it."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.model import ActionKind
from seccompgen.core.program import RET_K, actions_of
from seccompgen.core.ring import Without
from seccompgen.io.reading import read_start
from seccompgen.run.notify_rewrite import lets_through
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Tables
    from seccompgen.run.launch import Command
    from seccompgen.run.refusal import JudgedFilter

_REGISTER_FILTER = 37
"""IORING_REGISTER_BPF_FILTER."""
_X32_MACHINE = 62
"""EM_X86_64, which in a 32-bit ELF file means x32."""


def preflight_warnings(
    judged: JudgedFilter, command: Command, settings: Settings, tables: Tables
) -> Iterator[str]:
    """Yield the warnings, one sentence each."""
    path = Path(os.fsdecode(command.path))
    if ActionKind.USER_NOTIF.value in actions_of(judged.instructions):
        yield "what the policy leaves to a listener (user_notif) fails with ENOSYS: there is none"
    if settings.without == Without.REFUSE_RINGS.value and not _filters_rings(judged.abi, tables):
        yield (
            "this kernel has no filters for rings, which Linux 7.0 and newer have: io_uring_setup "
            "fails with ENOSYS, as the policy says (without: refuse_rings)"
        )
    try:
        mode = path.stat().st_mode
        header = read_start(path, 20)
    except OSError:
        mode, header = 0, b""
    if mode & (stat.S_ISUID | stat.S_ISGID) and settings.no_new_privs:
        yield (
            f"{path} is setuid or setgid, which does nothing under no_new_privs: it runs with your "
            "rights; --keep-privs leaves them (that needs CAP_SYS_ADMIN)"
        )
    other = _abi_of(header, judged.abi, tables)
    if other:
        call = Call(tables.tables[other.name].numbers["exit_group"], other.audit_arch)
        ret, rule = judged.decide(call, tables)
        if not lets_through(ret):
            yield (
                f"{path} is a program for {other.name}, whose calls are refused at {rule}: put "
                f"{other.name} into the policy's compat_arches"
            )


def _filters_rings(abi: Abi, tables: Tables) -> bool:
    """Return False if the kernel does not know filters of rings; nothing is registered."""
    number = tables.tables[abi.name].numbers["io_uring_register"]
    program = ctypes.create_string_buffer(struct.pack("=HBBI", RET_K, 0, 0, 1), 8)
    # A size that no operation has is refused, with EMSGSIZE, where there are filters.
    asked = ctypes.create_string_buffer(
        struct.pack("=HHIIIIB3xQ40x", 1, 0, 0, 0, 1, 1, 0xFF, ctypes.addressof(program)), 72
    )
    call = ctypes.CDLL(None, use_errno=True).syscall
    arguments = (number, -1, _REGISTER_FILTER, ctypes.addressof(asked), 1)
    failed = call(*map(ctypes.c_long, arguments)) == -1
    return not (failed and ctypes.get_errno() in {errno.EINVAL, errno.ENOSYS})


def _abi_of(header: bytes, running: Abi, tables: Tables) -> Abi | None:
    """Return the 32-bit sibling of ``running`` for a 32-bit ELF file, None otherwise.

    Only x32 is told apart by ``e_machine``; other machines are not checked.
    """
    if header[:5] != b"\x7fELF\x01" or running.bits == 32 or len(header) < 20:
        return None
    machine = int.from_bytes(header[18:20], running.byte_order)
    siblings = [tables.tables[name].abi for name in running.siblings if name in tables.tables]
    fits = [abi for abi in siblings if (abi.name == "x32") == (machine == _X32_MACHINE)]
    return next((abi for abi in fits if abi.bits == 32), None)
