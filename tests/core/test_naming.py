"""Conditions in names say what they said in numbers, and never more than is known."""

from __future__ import annotations

import ast
import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_facts import known_facts
from named_conditions import comparisons_of
from plain_comparisons import holds
from seccompgen.core.abis import ABIS
from seccompgen.core.argument_families import families_of, family_of
from seccompgen.core.constant_families import ConstantFamily
from seccompgen.core.facts import NO_FACTS, Constant, Facts
from seccompgen.core.model import U32, U64, All, Comparison, Op
from seccompgen.core.naming import Naming
from seccompgen.core.spelling import Spelling

FACTS = known_facts()
NAMING = Naming(FACTS)
X86_64, MIPS, MIPS64, S390X, I386 = (
    ABIS[name] for name in ("x86_64", "mips", "mips64", "s390x", "i386")
)


def low(argument: int, op: Op, value: int, mask: int = U32) -> Comparison:
    """Return a comparison of an argument's low word."""
    return Comparison(argument, op, value, mask, 32)


def full(argument: int, op: Op, value: int, mask: int = U64) -> Comparison:
    """Return a comparison of a whole argument."""
    return Comparison(argument, op, value, mask)


SAID = [
    ("ioctl", low(1, Op.EQ, 0x541B), "cmd == FIONREAD"),
    ("ioctl", low(1, Op.EQ, 0x5401), "cmd == TCGETS"),
    ("ioctl", low(1, Op.EQ, 0xAE80), "cmd == KVM_RUN"),
    ("ioctl", low(1, Op.EQ, 0), "cmd == 0"),
    ("ioctl", low(1, Op.EQ, 0x2000), "cmd == 0x2000"),
    ("ioctl", low(1, Op.ANY_BITS, 0x6400), "cmd & 0x6400"),
    ("ioctl", full(1, Op.EQ, 0x541B), "u64(cmd) == FIONREAD"),
    ("socket", low(0, Op.NE, 1), "family != AF_UNIX"),
    ("socket", low(0, Op.EQ, 16), "family == AF_NETLINK"),
    ("socket", low(0, Op.EQ, 46), "family == 0x2e"),
    ("socket", low(0, Op.GT, 2), "family > AF_INET"),
    ("socket", All((low(0, Op.NE, 1), low(0, Op.NE, 2))), "family not in {AF_UNIX, AF_INET}"),
    ("socket", low(1, Op.EQ, 0x80001), "type == SOCK_STREAM|SOCK_CLOEXEC"),
    ("socket", low(1, Op.MASKED_EQ, 1, 0xF), "type & 0xf == SOCK_STREAM"),
    ("mmap", full(2, Op.NO_BITS, 4), "not prot & PROT_EXEC"),
    ("mmap", full(2, Op.ANY_BITS, 6), "prot & (PROT_WRITE|PROT_EXEC)"),
    ("mmap", full(2, Op.EQ, 0), "prot == PROT_NONE"),
    ("mmap", full(2, Op.EQ, 0x40000001), "prot == PROT_READ|0x40000000"),
    ("mmap", full(2, Op.NO_BITS, U64 ^ 3), "not prot & ~(PROT_READ|PROT_WRITE)"),
    ("mmap", full(2, Op.NO_BITS, U64 ^ 8), "not prot & 0xfffffffffffffff7"),
    ("mmap", full(2, Op.NO_BITS, U64 ^ 9), "not prot & 0xfffffffffffffff6"),
    ("mmap", full(2, Op.NO_BITS, U64), "prot == PROT_NONE"),
    ("mmap", low(2, Op.EQ, 1), "u32(prot) == PROT_READ"),
    ("mmap", full(3, Op.EQ, 0x32), "flags == MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS"),
    ("clone", low(0, Op.ANY_BITS, 0x10020000), "flags & (CLONE_NEWNS|CLONE_NEWUSER)"),
    ("clone", low(0, Op.EQ, 0x111), "flags == SIGCHLD|CLONE_VM"),
    (
        "clone",
        low(0, Op.NO_BITS, U32 ^ 0x10011),
        "not flags & ~(CLONE_THREAD|SIGCHLD)",
    ),
    ("clone", low(0, Op.ANY_BITS, 0x17), "flags & 0x17"),
    ("openat", low(2, Op.MASKED_EQ, 0, 3), "flags & O_ACCMODE == O_RDONLY"),
    ("openat", low(2, Op.NO_BITS, 0x43), "not flags & (O_ACCMODE|O_CREAT)"),
    ("openat", low(2, Op.NO_BITS, 0x41), "not flags & (O_WRONLY|O_CREAT)"),
    ("openat", low(2, Op.MASKED_EQ, 0x41, 0x43), "flags & (O_ACCMODE|O_CREAT) == O_WRONLY|O_CREAT"),
    ("openat", low(2, Op.MASKED_EQ, 4, 3), "flags & O_ACCMODE == 4"),
    ("openat", low(2, Op.EQ, 0o20200002), "flags == O_RDWR|O_TMPFILE"),
    ("openat", low(2, Op.EQ, 0o4000), "flags == O_RDONLY|O_NONBLOCK"),
    ("openat", low(0, Op.EQ, 0xFFFFFF9C), "dfd == AT_FDCWD"),
    ("openat", low(0, Op.GT, 0xFFFFFF9C), "dfd > 0xffffff9c"),
    ("openat", low(3, Op.ANY_BITS, 0o4000), "mode & S_ISUID"),
    ("openat", low(3, Op.NE, 0o644, 0xFFFF), "mode != 0o644"),
    ("mkdir", low(1, Op.MASKED_EQ, 0o100644, 0xFFFF), "mode == S_IFREG|0o644"),
    ("mkdir", low(1, Op.EQ, 0o644), "u32(mode) == 0o644"),
    ("fcntl", All((low(1, Op.GE, 6), low(1, Op.LE, 7))), "F_SETLK <= cmd <= F_SETLKW"),
    ("fcntl", All((low(1, Op.GE, 7), low(1, Op.LE, 6))), "cmd >= F_SETLKW and cmd <= F_SETLK"),
    (
        "fcntl",
        All((low(1, Op.EQ, 4), full(2, Op.NO_BITS, 0x840))),
        "cmd == F_SETFL and not arg & (O_CREAT|O_NONBLOCK)",
    ),
    ("fcntl", full(2, Op.NO_BITS, 0x840), "not arg & 0x840"),
    (
        "setsockopt",
        All((low(1, Op.EQ, 1), low(2, Op.EQ, 2))),
        "level == SOL_SOCKET and optname == SO_REUSEADDR",
    ),
    (
        "setsockopt",
        All((low(1, Op.EQ, 6), low(2, Op.GE, 3), low(2, Op.LE, 6))),
        "level == IPPROTO_TCP and TCP_CORK <= optname <= TCP_KEEPCNT",
    ),
    ("setsockopt", low(2, Op.EQ, 2), "optname == 2"),
    ("prctl", low(0, Op.EQ, 15), "option == PR_SET_NAME"),
    ("prctl", low(0, Op.EQ, 14), "option == 0xe"),
    (
        "prctl",
        All((low(0, Op.EQ, 23), full(1, Op.EQ, 21))),
        "option == PR_CAPBSET_READ and arg1 == CAP_SYS_ADMIN",
    ),
    ("futex", low(1, Op.EQ, 129), "op == FUTEX_WAKE_PRIVATE"),
    ("futex", low(1, Op.EQ, 128), "op == FUTEX_WAIT|FUTEX_PRIVATE_FLAG"),
    ("futex", low(1, Op.MASKED_EQ, 1, 0xFFFFFE7F), "op & FUTEX_CMD_MASK == FUTEX_WAKE"),
    ("kill", low(1, Op.EQ, 6), "sig == SIGABRT"),
    ("kill", low(1, Op.EQ, 0), "sig == 0"),
    ("kill", low(0, Op.ANY_BITS, 1 << 31), "i32(pid) < 0"),
    ("kill", low(0, Op.NO_BITS, 1 << 31), "i32(pid) >= 0"),
    ("kill", low(0, Op.ANY_BITS, 1 << 30), "pid & 0x40000000"),
    ("personality", low(0, Op.EQ, 0x40000), "personality == PER_LINUX|ADDR_NO_RANDOMIZE"),
    ("personality", low(0, Op.EQ, U32), "personality == 0xffffffff"),
    ("nobody_knows", low(1, Op.EQ, 1), "u32(arg1) == 1"),
    ("nobody_knows", full(1, Op.NO_BITS, 0), "arg1 & 0 == 0"),
]


