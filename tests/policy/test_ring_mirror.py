"""`mirror: true`: what rings may do by the rules for calls, against an oracle of its own."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import interpreter
import pytest
import ring_context
from longer import few_and_many
from seccompgen import Filter, InputError, Policy
from seccompgen.compile.ring import compile_operation
from seccompgen.core.model import Action
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.document import read_document
from seccompgen.policy.resolve import resolve_policy
from seccompgen.policy.ring_keys import IoUring, OperationGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.ring import RingProgram, RingRule

TABLES = shipped_tables()
NEWEST = (7, 3, 4)
OWN = {
    *("NOP", "NOP128", "TIMEOUT", "TIMEOUT_REMOVE", "LINK_TIMEOUT", "ASYNC_CANCEL", "POLL_REMOVE"),
    *("PROVIDE_BUFFERS", "REMOVE_BUFFERS"),
}
_READ, _READV = ("read", "pread64", "preadv2"), ("readv", "preadv", "preadv2")
CALLS = {
    **dict.fromkeys(("READ", "READ_FIXED", "READ_MULTISHOT"), _READ),
    **dict.fromkeys(("READV", "READV_FIXED"), _READV),
    **dict.fromkeys(("WRITE", "WRITE_FIXED"), ("write", "pwrite64", "pwritev2")),
    **dict.fromkeys(("SEND", "SEND_ZC"), ("sendto",)),
    **dict.fromkeys(("RECV", "RECV_ZC"), ("recvfrom",)),
    "SOCKET": ("socket",),
    "CONNECT": ("connect",),
    "OPENAT": ("openat",),
    "OPENAT2": ("openat2",),
    "ACCEPT": ("accept4",),
    "STATX": ("statx",),
    "FSYNC": ("fsync",),
    "UNLINKAT": ("unlinkat",),
}
"""Some operations, and the calls each of which must be allowed for them, copied by hand."""
NAMES = {
    "socket": ("family", "type", "protocol"),
    "openat": ("dfd", "", "flags", "mode"),
    "connect": ("", "", "addrlen"),
    "sendto": ("fd", "", "len", "flags"),
    "statx": ("dfd", "", "flags", "mask"),
}
"""Arguments that conditions are about, by their place; of other calls it is the first alone."""
FLAGS, NONBLOCK, CLOEXEC = 0x8003, 0x800, 0x80000
VALUES = {
    "family": [0, 1, 2, 10, 16],
    "type": [kind | flags for kind in (1, 2, 3) for flags in (0, NONBLOCK, CLOEXEC)] + [0xF],
    "protocol": [0, 6, 17],
    "flags": [0, 1, 2, 0o100, 0o102, 0o1101, 0o2000, 0x80000, 1 << 21, 1 << 22 | 2, 0x8000, 0x8041],
    "mode": [0, 0o600, 0o644, 0o4755],
}
ELSE = [0, 1, 3, 7, 0x8000, 0xFFFFFF9C]
TESTS: dict[str, Callable[[int, int], bool]] = {
    "{0} == {1}": lambda a, v: a == v,
    "{0} != {1}": lambda a, v: a != v,
    "{0} & {1}": lambda a, v: a & v != 0,
    "not {0} & {1}": lambda a, v: a & v == 0,
    "{0} & 0xf == {1}": lambda a, v: a & 0xF == v,
    "{0} < {1}": lambda a, v: a < v,
    "{0} >= {1}": lambda a, v: a >= v,
    "{0} & ~0x80800 == {1}": lambda a, v: a & ~0x80800 & 0xFFFFFFFF == v,
}
ACTIONS = ["allow", "allow", "allow", "errno(EACCES)", "kill_process", "log"]


class DrawnTest(NamedTuple):
    """A test of one argument: its place, a key of TESTS, and the value."""

    place: int
    form: str
    value: int


class Drawn(NamedTuple):
    """A rule of a random policy: all tests must hold."""

    call: str
    action: str
    tests: tuple[DrawnTest, ...]

    def text(self) -> str:
        names = NAMES.get(self.call, ("fd",))
        when = " and ".join(t.form.format(names[t.place], t.value) for t in self.tests)
        if not self.tests:
            return f"- {{action: {self.action}, names: [{self.call}]}}\n"
        entry = f"{{name: {self.call}, when: '{when}'}}"
        return f"- {{action: {self.action}, names_with_args: [{entry}]}}\n"

    def holds(self, args: list[int]) -> bool:
        return all(TESTS[t.form](args[t.place], t.value) for t in self.tests)


def drawn(rng: random.Random) -> list[Drawn]:
    calls = [call for calls in CALLS.values() for call in calls]
    found = []
    for _ in range(rng.randrange(4, 24)):
        call = rng.choice(calls) if rng.random() < 0.5 else rng.choice(["socket", "openat"])
        places = [i for i, name in enumerate(NAMES.get(call, ("fd",))) if name]
        if call not in NAMES and call not in {"read", "write", "recvfrom", "fsync", "pread64"}:
            places = []
        count = rng.choice([0, 1, 1, 2]) if call in {"socket", "openat"} else rng.randrange(2)
        tests = []
        for place in rng.sample(places, min(count, len(places))):
            name = NAMES.get(call, ("fd",))[place]
            form = rng.choice(list(TESTS))
            value = rng.choice(VALUES.get(name, ELSE))
            value &= 0xF if "0xf" in form else 0xFFF7F7FF if "~" in form else -1
            tests.append(DrawnTest(place, form, value or ("& {1}" in form and 1) or 0))
        found.append(Drawn(call, rng.choice(ACTIONS), tuple(tests)))
    return found


def resolved(text: str) -> tuple[ResolvedPolicy, list[Diagnostic]]:
    policy, notes = resolve_policy(read_document(text.encode(), "p.yml"), TABLES)
    return policy, [one for one in notes if one.kind and one.kind.value == "not-mirrored"]


def policy_text(rules: str, default: str = "errno", operations: str = "[]") -> str:
    head = f"arches: [x86_64, s390x, i386]\nmultiplexed: errno(EPERM)\ndefault_action: {default}\n"
    section = "io_uring:\n  default_action: deny\n  mirror: true\n"
    return f"{head}syscalls:\n{rules}{section}  operations: {operations}\n"


def rings(policy: ResolvedPolicy, name: str, abi_name: str, fields: dict[str, Any]) -> bool:
    """Return what the compiled program of an operation answers on the newest kernel."""
    program = compiled(policy, name, abi_name)
    if program is None:
        return False
    abi = program.abi
    shown = ring_context.context(program.operation.opcode, fields, abi_name, abi.byte_order, NEWEST)
    return interpreter.run(program.to_bytes(), shown, abi.byte_order).value != 0


def compiled(policy: ResolvedPolicy, name: str, abi_name: str) -> RingProgram | None:
    assert policy.io_uring
    abi = next(one for one in policy.arches if one.name == abi_name)
    rules = tuple(one for one in policy.io_uring.rules_for(abi) if one.operation.name == name)
    return program_of(rules, abi, policy.io_uring.origin) if rules else None


@lru_cache(maxsize=64)
def program_of(rules: tuple[RingRule, ...], abi: Abi, origin: Origin) -> RingProgram:
    return compile_operation(rules[0].operation, rules, abi, origin)


def allowed(rules: list[Drawn], default: str, call: str, args: list[int]) -> bool:
    """Return True if the policy simply allows a call: the first rule that matches decides."""
    for one in rules:
        if one.call == call and one.holds(args):
            return one.action == "allow"
    return default == "allow"


def same_calls(rng: random.Random, name: str, abi: str) -> tuple[dict[str, Any], list[int]]:
    """Return fields of an operation, and random arguments of a call that does the same."""
    args = [rng.choice(ELSE) for _ in range(6)]
    if name == "SOCKET":
        values = {key: rng.choice(VALUES[key]) for key in ("family", "type", "protocol")}
        return values, [*values.values(), *args[3:]]
    if name == "OPENAT":
        values = {key: rng.choice(VALUES[key]) for key in ("flags", "mode")}
        context = ring_context.context(18, values, abi, "little", NEWEST)
        flags, mode = (int.from_bytes(context[n : n + 8], "little") for n in (16, 24))
        # A 64-bit kernel adds O_LARGEFILE, for programs of 32 bits as well; there it matters.
        if abi != "i386" or rng.random() < 0.5:
            flags &= ~0x8000
        return values, [args[0], args[1], flags, mode, *args[4:]]
    if name == "CONNECT":
        return {"family": 2, "address": "10.0.0.1", "port": 80}, args
    return {}, args


@few_and_many(5, 150)
def test_a_ring_is_never_permitted_more_than_the_calls(examples: int) -> None:
    rng = random.Random(38)
    tried = permitted = refused = 0
    while tried < examples:
        rules, default = drawn(rng), rng.choice(["errno", "errno", "allow"])
        text = policy_text("".join(one.text() for one in rules), default)
        try:
            policy, _ = resolved(text)
        except InputError:
            continue  # a rule is dead
        tried += 1
        for abi in ("x86_64", "s390x", "i386"):
            for name, calls in CALLS.items():
                for _ in range(30 if name in {"SOCKET", "OPENAT"} else 2):
                    fields, args = same_calls(rng, name, abi)
                    if not rings(policy, name, abi, fields):
                        refused += 1
                        continue
                    permitted += 1
                    for call in calls:
                        for _ in range(1 if fields else 5):
                            assert allowed(rules, default, call, args), (text, name, fields, args)
                            args = args if fields else [rng.choice(ELSE) for _ in args]
    assert permitted > 5 * examples
    assert refused > 5 * examples


def test_what_calls_do_not_restrict_is_permitted_whole() -> None:
    rules = "- {action: allow, names: ['@basic-io', socket, openat, connect, accept4, poll]}\n"
    policy, notes = resolved(policy_text(rules))
    assert notes == []
    assert policy.io_uring
    for abi in policy.arches:
        found = {one.operation.name for one in policy.io_uring.rules_for(abi) if not one.tests}
        known = {"READ", "READV_FIXED", "WRITE", "CLOSE", "SOCKET", "OPENAT", "CONNECT", "ACCEPT"}
        assert found >= OWN | known | {"POLL_ADD"}
        assert not found & {"OPENAT2", "SEND", "MSG_RING", "URING_CMD", "FILES_UPDATE"}


def test_conditions_on_what_both_see_are_the_same() -> None:
    rules = (
        "- {action: errno, names_with_args: [{name: openat, when: 'flags & O_CREAT'}]}\n"
        "- {action: allow, names_with_args: [{name: openat, when: 'flags & O_ACCMODE == 0'}]}\n"
        "- {action: allow, names_with_args: [{name: socket, when: 'family in {1, 2} and "
        "type & 0xf == 1'}]}\n"
    )
    policy, notes = resolved(policy_text(rules))
    assert notes == []
    for abi in ("x86_64", "s390x", "i386"):
        for flags in VALUES["flags"]:
            if not flags & 1 << 21:  # O_PATH drops the others, for calls too
                answer = not flags & 0o100 and not flags & 3
                assert rings(policy, "OPENAT", abi, {"flags": flags}) is answer
        for family in VALUES["family"]:
            for kind in VALUES["type"]:
                answer = family in {1, 2} and kind & 0xF == 1
                assert rings(policy, "SOCKET", abi, {"family": family, "type": kind}) is answer


def test_a_value_that_no_ring_shows_differs_from_all_that_it_does() -> None:
    rules = (
        "- {action: errno, names_with_args: [{name: openat, when: 'flags != O_LARGEFILE'}]}\n"
        "- {action: allow, names: [openat]}\n"
    )
    policy, _ = resolved(policy_text(rules))
    assert not any(rings(policy, "OPENAT", "x86_64", {"flags": flags}) for flags in VALUES["flags"])


NOTES = {
    "unseen argument": (
        "- {action: allow, names_with_args: [{name: sendto, when: addr == 0}]}\n",
        [
            "p.yml:5:44: sendto is allowed here where addr == 0, but no filter for rings sees "
            "addr: io_uring refuses SEND and SEND_ZC then; to permit them nevertheless, name them "
            "in 'operations'"
        ],
    ),
    "refused under an unseen condition": (
        "- {action: errno, names_with_args: [{name: statx, when: dfd == 3}]}\n"
        "- {action: allow, names: [statx]}\n",
        [
            "p.yml:5:44: statx is refused here where dfd == 3, but no filter for rings sees dfd: "
            "io_uring refuses STATX then; to permit it nevertheless, name it in 'operations'"
        ],
    ),
    "flags of a type": (
        "- {action: allow, names_with_args: [{name: socket, when: type == SOCK_STREAM}]}\n",
        [
            "p.yml:5:44: socket is allowed here where type == SOCK_STREAM, but no filter for rings "
            "sees SOCK_CLOEXEC and SOCK_NONBLOCK in type (compare type & 0xf): io_uring refuses "
            "SOCKET then; to permit it nevertheless, name it in 'operations'"
        ],
    ),
    "one of several calls": (
        "- {action: allow, names: [readv, preadv]}\n",
        [
            "p.yml:5:27: readv is allowed here, but preadv2 is not, which a ring does as well: "
            "io_uring refuses READV and READV_FIXED then; to permit them nevertheless, name them "
            "in 'operations'"
        ],
    ),
    "no answer of a ring": (
        "- {action: log, names: [mkdirat]}\n",
        [
            "p.yml:5:25: mkdirat gets log here, which no ring can do: io_uring refuses MKDIRAT "
            "then; to permit it nevertheless, name it in 'operations'"
        ],
    ),
    "commands of drivers": (
        "- {action: allow, names: [setsockopt, getsockopt]}\n",
        [
            "p.yml:5:27: setsockopt is allowed here, but a ring's commands do more than any call: "
            "io_uring refuses URING_CMD and URING_CMD128 then; to permit them nevertheless, name "
            "them in 'operations'"
        ],
    ),
    "permitted after all": (
        "- {action: allow, names_with_args: [{name: sendto, when: addr == 0}]}\n"
        "- {action: allow, names: [sendto]}\n",
        [],
    ),
    "refused anyway": (
        "- {action: errno(EACCES), names_with_args: [{name: sendto, when: addr == 0}]}\n",
        [],
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_a_note_says_what_a_ring_cannot_say(case: str) -> None:
    rules, expected = NOTES[case]
    _, notes = resolved(policy_text(rules))
    assert list(map(str, notes)) == expected


def test_operations_that_are_named_are_decided_by_their_own_rules_alone() -> None:
    rules = "- {action: allow, names: [connect, sendto]}\n"
    own = (
        "[{action: allow, names: [CONNECT], when: port == 80}, {action: deny, names: [SEND]},"
        " {action: allow, names: [STATX]}]"
    )
    policy, notes = resolved(policy_text(rules, operations=own))
    assert notes == []
    to = {"family": 2, "address": "10.0.0.1"}
    assert rings(policy, "CONNECT", "x86_64", to | {"port": 80})
    assert not rings(policy, "CONNECT", "x86_64", to | {"port": 81})
    assert not rings(policy, "SEND", "x86_64", {})
    assert rings(policy, "SEND_ZC", "x86_64", {})
    assert rings(policy, "STATX", "x86_64", {})


def test_a_rule_of_a_mirror_names_the_rule_that_it_follows() -> None:
    policy, _ = resolved(policy_text("- {action: allow, names: [connect]}\n"))
    assert policy.io_uring
    rules = policy.io_uring.rules_for(policy.arches[0])
    (one,) = (rule for rule in rules if rule.operation.name == "CONNECT")
    assert str(one.origin.position) == "p.yml:5:3"
    assert one.origin.label == "mirror of rule 1"


def test_operations_may_be_missing_beside_mirror_alone() -> None:
    text = policy_text("- {action: allow, names: [connect]}\n").replace("  operations: []\n", "")
    assert resolved(text)[0].io_uring
    with pytest.raises(InputError, match="'operations' is missing: list what rings may do, or"):
        resolved(text.replace("  mirror: true\n", ""))


def test_a_mirror_in_python_is_written_as_a_file_that_means_the_same() -> None:
    deny = [OperationGroup("deny", ["CLOSE"])]
    section = IoUring(default_action="deny", mirror=True, operations=deny)
    policy = Policy(Action.errno(), [], arches=["x86_64"], io_uring=section)
    text = Filter(policy).to_yaml()
    assert "  mirror: true\n" in text
    found = resolved(text)[0].io_uring
    assert found
    assert {one.name for one in found.operations(resolved(text)[0].arches[0])} == OWN


def test_calls_of_the_table_are_those_of_some_abi() -> None:
    known = {name for table in TABLES.tables.values() for name in table.numbers}
    for one in ring_numbers().operations.values():
        assert {*one.calls} <= known
        needed = [call for choices in one.needed for call in choices]
        assert {*needed} <= {*one.calls}
        assert bool(one.needed) is bool(one.calls)
    for name, calls in CALLS.items():
        needed_calls = ring_numbers().operations[name].needed
        assert needed_calls == tuple((call,) for call in calls)
