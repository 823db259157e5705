"""What repeats is folded: the first at once, then counts, within bounds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from seccompgen.core.abis import ABIS
from seccompgen.core.deciding import DecidingRule
from seccompgen.core.errors import Position
from seccompgen.run.decoded_call import DecodedCall
from seccompgen.run.folding import Folding
from seccompgen.run.refusal import Refusal

if TYPE_CHECKING:
    from pathlib import Path

RULE = DecidingRule("default_action", Position("p.yml", 1, 17))


def refusal(name: str = "poll", timeout: int = 1, pointer: int = 4096, pid: int = 7) -> Refusal:
    arguments = ((pointer, hex(pointer)), (1, "1"), (timeout, str(timeout)))
    call = DecodedCall(name, "x86_64", arguments, (name, "x86_64", "1", str(timeout)))
    return Refusal(
        pid, pid, "git", call, "errno(EPERM)", RULE, None, (), (), "", False, ABIS["x86_64"]
    )


def folded(*refusals: Refusal) -> list[tuple[str, int, int]]:
    """Return what is reported: the call, its timeout, and the count."""
    found: list[tuple[str, int, int]] = []
    folding = Folding(
        lambda one, count: found.append((one.call.name, one.call.arguments[2][0], count))
    )
    for one in refusals:
        folding.add(one)
    found.append(("end", 0, 0))
    folding.finish()
    folding.finish()
    return found


def test_the_first_is_reported_at_once_and_then_counts_with_one_digit_more() -> None:
    # Other processes and addresses are no difference.
    calls = [refusal(pointer=4096 * n, pid=n) for n in range(1, 251)]
    counts = [1, 10, 100]
    assert folded(*calls) == [*(("poll", 1, n) for n in counts), ("end", 0, 0), ("poll", 1, 250)]
    assert folded(*calls[:100])[-1] == ("end", 0, 0)


def test_each_argument_is_reported_up_to_a_number() -> None:
    found = folded(*(refusal(timeout=n) for n in range(1, 201)))
    assert found[:50] == [("poll", n, n) for n in range(1, 51)]
    assert found[50:] == [("poll", 100, 100), ("end", 0, 0), ("poll", 200, 200)]


def test_sites_are_apart_and_their_number_has_a_bound() -> None:
    for one in (
        replace(refusal(), name="ssh"),
        replace(refusal(), action="kill_process"),
        replace(refusal(), rule=replace(RULE, label="rule 1")),
        replace(refusal(), lines=("p.py:3 in f",)),
    ):
        assert [count for _, _, count in folded(refusal(), one)] == [1, 1, 0]
    many = [refusal(f"call{n}") for n in range(1001)]
    found = folded(refusal("call0"), *many)
    assert found.count(("call0", 1, 2)) == 1
    assert found.index(("call0", 1, 2)) < found.index(("end", 0, 0))


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_program_that_tries_again_and_again(tmp_path: Path) -> None:
    """The end's count comes also where a signal ends the command."""
    policy = tmp_path / "p.yml"
    policy.write_text(
        "default_action: allow\nmultiplexed: allow\nsyscalls:\n"
        "- {action: errno, names: [getppid, getsid]}\n"
    )
    words = ("run", "--trace", "--json", policy, "--", sys.executable, "-c")
    source = (
        "import os, signal\n"
        "for n in range(25): os.getppid()\n"
        "for n in range(3):\n"
        "    try: os.getsid(n)\n"
        "    except PermissionError: pass\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = seccompgen(*words, source)
    assert done.code == -15
    told = [json.loads(line) for line in done.err.splitlines()]
    assert [(one["syscall"], one["times"]) for one in told] == [
        *(("getppid", 1), ("getppid", 10)),
        *(("getsid", 1), ("getsid", 2), ("getsid", 3)),
        ("getppid", 25),
    ]
    done = seccompgen(*(word for word in words if word != "--json"), source)
    assert done.err.count("\n") == 6
    assert "seccompgen: refused 25 times: " in done.err