@pytest.mark.parametrize(("call", "condition", "text"), SAID, ids=[text for *_, text in SAID])
def test_conditions_speak_names(call: str, condition: Comparison | All, text: str) -> None:
    assert NAMING.condition(condition, call, X86_64) == text


def test_names_are_those_of_the_abi() -> None:
    fionread = low(1, Op.EQ, 0x541B)
    assert NAMING.condition(fionread, "ioctl", MIPS) == "cmd == 0x541b"
    assert NAMING.condition(low(1, Op.EQ, 0x467F), "ioctl", MIPS) == "cmd == FIONREAD"
    assert NAMING.condition(low(1, Op.EQ, 2), "socket", MIPS) == "type == SOCK_STREAM"
    newuser = full(0, Op.ANY_BITS, 0x10000000)
    assert NAMING.condition(newuser, "clone", X86_64) == "flags & CLONE_NEWUSER"
    assert NAMING.condition(newuser, "clone", S390X) == "newsp & 0x10000000"
    assert NAMING.condition(full(1, Op.ANY_BITS, 0x10000000), "clone", S390X) == (
        "flags & CLONE_NEWUSER"
    )
    # On i386 no call gets more than 32 bits, and a longer value is none.
    assert NAMING.condition(full(1, Op.EQ, 0x541B), "ioctl", I386) == "cmd == FIONREAD"
    assert NAMING.condition(full(2, Op.NO_BITS, 4), "mmap", I386) == "not prot & PROT_EXEC"


