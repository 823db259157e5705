"""The bits of arguments that the running kernel reads, against what the prototypes say.

`guests.widths` makes the calls, as guests do: with other bits in one argument after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from guests import widths
from guests.inside.widths import OTHER, SAME, UNSTABLE
from proving import TABLES
from running_kernel import require_x86_64
from seccompgen.core.abis import ABIS

require_x86_64()
pytestmark = pytest.mark.root("becomes a user without rights")

TESTS = Path(__file__).parents[1]
SCRIPT = """\
import ctypes, json, sys
if ctypes.CDLL(None, use_errno=True).unshare(0x08000000):  # what is made of IPC goes with us
    sys.exit("unshare: errno %d" % ctypes.get_errno())
from guests.inside import widths
print(json.dumps(widths.planned_outcomes(sys.argv[1])))
"""
RELEASE = os.uname().release


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, widths.WidthsFound]:
    """The findings of the trials, under the stock filters as well, and of wrong ones."""
    directory = tmp_path_factory.mktemp("plan")
    kinds = {
        "plain": planned(),
        "filtered": widths.filtered_trials("x86_64", TABLES),
        **widths.wrong_trials("x86_64", TABLES),
    }
    everything = [trial for trials in kinds.values() for trial in trials]
    for name, content in widths.plan("x86_64", everything).items():
        (directory / name).write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, directory],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS / 'helpers'}"},
    )
    if "unshare" in run.stderr:
        pytest.skip(f"what calls make would stay: {run.stderr}")
    assert run.returncode == 0, run.stderr
    outcomes = iter(json.loads(run.stdout))
    return {
        kind: widths.judge(RELEASE, trials, [next(outcomes) for _ in trials])
        for kind, trials in kinds.items()
    }


@cache
def planned() -> list[widths.Trial]:
    return widths.trials("x86_64", TABLES, vectors=4)


Tried = dict[str, widths.WidthsFound]


@pytest.mark.long("reads many headers")
def test_bits_that_are_not_read_make_no_difference(tried: Tried) -> None:
    assert tried["plain"].differences == ()


@pytest.mark.long("reads many headers")
def test_nor_do_they_under_the_stock_filters(tried: Tried) -> None:
    assert tried["filtered"].differences == ()
    under = {one.program for one in widths.filtered_trials("x86_64", TABLES)}
    assert len(under) == 6  # no_exec and no_listen compare no arguments


@pytest.mark.long("tries each argument bit by bit")
def test_that_the_kernel_looks_shows_for_most_arguments(tried: Tried) -> None:
    shown = tried["plain"].shown
    for abi, least in (("x86_64", 250), ("i386", 500)):
        assert len([one for one in shown if one[0] == abi]) > least
    # Of what filters look at most, and, of i386, pointers and longs as well.
    for call, argument in [
        *[("socket", n) for n in range(3)],
        *[("ioctl", 1), ("fcntl", 1), ("prctl", 0), ("openat", 0), ("setns", 0)],
    ]:
        assert {("x86_64", call, argument), ("i386", call, argument)} <= shown
    assert {("i386", "openat", 1), ("i386", "mprotect", 1)} <= shown


def test_what_is_wrong_is_contradicted(tried: Tried) -> None:
    narrow = tried["a width that is too small"].differences
    assert narrow
    assert all("socket on x86_64 reads more of argument 0" in one for one in narrow)
    (whole, lowest) = tried["a filter that compares what is not read"].differences
    assert "under a filter" in whole
    assert whole.endswith(f"^ {0xFFFFFFFF << 32:#x}")
    assert lowest.endswith(f"^ {1 << 32:#x}")


def test_each_call_with_a_known_prototype_is_tried_or_left_out_by_name() -> None:
    for abi in ("x86_64", "i386"):
        known = {
            call
            for call in TABLES.tables[abi].numbers
            if TABLES.facts.prototype(call, ABIS[abi]) and call not in widths.NEVER
        }
        assert {one.call for one in planned() if one.abi == abi} == known


# --- the judge, on answers that no kernel gave ---------------------------------------------------

TRIAL = widths.Trial(
    *(0, "x86_64", "socket", 41, (1, 1, 0, 0, 0, 0)),
    (widths.Change(0, 1 << 40, ignored=True), widths.Change(0, 2, ignored=False)),
)


@pytest.mark.parametrize(
    ("seen", "shown", "differs"),
    [
        (SAME + OTHER, True, False),
        (SAME + SAME, False, False),
        (OTHER + OTHER, False, True),
        (OTHER + SAME, False, True),
        (UNSTABLE * 2, False, False),
    ],
)
def test_the_judge(seen: str, shown: bool, differs: bool) -> None:
    found = widths.judge("7.3", [TRIAL], [seen])
    assert bool(found.shown) == shown
    assert bool(found.differences) == differs


def test_what_older_kernels_read_is_excused_there_only() -> None:
    (call, argument), (until, _) = next(iter(widths.OLDER.items()))
    change = widths.Change(argument, 1 << 40, ignored=True)
    trial = widths.Trial(0, "x86_64", call, 1, (0,) * 6, (change,))
    major, minor = until
    assert widths.judge(f"{major}.{minor}", [trial], [OTHER]).differences
    assert not widths.judge(f"{major}.{minor - 1}.9-x", [trial], [OTHER]).differences
