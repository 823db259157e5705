"""Programs for operations of a ring: what they answer, by an interpreter and an oracle of our own.

`ring_context` makes the bytes that a kernel shows, and shares no code with the compiler.
"""

from __future__ import annotations

import ipaddress
import itertools
import random
from typing import TYPE_CHECKING, Any

import interpreter
import pytest
import ring_context
from longer import few_and_many
from seccompgen.compile.ring import compile_operation
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.model import Origin
from seccompgen.core.ring import OPERATION_FIELDS, SQE_FLAGS, ContextTest, RingOperation, RingRule
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.document import read_document
from seccompgen.policy.resolve import resolve_policy
from seccompgen.verify import Code, Method, Proof, kernel_objections, prove
from seccompgen.verify.call import Structure
from seccompgen.verify.ring_oracle import operation_meaning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.core.ring import RingProgram

TABLES = shipped_tables()
NEWEST = (7, 3, 4)
ORIGIN = Origin("test", Position("test.yml", 1, 1))
BOTH = [ABIS["x86_64"], ABIS["s390x"]]
ADDRESSES = [
    *("10.0.0.0", "10.1.2.3", "10.255.255.255", "9.255.255.255", "11.0.0.0", "0.0.0.10"),
    *("0.0.0.0", "127.0.0.1", "255.255.255.255"),
    *("::", "::1", "::2", "1::", "::100:0", "::1:0:1", "::ffff:10.0.0.1", "fd00::1", "fe80::1"),
]
PORTS = [0, 1, 255, 256, 5432, 14357, 6432, 65535]


def operation(name: str) -> RingOperation:
    return RingOperation(name, ring_numbers().operations[name].nr)


def programs(rules: str, arches: str = "[x86_64, s390x]") -> dict[tuple[str, str], RingProgram]:
    """Return the programs of the ``operations`` of a section, by ABI and operation."""
    text = f"""arches: {arches}
default_action: errno
syscalls: []
io_uring:
  default_action: deny
  operations:
{rules}"""
    policy, _ = resolve_policy(read_document(text.encode(), "ring.yml"), TABLES)
    section = policy.io_uring
    assert section
    return {
        (abi.name, one.name): compile_operation(
            one,
            [rule for rule in section.rules_for(abi) if rule.operation == one],
            abi,
            section.origin,
        )
        for abi in policy.arches
        for one in section.operations(abi)
    }


def rule(names: str, when: str, action: str = "allow") -> str:
    return f"  - {{action: {action}, names: [{names}], when: '{when}'}}\n"


def permitted(program: RingProgram, **fields: Any) -> bool:
    """Return what the program answers to an operation with these fields, on the newest kernel."""
    abi = program.abi
    shown = ring_context.context(program.operation.opcode, fields, abi.name, abi.byte_order, NEWEST)
    return interpreter.run(program.to_bytes(), shown, abi.byte_order).value != 0


def connections() -> Iterator[dict[str, Any]]:
    for address, port in itertools.product(ADDRESSES, PORTS):
        family = ring_context.INET if "." in address and ":" not in address else ring_context.INET6
        yield {"family": family, "address": address, "port": port}
    yield {"family": 1}
    yield {"family": 0}


CONDITIONS: dict[str, Callable[[Any, int], bool]] = {
    "addr in 10.0.0.0/8 and port == 5432": lambda a, p: within(a, "10.0.0.0/8") and p == 5432,
    "addr in 10.0.0.0/8 and port == 5432 or addr == ::1": lambda a, p: (
        (within(a, "10.0.0.0/8") and p == 5432) or within(a, "::1")
    ),
    "addr in {10.0.0.0/9, fd00::/8} and port in {5432, 6432}": lambda a, p: (
        (within(a, "10.0.0.0/9") or within(a, "fd00::/8")) and p in {5432, 6432}
    ),
    "addr in ::/0 and port >= 256": lambda a, p: a is not None and a.version == 6 and p >= 256,
    "addr in 0.0.0.0/0 and 255 <= port < 5432": lambda a, p: (
        a is not None and a.version == 4 and 255 <= p < 5432
    ),
    "addr in 0.0.0.0/0 and port & 0xff00": lambda a, p: (
        a is not None and a.version == 4 and p & 0xFF00 != 0
    ),
    # Port 0 of :: may stand for any IPv6 address.
    "family == AF_INET6 and addr not in ::1": lambda a, p: (
        a is not None and a.version == 6 and not within(a, "::1") and p != 0
    ),
    "family == AF_INET6 and port != 5432": lambda a, p: (
        a is not None and a.version == 6 and p not in {5432, 0}
    ),
    "family == AF_UNIX": lambda a, _: a is None,
}


