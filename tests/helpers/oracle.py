"""The meaning of a policy in the plainest form: a dictionary in, a SECCOMP_RET value out.

Written from the contract (sections 3 and 4), to be read against it. It shares no code with
seccompgen. A policy is what a policy file holds, includes already followed; tables are plain
dictionaries, ``{abi: {name: number}}``, numbers as ``seccomp_data.nr`` holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from interpreter import ByteOrder

Tables: TypeAlias = "Mapping[str, Mapping[str, int]]"
PolicyDict: TypeAlias = "Mapping[str, Any]"
Test: TypeAlias = "Callable[[Sequence[int]], bool]"

U32 = 0xFFFFFFFF
U64 = 0xFFFFFFFFFFFFFFFF


class AbiFacts(NamedTuple):
    """An ABI by linux/audit.h and syscall_get_arch(), and the ABIs of the same kernel."""

    audit_arch: int
    byte_order: ByteOrder
    same_kernel: tuple[str, ...] = ()


# fmt: off
ABIS = {
    "x86_64":      AbiFacts(0xC000003E, "little", ("i386", "x32")),
    "x32":         AbiFacts(0xC000003E, "little", ("x86_64", "i386")),
    "i386":        AbiFacts(0x40000003, "little", ("x86_64", "x32")),
    "arm":         AbiFacts(0x40000028, "little", ("aarch64",)),
    "aarch64":     AbiFacts(0xC00000B7, "little", ("arm",)),
    "riscv64":     AbiFacts(0xC00000F3, "little", ("riscv32",)),
    "riscv32":     AbiFacts(0x400000F3, "little", ("riscv64",)),
    "loongarch64": AbiFacts(0xC0000102, "little"),
    "loongarch32": AbiFacts(0x40000102, "little"),
    "s390x":       AbiFacts(0x80000016, "big", ("s390",)),
    "s390":        AbiFacts(0x00000016, "big", ("s390x",)),
    "ppc64le":     AbiFacts(0xC0000015, "little", ("ppc",)),
    "ppc64":       AbiFacts(0x80000015, "big", ("ppc",)),
    "ppc":         AbiFacts(0x00000014, "big", ("ppc64",)),
    "mips":        AbiFacts(0x00000008, "big", ("mips64", "mips64n32")),
    "mips64":      AbiFacts(0x80000008, "big", ("mips", "mips64n32")),
    "mips64n32":   AbiFacts(0xA0000008, "big", ("mips", "mips64")),
    "mipsel":      AbiFacts(0x40000008, "little", ("mips64el", "mips64n32el")),
    "mips64el":    AbiFacts(0xC0000008, "little", ("mipsel", "mips64n32el")),
    "mips64n32el": AbiFacts(0xE0000008, "little", ("mipsel", "mips64el")),
    "parisc":      AbiFacts(0x0000000F, "big", ("parisc64",)),
    "parisc64":    AbiFacts(0x8000000F, "big", ("parisc",)),
    "alpha":       AbiFacts(0xC0009026, "little"),
    "m68k":        AbiFacts(0x00000004, "big"),
    "sh":          AbiFacts(0x4000002A, "little"),
    "sheb":        AbiFacts(0x0000002A, "big"),
    "xtensa":      AbiFacts(0x0000005E, "little"),
    "csky":        AbiFacts(0x400000FC, "little"),
}
"""Every ABI on which some kernel has seccomp filters."""

LOW_WORDS = {
    *("i386", "ppc", "s390", "m68k", "sh", "sheb", "xtensa", "csky", "riscv32", "loongarch32")
}
"""The ABIs whose arguments are the low words of ``seccomp_data.args``.

