"""Random calls under the policies of the corpus: what `explain` says, held against the kernel."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import marked_calls
from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.explainer import Explainer
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.render.explanation import AnswerCase, Explanation

TABLES = shipped_tables()
X86_64 = ABIS["x86_64"]
STOCK = Path(__file__).parents[2] / "policies"
_VALUES = (0, 1, 2, 3, 5, 10, 40, 0x5421, 0x10000, 0x7FFFFFFF, 0x80000000, 2**32, 2**64 - 1)
_KILLS = {0x80000000, 0x00000000, 0x00030000}
_ERRNO = 0x00050000
PROBES = {"uprobe", "uretprobe"}
"""Calls that the kernel lets through whatever filters say; in no probe they end in SIGILL."""


def filters() -> list[Path]:
    """Return policies of several formats, ours and others', that are for x86_64."""
    found = sorted(STOCK.glob("*.yml"))
    found += [*sorted(corpus.OURS.glob("*.policy")), corpus.OURS / "container-default.json"]
    found += [path for path in corpus.SAMPLES if path.suffix == ".yml"]
    oci = corpus.SHARED / "oci" / "moby-default.json"
    return [*found, *([oci] if oci.is_file() else [])]


def explainers(stride: int = 1) -> Iterator[Explainer]:
    """Yield an explainer for each filter, less those whose files say not that they are policies."""
    for path in filters()[stride - 1 :: stride]:
        try:
            yield Explainer(path, TABLES, [X86_64])
        except ValueError:  # pragma: no cover - a policy that is no policy
            continue


def kernel_says(program: bytes, calls: Sequence[Sequence[int]]) -> list[Any]:
    """Return what the running kernel answers, asked by a script of its own."""
    line = json.dumps({"program": program.hex(), "calls": [list(call) for call in calls]})
    run = subprocess.run(
        [sys.executable, marked_calls.__file__],
        input=line,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(run.stdout)
    return found


def expected(ret: int) -> object:
    """Return what `marked_calls` must find for a SECCOMP_RET value."""
    if ret & 0xFFFF0000 in _KILLS:
        return "killed"
    return ret & 0xFFFF if ret & 0xFFFF0000 == _ERRNO else "passed"


def random_call(explainer: Explainer, rng: random.Random) -> list[int]:
    """Return a number and six arguments, the last of which is the mark."""
    names = TABLES.tables["x86_64"].numbers
    policy = explainer.loaded.policy
    ruled = [one.name for one in policy.rules if one.name in names] if policy else []
    name = rng.choice(ruled if ruled and rng.random() < 0.6 else sorted(names))
    if name in PROBES:
        name = "read"
    nr = names[name] if rng.random() < 0.95 else rng.choice([600, 999, 2**31, 2**32 - 1])
    values = [*_VALUES, *_constants(explainer, name)]
    args = [rng.choice(values) ^ (1 << rng.randrange(64)) * (rng.random() < 0.2) for _ in range(5)]
    return [nr, *args, marked_calls.MARK]


def _constants(explainer: Explainer, name: str) -> list[int]:
    from seccompgen.core.model import comparisons

    policy = explainer.loaded.policy
    rules = [one for one in policy.rules if one.name == name] if policy else []
    tests = [test for rule in rules for test in comparisons(rule.condition)]
    return [
        one for test in tests for one in (test.value, test.value + 1, test.value - 1 & 2**64 - 1)
    ]


def examples(told: Explanation) -> Iterator[AnswerCase]:
    """Yield the cases of a call with fewer than six arguments: the mark changes nothing then."""
    for group in told.groups:
        for one in group.calls:
            prototype = TABLES.facts.prototype(one.name, ABIS[one.abi])
            if prototype and len(prototype.parameters) < 6:
                yield from one.cases


def compare(count: int, seed: int, stride: int = 1) -> Counter[str]:
    """Assert that explanations of ``count`` random calls are the kernel's answers; count them.

    They are spread over every ``stride``-th policy.
    """
    counts: Counter[str] = Counter()
    every = list(explainers(stride))
    rng = random.Random(seed)
    for explainer in every:
        asked: list[list[int]] = []
        told: list[tuple[str, object]] = []
        for _ in range(count // len(every) + 1):
            call = random_call(explainer, rng)
            words = [str(call[0]), *map(hex, call[1:])]
            explanation = explainer.explain(words)
            ((one,),) = (group.calls for group in explanation.groups)
            (case,) = one.cases
            (run,) = explanation.groups[0].runs
            counts["instructions"] += len(run.steps)
            asked.append(call)
            told.append((" ".join(words), expected(case.ret)))
            # Whatever is left out: each case's example gets its answer.
            for case in examples(explainer.explain(words[: rng.randint(1, 3)])):
                asked.append([case.call.nr, *case.call.args[:5], marked_calls.MARK])
                told.append((case.example, expected(case.ret)))
        code = explainer._program("x86_64").code
        program = b"".join(
            one.code.to_bytes(2, "little") + bytes([one.jt, one.jf]) + one.k.to_bytes(4, "little")
            for one in code.instructions
        )
        for (text, wanted), found in zip(told, kernel_says(program, asked), strict=True):
            assert found == wanted, (explainer.loaded.path, text, found, wanted)
            counts[str(found) if isinstance(found, str) else "errno"] += 1
    return counts
