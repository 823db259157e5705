"""The meaning of a policy, as frozen values: actions, conditions, rules.

The front ends create these values; the compiler and the renderers read them. Nothing here depends
on a file format or an instruction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from seccompgen.core.abis import serves_both
from seccompgen.core.errnos import ERRNO_NAMES, errno_number
from seccompgen.core.errors import did_you_mean, known_name
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.settings import FilterFlag, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.releases import Release
    from seccompgen.core.ring import RingSection

U32 = 0xFFFFFFFF
U64 = 0xFFFFFFFFFFFFFFFF

RET_DATA_MAX = 0xFFFF
"""SECCOMP_RET_DATA: the low 16 bits of a filter's answer."""
ERRNO_MAX = 4095
"""MAX_ERRNO: the kernel reduces greater data of SECCOMP_RET_ERRNO to this."""


class ActionKind(Enum):
    """SECCOMP_RET_* without their data (include/uapi/linux/seccomp.h)."""

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    USER_NOTIF = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000

    def __repr__(self) -> str:
        """Render as Python: ``ActionKind.ERRNO``."""
        return f"ActionKind.{self.name}"

    @property
    def takes_data(self) -> bool:
        """True if the kernel passes the low 16 bits on: to errno, si_errno or the tracer."""
        return self in {ActionKind.ERRNO, ActionKind.TRAP, ActionKind.TRACE}

    @property
    def lets_through(self) -> bool:
        """True if the kernel executes the call."""
        return self in {ActionKind.ALLOW, ActionKind.LOG}


def kind_of_ret(ret: int) -> ActionKind:
    """Return the action of a filter's answer; the kernel treats an unknown one as KILL_PROCESS."""
    try:
        return ActionKind(ret & ~RET_DATA_MAX)
    except ValueError:
        return ActionKind.KILL_PROCESS


_EPERM = 1
_ACTION = re.compile(r"(?P<kind>\w+)\s*(\(\s*(?P<data>[\w.+-]*)\s*\))?", re.ASCII)
_SPACED = re.compile(r"(errno|trap|trace)[\s:=-]+(\w+)", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19}")


