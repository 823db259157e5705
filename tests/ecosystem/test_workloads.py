"""Small runs of programs are recorded, and richer ones run under what was written.

docs/workloads.md has the same of thirty programs; here are those that are small to install.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from longer import long_but
from running_kernel import require_x86_64
from workloads import taken_in, turn, version, workloads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

require_x86_64()
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(os.geteuid() != 0, reason="runs servers as root, in a PID namespace"),
]
AS_RECORDED = ("memcached", "mosquitto", "dnsmasq", "xz")
ONCE_TAKEN_IN = ("lighttpd", "lua", "exiftool", "rsync", "ripgrep")
"""Programs whose richer run does what the small one did not, and that the policy offers."""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that servers may enter that run as somebody else."""
    for one in (tmp_path, tmp_path.parent):
        one.chmod(0o755)
    yield tmp_path


@pytest.mark.parametrize(
    "name",
    long_but(
        {"memcached", "mosquitto", "rsync", "lighttpd", "lua"},
        [*AS_RECORDED, *ONCE_TAKEN_IN],
        "ten seconds of CPU each",
    ),
)
def test_a_richer_run_works(name: str, directory: Path) -> None:
    one = workloads()[name]
    if not version(one):
        pytest.skip(f"{name} is missing: `make test-ecosystem` installs it")
    policy = directory / f"{name}.yml"
    free = turn(one, "free", directory / "free", policy)
    turn(one, "record", directory / "recorded", policy)
    held = turn(one, "enforce", directory / "held", policy)
    if name in AS_RECORDED:
        assert held.said == free.said, f"{held.log}\n{policy.read_text()}"
        return
    assert held.said != free.said
    assert turn(one, "trace", directory / "traced", policy).refused
    policy.write_text(taken_in(policy.read_text(), one.permits))
    assert turn(one, "enforce", directory / "taken-in", policy).said == free.said, held.log
