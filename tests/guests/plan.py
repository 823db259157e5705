"""The plan of a guest: programs, calls in order, and what must become of them.

A call that the kernel would make is tried only if it is harmless; what the policy answers
otherwise is tried with any number.
"""

from __future__ import annotations

import base64
import json
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guests.foreign import trials as foreign_trials
from guests.inside.machine_code import INT80, NATIVE
from guests.policies import HARMLESS
from guests.table import enosys, numbers
from interpreter import decode
from oracle import ABIS, RETURN_VALUES, U32, Meaning
from probes import EDGE_NUMBERS, argument_vectors, rules_by_number
from seccompgen.core import abis as architectures
from seccompgen.core import program as bpf
from seccompgen.verify.kernel import constant_allow
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guests.foreign import Trial as ForeignTrial
    from guests.programs import Programs, Trial
    from oracle import PolicyDict
    from probes import Vector

VECTORS = 32
"""Arguments tried on each call that has rules, besides those that lead to each rule."""
THREADS = 64
"""One filter of that many kills a thread beside another, which takes a while."""
PROBES = 3
"""Programs with which the bitmap is asked."""

UNFILTERED = {335, 336}
"""uretprobe and uprobe, which x86_64 kernels since 6.12 make before they ask any filter."""

S390X_NUMBERS = 0xFFFF
"""All that an s390x kernel keeps of a number (int_code, in arch/s390's syscall_get_nr())."""

MIPS_INDIRECT = 4000
"""The call of o32 that makes another: filters see the number of that."""

_FLAGS = {"tsync": 1, "log": 2, "new_listener": 8}
_ACTION, _DATA = 0xFFFF0000, 0xFFFF
_MADE = {RETURN_VALUES["allow"], RETURN_VALUES["log"], RETURN_VALUES["trace"]}
_KILLS = {RETURN_VALUES["kill_process"], RETURN_VALUES["kill_thread"]}
WIDE = {"x86_64", "aarch64", "riscv64", "ppc64le", "s390x", "mips64el", "loongarch64"}


@dataclass(frozen=True, slots=True)
class Expected:
    """A call, and the SECCOMP_RET value that it must get."""

    way: int
    arch: int
    nr: int
    args: Vector
    answer: int


@dataclass(frozen=True, slots=True)
class Run:
    """Calls that one child makes under one filter: its place among the filters, and how."""

    filter: int
    how: str
    calls: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Calls that a filter allows, and whether the kernel's bitmap should have each."""

    filter: int
    cached: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one ABI's guest does, in order."""

    abi: str
    filters: tuple[Trial, ...]
    wrong: frozenset[int]
    """The places of the filters that have a fault."""
    runs: tuple[Run, ...]
    probes: tuple[Probe, ...]
    foreign: tuple[tuple[Trial, ForeignTrial], ...]

    def files(self, others: Mapping[str, Any], *, wants_bytecode: bool) -> dict[str, bytes]:
        """Return it as the guest reads it, with what ``others`` parts need, by their names.

        ``wants_bytecode``: it shall report what Python has compiled of our sources.
        """
        order = ABIS[self.abi].byte_order
        code = bytearray()
        filters = []
        for one in self.filters:
            returned = {i.k & _ACTION for i in decode(one.program, order) if i.code == 0x06}
            filters.append([len(code), len(one.program), flags(one.policy), sorted(returned)])
            code += one.program
        calls = bytearray()
        runs = []
        count = 0
        for run in self.runs:
            runs.append([run.filter, run.how, count, len(run.calls)])
            count += len(run.calls)
            for call in run.calls:
                nr = (call.nr & 0x7FFFFFFF) - (call.nr & 0x80000000)  # as an ``int`` of C
                calls += struct.pack(
                    ("<" if order == "little" else ">") + "q7Q", nr, *call.args, call.way
                )
        plan = {
            "abi": self.abi,
            "real": harmless(self.abi),
            "filters": filters,
            "runs": runs,
            "numbers": numbers(self.abi),
            "enosys": enosys(self.abi),
            **others,
            "wants_bytecode": wants_bytecode,
            "probes": [[probe.filter, [nr for nr, _ in probe.cached]] for probe in self.probes],
            "foreign": [
                [base64.b64encode(content).decode() for content in (made.program, trial.executable)]
                for made, trial in self.foreign
            ],
        }
        return {
            "plan.json": json.dumps(plan).encode(),
            "programs": bytes(code),
            "calls": bytes(calls),
        }


def harmless(abi: str) -> list[tuple[int, int]]:
    """Return (way, nr) of the calls that the kernel may make, in order."""
    tables = plain_tables()
    ways = {(NATIVE, tables[abi][name]) for name in HARMLESS}
    if abi == "x86_64":
        ways |= {(INT80, tables["i386"][name]) for name in HARMLESS}
    return sorted(ways)


def flags(policy: PolicyDict) -> int:
    """Return the SECCOMP_FILTER_FLAG_* of a policy."""
    return sum(_FLAGS[name] for name in policy.get("flags", ()))