def within(address: Any, network: str) -> bool:
    return address is not None and address in ipaddress.ip_network(network)


@pytest.mark.parametrize("abi", [abi.name for abi in BOTH])
@pytest.mark.parametrize("when", CONDITIONS)
def test_connections_are_permitted_by_address_and_port(when: str, abi: str) -> None:
    program = programs(rule("CONNECT", when))[abi, "CONNECT"]
    for fields in connections():
        address = ipaddress.ip_address(fields["address"]) if "address" in fields else None
        expected = CONDITIONS[when](address, fields.get("port", 0))
        if fields["family"] == 0:
            expected = False
        assert permitted(program, **fields) is expected, fields


def test_they_are_as_short_as_by_hand() -> None:
    """`../shared/io-uring-notes.md` has two of these by hand, for both byte orders."""
    lengths = {
        "addr in 10.0.0.0/8 and port == 5432": 9,
        "addr in 10.0.0.0/8 and port == 5432 or addr == ::1": 18,
        "port == 5432": 4,
    }
    for when, length in lengths.items():
        for (abi, _), program in programs(rule("CONNECT", when)).items():
            assert len(program.instructions) == length, (when, abi)
    beneath = programs(rule("OPENAT2", "resolve & RESOLVE_BENEATH"))
    assert {len(program.instructions) for program in beneath.values()} == {4}


@pytest.mark.parametrize(
    ("before", "after", "added"),
    [
        # A rule that permits what it sees of a hidden address, but not all of them.
        ("", rule("CONNECT", "family == AF_INET6 and port != 5432"), True),
        (rule("CONNECT", "port == 25", "deny"), rule("CONNECT", "family == AF_INET6"), True),
        (rule("CONNECT", "addr == fd00::1", "deny"), "  - {action: allow, names: [CONNECT]}\n", 1),
        # Nothing is hidden where all IPv6 addresses are permitted, or this one is refused.
        ("", rule("CONNECT", "family == AF_INET6"), False),
        (rule("CONNECT", "addr in 10.0.0.0/8"), rule("CONNECT", "family == AF_INET6"), False),
        ("", rule("CONNECT", "addr == ::1 and port == 5432"), False),
    ],
)
def test_hidden_addresses_are_refused_where_rules_would_let_them_in(
    before: str, after: str, added: int
) -> None:
    """Before 7.2.11, an IPv6 address without a scope is shown as port 0 of ::, and connects."""
    for program in programs(before + after).values():
        hidden = {"family": 10, "address": "fd00::1", "port": 25, "length": 24}
        shown = ring_context.context(
            16, hidden, program.abi.name, program.abi.byte_order, (7, 2, 9)
        )
        answer = interpreter.run(program.to_bytes(), shown, program.abi.byte_order).value
        allowed = permitted(program, family=10, address="fd00::2", port=26)
        if added:
            assert answer == 0
            assert allowed
        assert not answer or permitted(program, family=10, address="fd00::1", port=25)


def test_sockets_and_files_are_told_by_their_fields() -> None:
    text = (
        rule("SOCKET", "family in {AF_INET, AF_INET6} and type == SOCK_STREAM")
        + rule("OPENAT2", "resolve & RESOLVE_BENEATH and not flags & (O_CREAT | __O_TMPFILE)")
        + rule("OPENAT", "flags & ~O_CLOEXEC == O_RDONLY")
        + rule("READ", "sqe_flags & IOSQE_FIXED_FILE")
    )
    arches = {"x86_64": "little", "s390x": "big", "aarch64": "little", "ppc64le": "little"}
    found = programs(text, f"[{', '.join(arches)}]")
    for abi in arches:
        sockets = found[abi, "SOCKET"]
        assert permitted(sockets, family=2, type=1)
        assert permitted(sockets, family=10, type=1 | 0x80000, protocol=6)
        assert not permitted(sockets, family=2, type=2)
        assert not permitted(sockets, family=1, type=1)
        beneath = found[abi, "OPENAT2"]
        assert permitted(beneath, flags=0x80000, resolve=8)
        assert permitted(beneath, flags=1, resolve=0x1C)
        assert not permitted(beneath, flags=0, resolve=0x10)
        assert not permitted(beneath, flags=0o100, mode=0o600, resolve=8)
        assert not permitted(beneath, flags=0o20000000, resolve=8)
        reading = found[abi, "OPENAT"]
        assert permitted(reading, flags=0x80000)
        assert permitted(reading, flags=ring_context.open_flag("O_LARGEFILE", abi))
        assert not permitted(reading, flags=1)
        assert not permitted(reading, flags=0o100)
        assert permitted(found[abi, "READ"], sqe_flags=1)
        assert permitted(found[abi, "READ"], sqe_flags=0x11)
        assert not permitted(found[abi, "READ"], sqe_flags=0x10)


