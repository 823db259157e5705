"""Prototypes: what the parser makes of declarations, on a tree of a few lines and on the pin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import upstream
from kernel_trees import naive_rows, read_tree, tables_from
from seccompgen.core.abis import ABIS
from seccompgen.kernel.entry_points import AbiPrototypes, Declared, EntryPoint, kind_of
from seccompgen.kernel.parse import parse, prototypes
from seccompgen.kernel.parse.amendments import ALIASES, NARROWER, NOT_IMPLEMENTED
from seccompgen.kernel.parse.entry_declarations import read_declarations
from seccompgen.kernel.parse.prototypes import selected
from seccompgen.kernel.parse.served import Served
from seccompgen.kernel.parse.sources import VIEWS
from seccompgen.kernel.parse.undeclared import DECLARATIONS
from seccompgen.pipeline.build import shipped_tables
from upstream import NEW, OLD, TREES

if TYPE_CHECKING:
    from seccompgen.core.facts import Prototype
    from seccompgen.core.tables import Tables


def shown(prototype: Prototype | None) -> str:
    """Return a prototype in one line: ``fd:u32 buf:p64``; p is a pointer, s is signed."""
    if prototype is None:
        return "unknown"
    return " ".join(
        f"{one.name}:{'p' if one.pointer else 's' if one.signed else 'u'}{one.bits}"
        for one in prototype.parameters
    )


# Declarations


def declared(text: str) -> list[tuple[str, str]]:
    (found,) = read_declarations(text)["sys_f"]
    return [(one.type, one.name) for one in found.parameters]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("void", []),
        ("int, unsigned int, unsigned", [("int", ""), ("unsigned int", ""), ("unsigned", "")]),
        ("unsigned flags", [("unsigned", "flags")]),
        ("struct sockaddr __user *, int", [("struct sockaddr __user *", ""), ("int", "")]),
        ("struct iocb __user * __user *p", [("struct iocb __user * __user *", "p")]),
        ("const char __user *const __user *argv", [("const char __user * const __user *", "argv")]),
        ("enum landlock_rule_type t", [("enum landlock_rule_type", "t")]),
        ("int fd, /* a, b */ loff_t pos", [("int", "fd"), ("loff_t", "pos")]),
        ("int fd,\n\t\tsize_t\tn", [("int", "fd"), ("size_t", "n")]),
        ("int fd, compat_arg_u64(pos)", [("int", "fd"), ("u64 in two", "pos")]),
    ],
)
def test_a_declaration_is_read(parameters: str, expected: list[tuple[str, str]]) -> None:
    assert declared(f"asmlinkage long sys_f({parameters});") == expected


def test_only_prototypes_are_read() -> None:
    text = """
        #define sys_a(x) sys_b(x);
        static inline int sys_c(void) { return sys_d(1); }
        asmlinkage long sys_e(void);  // long sys_g(int a);
        #ifdef CONFIG_X
        asmlinkage long sys_f(int a);
        #else
        asmlinkage long sys_f(int a, int b);
        #endif
        extern int sys_h(int fd);
    """
    found = read_declarations(text)
    assert set(found) == {"sys_e", "sys_f", "sys_h"}
    assert [len(one.parameters) for one in found["sys_f"]] == [1, 2]
    assert [one.conditions for one in found["sys_f"]] == [
        (("CONFIG_X", True),),
        (("CONFIG_X", False),),
    ]


def test_kconfig_selects_by_width() -> None:
    text = """
config X86_32
	def_bool y
	select CLONE_BACKWARDS

config X86
	select OLD_SIGSUSPEND3
	select OLD_SIGSUSPEND if !64BIT
	select CLONE_BACKWARDS2 if SOMETHING_ELSE
