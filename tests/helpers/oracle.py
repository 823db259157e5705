"""The meaning of a policy in the plainest form: a dictionary in, a SECCOMP_RET value out.

Written from the contract (sections 3 and 4), to be read against it. It shares no code with
seccompgen. A policy is what a policy file holds, includes already followed; tables are plain
dictionaries, ``{abi: {name: number}}``, numbers as ``seccomp_data.nr`` holds them. An expression is
evaluated for the arguments of each call; nothing is worked out before.
"""

from __future__ import annotations

import ast
import operator
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
    "EOPNOTSUPP": 95, "EPROTONOSUPPORT": 93, "EAFNOSUPPORT": 97, "ETIMEDOUT": 110,
}
ALPHA_ERRNOS = {
    "EAGAIN": 35, "EDEADLK": 11, "EDEADLOCK": 11, "ENOSYS": 78, "ELOOP": 62, "ENOTSOCK": 38,
    "EOPNOTSUPP": 45, "EPROTONOSUPPORT": 43, "EAFNOSUPPORT": 47, "ETIMEDOUT": 60,
}
MIPS_ERRNOS = {
    "EDEADLK": 45, "EDEADLOCK": 56, "ENOSYS": 89, "ELOOP": 90, "ENOTSOCK": 95,
    "EOPNOTSUPP": 122, "EPROTONOSUPPORT": 120, "EAFNOSUPPORT": 124, "ETIMEDOUT": 145,
}
PARISC_ERRNOS = {
    "EDEADLK": 45, "EDEADLOCK": 45, "ENOSYS": 251, "ELOOP": 249, "ENOTSOCK": 216,
    "EOPNOTSUPP": 223, "EPROTONOSUPPORT": 221, "EAFNOSUPPORT": 225, "ETIMEDOUT": 238,
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


Parameters: TypeAlias = "Sequence[tuple[str, int | None]]"
"""The name of each argument of a call, and how many bits of it the kernel reads, None: unknown."""


class PlainFacts(NamedTuple):
    """The kernel's headers: ``{abi: {constant: value}}``, ``{abi: {call: Parameters}}``."""

    constants: Mapping[str, Mapping[str, int]]
    parameters: Mapping[str, Mapping[str, Parameters]]


class TablesWithFacts(dict[str, dict[str, int]]):
    """Plain tables that come with ``facts`` of the same kernel."""

    facts = PlainFacts({}, {})


class Seen(NamedTuple):
    """An argument as a comparison sees it: ``bits`` of it, as a number with or without a sign."""

    value: int
    bits: int
    signed: bool = False

    def same(self, number: int) -> bool:
        """Return True if it is ``number``; a negative one stands for its bits."""
        if number < 0 and not self.signed:
            return number >= -(1 << self.bits - 1) and self.value == number % (1 << self.bits)
        return self.value == number

    def masked(self, mask: int) -> Seen:
        return Seen(self.value & mask % (1 << self.bits), self.bits)


@dataclass(frozen=True)
class Reader:
    """Looks arguments up: those of one call with ``parameters``; at ``most`` bits of each count."""

    parameters: Parameters = ()
    most: int = 64

    def seen(self, args: Sequence[int], name: str | int, width: int | None = None) -> Seen:
        if isinstance(name, str) and name[:3] == "arg" and name[3:] in set("012345"):
            name = int(name[3:])
        if isinstance(name, str):
            name = [parameter for parameter, _ in self.parameters].index(name)
        known = self.parameters[name][1] if name < len(self.parameters) else None
        bits = min(width or known or 64, self.most)
        return Seen(args[name] % (1 << bits), bits)


def argument_test(
    entry: Mapping[str, Any], constants: Mapping[str, int], reader: Reader = Reader()
) -> Test:
    """Return the test that one entry of ``arguments`` stands for."""
    operation = str(entry["operation"]).lower()
    value = number_of(entry.get("value", 0), constants)
    mask = number_of(entry.get("mask", 0), constants)

    def holds(args: Sequence[int]) -> bool:
        argument = reader.seen(args, entry.get("argument", 0), entry.get("width"))
        if operation == "equal":
            return argument.same(value)
        if operation == "notequal":
            return not argument.same(value)
        if operation == "greaterthan":
            return argument.value > value
        if operation == "lessthan":
            return argument.value < value
        if operation == "greaterorequal":
            return argument.value >= value
        if operation == "lessorequal":
            return argument.value <= value
        if operation == "bitsset":  # any of them
            return argument.masked(value).value != 0
        if operation == "bitsnotset":  # none of them
            return argument.masked(value).value == 0
        if operation == "maskedequal":
            return argument.masked(mask).same(value)
        raise AssertionError(f"no such operation: {operation}")

    return holds


def expression_test(text: str, constants: Mapping[str, int], reader: Reader = Reader()) -> Test:
    """Return the test that a ``when:`` stands for: Python's grammar says what it means."""
    tree = ast.parse(" ".join(text.split()), mode="eval").body

    def holds(args: Sequence[int]) -> bool:
        return _truth(_Evaluation(args, constants, reader).of(tree))

    return holds


def _truth(result: Any) -> bool:
    return result.value != 0 if isinstance(result, Seen) else bool(result)


_ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    ast.BitOr: operator.or_, ast.BitAnd: operator.and_, ast.BitXor: operator.xor,
    ast.Add: operator.add, ast.Sub: operator.sub,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift,
}  # fmt: skip
_ORDERS: dict[type, Callable[[int, int], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class _Evaluation:
    """One expression with the arguments of one call: each node is a number, or Seen, or a truth."""

    args: Sequence[int]
    constants: Mapping[str, int]
    reader: Reader

    def of(self, node: ast.expr) -> Any:
        match node:
            case ast.Compare(left, ops, comparators):
                sides = [left, *comparators]
                return all(self._compared(*s) for s in zip(sides, ops, sides[1:], strict=False))
            case ast.Constant(value):
                return value
            case ast.Name(name):
                return self.constants[name] if name.isupper() else self.reader.seen(self.args, name)
            case ast.BoolOp(op, values):
                every = (_truth(self.of(one)) for one in values)
                return all(every) if isinstance(op, ast.And) else any(every)
            case ast.UnaryOp(ast.Not(), operand):
                return not _truth(self.of(operand))
            case ast.UnaryOp(ast.USub(), operand):
                return -self.of(operand)
            case ast.UnaryOp(ast.Invert(), operand):
                return ~self.of(operand)
            case ast.Call(ast.Name(function), [ast.Name(argument)]):
                return self._read(function, argument)
            case ast.BinOp(left, op, right):
                return self._joined(self.of(left), op, self.of(right))
        raise AssertionError(ast.dump(node))

    def _read(self, function: str, argument: str) -> Seen:
        bits = int(function[1:])
        seen = self.reader.seen(self.args, argument, bits)
        if function[0] == "i":
            half = 1 << bits - 1
            return Seen((seen.value ^ half) - half, bits, signed=True)
        return seen

    def _joined(self, left: Any, op: ast.operator, right: Any) -> Any:
        if isinstance(right, Seen):
            left, right = right, left
        return left.masked(right) if isinstance(left, Seen) else _ARITHMETIC[type(op)](left, right)

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> bool:
        if isinstance(op, ast.In | ast.NotIn):
            return self._is_in(self.of(left), right) is isinstance(op, ast.In)
        a, b = self.of(left), self.of(right)
        if isinstance(op, ast.Eq | ast.NotEq):
            same: bool = b.same(a) if isinstance(b, Seen) else a.same(b)
            return same is isinstance(op, ast.Eq)
        x, y = (one.value if isinstance(one, Seen) else one for one in (a, b))
        return _ORDERS[type(op)](x, y)

    def _is_in(self, seen: Seen, values: ast.expr) -> bool:
        if isinstance(values, ast.Call):
            bounds = [self.of(one) for one in values.args]
            first, last = bounds if len(bounds) == 2 else (0, bounds[0])
            return bool(first <= seen.value < last)
        assert isinstance(values, ast.Set | ast.List | ast.Tuple)
        return any(seen.same(self.of(one)) for one in values.elts)


def number_of(value: int | str, constants: Mapping[str, int]) -> int:
    """Return what a value stands for; raise KeyError for a constant that there is not."""
    if isinstance(value, int):
        return value
    number = _Evaluation((), constants, Reader()).of(ast.parse(value, mode="eval").body)
    assert isinstance(number, int)
    return number


# fmt: off
THROUGH = {
    "socket": ("socketcall", 1), "bind": ("socketcall", 2), "connect": ("socketcall", 3),
    "listen": ("socketcall", 4), "accept": ("socketcall", 5), "getsockname": ("socketcall", 6),
    "getpeername": ("socketcall", 7), "socketpair": ("socketcall", 8), "send": ("socketcall", 9),
    "recv": ("socketcall", 10), "sendto": ("socketcall", 11), "recvfrom": ("socketcall", 12),
    "shutdown": ("socketcall", 13), "setsockopt": ("socketcall", 14),
    "getsockopt": ("socketcall", 15), "sendmsg": ("socketcall", 16), "recvmsg": ("socketcall", 17),
    "accept4": ("socketcall", 18), "recvmmsg": ("socketcall", 19), "sendmmsg": ("socketcall", 20),
    "semop": ("ipc", 1), "semget": ("ipc", 2), "semctl": ("ipc", 3), "semtimedop": ("ipc", 4),
    "msgsnd": ("ipc", 11), "msgrcv": ("ipc", 12), "msgget": ("ipc", 13), "msgctl": ("ipc", 14),
    "shmat": ("ipc", 21), "shmdt": ("ipc", 22), "shmget": ("ipc", 23), "shmctl": ("ipc", 24),
}
"""How a call can be made, too (include/uapi/linux/net.h and ipc.h)."""
# fmt: on


def through_test(name: str, number: int) -> Test:
    """Return the test of the first argument of socketcall or ipc, which reads 16 bits of it."""
    bits = 16 if name == "ipc" else 32
    return lambda args: args[0] % (1 << bits) == number


@dataclass(frozen=True)
class Rule:
    """One call by name; ``tests`` must all hold."""

    name: str | int
    tests: tuple[Test, ...]
    action: str


def rules_of(
    policy: PolicyDict,
    table: Mapping[str, int],
    abi: str,
    facts: PlainFacts,
    late: frozenset[str] = frozenset(),
) -> list[Rule]:
    """Return the rules from top to bottom, the names of each group one by one.

    What a rule says of a call that goes through another follows the rules of its list. Calls that
    are ``late``, and that a group of rules has ``mentioned`` only, are not named by it.
    """
    rules = []
    for group in policy.get("syscalls", ()):
        if abi not in group.get("arches", (abi,)):
            continue
        lists: list[list[tuple[Any, Any]]] = [[(name, {}) for name in group.get("names", ())]]
        lists += [[(entry["name"], entry)] for entry in group.get("names_with_args", ())]
        unseen = group.get("multiplexed", policy.get("multiplexed"))
        for listed in lists:
            through = []
            for name, entry in listed:
                assert not str(name).startswith("@"), "groups must have been replaced by names"
                bits = 32 if abi in LOW_WORDS else 64
                parameters = facts.parameters.get(abi, {}).get(name, ())
                tests = _tests(group, entry, facts.constants.get(abi, {}), Reader(parameters, bits))
                unnamed = name in late and name in group.get("mentioned", ())
                if unnamed or tests is None:
                    pass
                elif name in table or isinstance(name, int):
                    rules.append(Rule(name, tuple(tests), group["action"]))
                way = THROUGH.get(name)
                has_tests = "when" in group or bool(entry)
                action = unseen if has_tests else group["action"]
                if way and way[0] in table and action is not None:
                    through.append(Rule(way[0], (through_test(*way),), action))
            rules += through
    return rules


def _tests(
    group: Mapping[str, Any],
    entry: Mapping[str, Any],
    constants: Mapping[str, int],
    reader: Reader,
) -> list[Test] | None:
    """Return the tests of a rule; None if it names a constant that the ABI has not."""
    try:
        tests = [argument_test(one, constants, reader) for one in entry.get("arguments", ())]
    except KeyError:
        return None
    whens = [place["when"] for place in (group, entry) if "when" in place]
    return tests + [expression_test(when, constants, reader) for when in whens]


@dataclass
class Meaning:
    """The answers that the program for ``abi`` must give.

    The policy may name ``constants``, the same on each ABI, and what facts of ``tables`` have.
    ``late`` are by ABI the calls that the policy's ``kernel`` lacks.
    """

    policy: PolicyDict
    tables: Tables
    abi: str
    constants: Mapping[str, int] = field(default_factory=dict)
    late: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.default = self.policy["default_action"]
        fallback = "errno(ENOSYS)" if "kernel" in self.policy else self.default
        self.unknown = self.policy.get("unknown_action", fallback)
        self.bad_arch = self.policy.get("bad_arch_action", "kill_process")
        compat = self.policy.get("compat_arches", ())
        self.answered = {self.abi, *compat} & {self.abi, *ABIS[self.abi].same_kernel}
        known = getattr(self.tables, "facts", TablesWithFacts.facts)
        constants = {
            abi: {**known.constants.get(abi, {}), **self.constants} for abi in self.answered
        }
        facts = PlainFacts(constants, known.parameters)
        # For each ABI, number to its rules, first to last: two names may share a number.
        self.named: dict[str, dict[int, list[Rule]]] = {}
        self.numbers: dict[str, frozenset[int]] = {}
        for abi in self.answered:
            table = self.tables[abi]
            late = self.late.get(abi, frozenset())
            self.numbers[abi] = frozenset(table[name] for name in table.keys() - late)
            self.named[abi] = {number: [] for number in table.values()}
            for rule in rules_of(self.policy, table, abi, facts, late):
                number = rule.name % 2**32 if isinstance(rule.name, int) else table[rule.name]
                self.named[abi].setdefault(number, []).append(rule)
            named = frozenset(number for number, rules in self.named[abi].items() if rules)
            self.numbers[abi] |= named & frozenset(table.values())

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
        named = nr in self.numbers[abi]
        return action_value(self.default if named else self.unknown, abi)

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
            # It is no call of either; a rule for it is looked for in the program's own.
            return self.abi if self.abi in candidates else min(candidates, default=None)
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
