"""Count what the proofs rest on, and print it as a table in Markdown.

``make evidence`` runs it and writes docs/evidence.md, which takes ten minutes on two CPUs; with
``ARGS=--quick`` it tries a few of everything. It stops at the first thing that is wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import corpus
import libseccomp
import oracle
from drawing import unshrunk as bounded
from hypothesis import given, settings
from libseccomp_abis import NAMES, compiled, guarded, peers, random_policy
from mutants import answered, fate, mutants, random_mutant, random_program
from probes import interesting_calls
from proving import TABLES, as_call, both, ran, spread_out, stock
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.verify import Code, Difference, Proof, meaning
from strategies import loaded, plain_tables, plain_tables_with_facts, policies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from interpreter import ByteOrder
    from seccompgen.verify import Meaning

WORKERS = 2
ORDERS: tuple[ByteOrder, ...] = ("little", "big")


class Size(NamedTuple):
    """The amount that is tried: ``calls`` and ``mutants`` are those of each program."""

    calls: int
    mutants: int
    random_policies: int
    random_programs: int
    peers: int


FULL = Size(calls=3_000, mutants=500, random_policies=3, random_programs=5_000, peers=4)
QUICK = Size(calls=500, mutants=30, random_policies=1, random_programs=300, peers=1)

Counts = Counter[str]


def proved(left: Meaning, code: Code, counts: Counts) -> None:
    """Require a proof, and count it by the methods that found it."""
    found, _ = both(left, code)
    assert all(isinstance(one, Proof) for one in found.values()), found
    counts["programs"] += 1
    counts["+".join(sorted(method.value for method in found))] += 1


def compared(
    means: Meaning,
    code: Code,
    policy: oracle.PolicyDict,
    constants: Mapping[str, int],
    size: Size,
    counts: Counts,
    tables: Mapping[str, Mapping[str, int]] | None = None,
) -> None:
    """Require that program, meaning and the independent oracle answer calls alike.

    ``tables`` are by default those without facts: names of arguments, constants.
    """
    abi = means.abi.name
    tables = plain_tables() if tables is None else tables
    expected = oracle.Meaning(policy, tables, abi, constants)
    calls = interesting_calls(policy, tables, abi, constants)
    for call in spread_out(calls, size.calls):
        answer = expected.decide(*call)
        assert answer == ran(code, as_call(call)).value, (abi, call)
        assert answer == means.answer(as_call(call)), (abi, call)
        counts["calls"] += 1


# --- what is counted: each job runs in a worker, and has counts to show ---------------------------


def of_stock(place: int, size: Size) -> Counts:
    from stock_policies import CONSTANTS

    one, counts = stock()[place], Counts()
    proved(one.means, one.code, counts)
    facts = plain_tables_with_facts()
    compared(one.means, one.code, one.policy, CONSTANTS, size, counts, facts)
    return counts


def of_mutants(place: int, part: int, parts: int, size: Size) -> Counts:
    one, counts = stock()[place], Counts()
    answers = answered(one.code, one.calls(400))
    for mutant in spread_out(mutants(one.code), size.mutants)[part::parts]:
        counts["made"] += 1
        counts[fate(one.means, one.code, mutant.code, answers)[0]] += 1
    return counts


def of_corpus(name: str, size: Size) -> Counts:
    counts = Counts(policies=1)
    policy = corpus.translated(corpus.corpus()[name])
    model = loaded(policy)
    code = _compiled(model, "x86_64")
    means = meaning(model, ABIS["x86_64"], TABLES)
    proved(means, code, counts)
    compared(means, code, policy, {}, size, counts)
    return counts


def of_random_policies(abi: str, size: Size) -> Counts:
    counts = Counts()

    @settings(bounded, max_examples=size.random_policies)
    @given(policy=policies(plain_tables(), abi))
    def try_one(policy: dict[str, Any]) -> None:
        model = loaded(policy)
        code, means = _compiled(model, abi), meaning(model, ABIS[abi], TABLES)
        counts["policies"] += 1
        proved(means, code, counts)
        compared(means, code, policy, {}, size._replace(calls=min(size.calls, 2000)), counts)

    try_one()
    return counts


def of_random_programs(part: int, parts: int, size: Size) -> Counts:
    counts = Counts()
    for seed in range(part, size.random_programs, parts):
        rng = random.Random(seed)
        order = rng.choice(ORDERS)
        code = random_program(rng, order, plain=seed % 2 == 0)
        mutant = random_mutant(rng, code)
        found, reason = both(code, mutant)
        counts["pairs"] += 1
        counts["left to z3"] += bool(reason)
        verdict = next(iter(found.values()))
        counts[type(verdict).__name__] += 1
        for one in found.values():
            if isinstance(one, Difference):
                shown = ran(code, one.call).value, ran(mutant, one.call).value
                assert shown == (one.left, one.right)
                assert one.left != one.right
    return counts


def of_peer(abi: str, size: Size) -> Counts:
    counts = Counts()
    rng = random.Random(abi)
    asked = []
    for n in range(size.peers):
        # Across byte orders it spoils the answers that it copies into the reach of jumps, so
        # programs for big-endian ABIs have to do without.
        largest = 500 if ABIS[abi].byte_order == "little" else 40
        most, conditional = (25, 3) if n % 2 else (largest, largest // 8)
        asked += [(abi, level, random_policy(abi, rng, most, conditional)) for level in (1, 2)]
    counts["asked"] = len(asked)
    for theirs in peers(asked):
        found, _ = both(guarded(abi, theirs.code), guarded(abi, compiled(theirs)))
        assert all(isinstance(one, Proof) for one in found.values()), (abi, theirs.level, found)
        counts["programs"] += 1
        counts["names that it does not know"] += len(theirs.refused)
        counts["+".join(sorted(method.value for method in found))] += 1
    return counts


def _compiled(model: Any, abi: str) -> Code:
    return Code(compile_policy(model, ABIS[abi], TABLES).instructions, ABIS[abi].byte_order)


# --- the table -----------------------------------------------------------------------------------

HEAD = """# Evidence