"""
    assert selected(text, wide=True) == {"OLD_SIGSUSPEND3": True, "CLONE_BACKWARDS2": False}
    assert selected(text, wide=False) == {
        "CLONE_BACKWARDS": True,
        "OLD_SIGSUSPEND3": True,
        "OLD_SIGSUSPEND": True,
        "CLONE_BACKWARDS2": False,
    }


# A tree of a few lines

SYSCALLS_H = b"""
asmlinkage long sys_read(unsigned int fd, char __user *buf, size_t count);
asmlinkage long sys_bind(int, struct sockaddr __user *, int);
asmlinkage long sys_readahead(int fd, loff_t offset, size_t count);
asmlinkage long sys_mystery(int, int);
asmlinkage long sys_strange(strange_t what);
#ifdef CONFIG_CLONE_BACKWARDS
asmlinkage long sys_clone(unsigned long, unsigned long, int __user *, unsigned long, int __user *);
#else
asmlinkage long sys_clone(unsigned long, unsigned long, int __user *, int __user *, unsigned long);
#endif
"""
COMPAT_H = b"""
asmlinkage long compat_sys_read(unsigned int f, char __user *b, compat_size_t c);
"""


class Lines:
    """A tree of the files that prototypes are read from; it has no others."""

    def __init__(self, **kconfig: str) -> None:
        self._files = {
            "include/linux/syscalls.h": SYSCALLS_H.decode(),
            "include/linux/compat.h": COMPAT_H.decode(),
            **{f"arch/{arch}/Kconfig": text for arch, text in kconfig.items()},
        }

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def text(self, path: str) -> str | None:
        return self._files.get(path)


def of_lines(abi: str, entry: str, compat: str = "", **kconfig: str) -> str:
    served = {abi: {"call": Served(entry, compat)}}
    found, _ = prototypes.read_prototypes(served, Lines(**kconfig))  # type: ignore[arg-type]
    return shown(found[abi].get("call"))


BACKWARDS = "config ARCH\n\tselect CLONE_BACKWARDS\n"


@pytest.mark.parametrize(
    ("abi", "entry", "compat", "expected"),
    [
        ("x86_64", "sys_read", "", "fd:u32 buf:p64 count:u64"),
        ("i386", "sys_read", "compat_sys_read", "fd:u32 buf:p32 count:u32"),
        # A 64-bit kernel serves arm: it reads all of a pointer's register, not of a compat_size_t.
        ("arm", "sys_read", "compat_sys_read", "fd:u32 buf:p64 count:u32"),
        ("arm", "sys_read", "", "fd:u32 buf:p64 count:u64"),
        ("riscv32", "sys_read", "compat_sys_read", "fd:u32 buf:p32 count:u32"),
        ("s390", "", "compat_sys_read", "fd:u32 buf:p32 count:u32"),
        ("aarch64", "sys_bind", "", "fd:s32 umyaddr:p64 addrlen:s32"),
        ("aarch64", "sys_mystery", "", ":s32 :s32"),  # nobody knows the names
        ("aarch64", "sys_strange", "", "what:uNone"),  # all bits count of a type nobody knows
        ("aarch64", "sys_undeclared", "", "unknown"),
        ("aarch64", "sys_ni_syscall", "", "unknown"),
        ("aarch64", "", "", "unknown"),
        ("x86_64", "sys_readahead", "", "fd:s32 offset:s64 count:u64"),
        ("x32", "sys_readahead", "", "fd:s32 offset:s64 count:u64"),
        ("nios2", "sys_readahead", "", "fd:s32 offset_lo:u32 offset_hi:u32 count:u32"),
        ("m68k", "sys_readahead", "", "fd:s32 offset_hi:u32 offset_lo:u32 count:u32"),
        ("xtensa", "sys_readahead", "", "fd:s32 __pad:u32 offset_lo:u32 offset_hi:u32 count:u32"),
        ("csky", "sys_readahead", "", "unknown"),  # its two conventions differ
        ("sh", "sys_rt_sigreturn", "", ""),
        ("x86_64", "sys_iopl", "", "level:u32"),  # by hand
        ("aarch64", "sys_iopl", "", "unknown"),  # and for x86 alone
        ("openrisc", "__sys_clone", "", "unknown"),  # its Kconfig is not there
    ],
)
def test_a_call_of_few_lines(abi: str, entry: str, compat: str, expected: str) -> None:
    assert of_lines(abi, entry, compat) == expected


def test_the_orders_of_clone() -> None:
    whole = "parent_tid:p64 child_tid:p64 tls:u64"
    assert of_lines("riscv64", "sys_clone", riscv="") == f"flags:u32 newsp:u64 {whole}"
    assert of_lines("riscv64", "sys_clone", riscv=BACKWARDS) == (
        "flags:u32 newsp:u64 parent_tid:p64 tls:u64 child_tid:p64"
    )
    second = BACKWARDS.replace("BACKWARDS", "BACKWARDS2")
    assert of_lines("s390x", "sys_clone", s390=second) == f"newsp:u64 flags:u32 {whole}"
    undecided = BACKWARDS.replace("BACKWARDS", "BACKWARDS if SOMETHING")
    assert of_lines("riscv64", "sys_clone", riscv=undecided) == "unknown"


def test_files_that_are_read_are_told() -> None:
    served = {"riscv64": {"read": Served("sys_read")}}
    _, files = prototypes.read_prototypes(served, Lines(riscv="", sh=""))  # type: ignore[arg-type]
    assert files == {
        "include/linux/syscalls.h",
        "include/linux/compat.h",
        "arch/riscv/Kconfig",
    }


# What is written by hand


def test_what_is_written_by_hand_is_whole() -> None:
    written = {arch: read_declarations(text) for arch, text in DECLARATIONS.items()}
    for arch, found in written.items():
        assert len(found) == DECLARATIONS[arch].count(";"), arch
        for variants in found.values():
            (one,) = variants
            assert all(parameter.name and kind_of(parameter.type) for parameter in one.parameters)
    assert written.keys() - {""} <= {view.srcarch for view in VIEWS.values()}


# The pin

NAMES = {
    "u": "flags:u32 newsp:u{0} parent_tid:p{0} child_tid:p{0} tls:u{0}",
    "1": "flags:u32 newsp:u{0} parent_tid:p{0} tls:u{0} child_tid:p{0}",
}
PINNED = {
    "openat": {
        "dfd:s32 filename:p64 flags:s32 mode:u16": "x86_64 x32 aarch64 s390x arm mips mips64n32",
        "dfd:s32 filename:p32 flags:s32 mode:u16": "i386 ppc riscv32 sh m68k",
    },
    "socket": {"family:s32 type:s32 protocol:s32": "x86_64 arm mips64el alpha sparc"},
    "ioctl": {
        "fd:u32 cmd:u32 arg:u64": "x86_64 aarch64 alpha",
        "fd:u32 cmd:u32 arg:u32": "x32 i386 arm mips mips64n32 parisc ppc",
    },
    "clone": {
        NAMES["u"].format(64): "x86_64 x32 loongarch64 alpha",
        NAMES["u"].format(32): "m68k sh csky hexagon nios2 openrisc loongarch32",
        NAMES["1"].format(64): "aarch64 arm riscv64 ppc64le mips mips64 parisc sparc64",
        NAMES["1"].format(32): "i386 ppc riscv32 xtensa arc",
        "newsp:u64 flags:u32 parent_tid:p64 child_tid:p64 tls:u64": "s390x",
        "flags:u32 newsp:u32 stack_size:s32 parent_tid:p32 child_tid:p32 tls:u32": "microblaze",
    },
    "mmap": {
        "addr:u64 len:u64 prot:u64 flags:u64 fd:u32 off:u64": "x86_64 aarch64 riscv64 alpha",
        "addr:u64 len:u64 prot:u64 flags:u64 fd:u32 off:s64": "mips mips64n32 ppc64",
        "arg:p32": "i386 m68k",
        "arg:p64": "s390x",
        "addr:u32 len:u32 prot:u32 flags:u32 fd:s32 off:u32": "sh sheb",
    },
    "pread64": {
        "fd:u32 buf:p64 count:u64 pos:s64": "x86_64 aarch64 x32 mips64n32 ppc64",
        "fd:u32 buf:p32 count:u32 pos_lo:u32 pos_hi:u32": "i386 riscv32 arc",
        "fd:u32 buf:p32 count:u32 pos_hi:u32 pos_lo:u32": "m68k openrisc",
        "fd:u32 buf:p64 count:u64 __pad:u32 pos_lo:u32 pos_hi:u32": "arm",
        "fd:u32 ubuf:p32 count:u32 reg6:u32 pos1:u32 pos2:u32": "ppc",
        "fd:u32 buf:p32 count:u32 __pad:u32 pos_lo:u32 pos_hi:u32": "xtensa hexagon",
        "fd:u32 buf:p32 count:u32 dummy:s32 pos_lo:u32 pos_hi:u32": "sh",
        "fd:u32 buf:p32 count:u32 dummy:s32 pos_hi:u32 pos_lo:u32": "sheb",
        "fd:u32 buf:p64 count:u64 unused:u64 a4:u64 a5:u64": "mips mipsel",
        "unknown": "csky",
    },
    "fadvise64_64": {
        "fd:s32 offset_lo:u32 offset_hi:u32 len_lo:u32 len_hi:u32 advice:s32": "i386 nios2",
        "fd:s32 advice:s32 offset_lo:u32 offset_hi:u32 len_lo:u32 len_hi:u32": "xtensa csky",
        "fd:s32 advice:s32 offset_high:u32 offset_low:u32 len_high:u32 len_low:u32": "ppc",
    },
    "setuid": {"uid:u16": "i386 arm m68k sh sparc", "uid:u32": "x86_64 aarch64 mips ppc"},
    "exit_group": {"error_code:s8": "x86_64 i386 s390x sparc64"},
    "umask": {"mask:s16": "x86_64 arm"},
    "readv": {"fd:u32 vec:p64 vlen:u32": "x86_64 mips64n32", "fd:u32 vec:p32 vlen:u32": "i386"},
    "personality": {"personality:u32": "x86_64 ppc64 s390x sparc64 parisc64 mips64n32"},
    "rt_sigaction": {
        "sig:s32 act:p64 oact:p64 sigsetsize:u64": "x86_64 s390x",
        "sig:s32 act:p64 oact:p64 sigsetsize:u64 restorer:p64": "alpha",
        "sig:s32 act:p64 oact:p64 restorer:p64 sigsetsize:u64": "sparc64",
    },
    "sigsuspend": {
        "unused1:s32 unused2:s32 mask:u32": "i386 m68k",
        "mask:u64": "alpha",
        "uset:p64": "mips",
    },
    "fanotify_mark": {
        "fanotify_fd:s32 flags:u32 mask:u64 dfd:s32 pathname:p64": "x86_64",
        "fanotify_fd:s32 flags:u32 mask_hi:u32 mask_lo:u32 dfd:s32 pathname:p32": "ppc m68k",
        "fanotify_fd:s32 flags:u32 mask_lo:u32 mask_hi:u32 dfd:s32 pathname:p32": "riscv32 i386",
        "fanotify_fd:s32 flags:u32 mask_hi:u32 mask_lo:u32 dfd:s32 pathname:p64": "mips parisc",
    },
    "gettid": {"": "x86_64 arm"},
    "set_tls": {"value:u64": "arm"},
    "create_module": {"unknown": "x86_64"},
    "mq_open": {"name:p64 oflag:s32 mode:u16 attr:p64": "x86_64 arm mips"},
}


@pytest.mark.parametrize("call", PINNED)
def test_the_pin(call: str) -> None:
    facts = shipped_tables().facts
    expected = {abi: line for line, abis in PINNED[call].items() for abi in abis.split()}
    assert {abi: shown(facts.prototype(call, ABIS[abi])) for abi in expected} == expected


@pytest.mark.long("reads many headers")
def test_no_parameter_of_the_pin_is_odd() -> None:
    tables = shipped_tables()
    for abi, known in tables.facts.prototypes.items():
        assert known.keys() <= tables.tables[abi].numbers.keys()
        for call, prototype in known.items():
            names = [one.name for one in prototype.parameters]
            assert all(names) and len(set(names)) == len(names) <= 6, (abi, call)
            for one in prototype.parameters:
                assert one.bits in {8, 16, 32, 64}, (abi, call, one)
                assert one.bits <= ABIS[abi].argument_bits, (abi, call, one)
                assert one.pointer == (kind_of(one.type) in {"pointer", "pointer32"})


@pytest.mark.parametrize("abi", ["x86_64", "aarch64", "riscv64", "s390x", "i386", "arm"])
def test_most_calls_of_the_pin_are_known(abi: str) -> None:
    """The others are not implemented: `test_whatever_is_implemented_is_known`."""
    tables = shipped_tables()
    assert len(tables.facts.prototypes[abi]) > 0.95 * len(tables.tables[abi].numbers)


def test_names_of_one_call_agree() -> None:
    """A policy that names an argument means the same on every ABI that has it."""
    facts = shipped_tables().facts
    common = ("ioctl", "keyctl", "openat", "signalfd4", "mq_timedsend", "statfs", "msgctl")
    for call in common:
        found = {
            tuple(one.name for one in known[call].parameters)
            for known in facts.prototypes.values()
            if call in known
        }
        assert len(found) == 1, (call, found)


# The real files

UNKNOWN = {
    ("csky", "ftruncate64"),
    ("csky", "pread64"),
    ("csky", "pwrite64"),
    ("csky", "readahead"),
    ("csky", "truncate64"),
    # They make the call of their first argument.
    ("alpha", "osf_syscall"),
    ("arm_oabi", "syscall"),
    ("mips", "syscall"),
    ("mipsel", "syscall"),
}


def real_tables(tag: str) -> Tables:
    return tables_from(TREES["real"], tag)


@upstream.on_real_files
def test_the_pins_prototypes_are_those_of_the_real_files() -> None:
    assert real_tables(NEW).facts.prototypes == shipped_tables().facts.prototypes


@upstream.on_real_files
@pytest.mark.parametrize("tag", [NEW, OLD])
def test_both_worlds_name_entry_points(tag: str) -> None:
    """Before v6.11 the generic architectures had macros for a table, and arm64's arm a header."""
    tables = real_tables(tag)
    known = tables.facts.prototypes
    assert known["arm"]["pread64"].entry == "compat_sys_aarch32_pread64"
    assert known["arm"]["ioctl"].entry == "compat_sys_ioctl"
    assert known["arm_oabi"]["ioctl"].entry == "sys_ioctl"
    assert known["aarch64"]["fcntl"].entry == "sys_fcntl"
    assert known["riscv32"]["fcntl64"].entry == "sys_fcntl64"
    assert known["riscv64"]["riscv_flush_icache"].parameters[2].name == "flags"
    for abi, most in {"aarch64": 2, "riscv64": 2, "riscv32": 2, "loongarch64": 2, "arc": 2}.items():
        unknown = tables.tables[abi].numbers.keys() - known[abi].keys()
        assert len(unknown) <= most, (abi, unknown)


