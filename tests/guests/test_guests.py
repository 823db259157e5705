"""Every guest's kernel does with our filters what the policies say.

``make test-kernels`` runs this, and nothing else does: it boots machines, for some minutes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from guests import kernel_records, ring_programs, rings
from guests.emulator import Unavailable
from guests.machines import GUESTS, RING_GUESTS, Guest
from guests.run import run, write
from told_records import assert_kernel_told

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="session")
def processor() -> int | None:
    """One processor for each worker: emulators that move between them take half as long again."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    processors = sorted(os.sched_getaffinity(0))
    return processors[int(worker[2:]) % len(processors)] if worker else None


# Those that take longest come first, so that no worker is left with one at the end.
_SLOW = ("s390x", "mips64el", "arm", "riscv64", "ppc64le", "loongarch64")
_ORDERED = sorted(GUESTS, key=lambda guest: guest.name not in _SLOW)


@pytest.mark.parametrize("guest", _ORDERED, ids=lambda guest: guest.name)
def test_guest(guest: Guest, processor: int | None, tmp_path: Path) -> None:
    try:
        result = run(guest, processor)
    except Unavailable as missing:
        write(guest, {"guest": guest.name, "abi": guest.abi, "skipped": str(missing)})
        pytest.skip(str(missing))
    assert result["differences"] == []
    if kernel_records.logs(guest):
        assert_kernel_told(result["logged"], guest.abi, tmp_path)


@pytest.mark.parametrize("guest", RING_GUESTS[::-1], ids=lambda guest: f"rings-{guest.name}")
def test_rings(guest: Guest, processor: int | None) -> None:
    """A kernel's filters of io_uring's operations do what the oracle says, and hold attacks off."""
    try:
        result = rings.run_guest(guest, processor)
    except Unavailable as missing:
        skipped = {"guest": guest.name, "abi": guest.abi, "skipped": str(missing)}
        write(guest, skipped, rings.FOLDER)
        pytest.skip(str(missing))
    assert result["differences"] == []


@pytest.mark.parametrize("guest", ring_programs.GUESTS, ids=lambda guest: f"programs-{guest.name}")
def test_programs_of_rings(guest: Guest, processor: int | None) -> None:
    """PostgreSQL, node and others work under a section, and are refused what it leaves out."""
    try:
        result = ring_programs.run_guest(guest, processor)
    except Unavailable as missing:
        skipped = {"guest": guest.name, "abi": guest.abi, "skipped": str(missing)}
        write(guest, skipped, ring_programs.FOLDER)
        pytest.skip(str(missing))
    assert result["differences"] == []
    if result["untried"]:
        pytest.skip(f"the others do what they should, but not tried: {result['untried']}")