def test_without_facts_there_are_numbers() -> None:
    said = Naming(NO_FACTS).condition(low(1, Op.EQ, 0x541B), "ioctl", X86_64)
    assert said == "u32(arg1) == 0x541b"
    assert NAMING.condition(low(1, Op.EQ, 0x541B), "ioctl", MIPS64) == "u32(arg1) == 0x541b"
    assert NAMING.condition(None, "ioctl", X86_64) == ""


def test_alternatives_list_values() -> None:
    some = [low(1, Op.EQ, 0x541B), low(1, Op.EQ, 0x5421)]
    assert NAMING.alternatives(some, "ioctl", X86_64) == "cmd in {FIONREAD, FIONBIO}"
    tcp = [All((low(1, Op.EQ, 6), low(2, Op.EQ, value))) for value in (1, 3, 0x77)]
    assert NAMING.alternatives(tcp, "setsockopt", X86_64) == (
        "level == IPPROTO_TCP and optname in {TCP_NODELAY, TCP_CORK, 0x77}"
    )
    levels = [All((low(1, Op.EQ, value), low(2, Op.EQ, 1))) for value in (6, 1)]
    assert NAMING.alternatives(levels, "setsockopt", X86_64) == (
        "level in {IPPROTO_TCP, SOL_SOCKET} and optname == 1"
    )
    two = [*tcp, All((low(1, Op.EQ, 1), low(2, Op.EQ, 2))), *tcp, *levels[1:]]
    assert NAMING.alternatives(two, "setsockopt", X86_64) == (
        "level == IPPROTO_TCP and optname in {TCP_NODELAY, TCP_CORK, 0x77} or "
        "level == SOL_SOCKET and optname in {SO_REUSEADDR, 1}"
    )
    mixed = [low(1, Op.EQ, 0x541B), low(1, Op.GE, 0x5421)]
    assert NAMING.alternatives(mixed, "ioctl", X86_64) == "cmd == FIONREAD or cmd >= FIONBIO"
    assert NAMING.alternatives([low(1, Op.EQ, 0x541B)], "ioctl", X86_64) == "cmd == FIONREAD"


