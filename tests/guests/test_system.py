"""systemd, in a guest that boots it, does with settings of units what our reading says.

``make test-kernels`` runs this, and nothing else does: it boots machines.
"""

from __future__ import annotations

import pytest
from guests.emulator import Unavailable
from guests.unit_settings import FILES, RUNS
from guests.units import difference, loaded

pytestmark = pytest.mark.kernels


def test_units_run_under_what_their_settings_say() -> None:
    try:
        report = loaded(FILES, RUNS)
    except Unavailable as missing:
        pytest.skip(str(missing))
    every = FILES | RUNS
    failed = [name for name in every if not report.units[name].programs]
    assert not failed, report.said
    found = {
        name: difference(settings, report, report.units[name].programs or ())
        for name, settings in every.items()
    }
    assert found == dict.fromkeys(every)
    assert report.units["run-deny"].no_new_privs
    assert report.units["dynamic"].no_new_privs
    assert not report.units["reset"].no_new_privs