@dataclass(frozen=True, slots=True, repr=False)
class Action:
    """The kernel's answer to a call.

    ``data`` is 0 to 65535 (0 to 4095 for errno). ``errno_name`` replaces it by the name of an errno
    whose number depends on the ABI: ENOSYS is 38 on most, 89 on MIPS.
    """

    kind: ActionKind
    data: int = 0
    errno_name: str | None = None

    KILL_PROCESS: ClassVar[Action]
    KILL_THREAD: ClassVar[Action]
    USER_NOTIF: ClassVar[Action]
    LOG: ClassVar[Action]
    ALLOW: ClassVar[Action]

    @classmethod
    def errno(cls, error: int | str = _EPERM) -> Action:
        """Return the action that fails a call with ``error``, a name such as EACCES or a number.

        Raises ValueError for a name that some ABI lacks, and for a number outside of 0 to 4095.
        """
        return cls.parse(f"errno({error})")

    @classmethod
    def trap(cls, data: int = 0) -> Action:
        """Return the action that sends SIGSYS with ``data``, 0 to 65535, as its si_errno."""
        return cls.parse(f"trap({data})")

    @classmethod
    def trace(cls, data: int = 0) -> Action:
        """Return the action that stops the call for a tracer, which gets ``data``, 0 to 65535."""
        return cls.parse(f"trace({data})")

    @classmethod
    def parse(cls, text: object) -> Action:
        """Read ``errno(EACCES)``, ``trace(7)``, ``allow``; raise ValueError for anything else.

        ``errno`` alone means EPERM. An Action is returned unchanged.
        """
        if isinstance(text, Action):
            return text
        match = _ACTION.fullmatch(text.strip()) if isinstance(text, str) else None
        if not match and isinstance(text, str) and (words := _SPACED.fullmatch(text.strip())):
            raise ValueError(f"{text!r} is not an action; write {words[1]}({words[2]})")
        if not match:
            raise ValueError(
                f"{text!r} is not an action; write allow, errno(EACCES), kill_process ..."
            )
        kind = _ACTIONS.get(match["kind"].lower())
        if kind is None:
            if match["kind"].upper() in ERRNO_NAMES:
                raise ValueError(f"unknown action {text!r}: write errno({match['kind'].upper()})")
            meant = _MEANT.get(match["kind"].lower().removeprefix("scmp_act_"))
            near = did_you_mean(meant or match["kind"].lower(), _ACTIONS)
            known = near or f"; known: {', '.join(_ACTIONS)}"
            raise ValueError(f"unknown action {match['kind']!r}{known}")
        data = match["data"]
        if data is None:
            return cls(kind, _EPERM if kind is ActionKind.ERRNO else 0)
        if not kind.takes_data:
            raise ValueError(
                f"{match['kind'].lower()} takes no data; only errno, trap and trace do"
            )
        if _NUMBER.fullmatch(data):
            number, most = int(data, 0), ERRNO_MAX if kind is ActionKind.ERRNO else RET_DATA_MAX
            if number > most:
                raise ValueError(f"{text}: the kernel delivers 0 to {most} here")
            return cls(kind, number)
        if kind is ActionKind.ERRNO and data.upper() in ERRNO_NAMES:
            return cls(kind, errno_name=data.upper())
        if kind is ActionKind.ERRNO and data:
            hint = did_you_mean(data.upper(), ERRNO_NAMES)
            raise ValueError(
                f"unknown errno {data!r}{hint}; write a name such as EACCES or a number"
            )
        raise ValueError(f"{text}: the data must be a number, as in {match['kind'].lower()}(1)")

    def __str__(self) -> str:
        """Render as a policy file spells it: ``errno(EACCES)``, ``trace(7)``, ``allow``."""
        name = self.kind.name.lower()
        if self.errno_name:
            return f"{name}({self.errno_name})"
        # Without data, errno is EPERM.
        shown = self.kind is ActionKind.ERRNO or (self.kind.takes_data and self.data)
        return f"{name}({self.data})" if shown else name

    def __repr__(self) -> str:
        """Render as Python: ``Action.errno('EACCES')``, ``Action.ALLOW``."""
        if self.kind.takes_data:
            return f"Action.{self.kind.name.lower()}({self.errno_name or self.data!r})"
        return f"Action.{self.kind.name}"

    def ret(self, abi: Abi) -> int:
        """Return the 32-bit SECCOMP_RET value of this action on ``abi``."""
        data = errno_number(self.errno_name, abi) if self.errno_name else self.data
        return self.kind.value | data


Action.KILL_PROCESS = Action(ActionKind.KILL_PROCESS)
Action.KILL_THREAD = Action(ActionKind.KILL_THREAD)
Action.USER_NOTIF = Action(ActionKind.USER_NOTIF)
Action.LOG = Action(ActionKind.LOG)
Action.ALLOW = Action(ActionKind.ALLOW)
_ACTIONS = {kind.name.lower(): kind for kind in ActionKind}
_MEANT = {name: name for name in _ACTIONS}
_MEANT |= dict.fromkeys(("deny", "block", "reject", "refuse", "error", "eperm"), "errno")
_MEANT |= dict.fromkeys(("permit", "accept", "pass"), "allow")
_MEANT["notify"] = "user_notif"
"""Our names of actions by other people's and formats' names, without ``SCMP_ACT_``."""


class Op(Enum):
    """The comparison of an argument; comparisons are unsigned."""

    EQ = "=="
    NE = "!="
    GT = ">"
    LT = "<"
    GE = ">="
    LE = "<="
    ANY_BITS = "&"
    """``(arg & value) != 0``"""
    NO_BITS = "!&"
    """``(arg & value) == 0``"""
    MASKED_EQ = "&=="
    """``(arg & mask) == value``"""

    @classmethod
    def parse(cls, text: object) -> Op:
        """Read ``Equal``, ``BitsSet`` ... in any case; raise ValueError for anything else.

        An Op is returned unchanged.
        """
        if isinstance(text, Op):
            return text
        meant = str(text).lower().removeprefix("scmp_cmp_")
        if meant in _OTHER_OPERATIONS:
            raise ValueError(
                f"unknown operation {text!r} (did you mean {_OTHER_OPERATIONS[meant]!r}?)"
            )
        return _OPERATIONS[known_name("operation", text, _OPERATIONS)]

    def __str__(self) -> str:
        """Render as a policy file spells it: ``Equal``, ``BitsSet``."""
        return next(name for name, operation in _OPERATIONS.items() if operation is self)

    def __repr__(self) -> str:
        """Render as Python: ``Op.EQ``."""
        return f"Op.{self.name}"


