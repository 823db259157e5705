"""systemd, in a guest that boots it, does with settings of units what our reading says.

What auditd and kernels write there of refused calls comes back as the rule that refused.

``make test-kernels`` runs this, and nothing else does: it boots machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guests import records
from guests.emulator import Unavailable
from guests.unit_settings import FILES, RUNS
from guests.units import difference, loaded
from told_records import assert_cases_told

if TYPE_CHECKING:
    from pathlib import Path

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
    assert report.units["dynamic"].no_new_privs
    assert not report.units["reset"].no_new_privs


def test_records_of_auditd_and_the_kernel_come_back_as_the_rule_that_refused(
    tmp_path: Path,
) -> None:
    try:
        texts = records.kept(records.written())
    except Unavailable as missing:
        pytest.skip(str(missing))
    for name in ("dmesg.txt", "audit.log", "ausearch.txt", "ausearch-i.txt"):
        assert_cases_told(texts[name], tmp_path)
