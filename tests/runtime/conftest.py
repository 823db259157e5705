"""What the tests of install() with rings want."""

from __future__ import annotations

import pytest
from ring_installs import (
    AS_MEANT,
    NO_MMAP,
    FakeKernel,
    found,
    make_ring,
    outcome,
)
from runtime_template import rings


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    made = FakeKernel()
    monkeypatch.setattr(rings._Rings, "_call", lambda *words: made.call(*words))  # noqa: PLW0108 - bound
    found(monkeypatch, AS_MEANT)
    return made


@pytest.fixture(scope="module")
def _rings_can_be_made() -> None:
    if outcome(lambda: make_ring(NO_MMAP)[0]) < 0:
        pytest.skip("no rings can be made here")