_OPERATIONS = {
    "Equal": Op.EQ,
    "NotEqual": Op.NE,
    "GreaterThan": Op.GT,
    "LessThan": Op.LT,
    "GreaterOrEqual": Op.GE,
    "LessOrEqual": Op.LE,
    "BitsSet": Op.ANY_BITS,
    "BitsNotSet": Op.NO_BITS,
    "MaskedEqual": Op.MASKED_EQ,
}
"""Operations by their names in policy files."""

_OTHER_OPERATIONS = {
    **dict.fromkeys(("==", "=", "eq"), "Equal"),
    **dict.fromkeys(("!=", "<>", "ne"), "NotEqual"),
    **dict.fromkeys((">", "gt"), "GreaterThan"),
    **dict.fromkeys(("<", "lt"), "LessThan"),
    **dict.fromkeys((">=", "ge"), "GreaterOrEqual"),
    **dict.fromkeys(("<=", "le"), "LessOrEqual"),
    **dict.fromkeys(("&", "in"), "BitsSet"),
    "masked_eq": "MaskedEqual",
}
"""Our names of operations by other formats' and languages' names, without ``SCMP_CMP_``."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of one argument.

    ``argument`` is 0 to 5. ``width`` is 64, or 32 if only the argument's low word is compared;
    ``value`` and ``mask`` fit into it. The test compares ``argument & mask`` with ``value``, except
    for ANY_BITS and NO_BITS, whose ``value`` is the mask. An equality under a mask is a MASKED_EQ.
    """

    argument: int
    op: Op
    value: int
    mask: int = U64
    width: int = 64

    def __str__(self) -> str:
        """Render as an expression like those of C or Python."""
        arg = f"arg{self.argument}" if self.width == 64 else f"u32(arg{self.argument})"
        value = f"{self.value:#x}" if self.value > 9 else str(self.value)
        match self.op:
            case Op.MASKED_EQ:
                return f"{arg} & {self.mask:#x} == {value}"
            case Op.ANY_BITS:
                return f"{arg} & {value} != 0"
            case Op.NO_BITS:
                return f"{arg} & {value} == 0"
            case _:
                partial = self.mask & (1 << self.width) - 1 != (1 << self.width) - 1
                masked = f"{arg} & {self.mask:#x}" if partial else arg
                return f"{masked} {self.op.value} {value}"

    def of_low_word(self) -> Comparison:
        """Return this comparison for an argument whose high word is ignored."""
        op, value = self.op, self.value & U32
        if self.value > U32 and op not in {Op.ANY_BITS, Op.NO_BITS}:
            # The value exceeds every 32-bit word, so the outcome is always the same.
            op, value = Op.NO_BITS if op in {Op.NE, Op.LT, Op.LE} else Op.ANY_BITS, 0
        return replace(self, op=op, value=value, mask=self.mask & U32, width=32)


@dataclass(frozen=True, slots=True)
class All:
    """A condition that holds if every part holds; without parts, always."""

    parts: tuple[Predicate, ...]

    def __str__(self) -> str:
        """Render the parts joined by ``and``."""
        return " and ".join(map(str, self.parts))

    def of_low_word(self) -> All:
        """Return this condition for arguments whose high words are ignored."""
        return All(tuple(part.of_low_word() for part in self.parts))


Predicate: TypeAlias = Comparison | All


def condition_for(condition: Predicate | None, argument_bits: int) -> Predicate | None:
    """Return ``condition`` for an ABI whose system calls get ``argument_bits``, 32 or 64, bits."""
    return condition if condition is None or argument_bits == 64 else condition.of_low_word()


