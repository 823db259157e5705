"""A secret argument with which a command is started under a filter that refuses execve.

The filter is already in force when execve starts the command, but a policy worth having often
refuses execve. Filters see six arguments of every call, and execve takes three. So the launcher
puts 192 random bits (93 on 32-bit ABIs) into the other three, and a few instructions before the
program allow execve with exactly these values. They are gone from memory and registers once the
command runs, so the command cannot make such a call: for everything it can do, the filter is the
program alone. The launcher's last calls (write, exit_group) pass in the same way if the program
refuses them.

Who can learn the token: whoever may read the memory of a supervisor, which forked the launcher and
still holds the token (a process that became the command does not); and root outside, by dumping the
filter (PTRACE_SECCOMP_GET_FILTER requires CAP_SYS_ADMIN and a tracer without filters of its own).
If audit logs execve, its record contains the first of the three words.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import ActionKind
from seccompgen.core.program import (
    ALU_AND_K,
    ARCH_OFFSET,
    JMP_JEQ_K,
    JMP_JSET_K,
    LD_W_ABS,
    NR_OFFSET,
    RET_K,
    Instruction,
    word_offset,
)
from seccompgen.core.settings import FilterFlag
from seccompgen.core.word import ARGS, Word, argument_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi

_ARGUMENTS = (3, 4, 5)
"""The arguments that execve, write, exit_group and sendmsg do not use."""


@dataclass(frozen=True, slots=True)
class LaunchToken:
    """The values of ``args[3]``, ``args[4]`` and ``args[5]`` with which a call may pass."""

    words: tuple[int, int, int]

    @classmethod
    def new(cls, abi: Abi) -> LaunchToken:
        """Return a new random token; its words have 31 bits on ABIs with a 32-bit ``long``."""
        # 31 bits, not 32: a 64-bit kernel may show filters the sign-extended word.
        excess = 0 if abi.bits == 64 else 33
        a, b, c = (int.from_bytes(os.urandom(8)) >> excess for _ in _ARGUMENTS)
        return cls((a, b, c))


def with_token(
    instructions: Sequence[Instruction],
    abi: Abi,
    token: LaunchToken,
    numbers: Sequence[int],
    asks_for_listeners: int | None = None,
) -> tuple[Instruction, ...]:
    """Return ``instructions``, extended to allow the calls ``numbers`` if they carry ``token``.

    ``asks_for_listeners`` may be the number of seccomp(2): then that call becomes a user
    notification if its flags ask for a listener. ``instructions`` answer all other calls, from the
    same state of the machine. Calls of other numbers reach them without a load of arguments, so
    the kernel's bitmap of constant answers stays the same.
    """
    if not numbers and asks_for_listeners is None:
        return tuple(instructions)
    halves = 2 if abi.bits == 64 else 1
    words = [
        (word_offset(word, abi), word.of(value))
        for argument, value in zip(_ARGUMENTS, token.words, strict=True)
        for word in argument_words(argument)[:halves]
    ]
    asked = [] if asks_for_listeners is None else [asks_for_listeners]
    check = 3 + len(numbers) + len(asked)
    ask = check + 2 * len(words) + 1
    rest = ask + 3 * len(asked)
    code = [
        Instruction(LD_W_ABS, 0, 0, ARCH_OFFSET),
        Instruction(JMP_JEQ_K, 0, rest - 2, abi.audit_arch),
        Instruction(LD_W_ABS, 0, 0, NR_OFFSET),
    ]
    tests = [(nr, check) for nr in numbers] + [(nr, ask) for nr in asked]
    for nr, target in tests:
        after = len(code) + 1
        last = after == check
        code.append(Instruction(JMP_JEQ_K, target - after, rest - after if last else 0, nr))
    for offset, value in words:
        code.append(Instruction(LD_W_ABS, 0, 0, offset))
        code.append(Instruction(JMP_JEQ_K, 0, rest - len(code) - 1, value))
    code.append(Instruction(RET_K, 0, 0, ActionKind.ALLOW.value))
    for _ in asked:
        code.append(Instruction(LD_W_ABS, 0, 0, word_offset(Word.low(ARGS + 1), abi)))
        code.append(Instruction(JMP_JSET_K, 0, 1, FilterFlag.NEW_LISTENER.value))
        code.append(Instruction(RET_K, 0, 0, ActionKind.USER_NOTIF.value))
    # A program may rely on A being 0, as it was before the loads.
    code.append(Instruction(ALU_AND_K, 0, 0, 0))
    return (*code, *instructions)