@upstream.on_real_files
def test_whatever_is_implemented_is_known() -> None:
    """Rows without an entry point, or with that of calls that are gone, are all that is unknown."""
    tables = real_tables(NEW)
    for abi, table in tables.tables.items():
        rows = naive_rows(TREES["real"], NEW, abi)
        gone = {
            name
            for name, columns in rows.items()
            if not {*columns} - NOT_IMPLEMENTED - {"noreturn"}
        }
        known = tables.facts.prototypes[abi].keys()
        assert not gone & known, abi
        missing = {call for call in table.numbers if call not in known and call not in gone}
        assert {(abi, call) for call in missing} <= UNKNOWN, (abi, missing)


@upstream.on_real_files
def test_entry_points_are_those_of_the_tables() -> None:
    tables = real_tables(NEW)
    checked = 0
    for abi, known in tables.facts.prototypes.items():
        rows = naive_rows(TREES["real"], NEW, abi)
        if abi == "arm":
            rows = naive_rows(TREES["real"], NEW, "arm_on_arm64")
        for call in known.keys() & rows.keys():
            columns = {ALIASES.get(name, name) for name in rows[call]}
            assert known[call].entry in columns, (abi, call)
            checked += 1
    assert checked > 13_000


@upstream.on_real_files
@pytest.mark.parametrize("tag", [NEW, OLD])
def test_an_own_kernel_reads_no_more(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The widths of a 32-bit ABI's compat entry points cover what its own kernel reads."""
    # Each is made when it is asked for, so all of these before anything is patched.
    both = {abi: dict(known) for abi, known in real_tables(tag).facts.prototypes.items()}

    def native(_: object, served: Served) -> str:
        return ALIASES.get(served.entry or served.compat, served.entry or served.compat)

    # Constants take seconds, and are not asked for here.
    monkeypatch.setattr("seccompgen.kernel.parse.gather.read_constants", lambda *_: ({}, set()))
    monkeypatch.setattr(prototypes._Architecture, "_chosen", native)
    monkeypatch.setattr("seccompgen.kernel.entry_points.word_bits", lambda abi: abi.bits)
    own = parse(tag, read_tree(TREES["real"], tag)).facts.prototypes
    compared = 0
    for abi in (abi for abi in both if ABIS[abi].bits == 32):
        for call in both[abi].keys() & own[abi].keys():
            pairs = list(zip(both[abi][call].parameters, own[abi][call].parameters, strict=False))
            if abi not in {"x32", "mips64n32", "mips64n32el"}:
                same = len(both[abi][call].parameters) == len(own[abi][call].parameters)
                assert same, (abi, call)
            for ours, its in pairs:
                assert ours.bits is not None
                assert its.bits is not None
                assert ours.bits >= its.bits, (abi, call, ours, its)
                compared += 1
    assert compared > 20_000


@upstream.on_real_files
def test_each_narrowing_narrows_something() -> None:
    used = {
        (entry.name, one.name)
        for tag in (NEW, OLD)
        for known in real_tables(tag).facts.prototypes.values()
        if isinstance(known, AbiPrototypes)
        for entry in known.entry_points.values()
        for one in entry.parameters
        if one.bits
    }
    assert used <= NARROWER.keys()
    assert NARROWER.keys() - used == {
        # powerpc's compat entry points serve an ABI whose arguments have 32 bits anyway.
        ("compat_sys_mmap2", "fd"),
        ("compat_sys_ppc64_personality", "personality"),
    }


def test_grounding_stops_at_six() -> None:
    seven = EntryPoint("sys_f", tuple(Declared(f"a{n}", "int") for n in range(7)))
    assert len(seven.on(ABIS["mips"]).parameters) == 6
