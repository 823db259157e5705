"""Programs recorded in Debian 11, and run in a later Debian under what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running_kernel import require_x86_64

from benchmarks.userlands import roots, runs
from benchmarks.userlands.__main__ import missing
from benchmarks.userlands.programs import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.userlands.roots import UserLand

require_x86_64()
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.long("makes two Debians, which change rarely"),
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is here"),
]
NAMES = ["python", "tar", "shell"]
PACKAGES = [PROGRAMS[name].package for name in NAMES] + ["xz-utils"]


@pytest.fixture(scope="module")
def lands() -> dict[str, UserLand]:
    """Debian 11, and 13: made once, and kept for the next run."""
    try:
        return {name: roots.make(name, PACKAGES) for name in ("bullseye", "trixie")}
    except roots.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def policies(lands: dict[str, UserLand], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("policies")
    for name in NAMES:
        runs.record(PROGRAMS[name], lands["bullseye"], place / f"{name}.yml")
    return place


@pytest.mark.parametrize("name", NAMES)
def test_where_it_was_recorded_nothing_is_refused(
    name: str, lands: dict[str, UserLand], policies: Path
) -> None:
    program, policy = PROGRAMS[name], policies / f"{name}.yml"
    free = runs.run(program, lands["bullseye"], "none")
    assert free.status == 0
    traced, refused = runs.refused(program, lands["bullseye"], policy)
    assert (refused, traced.works_as(free, program)) == ([], True)
    assert runs.held(program, lands["bullseye"], policy, "EPERM").works_as(free, program)


@pytest.mark.parametrize(
    ("name", "call", "function"),
    [
        ("python", "clone3", "pthread_create"),
        ("tar", "clone3", "pthread_create"),
        ("shell", "fchmodat2", "fchmodat"),
    ],
)
def test_a_later_c_library_is_refused_what_it_calls_instead(
    name: str, call: str, function: str, lands: dict[str, UserLand], policies: Path
) -> None:
    program, policy, land = PROGRAMS[name], policies / f"{name}.yml", lands["trixie"]
    free = runs.run(program, land, "none")
    traced, refused = runs.refused(program, land, policy)
    assert traced.works_as(free, program), traced.err
    assert (call, function) in {(one.syscall, one.function) for one in refused}
    assert not runs.held(program, land, policy, "EPERM").works_as(free, program)
    # What was told is all that it needs.
    calls = {one.syscall for one in refused}
    mended = runs.held(program, land, policy, "EPERM", calls)
    assert mended.works_as(free, program), mended.err
