"""The promises of groups with conditions, on calls whose numbers are the kernel's, not ours."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING

import interpreter
import pytest
from longer import long_but
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.model import condition_for
from seccompgen.core.sets import NOTHING, Box, Sets
from seccompgen.formats import load_policy
from seccompgen.kernel.powers import powers
from seccompgen.pipeline.build import build_policy, shipped_tables
from seccompgen.policy.conditions import Lookup, alternatives
from seccompgen.policy.expressions import NamedValue, parse_condition
from seccompgen.policy.expressions import tests_of as comparisons_of
from seccompgen.policy.groups import calls_of, stock_groups

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
DIFFERENT = (
    *("x86_64", "i386", "aarch64", "arm", "alpha", "mips", "mips64el", "parisc", "ppc64le"),
    *("s390x", "sh", "riscv32"),
)
NEW_USER, THREAD, VM = 0x10000000, 0x10000, 0x100
CREATE = {"alpha": 0x200, "mips": 0x100, "mips64el": 0x100, "parisc": 0x100}
TRUNCATE = {"alpha": 0x400}
ASYNC = {"mips": 0x1000, "mips64el": 0x1000}
STREAM = {"mips": 2, "mips64el": 2}
DATAGRAM = {"mips": 1, "mips64el": 1}
"""Facts of include/uapi and arch/*/include/uapi where they are not the common ones."""


class Allowed:
    """The answers of programs that allow one group."""

    def __init__(self, group: str, directory: Path) -> None:
        policy = {
            "arches": list(DIFFERENT),
            "default_action": "errno",
            "multiplexed": "kill_process",
            "syscalls": [{"action": "allow", "names": [f"@{group}"]}],
        }
        self._policy = directory / f"{group}.json"
        self._policy.write_text(json.dumps(policy))
        self._programs: dict[str, bytes] = {}

    def allows(self, abi: str, call: str, *args: int) -> bool:
        """Return whether a call is made, any that the ABI has; arguments left out are zeros."""
        nr = TABLES.tables[abi].numbers[call]
        order = ABIS[abi].byte_order
        whole = (*(arg & (1 << 64) - 1 for arg in args), *[0] * (6 - len(args)))
        data = interpreter.seccomp_data(nr, ABIS[abi].audit_arch, whole, 0, order)
        if abi not in self._programs:
            (program,) = build_policy(self._policy, TABLES, [ABIS[abi]]).programs
            self._programs[abi] = program.to_bytes()
        return interpreter.run(self._programs[abi], data, order).value == interpreter.RET_ALLOW


def has(abi: str, call: str) -> bool:
    return call in TABLES.tables[abi].numbers


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Allowed]:
    names = (
        *("stdio", "rpath", "wpath", "cpath", "dpath", "unix", "inet", "thread", "proc", "id"),
        *("memory", "threads", "processes", "files-read", "files-write"),
    )
    directory = tmp_path_factory.mktemp("groups")
    return {name: Allowed(name, directory) for name in names}


each_abi = pytest.mark.parametrize(
    "abi", long_but(["x86_64", "i386", "alpha", "mips", "s390x"], DIFFERENT, "more ABIs", long=2)
)


@pytest.mark.few(1, "reads many policies")
@each_abi
def test_files_open_in_the_way_that_is_promised(abi: str, allowed: dict[str, Allowed]) -> None:
    create, truncate = CREATE.get(abi, 0x40), TRUNCATE.get(abi, 0x200)
    ways = {0: "rpath", 1: "wpath", 2: "wpath", create | 1: "cpath", create: "cpath"}
    ways |= {truncate | 1: "wpath", truncate: "", 3: ""}
    for flags, wanted in ways.items():
        reads = allowed["files-read"].allows(abi, "openat", -100, 0x1234, flags, 0o600)
        assert reads is (wanted == "rpath"), flags
        writes = allowed["files-write"].allows(abi, "openat", -100, 0x1234, flags, 0o600)
        assert writes is not reads, flags
        for group in ("rpath", "wpath", "cpath", "stdio"):
            answer = allowed[group].allows(abi, "openat", -100, 0x1234, flags, 0o600)
            assert answer is (group == wanted), (flags, group)
            if has(abi, "open"):
                answer = allowed[group].allows(abi, "open", 0x1234, flags, 0o600)
                assert answer is (group == wanted), (flags, group)
            assert not allowed[group].allows(abi, "openat2", -100, 0x1234, 0x5678, 24)
    # The kernel reads an int: what stands above it changes nothing.
    if ABIS[abi].bits == 64:
        assert allowed["rpath"].allows(abi, "openat", -100, 0x1234, 5 << 32)


@each_abi
def test_no_memory_becomes_code(abi: str, allowed: dict[str, Allowed]) -> None:
    mapping = "mmap2" if has(abi, "mmap2") else "mmap"
    for group in (allowed["stdio"], allowed["memory"]):
        assert group.allows(abi, "mprotect", 0x1000, 0x1000, 3)
        assert not group.allows(abi, "mprotect", 0x1000, 0x1000, 5)
        # s390x reads all of it from memory, where no filter can look.
        assert group.allows(abi, mapping, 0, 0x1000, 3, 0x22, -1) is (abi != "s390x")
        assert not group.allows(abi, mapping, 0, 0x1000, 7, 0x22, -1)
    assert not allowed["stdio"].allows(abi, "mremap", 0x1000, 0x1000, 0x2000, 1)
    assert allowed["memory"].allows(abi, "madvise", 0x1000, 0x1000, 4)
    assert not allowed["memory"].allows(abi, "madvise", 0x1000, 0x1000, 100)


@each_abi
def test_stdio_opens_and_sends_nothing_elsewhere(abi: str, allowed: dict[str, Allowed]) -> None:
    stdio, control = allowed["stdio"], "fcntl64" if has(abi, "fcntl64") else "fcntl"
    assert stdio.allows(abi, control, 3, 4, 0x800)
    assert not stdio.allows(abi, control, 3, 4, ASYNC.get(abi, 0x2000))
    assert not stdio.allows(abi, control, 3, 8, 1)  # F_SETOWN, or a lock
    assert not stdio.allows(abi, "ioctl", 0, 0x5412)  # TIOCSTI on most
    assert stdio.allows(abi, "sendto", 3, 0x1234, 1, 0, 0, 0)
    assert not stdio.allows(abi, "sendto", 3, 0x1234, 1, 0, 0x5678, 16)
    assert stdio.allows(abi, "prlimit64", 0, 7, 0, 0x1234)
    assert not stdio.allows(abi, "prlimit64", 0, 7, 0x1234, 0)
    assert not stdio.allows(abi, "prlimit64", 1, 7, 0, 0x1234)
    for call in ("socket", "connect", "execve", "kill", "clone", "clone3", "io_uring_setup"):
        if has(abi, call):
            assert not stdio.allows(abi, call), call


@pytest.mark.few(3, "reads many policies")
@each_abi
def test_sockets_are_of_the_promised_kind(abi: str, allowed: dict[str, Allowed]) -> None:
    stream, datagram, flags = STREAM.get(abi, 1), DATAGRAM.get(abi, 2), 0x80
    for family, group in ((1, "unix"), (2, "inet"), (10, "inet"), (16, ""), (17, ""), (40, "")):
        for kind in (stream, datagram, stream | flags):
            for name in ("unix", "inet", "stdio"):
                assert allowed[name].allows(abi, "socket", family, kind, 0) is (name == group)
    assert not allowed["inet"].allows(abi, "socket", 2, 3, 1)  # SOCK_RAW
    assert not allowed["inet"].allows(abi, "socketpair", 2, stream, 0)
    assert allowed["unix"].allows(abi, "socketpair", 1, stream, 0)


@pytest.mark.few(2, "reads many policies")
@each_abi
def test_threads_and_processes_stay_in_their_namespaces(
    abi: str, allowed: dict[str, Allowed]
) -> None:
    def clone(group: str, flags: int) -> bool:
        args = (0x1234, flags) if abi == "s390x" else (flags, 0x1234)
        return allowed[group].allows(abi, "clone", *args)

    assert clone("thread", VM | THREAD)
    assert clone("threads", VM | THREAD)
    assert clone("proc", VM | THREAD)
    assert not clone("processes", VM | THREAD)
    assert clone("proc", 17)  # SIGCHLD: a fork
    assert clone("processes", 17)
    for flags, group in (
        (17, "thread"),
        (17, "threads"),
        (17 | NEW_USER, "proc"),
        (17 | NEW_USER, "processes"),
        (VM | THREAD | NEW_USER, "thread"),
        (VM | THREAD | NEW_USER, "threads"),
    ):
        assert not clone(group, flags)
    for bit in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000):
        assert not clone("proc", 17 | bit)
    for group in ("thread", "proc"):
        for call in ("clone3", "unshare", "setns", "execve"):
            assert not has(abi, call) or not allowed[group].allows(abi, call)


@each_abi
def test_only_pipes_are_made(abi: str, allowed: dict[str, Allowed]) -> None:
    assert allowed["dpath"].allows(abi, "mknodat", -100, 0x1234, 0o010644, 0)
    assert not allowed["dpath"].allows(abi, "mknodat", -100, 0x1234, 0o020644, 0x103)
    assert not allowed["dpath"].allows(abi, "mknodat", -100, 0x1234, 0o060644, 0x103)


@each_abi
def test_no_argument_both_gives_nothing_and_something(abi: str) -> None:
    """Of a call that has cases, those that give nothing keep clear of the others."""
    sets, facts, table = Sets(), TABLES.facts, TABLES.tables[abi]
    found: dict[str, tuple[list[Box], list[Box]]] = defaultdict(lambda: ([], []))
    for kind in powers().kinds.values():
        for call, when in powers().given(kind.name):
            if call in table.numbers and len(powers().of(call)) > 1:
                condition = parse_condition(when) if when else None
                numbers = Lookup(facts, table.abi).numbers(condition, call) if condition else ()
                ways = alternatives(condition, numbers) if condition and numbers else (None,)
                bits = table.abi.argument_bits
                boxes = [sets.box(condition_for(one, bits)) for one in ways]
                found[call][bool(kind.gives)].extend(boxes if numbers is not None else [])
    assert len(found) > 10
    for call, (nothing, something) in found.items():
        for one, other in product(nothing, something):
            assert NOTHING in sets.common(one, other), call


def test_conditions_name_what_the_kernel_has() -> None:
    """A call that an ABI lacks is left out without a word, so a misspelt name would be as well."""
    facts = TABLES.facts
    for group in stock_groups().values():
        for member in calls_of(group):
            if not member.when:
                continue
            for test in comparisons_of(parse_condition(member.when)):
                names = [
                    name
                    for abi in TABLES.tables.values()
                    if (prototype := facts.prototype(member.name, abi.abi))
                    for name in (one.name for one in prototype.parameters)
                ]
                assert test.argument in names, (group.name, member)
                value = test.value
                assert not isinstance(value, NamedValue) or value.name in facts.constants, member


def test_a_group_that_cannot_say_what_it_refuses_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    text = "default_action: allow\narches: [x86_64, s390x]\nmultiplexed: errno\nsyscalls:\n"
    path.write_text(text + "- {action: errno, names: ['@stdio']}\n")
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    (found,) = caught.value.diagnostics
    assert str(found).startswith(f"{path}:5:27: 'mmap' has no argument 'prot' on s390x")
    path.write_text(text + "- {action: errno, names: ['@stdio'], arches: [x86_64]}\n")
    load_policy(path, TABLES)


def test_what_a_rule_asks_of_a_group_is_asked_of_each_call(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        "default_action: errno\narches: [x86_64]\nsyscalls:\n"
        "- {action: allow, names: ['@network-io'], when: family == 1}\n"
    )
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    assert "'accept' has no argument 'family'" in str(caught.value)