def random_rules(rng: random.Random, one: RingOperation) -> list[RingRule]:
    rules = []
    for _ in range(rng.randint(1, 5)):
        tests = []
        for _ in range(rng.randint(0, 3)):
            field = rng.choice([*OPERATION_FIELDS.get(one.name, ()), SQE_FLAGS])
            full = field.full & field.bits
            some = rng.getrandbits(8 * field.size) & full
            high = full & ~((1 << rng.randrange(8 * field.size)) - 1)
            mask = rng.choice([full, full, some, high])
            order = [] if field.size > 8 else ["<", "<=", ">", ">="]
            relation = rng.choice(["==", "!=", *order])
            value = rng.choice([rng.getrandbits(8 * field.size), rng.randrange(4), field.full])
            if relation in {"==", "!="}:
                value &= mask
            tests.append(ContextTest(field, relation, value, mask))
        rules.append(RingRule(one, tuple(tests), rng.random() < 0.6, ORIGIN))
    return rules


@few_and_many(3, 100)
def test_random_rules_are_compiled_as_both_provers_say(examples: int) -> None:
    for seed in range(examples):
        rng = random.Random(seed)
        one = operation(rng.choice(["CONNECT", "OPENAT2", "SOCKET", "READ"]))
        rules = random_rules(rng, one)
        for abi in BOTH:
            program = compile_operation(one, rules, abi, ORIGIN)
            assert not kernel_objections(program.instructions, Structure.IO_URING_CONTEXT)
            code = Code(program.instructions, abi.byte_order, Structure.IO_URING_CONTEXT)
            means = operation_meaning(rules, abi, ORIGIN)
            assert isinstance(prove(means, code, list(Method)), Proof), (seed, abi.name)


def field_holds(test: ContextTest, shown: bytes, byte_order: Any) -> bool:
    """Return what a test means, from the bytes of the context."""
    field = test.field
    own = shown[field.offset : field.offset + field.size]
    value = int.from_bytes(own, "big" if field.network else byte_order) & test.mask
    return {
        "==": value == test.value,
        "!=": value != test.value,
        "<": value < test.value,
        "<=": value <= test.value,
        ">": value > test.value,
        ">=": value >= test.value,
    }[test.relation]


@few_and_many(12, 500)
def test_random_rules_are_executed_as_their_bytes_say(examples: int) -> None:
    for seed in range(examples):
        rng = random.Random(f"bytes {seed}")
        one = operation(rng.choice(["CONNECT", "OPENAT2", "SOCKET"]))
        rules = random_rules(rng, one)
        abi = BOTH[seed % 2]
        program = compile_operation(one, rules, abi, ORIGIN)
        code = program.to_bytes()
        for _ in range(40):
            content = bytearray(rng.randbytes(40))
            for each in rng.choice(rules).tests:
                size, order = each.field.size, "big" if each.field.network else abi.byte_order
                near = max(each.value + rng.choice([0, 0, 1, -1]), 0) & each.field.full
                place = each.field.offset
                content[place : place + size] = near.to_bytes(size, order)
            if one.name == "CONNECT":
                content[22:24] = bytes(2)
            shown = bytes(content)
            expected = next(
                (
                    each.permits
                    for each in rules
                    if all(field_holds(test, shown, abi.byte_order) for test in each.tests)
                ),
                False,
            )
            assert (interpreter.run(code, shown, abi.byte_order).value != 0) is expected, seed
