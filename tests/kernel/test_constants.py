"""Constants of the miniature, with what they are on each ABI; and readers that fall into traps."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from breaking import Edit, break_functions
from kernel_trees import read_tree, tables_from
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import OutsideError
from seccompgen.kernel.parse import c_types, cpp, declarations, headers, parse, typed
from seccompgen.kernel.parse import constants as constants_module
from seccompgen.kernel.parse import unit as unit_module
from seccompgen.kernel.parse.headers import NET
from seccompgen.kernel.parse.sources import VIEWS
from upstream import MINIATURE, NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seccompgen.core.facts import Constant

    Break = Callable[[pytest.MonkeyPatch], None]

ELSEWHERE = "*"
# Name: value by ABI, * for all that are not named.
EXPECTED: dict[str, dict[str, int | None]] = {
    "AT_FDCWD": {ELSEWHERE: -100},
    "F_DUPFD_CLOEXEC": {ELSEWHERE: 1030},
    "O_DIRECTORY": {ELSEWHERE: 0o200000, "arm": 0o40000, "ppc64le": 0o40000, "alpha": 0o100000},
    "O_TMPFILE": {
        ELSEWHERE: 0o20200000,
        "arm": 0o20040000,
        "ppc": 0o20040000,
        "alpha": 0o100100000,
    },
    "__O_TMPFILE": {ELSEWHERE: 0o20000000, "alpha": 0o100000000},
    "O_CLOEXEC": {ELSEWHERE: 0o2000000, "alpha": 0o10000000},
    "EPOLL_CLOEXEC": {ELSEWHERE: 0o2000000, "alpha": 0o10000000},
    "EPOLLET": {ELSEWHERE: 1 << 31},
    "CLONE_IO": {ELSEWHERE: 1 << 31},
    "CLONE_INTO_CGROUP": {ELSEWHERE: 1 << 33},
    "NLA_TYPE_MASK": {ELSEWHERE: ~0xC000},
    "PRIO_MIN": {ELSEWHERE: -20},
    "IPPROTO_IP": {ELSEWHERE: 0},
    "IPPROTO_TCP": {ELSEWHERE: 6},
    "IPPROTO_SMC": {ELSEWHERE: 256},
    "INADDR_BROADCAST": {ELSEWHERE: 0xFFFFFFFF},
    "BPF_MAP_LOOKUP_ELEM": {ELSEWHERE: 1},
    "BPF_OBJ_PIN": {ELSEWHERE: 6},
    "BPF_FUNC_map_update_elem": {ELSEWHERE: 2},
    "BPF_F_CURRENT_CPU": {ELSEWHERE: 0xFFFFFFFF},
    "SOCK_STREAM": {ELSEWHERE: 1, "mips": 2, "mips64n32el": 2},
    "SOCK_DGRAM": {ELSEWHERE: 2, "mips": 1, "mips64": 1},
    "SOCK_NONBLOCK": {ELSEWHERE: 0o4000, "mips": 0x80, "alpha": 4},
    "AF_LOCAL": {ELSEWHERE: 1},
    "PF_INET": {ELSEWHERE: 2},
    "MSG_CMSG_CLOEXEC": {ELSEWHERE: 1 << 30},
    "RLIMIT_NOFILE": {ELSEWHERE: 7, "mipsel": 5, "mips64": 5},
    "RLIM_INFINITY": {
        "x86_64": 2**64 - 1,
        "i386": 2**32 - 1,
        "mips": 0x7FFFFFFF,
        "mips64n32": 2**32 - 1,
        "mips64el": 2**64 - 1,
        "aarch64": 2**64 - 1,
    },
    "XATTR_CREATE": {ELSEWHERE: 1},
    "XATTR_USER_PREFIX_LEN": {ELSEWHERE: 5},
    "KCOV_ENABLE": {
        ELSEWHERE: 0x6364,
        **dict.fromkeys(("ppc", "sparc64", "alpha", "mips"), 0x20006364),
    },
    "KCOV_INIT_TRACE": {
        "x86_64": 0x80086301,
        "i386": 0x80046301,
        "x32": 0x80046301,
        "ppc64": 0x40086301,
        "mips": 0x40046301,
    },
    "KCOV_REMOTE_ENABLE": {
        ELSEWHERE: 0x40186366,
        **dict.fromkeys(("ppc", "sparc64", "alpha", "mips"), 0x80186366),
    },
    "AMDKFD_IOC_CRIU_OP": {
        "x86_64": 0xC0384B22,
        "i386": 0xC0344B22,
        "m68k": 0xC0344B22,
        "sh": 0xC0344B22,
        "arm": 0xC0384B22,
        "ppc": 0xC0384B22,
    },
    "DMA_BUF_SET_NAME": {"x86_64": 0x40086201, "arm": 0x40046201, "x32": 0x40046201},
    "USBDEVFS_BULK": {"x86_64": 0xC0185502, "i386": 0xC0105502, "mips64": 0xC0185502},
    "USBDEVFS_IOCTL": {"x86_64": 0xC0105512, "m68k": 0xC00C5512},
}
NOT_CONSTANTS = (
    "XATTR_USER_PREFIX",  # a string
    "NLMSG_ALIGN",  # takes arguments
    "EPOLL_PACKED",  # an attribute
    "MSG_CMSG_COMPAT",  # depends on the kernel's configuration
    "MINI_IN_H",  # guards a header
    "__u64",
    "seccompgen",
)


def constants(tag: str = NEW, changed: Mapping[str, bytes] | None = None) -> dict[str, Constant]:
    return dict(parse(tag, {**read_tree(MINIATURE, tag), **(changed or {})}).facts.constants)


@cache
def right() -> dict[str, Constant]:
    return constants()


def wrong(found: Mapping[str, Constant]) -> set[str]:
    """Return the names that are not as expected on some ABI."""
    names = set()
    for name, values in EXPECTED.items():
        one = found.get(name)
        for abi in (abi for abi in ABIS if abi in values or ELSEWHERE in values):
            wanted = values.get(abi, values.get(ELSEWHERE))
            same_architecture = abi not in values and any(
                other != ELSEWHERE and _architecture(other) == _architecture(abi)
                for other in values
            )
            if same_architecture or abi in {"s390", "ia64"}:
                continue
            if one is None or one.on(ABIS[abi]) != wanted:
                names.add(name)
    return names


def _architecture(abi: str) -> str:
    return VIEWS[abi].srcarch


def test_values() -> None:
    found = right()
    assert wrong(found) == set()
    assert not found.keys() & set(NOT_CONSTANTS)


def test_a_request_without_a_size_says_why() -> None:
    one = right()["USBDEVFS_BULK32"]
    assert (one.value, one.elsewhere) == (None, {})
    assert one.reason == "struct usbdevfs_bulktransfer32 is not known"


def test_an_older_tag_has_fewer() -> None:
    old, new = constants(OLD), right()
    assert new.keys() - old.keys() == {
        "AMDKFD_IOC_CRIU_OP",
        "AMDKFD_IOCTL_BASE",
        "BPF_FUNC_map_update_elem",
        "CLONE_INTO_CGROUP",
        "DMA_BUF_BASE",
        "DMA_BUF_SET_NAME",
        "DMA_BUF_SET_NAME_A",
    }


def test_inputs_are_all_headers_that_were_read() -> None:
    facts = tables_from(MINIATURE, NEW).facts
    assert "arch/mips/include/uapi/asm/resource.h" in facts.inputs
    assert "include/linux/socket.h" in facts.inputs
    assert NET not in facts.inputs


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"#ifndef A\n#define A\n", "this conditional is never closed; is the file cut off?"),
        (b"/* never\n", "this comment is never closed"),
        (b"#endif\n", "#endif without #if"),
        (b"\xff\n", "this is not UTF-8 text"),
        (b"<!DOCTYPE html>\n", "this is a web page, not a source file"),
        (b"#define A 1", "the file does not end with a line break; is it cut off?"),
    ],
)
def test_a_header_that_is_damaged_is_refused_at_its_place(text: bytes, problem: str) -> None:
    with pytest.raises(OutsideError) as caught:
        constants(changed={"include/uapi/linux/sched.h": text})
    (diagnostic,) = caught.value.diagnostics
    assert str(diagnostic).startswith("include/uapi/linux/sched.h:")
    assert problem in str(diagnostic)


@pytest.mark.few(3, "reads many headers")
@pytest.mark.parametrize(
    "text",
    [
        "#define A B\n#define B A\n",
        "#define CLONE_A " + "(" * 1000 + "1" + ")" * 1000 + "\n",
        "#define CLONE_A(x) CLONE_B(x, x)\n#define CLONE_B(x, y) CLONE_A(x y x y)\n"
        "#define CLONE_C CLONE_A(1)\n",
        "enum { CLONE_A = CLONE_B, CLONE_B = CLONE_A };\n",
        "struct a { struct b x; };\nstruct b { struct a y; };\n#define CLONE_A sizeof(struct a)\n",
        "typedef u v;\ntypedef v u;\n#define CLONE_A sizeof(v)\n",
        "#define CLONE_A sizeof(int[1 << 40])\n#define CLONE_B (1 << 99)\n",
        "#define CLONE_A (1 / 0)\n#define CLONE_B 0x10000000000000000\n",
        "struct a { int x : 99999; int y[-1]; } }; ) ] enum { = , ( };\n#define CLONE_A sizeof(\n",
        "#define CLONE_A '\\\n#define CLONE_B 'x\n#define CLONE_C ''\n#define CLONE_D '\\q'\n",
        "typedef struct\n",
        "enum x {\n",
    ],
)
def test_nonsense_has_no_value_and_is_no_traceback(text: str) -> None:
    before = right()
    found = constants(changed={"include/uapi/linux/sched.h": text.encode()})
    new = {name: one for name, one in found.items() if name not in before}
    assert all(one.value is None or name == "CLONE_D" for name, one in new.items())


def test_other_socket_types_are_refused() -> None:
    text = b"enum sock_type {\n\tSOCK_STREAM = 2,\n\tSOCK_DGRAM = 1,\n\tSOCK_RAW = 3,\n};\n"
    with pytest.raises(OutsideError) as caught:
        constants(changed={NET: text})
    assert {str(one) for one in caught.value.diagnostics} == {
        f"{NET}: SOCK_STREAM is not 1 here, as seccompgen takes it to be",
        f"{NET}: SOCK_DGRAM is not 2 here, as seccompgen takes it to be",
    }
    same = text.replace(b"STREAM = 2", b"STREAM = 1").replace(b"DGRAM = 1", b"DGRAM = 2")
    assert constants(changed={NET: same}) == right()


def edit(function: Callable[..., object], old: str, new: str) -> Break:
    return lambda patch: break_functions([Edit(function, old, new)], patch)


def model(abi: str, **measures: Any) -> Break:
    right = headers.model_of

    def broken(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(
            unit_module,
            "model_of",
            lambda one: replace(right(one), **measures) if one.name == abi else right(one),
        )

    return broken


# Trap: a name that is wrong for whoever falls into it, and how to break the reader so.
TRAPS: dict[str, tuple[str, Break]] = {
    "an architecture has no header of its own": (
        "O_DIRECTORY",
        edit(unit_module.Unit._resolve, "self._at(own) or ", ""),
    ),
    "a conditional is not looked at": (
        "O_CLOEXEC",
        edit(unit_module.Unit._holds, '== (word == "ifdef")', '!= (word == "neither")'),
    ),
    "an unknown condition holds": (
        "XATTR_CREATE",
        edit(unit_module._Condition._named, "return 0", "return 9"),
    ),
    "all bits count from 64 bits": ("AMDKFD_IOC_CRIU_OP", model("i386", wide=8, most=16)),
    "m68k aligns as others": ("AMDKFD_IOC_CRIU_OP", model("m68k", wide=8, most=16)),
    "a long has 64 bits": ("KCOV_INIT_TRACE", model("x32", long=8)),
    "attributes in a type are not seen": (
        "KCOV_REMOTE_ENABLE",
        edit(c_types._Declaration._take_attributes, "self._attributes += found", "pass"),
    ),
    "MIPS has socket types as others": (
        "SOCK_STREAM",
        lambda patch: patch.setattr(
            constants_module, "SOCKET_TYPES", headers.SOCKET_TYPES.replace("__mips__", "nobody")
        ),
    ),
    "an enum begins anew behind a value": (
        "IPPROTO_SMC",
        edit(declarations.enumerators, "offset += 1", "offset += 0"),
    ),
    "a macro in an enum is a name": (
        "BPF_FUNC_map_update_elem",
        edit(declarations._has_calls, "return any(", "return False and any("),
    ),
    "an int has no sign": (
        "NLA_TYPE_MASK",
        edit(typed.wrapped, "if signed and value >> (bits - 1):", "if False:"),
    ),
    "n32 is no mips64": (
        "RLIM_INFINITY",
        edit(headers.predefined, '"64" in name', 'name == "mips64"'),
    ),
    "x32 has its own types everywhere": (
        "KCOV_INIT_TRACE",
        model("i386", long=8),
    ),
    "strings have no size": (
        "XATTR_USER_PREFIX_LEN",
        edit(typed.TypedExpression._sizeof, "if all(", "if False and all("),
    ),
    "function-like macros are passed over": (
        "KCOV_ENABLE",
        edit(cpp._definition, "return Macro(name, body.strip(), position, names)", "return None"),
    ),
}


@pytest.mark.few(3, "reads many headers")
@pytest.mark.parametrize("trap", TRAPS)
def test_whoever_falls_into_a_trap_is_seen(trap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, break_reader = TRAPS[trap]
    assert name in EXPECTED
    with monkeypatch.context() as patch:
        break_reader(patch)
        assert name in wrong(constants())
    assert name not in wrong(right())