def test_arguments_of_calls_speak_names() -> None:
    args = (U64 - 99, 0, 0o2000000, 0o644, 0, 0)
    shown = [NAMING.value("openat", i, args, X86_64) for i in range(4)]
    assert shown == ["AT_FDCWD", "0", "O_RDONLY|O_CLOEXEC", "0o644"]
    assert NAMING.value("openat", 0, (U32 - 99,), X86_64) == "AT_FDCWD"
    assert NAMING.value("openat", 0, (3,), X86_64) == "3"
    # Bits that the kernel does not read are shown: a filter may look at them.
    assert NAMING.value("socket", 0, (1 | 1 << 32,), X86_64) == "AF_UNIX|0x100000000"
    assert NAMING.value("socket", 0, (77 | 1 << 32,), X86_64) == "0x10000004d"
    assert NAMING.value("openat", 0, (1 << 32 | U32 - 99,), X86_64) == "AT_FDCWD|0x100000000"
    assert NAMING.value("setsockopt", 2, (3, 6, 1), X86_64) == "TCP_NODELAY"
    assert NAMING.value("setsockopt", 2, (3, 9, 1), X86_64) == "1"
    assert NAMING.value("nobody_knows", 0, (U64,), X86_64) == f"{U64:#x}"


def test_a_comparison_without_a_name_is_none() -> None:
    assert NAMING.comparison(low(1, Op.EQ, 0x541B), "ioctl", X86_64) == "cmd == FIONREAD"
    assert NAMING.comparison(low(1, Op.EQ, 0x541B), "ioctl", MIPS) == ""
    assert NAMING.comparison(full(0, Op.EQ, 0), "mmap", X86_64) == ""


def test_an_argument_has_a_name_that_the_language_takes() -> None:
    assert NAMING.argument("openat", 2, X86_64) == "flags"
    assert NAMING.argument("openat", 5, X86_64) == "arg5"
    prototype = FACTS.prototypes["x86_64"]["socket"]
    odd = [replace(one, name=name) for one in prototype.parameters for name in ("from", "x", "x")]
    calls = {"x86_64": {"odd": replace(prototype, parameters=tuple(odd[:6]))}}
    naming = Naming(Facts({}, calls))
    assert NAMING.argument("prctl", 1, X86_64) == "arg1"  # the kernel calls it arg2
    # A keyword of Python; the first of two of one name is found by it, the second is not.
    assert [naming.argument("odd", n, X86_64) for n in range(3)] == ["arg0", "x", "arg2"]


def test_it_travels_to_other_processes() -> None:
    NAMING.condition(low(1, Op.EQ, 0x541B), "ioctl", X86_64)
    again = pickle.loads(pickle.dumps(NAMING))
    assert again.condition(low(1, Op.EQ, 0x541B), "ioctl", X86_64) == "cmd == FIONREAD"


# --- families ------------------------------------------------------------------------------------


def test_families_have_their_constants_and_no_others() -> None:
    family = family_of("socket", "family")
    assert family is not None
    assert family is family_of("socket", "domain")
    assert "AF_UNIX" in family
    assert "AF_MAX" not in family
    assert "SOCK_STREAM" not in family
    requests = family_of("ioctl", "cmd")
    assert requests is not None
    names = requests.names(FACTS)
    assert "KVM_RUN" in names
    assert "KVM_CAP_IRQCHIP" not in names  # of another type
    assert "TIOCM_OUT1" not in names
    opened = family_of("openat", "flags")
    assert opened is not None
    assert {"O_ACCMODE", "O_RDONLY", "O_CREAT"} <= set(opened.names(FACTS))


def test_families_may_depend_on_another_argument() -> None:
    assert family_of("setsockopt", "optname") is None
    assert len(families_of("setsockopt", "optname")) > 3
    assert families_of("socket", "family") == (family_of("socket", "family"),)
    assert families_of("getpid", "nothing") == ()


def test_the_first_word_that_fits_names_a_value() -> None:
    constants = {name: Constant(name, 7) for name in ("B_ONE", "A_TWO", "A_ONE")}
    facts = Facts(constants)
    for text, name in (("A_* B_*", "A_ONE"), ("B_ONE A_*", "B_ONE"), ("A_* -A_ONE", "A_TWO")):
        assert ConstantFamily(text).on(facts, X86_64).whole == {7: name}
    assert ConstantFamily(flags="A_*", mask="0x3").on(facts, X86_64).mask == 3


def test_a_flag_among_the_bits_of_a_part_is_none() -> None:
    facts = Facts({name: Constant(name, value) for name, value in (("A", 1), ("B", 8), ("C", 16))})
    spelling = Spelling(ConstantFamily(flags="B C", part="A", mask="0xf").on(facts, X86_64), 32)
    assert [spelling.exact(value) for value in (1, 8, 17, 24)] == ["A", "8", "A|C", "C|8"]