def plan(abi: str, made: Programs, *, share: slice, faults: bool, foreign: bool) -> Plan:
    """Return what to do with the programs for ``abi``: with a share of the right ones.

    ``faults``: with the wrong ones as well, and right ones of the same policies. ``foreign``: the
    kernel starts programs of the other ABI, too.
    """
    usual = made.policies[share]
    right, wrong = (made.meant, made.faults) if faults else ((), ())
    filters = (*usual, *right, *wrong)
    runs: list[Run] = []
    for number, one in enumerate(filters):
        runs += _runs(abi, number, one.policy, careful=number >= len(usual))
    return Plan(
        abi,
        filters,
        frozenset(range(len(filters) - len(wrong), len(filters))),
        tuple(runs),
        tuple(_probes(abi, filters)),
        tuple(zip(made.foreign, foreign_trials(abi), strict=True)) if foreign else (),
    )


def _probes(abi: str, filters: Sequence[Trial]) -> Iterator[Probe]:
    """Yield what to ask the bitmap: calls that are allowed without arguments, always or not.

    Only of policies that allow most, since telling the time may be a call.
    """
    arch = ABIS[abi].audit_arch
    left = PROBES
    for number, one in enumerate(filters):
        if one.policy["default_action"] != "allow" or "flags" in one.policy:
            continue
        meaning = Meaning(one.policy, plain_tables(), abi)
        code = bpf.decode(one.program, architectures.ABIS[abi])
        cached = tuple(
            (nr, constant_allow(code, nr, arch))
            for way, nr in sorted(harmless(abi))
            if way == NATIVE and meaning.decide(arch, nr, (0,) * 6) == RETURN_VALUES["allow"]
        )
        if left and {wanted for _, wanted in cached} == {True, False}:
            left -= 1
            yield Probe(number, cached)


def _runs(abi: str, number: int, policy: PolicyDict, *, careful: bool) -> Iterator[Run]:
    rng = random.Random(f"{abi} {number}")
    calls: list[Expected] = []
    deadly: list[Expected] = []
    real = harmless(abi)
    for call in _calls(abi, policy, rng, careful=careful):
        action = call.answer & _ACTION
        if action in _KILLS:
            deadly.append(call)
        elif action not in _MADE or (call.way, call.nr) in real:
            # Of a call by an o32 number MIPS takes two arguments from the stack, which the listener
            # is told.
            if abi == "mips64el" and call.nr < 5000 and action == RETURN_VALUES["user_notif"]:
                continue
            calls.append(call)
    actions = {call.answer & _ACTION for call in calls}
    how = "plain"
    if actions & {RETURN_VALUES["trap"], RETURN_VALUES["trace"]}:
        how = "traced"
    elif RETURN_VALUES["user_notif"] in actions:
        how = "supervised"
    yield Run(number, how, (*calls, *([rng.choice(deadly)] if deadly else [])))
    if deadly and (careful or number % THREADS == 0):
        yield Run(number, "thread", (rng.choice(deadly),))


def _calls(
    abi: str, policy: PolicyDict, rng: random.Random, *, careful: bool
) -> Iterator[Expected]:
    """Yield calls worth trying. ``careful``: only what may be made though it should not."""
    tables = plain_tables()
    meaning = Meaning(policy, tables, abi)
    most = (1 << 64) - 1 if abi in WIDE else U32
    for way, other in ((NATIVE, abi), *([(INT80, "i386")] if abi == "x86_64" else [])):
        rules = rules_by_number(policy, tables[other], {})
        arch = ABIS[other].audit_arch
        own = [tables[other][name] for name in HARMLESS]
        vectors = {
            nr: argument_vectors(found, rng, 24 if careful else VECTORS)
            if any(found)
            else [(most,) * 6]
            for nr, found in ((nr, rules.get(nr, [])) for nr in own)
        }
        others = _harmless_others(tables, other) if careful else set()
        if not careful:
            others = _other_numbers(tables, other, own, rules, rng)
        odd = UNFILTERED if other == "x86_64" else {MIPS_INDIRECT}
        for nr in sorted(others - set(own) - odd):
            vectors[nr] = [tuple(rng.choice((0, most, 0x55)) for _ in range(6))]
        for nr, found in vectors.items():
            if other == "s390x":
                nr &= S390X_NUMBERS  # noqa: PLW2901 - what the kernel makes of it
            for args in sorted({tuple(value & most for value in args) for args in found}):
                yield Expected(way, arch, nr, args, meaning.decide(arch, nr, args))


def _other_numbers(
    tables: Mapping[str, Mapping[str, int]],
    abi: str,
    own: Sequence[int],
    rules: Mapping[int, object],
    rng: random.Random,
) -> set[int]:
    """Return numbers of and near all tables of the kernel, and those that rules name."""
    numbers = {nr + near & U32 for nr in own for near in (-1, 1)} | set(EDGE_NUMBERS)
    for other in (abi, *ABIS[abi].same_kernel):
        known = sorted(tables.get(other, {}).values())
        if known:
            numbers |= {known[0] - 1 & U32, known[-1] + 1, *rng.sample(known, 4)}
    named = sorted(set(rules) - set(own))
    numbers |= set(named if len(named) <= 60 else rng.sample(named, 60))
    return numbers


def _harmless_others(tables: Mapping[str, Mapping[str, int]], abi: str) -> set[int]:
    """Return numbers that no table has, and those of harmless calls of the kernel's other ABIs."""
    kernel = [tables[other] for other in (abi, *ABIS[abi].same_kernel) if other in tables]
    known = {nr for table in kernel for nr in table.values()}
    unknown = {nr + 1 for nr in known} - known | set(EDGE_NUMBERS) - known
    return {*sorted(unknown)[:12], *(table[name] for table in kernel for name in HARMLESS)}
