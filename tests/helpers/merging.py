"""Profiles merged by the rules that are public, beside the two filters stacked: z3 is the referee.

Run as a program, it counts; ``docs/compare.md`` has the figures.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_merger
import oci_profiles
from corpus import SHARED, production, translated
from oci_samples import profile, rule
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.model import ActionKind
from seccompgen.formats import load_policy
from seccompgen.formats.oci.writer import profile as written
from seccompgen.formats.oci.writer import render_profile
from seccompgen.verify import Difference, Method, Operation, Relation, Stack, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seccompgen.core.tables import Tables
    from seccompgen.verify import Meaning

Profile = dict[str, Any]
X86_64 = ABIS["x86_64"]
MERGERS: dict[str, Callable[[Profile, Profile], Profile]] = {
    "proposed": kubernetes_merger.proposed,
    "settled": kubernetes_merger.settled,
}
_NAMES = ("read", "write", "ioctl", "clone", "socket", "prctl")
FEW = replace(
    TABLES,
    tables={
        "x86_64": replace(
            TABLES.tables["x86_64"],
            numbers={name: TABLES.tables["x86_64"].numbers[name] for name in _NAMES},
        )
    },
)
"""A kernel of a few calls, for which z3 is fast; rules of one call say nothing of another."""
_VALUES = (0, 1, 2, 8, 0xFF, 1 << 32)
_DEFAULTS: tuple[Profile, ...] = (
    {},
    {},
    {"defaultAction": "SCMP_ACT_ALLOW"},
    {"defaultAction": "SCMP_ACT_LOG"},
    {"defaultErrnoRet": 38},
    {"defaultAction": "SCMP_ACT_KILL"},
)
_OPERATORS = ("EQ", "EQ", "NE", "MASKED_EQ", "LT", "GE")


def random_profile(rng: random.Random) -> Profile:
    """Draw a profile whose rules all have one action, as most have."""
    default = rng.choice(_DEFAULTS)
    action = rng.choice(["ALLOW", "ALLOW", "LOG", "ERRNO"])
    if default.get("defaultAction") == "SCMP_ACT_ALLOW":
        action = "ERRNO"
    rules = []
    for _ in range(rng.randint(1, 5)):
        compared = [
            (index, op, rng.choice(_VALUES), *([rng.choice(_VALUES)] if op == "MASKED_EQ" else []))
            for index in rng.sample(range(3), rng.choice([0, 0, 1, 1, 2]))
            for op in [rng.choice(_OPERATORS)]
        ]
        names = " ".join(rng.sample(_NAMES, rng.randint(1, 3)))
        rules.append(rule(names, *compared, action=action))
    return profile(*rules, **{"architectures": ["SCMP_ARCH_X86_64"], **default})


def meant(document: Profile, tables: Tables) -> Meaning:
    """Return what a profile means, where rules and nothing of a runtime's own count."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "profile.json")
        path.write_text(json.dumps(document))
        reading = Reading(runtime=Runtime.CRUN, abis=("x86_64",))
        return meaning(load_policy(path, tables, reading)[0], X86_64, tables)


def verdict(merged: Meaning, stack: Stack, methods: Iterable[Method] | None = None) -> str:
    """Say how a merged profile stands to the stack, in what it lets through."""
    if not isinstance(prove(merged, stack, methods), Difference):
        return "same"
    passes = Relation(ActionKind.LOG)
    looser = isinstance(prove(merged, stack, methods, passes), Difference)
    tighter = isinstance(prove(stack, merged, methods, passes), Difference)
    if looser or tighter:
        return " and ".join(["looser"] * looser + ["tighter"] * tighter)
    return "refuses otherwise"


def verdicts(
    left: Profile, right: Profile, tables: Tables, methods: Iterable[Method] | None = None
) -> dict[str, str]:
    """Return the verdict on each merger; the profile of the left is the newer filter.

    So its errno counts where both refuse with one, as the mergers have it.
    """
    stack = Stack(Operation.INTERSECT, (meant(right, tables), meant(left, tables)))
    return {
        name: verdict(meant(merge(left, right), tables), stack, methods)
        for name, merge in MERGERS.items()
    }


def random_pairs(count: int, seed: int) -> tuple[Counter[tuple[str, str]], int]:
    """Return how often each merger got each verdict, and how many pairs are no two profiles.

    Those that contradict themselves are left out: libseccomp refuses them, or orders them itself.
    """
    rng = random.Random(seed)
    found: Counter[tuple[str, str]] = Counter()
    left_out = 0
    while found.total() < count * len(MERGERS):
        left, right = random_profile(rng), random_profile(rng)
        try:
            found.update(verdicts(left, right, FEW, [Method.Z3]).items())
        except InputError:
            left_out += 1
    return found, left_out


def realistic() -> dict[str, Profile]:
    """Return the policies of the corpus as profiles for x86_64, Docker's default as it is."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "policy.json")
        for name, entry in production().items():
            path.write_text(json.dumps({**translated(entry), "bad_arch_action": "kill_thread"}))
            policy, _ = load_policy(path, TABLES)
            found[name] = json.loads(render_profile(written(policy, X86_64, TABLES)))
    return found


def dockers() -> Profile:
    """Return Docker's default as a runtime on x86_64 is handed it."""
    document = json.loads((SHARED / "oci" / "moby-default.json").read_text())
    kept = [
        {key: one[key] for key in one.keys() & {"names", "action", "errnoRet", "args"}}
        for one in document["syscalls"]
        if oci_profiles.kept(one, "x86_64", oci_profiles.DOCKER)
    ]
    head = {key: document[key] for key in ("defaultAction", "defaultErrnoRet")}
    return {**head, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": kept}


_BLOCK = 50
"""Pairs of one seed, drawn and judged in one process."""


def _block(seed: int) -> tuple[Counter[tuple[str, str]], int]:
    return random_pairs(_BLOCK, seed)


def _realistic_pair(other: Profile) -> dict[str, str]:
    return verdicts(dockers(), other, TABLES)


def main(count: int) -> None:
    with ProcessPoolExecutor(4) as pool:
        blocks = pool.map(_block, range(1, count // _BLOCK + 1))
        others = realistic()
        pairs = pool.map(_realistic_pair, others.values())
        found: Counter[tuple[str, str]] = Counter()
        left_out = 0
        for counted, out in blocks:
            found += counted
            left_out += out
            print(found.total() // len(MERGERS), file=sys.stderr, flush=True)
        print(f"{count} random pairs, {left_out} left out")
        _tell(found)
        print(f"Docker's default and each of {len(others)} policies of the corpus")
        _tell(Counter(item for one in pairs for item in one.items()))


def _tell(found: Counter[tuple[str, str]]) -> None:
    for (merger, said), often in sorted(found.items()):
        print(f"  {merger}: {said}: {often}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