All but i386 have kernels whose registers have 32 bits, or whose syscall_get_arguments() masks them
(arch/{powerpc,s390}/include/asm/syscall.h). That of x86 does not, but system calls of i386 get
``(unsigned int)regs->bx`` and so on (arch/x86/include/asm/syscall_wrapper.h).
"""

RETURN_VALUES = {
    "kill_process": 0x80000000,
    "kill_thread":  0x00000000,
    "trap":         0x00030000,
    "errno":        0x00050000,
    "user_notif":   0x7FC00000,
    "trace":        0x7FF00000,
    "log":          0x7FFC0000,
    "allow":        0x7FFF0000,
}

ERRNOS = {
    # errno-base.h: 1 to 34, of which alpha renumbers EAGAIN.
    "EPERM": 1, "ENOENT": 2, "ESRCH": 3, "EIO": 5, "ENXIO": 6, "E2BIG": 7, "ENOEXEC": 8,
    "EBADF": 9, "EAGAIN": 11, "ENOMEM": 12, "EACCES": 13, "EFAULT": 14, "EBUSY": 16,
    "EEXIST": 17, "EXDEV": 18, "ENODEV": 19, "ENOTDIR": 20, "EISDIR": 21, "EINVAL": 22,
    "EMFILE": 24, "ENOTTY": 25, "ENOSPC": 28, "ESPIPE": 29, "EROFS": 30, "EPIPE": 32,
    # errno.h: from 35 on architectures go their own ways.
    "EDEADLK": 35, "EDEADLOCK": 35, "ENOSYS": 38, "ELOOP": 40, "ENOTSOCK": 88,
    "EOPNOTSUPP": 95, "EAFNOSUPPORT": 97, "ETIMEDOUT": 110,
}
ALPHA_ERRNOS = {
    "EAGAIN": 35, "EDEADLK": 11, "EDEADLOCK": 11, "ENOSYS": 78, "ELOOP": 62, "ENOTSOCK": 38,
    "EOPNOTSUPP": 45, "EAFNOSUPPORT": 47, "ETIMEDOUT": 60,
}
MIPS_ERRNOS = {
    "EDEADLK": 45, "EDEADLOCK": 56, "ENOSYS": 89, "ELOOP": 90, "ENOTSOCK": 95,
    "EOPNOTSUPP": 122, "EAFNOSUPPORT": 124, "ETIMEDOUT": 145,
}
PARISC_ERRNOS = {
    "EDEADLK": 45, "EDEADLOCK": 45, "ENOSYS": 251, "ELOOP": 249, "ENOTSOCK": 216,
    "EOPNOTSUPP": 223, "EAFNOSUPPORT": 225, "ETIMEDOUT": 238,
}
# fmt: on


def errnos_of(abi: str) -> dict[str, int]:
    """Return the errnos that tests use, by name, as ``abi`` numbers them."""
    if abi == "alpha":
        return ERRNOS | ALPHA_ERRNOS
    if abi.startswith("mips"):
        return ERRNOS | MIPS_ERRNOS
    if abi.startswith("parisc"):
        return ERRNOS | PARISC_ERRNOS
    if abi.startswith("ppc"):
        return ERRNOS | {"EDEADLOCK": 58}
    return ERRNOS


def action_value(action: str, abi: str) -> int:
    """Return the SECCOMP_RET value of ``allow``, ``errno(EACCES)``, ``trace(7)``, ... ."""
    name, _, data = action.removesuffix(")").partition("(")
    value = RETURN_VALUES[name]
    if not data:
        return value | 1 if name == "errno" else value  # a plain errno is EPERM
    return value | (int(data, 0) if data[0].isdigit() else errnos_of(abi)[data])


def argument_test(entry: Mapping[str, Any], constants: Mapping[str, int]) -> Test:
    """Return the test that one entry of ``arguments`` stands for."""
    index = int(entry.get("argument", 0))
    operation = str(entry["operation"]).lower()
    value = _number(entry.get("value", 0), constants)
    mask = _number(entry.get("mask", 0), constants)
    counts = U32 if entry.get("width", 64) == 32 else U64

    def holds(args: Sequence[int]) -> bool:
        argument = args[index] & counts
        if operation == "equal":
            return argument == value
        if operation == "notequal":
            return argument != value
        if operation == "greaterthan":
            return argument > value
        if operation == "lessthan":
            return argument < value
        if operation == "greaterorequal":
            return argument >= value
        if operation == "lessorequal":
            return argument <= value
        if operation == "bitsset":  # any of them
            return argument & value != 0
        if operation == "bitsnotset":  # none of them
            return argument & value == 0
        if operation == "maskedequal":
            return argument & mask == value
        raise AssertionError(f"no such operation: {operation}")

    return holds


def expression_test(text: str, constants: Mapping[str, int]) -> Test:
    """Return the test that a ``when:`` stands for: it is Python, so Python says what it means.

    Only for policies that we wrote ourselves.
    """
    code = compile(" ".join(text.split()), "when", "eval")

    def holds(args: Sequence[int]) -> bool:
        names: dict[str, Any] = dict(constants)
        names |= {f"arg{index}": argument for index, argument in enumerate(args)}
        names["u32"] = lambda argument: argument & U32
        names["i32"] = lambda argument: (argument & U32 ^ 0x80000000) - 0x80000000
        return bool(eval(code, {"__builtins__": {}}, names))

    return holds


def _number(value: int | str, constants: Mapping[str, int]) -> int:
    if isinstance(value, int):
        return value
    return constants[value] if value in constants else int(value, 0)


@dataclass(frozen=True)
class Rule:
    """One call by name; ``tests`` must all hold."""

    name: str
    tests: tuple[Test, ...]
    action: str


def rules_of(policy: PolicyDict, constants: Mapping[str, int]) -> list[Rule]:
    """Return the rules from top to bottom, the names of each group one by one."""
    rules = []
    for group in policy.get("syscalls", ()):
        when = [expression_test(group["when"], constants)] if "when" in group else []
        for name in group.get("names", ()):
            assert not name.startswith("@"), "groups must have been replaced by their names"
            rules.append(Rule(name, tuple(when), group["action"]))
        for entry in group.get("names_with_args", ()):
            tests = [argument_test(one, constants) for one in entry.get("arguments", ())]
            rules.append(Rule(entry["name"], (*when, *tests), group["action"]))
    return rules


@dataclass
class Meaning:
    """The answers that the program for ``abi`` must give; the policy may name ``constants``."""

    policy: PolicyDict
    tables: Tables
    abi: str
    constants: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.default = self.policy["default_action"]
        self.unknown = self.policy.get("unknown_action", self.default)
        self.bad_arch = self.policy.get("bad_arch_action", "kill_process")
        compat = self.policy.get("compat_arches", ())
        self.answered = {self.abi, *compat} & {self.abi, *ABIS[self.abi].same_kernel}
        rules = rules_of(self.policy, self.constants)
        # For each ABI, number to its rules, first to last: two names may share a number.
        self.named: dict[str, dict[int, list[Rule]]] = {}
        for abi in self.answered:
            table = self.tables[abi]
            self.named[abi] = {number: [] for number in table.values()}
            for rule in rules:
                if rule.name in table:
                    self.named[abi][table[rule.name]].append(rule)

    def decide(self, arch: int, nr: int, args: Sequence[int]) -> int:
        """Return the SECCOMP_RET value for one call."""
        abi = self.abi_of_call(arch, nr)
        if abi is None:
            return action_value(self.bad_arch, self.abi)
        if nr not in self.named[abi]:
            return action_value(self.unknown, abi)
        if abi in LOW_WORDS:
            args = [argument & U32 for argument in args]
        for rule in self.named[abi][nr]:
            if all(test(args) for test in rule.tests):
                return action_value(rule.action, abi)
        return action_value(self.default, abi)

    def abi_of_call(self, arch: int, nr: int) -> str | None:
        """Return the ABI whose table holds for a call, None if it is foreign to the program."""
        if arch == ABIS["x86_64"].audit_arch:
            return self._x86_64_or_x32(nr)
        for abi in self.answered:
            if ABIS[abi].audit_arch == arch:
                return None if self._of_another_mips_abi(abi, nr) else abi
        return None

    def _x86_64_or_x32(self, nr: int) -> str | None:
        """Tell the two apart by bit 30; but -1, which has it too, is no call of either."""
        candidates = {"x86_64", "x32"} & self.answered
        if nr == 0xFFFFFFFF:
            return min(candidates, default=None)  # it is an unknown number in both
        abi = "x32" if nr & 0x40000000 else "x86_64"
        return abi if abi in candidates else None

    def _of_another_mips_abi(self, abi: str, nr: int) -> bool:
        """MIPS dispatches by number, whatever ABI seccomp_data.arch tells."""
        if not abi.startswith("mips"):
            return False
        for other in ABIS[abi].same_kernel:
            base = 6000 if "n32" in other else 5000 if "64" in other else 4000
            if base <= nr <= max(self.tables[other].values()):
                return True
        return False


def decide(
    policy: PolicyDict, tables: Tables, abi: str, arch: int, nr: int, args: Sequence[int]
) -> int:
    """Return the SECCOMP_RET value that the program for ``abi`` must give for one call."""
    return Meaning(policy, tables, abi).decide(arch, nr, args)