What the last `make evidence` tried. It stops at the first difference, so there was none.
[proof.md](proof.md) says what it is for; `tests/verify/` does parts of it at each run of the tests.

*Programs* were proved equal to their policies by both methods, and compared on *calls* with an
oracle and an interpreter that share no code with seccompgen. A mutant is a program with one field
of one instruction changed, up to 500 for each program: *refused* by the kernel's rules, *killed* by
a call that shows the change, or *equivalent*, which z3 proved.
"""

Job = tuple[str, "Callable[..., Counts]", tuple[Any, ...]]


def jobs(size: Size) -> Iterator[Job]:
    """Yield what is to be done; the row that it counts for comes first."""
    for place, one in enumerate(stock()):
        yield "stock filters", of_stock, (place, size)
        parts = 1 if one.name.startswith("no_") else 4
        for part in range(parts):
            yield f"mutants of {one.name}", of_mutants, (place, part, parts, size)
    for name in corpus.production():
        yield "policies from production, x86_64", of_corpus, (name, size)
    for abi in sorted(plain_tables()):
        yield "random policies", of_random_policies, (abi, size)
    for part in range(8):
        yield "random programs with a mutant", of_random_programs, (part, 8, size)
    if libseccomp.is_here():
        for abi in sorted(NAMES):
            yield "libseccomp's programs", of_peer, (abi, size)


def done(job: Job) -> tuple[str, Counts, float]:
    row, work, args = job
    start = time.process_time()
    counts = work(*args)
    return row, counts, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few of everything")
    parser.add_argument("--only", default="", help="only rows that have this in their names")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    wanted = [job for job in jobs(size) if options.only in job[0]]
    rows: dict[str, Counts] = {job[0]: Counter() for job in wanted}
    seconds: Counter[str] = Counter()
    with multiprocessing.Pool(WORKERS, maxtasksperchild=8) as pool:
        for n, (row, counts, spent) in enumerate(pool.imap_unordered(done, wanted), 1):
            rows[row] += counts
            seconds[row] += round(1000 * spent)
            print(f"{n}/{len(wanted)} {row}", file=sys.stderr)
    abis = Counter(job[0] for job in wanted)
    print(HEAD)
    print("| what | parts | counted | CPU |\n|---|--:|---|--:|")
    for row, counts in rows.items():
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print(f"| {row} | {abis[row]} | {told} | {seconds[row] / 1000:.0f} s |")
    total: Counts = Counter()
    for row, counts in rows.items():
        if row.startswith("mutants"):
            total += counts
    if total:
        told = ", ".join(f"{count:,} {name}" for name, count in total.items())
        print(f"\nMutants in all: {told}. None survived.")
    if not corpus.production():
        print(f"No corpus at {corpus.SHARED}.")
    if not libseccomp.is_here():
        print("No python3-seccomp, so nothing was compared with libseccomp.")


if __name__ == "__main__":
    main()
