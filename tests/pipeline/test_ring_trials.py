"""What install() tries of a section: at least one refusal, so that a kernel that filters nothing is
found out in each language."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import pytest
from guests.inside.ring import Ring, entry
from ring_installs import outcome
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.pipeline.build import build_policy, shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.ring import Trial

USUAL = ("NOP", "READ", "WRITE", "SEND", "RECV", "SHUTDOWN")
"""What is tried of every section."""
HEAD = "arches: [x86_64]\ndefault_action: allow\nsyscalls: []\nio_uring:\n  default_action: deny\n"


def trials(rules: str, where: Path) -> tuple[Trial, ...]:
    (where / "demo.yml").write_text(f"{HEAD}  operations:\n{rules}")
    (rings,) = build_policy(where / "demo.yml", shipped_tables()).rings
    return rings.trials


def refused(rules: str, where: Path) -> set[int]:
    return {one.opcode for one in trials(rules, where) if not one.permitted}


@pytest.mark.parametrize(
    "name", ["FSYNC", "LISTEN", "BIND", "URING_CMD", "OPENAT", "OPENAT2", "CONNECT", "SOCKET"]
)
def test_what_alone_is_refused_is_tried(name: str, tmp_path: Path) -> None:
    names = ", ".join(one for one in ring_numbers().operations if one != name)
    rules = f"  - {{action: allow, names: [{names}]}}\n"
    assert refused(rules, tmp_path) == {ring_numbers().operations[name].nr}


def test_a_refusal_under_a_condition_is_enough(tmp_path: Path) -> None:
    names = ", ".join(one for one in ring_numbers().operations if one != "CONNECT")
    rules = f"  - {{action: allow, names: [{names}]}}\n"
    rules += "  - {action: allow, names: [CONNECT], when: port == 80}\n"
    assert refused(rules, tmp_path) == {ring_numbers().operations["CONNECT"].nr}


def test_the_usual_ones_tell_enough_where_one_is_refused(tmp_path: Path) -> None:
    few = trials("  - {action: allow, names: [NOP]}\n", tmp_path)
    assert {one.opcode for one in few} == {ring_numbers().operations[one].nr for one in USUAL}


def test_a_kernel_takes_them_as_they_are_tried(tmp_path: Path) -> None:
    """Each has to reach the filter: what the kernel finds malformed says nothing."""
    made = ctypes.CDLL(None, use_errno=True).syscall(425, 1, ctypes.create_string_buffer(120))
    if made < 0:
        pytest.skip("no io_uring here")
    os.close(made)
    names = list(USUAL)
    found = []
    for _ in ring_numbers().operations:
        more = refused(f"  - {{action: allow, names: [{', '.join(names)}]}}\n", tmp_path)
        if not more:
            break
        (opcode,) = more
        names += [one for one, of in ring_numbers().operations.items() if of.nr == opcode]
        found.append(opcode)
    plain = [one for one in found if one not in {16, 18, 28, 45}]
    assert len(plain) > 10
    # In a child, whose rings end with it: install() finds those of this process.
    results = outcome(lambda: [Ring().submit(entry(nr), wait=1)[0].result for nr in plain])
    assert dict(zip(plain, results, strict=True)) == dict.fromkeys(plain, -9)  # EBADF