@dataclass(frozen=True, slots=True)
class Origin:
    """The part of a policy that an instruction comes from; ``label`` names it in reports."""

    label: str
    position: Position


def comparisons(condition: Predicate | None) -> Iterator[Comparison]:
    """Yield the comparisons of ``condition``; all must hold."""
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, All):
        for part in condition.parts:
            yield from comparisons(part)


@dataclass(frozen=True, slots=True)
class Rule:
    """One system call by name, a condition (None: always) and the action if it holds.

    ``position`` is that of the name; ``origin`` is the part of the policy that reports show; the
    names of one list share it. ``abis`` are the canonical names of the ABIs whose calls the rule
    matches, None for all. If a rule of a policy becomes several rules because its numbers differ by
    ABI, these share its position, and no call matches two of them. ``group`` is the reference
    (``@basic-io``) that the name comes from, empty for a name that is written out; with a group,
    the positions are those of the reference.
    """

    name: str
    condition: Predicate | None
    action: Action
    position: Position
    origin: Origin
    abis: frozenset[str] | None = None
    group: str = ""

    def applies_to(self, abi: Abi) -> bool:
        """Return True if the rule can match calls of ``abi``."""
        return self.abis is None or abi.name in self.abis


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """A whole policy. The first rule that matches a call decides it.

    Each of ``arches`` gets a program, which also covers the ABIs in ``compat_arches`` that its
    kernel can serve. ``sources`` names each file read, with its sha256; for a policy that a program
    built (``in_memory``), its name and the sha256 of its text. A ``foreign`` policy was read from a
    format of another tool; ``reading`` are the choices for such formats.

    ``kernel`` is the latest release that the policy's author considered. Newer calls that no rule
    names get rules with ``unknown_action``, at the end of ``rules``, with the origin
    ``kernel_origin``.

    ``without_flags`` is the first position of a policy file if neither it nor an included file sets
    ``flags``; None for foreign files and in memory. ``unsaid`` are the keys of those actions that
    no file sets.

    For a report-only policy, ``enforced`` is the policy that it reports on
    (`report_only.logging_policy`); otherwise None.

    ``io_uring`` are the rules for operations of rings; ``rules`` has those for their system calls.
    """

    name: str
    description: str
    arches: tuple[Abi, ...]
    arches_origin: Origin
    compat_arches: tuple[Abi, ...]
    default_action: Action
    default_origin: Origin
    unknown_action: Action
    unknown_origin: Origin
    bad_arch_action: Action
    bad_arch_origin: Origin
    no_new_privs: bool
    flags: FilterFlag
    install_on_import: bool
    rules: tuple[Rule, ...]
    sources: tuple[tuple[str, str], ...]
    in_memory: bool = False
    foreign: bool = False
    reading: Reading = PLAIN_READING
    kernel: Release | None = None
    kernel_origin: Origin | None = None
    without_flags: Position | None = None
    unsaid: frozenset[str] = frozenset()
    enforced: ResolvedPolicy | None = None
    io_uring: RingSection | None = None

    def said(self, key: str) -> str:
        """Return the text for messages about the action ``key``, with the reason for a default."""
        action = getattr(self, key)
        if key not in self.unsaid:
            return f"{key} {action}"
        if key != "unknown_action":
            return f"{key} {action}, which is the default"
        return f"{key} {action}, which follows from {'kernel' if self.kernel else 'default_action'}"

    @property
    def file(self) -> str:
        """The policy's own file, the last of ``sources``."""
        return self.sources[-1][0]

    @property
    def settings(self) -> Settings:
        """The settings with which the filter is installed."""
        reports = self.enforced is not None
        without = self.io_uring.without.value if self.io_uring else ""
        return Settings(self.flags, self.no_new_privs, self.install_on_import, reports, without)

    @property
    def own_rules(self) -> tuple[Rule, ...]:
        """The rules that the policy states, without those that follow from its ``kernel``."""
        return tuple(rule for rule in self.rules if rule.origin != self.kernel_origin)

    def compat_of(self, abi: Abi) -> tuple[Abi, ...]:
        """Return the other ABIs that the program for ``abi`` covers."""
        return tuple(other for other in self.compat_arches if serves_both(abi, other))