# --- what is said is what is meant ----------------------------------------------------------------

_CALLS = {name: prototype.parameters for name, prototype in FACTS.prototypes["x86_64"].items()}


class _Argument:
    """An argument in an expression: some of its bits."""

    __hash__ = None  # type: ignore[assignment] # `in` compares

    def __init__(self, value: int, bits: int) -> None:
        self.whole, self.bits = value, bits
        self.value = value & (1 << bits) - 1

    def _other(self, value: int) -> int:
        return value & (1 << self.bits) - 1

    def __and__(self, mask: int) -> _Argument:
        return _Argument(self.value & self._other(mask), self.bits)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, int)
        # A number of more bits is none that the argument can have.
        fits = -1 << self.bits <= other < 1 << self.bits
        return fits and self.value == self._other(other)

    def __lt__(self, other: int) -> bool:
        return self.value < other

    def __le__(self, other: int) -> bool:
        return self.value <= other

    def __gt__(self, other: int) -> bool:
        return self.value > other

    def __ge__(self, other: int) -> bool:
        return self.value >= other

    def __bool__(self) -> bool:
        return self.value != 0


class _ListsForSets(ast.NodeTransformer):
    def visit_Set(self, node: ast.Set) -> ast.List:
        return ast.List(node.elts, ast.Load())


def is_true(text: str, call: str, abi_name: str, args: tuple[int, ...]) -> bool:
    """Evaluate what was said, as plainly as can be."""
    abi = ABIS[abi_name]
    names: dict[str, object] = {
        name: one.on(abi) for name, one in FACTS.constants.items() if one.on(abi) is not None
    }
    prototype = FACTS.prototype(call, abi)
    for n, value in enumerate(args):
        known = prototype.parameters[n : n + 1] if prototype else ()
        bits = min((known[0].bits if known else None) or 64, abi.argument_bits)
        names[f"arg{n}"] = argument = _Argument(value, bits)
        if known and (call != "prctl" or n == 0):  # whose others the kernel calls arg2 to arg5
            names[known[0].name] = argument
    names |= {
        "u32": lambda one: _Argument(one.whole, 32),
        "u64": lambda one: _Argument(one.whole, 64),
        "i32": lambda one: (one.whole & U32 ^ 1 << 31) - (1 << 31),
        "__builtins__": {},
    }
    tree = ast.fix_missing_locations(_ListsForSets().visit(ast.parse(text, mode="eval")))
    return bool(eval(compile(tree, "said", "eval"), names))


@settings(max_examples=70)
@given(st.data())
def test_what_is_said_is_what_is_meant(data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(sorted(_CALLS)))
    abi = ABIS[data.draw(st.sampled_from(("x86_64", "mips", "alpha", "s390x", "i386", "mips64")))]
    count = len(_CALLS[call])
    conjunctions = data.draw(
        st.lists(st.lists(comparisons_of(count), min_size=1, max_size=3), min_size=1, max_size=3)
    )
    if data.draw(st.booleans()):  # alternatives that differ in a value
        last = conjunctions[0][-1]
        others = (0, 1, 6, U32 & last.value)
        conjunctions = [
            [*conjunctions[0][:-1], replace(last, op=Op.EQ, value=v, mask=(1 << last.width) - 1)]
            for v in dict.fromkeys(others)
        ]
    said = NAMING.alternatives([All(tuple(tests)) for tests in conjunctions], call, abi)
    tests = [test for some in conjunctions for test in some]
    most = U32 if abi.argument_bits == 32 else U64
    interesting = [0, most, 1 << 31]
    for test in tests:
        interesting += [
            test.value,
            test.value + 1,
            test.value - 1,
            test.value | 1 << 32,
            ~test.value,
        ]
        interesting += [test.mask, test.value & test.mask, test.value | ~test.mask]
        interesting += [1 << bit for bit in range(64) if test.value >> bit & 1][:3]
    value = st.one_of(st.sampled_from(interesting), st.integers(0, U64)).map(lambda v: v & most)
    for _ in range(8):
        args = tuple(data.draw(value) for _ in range(count))
        meant = any(all(holds(test, args[test.argument]) for test in some) for some in conjunctions)
        assert is_true(said, call, abi.name, args) == meant, (said, conjunctions, args)
