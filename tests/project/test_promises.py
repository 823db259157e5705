"""Files that were made with 0.1 go on with this version, as docs/promises.md says.

tests/data/released has what a release reads and writes: policies, vendored packages with their
runtime and manifest, the oldest lock of tables, and the names by which people call it. A release
adds a directory there; none is ever changed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
import seccompgen
from command import ROOT, inside
from seccomp_filters._runtime import running_abi, supported
from seccompgen.cli import command
from seccompgen.core.errors import InputError
from seccompgen.filters.find.module import read_module
from seccompgen.lint.registry import codes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RELEASED = ROOT / "tests" / "data" / "released"
RELEASES = sorted(path.name for path in RELEASED.iterdir())
RUNTIME = ("_runtime.py", "_questions.py", "_explain.py", "notification.py")
needs_filters = pytest.mark.skipif(
    not supported() or running_abi() not in {"x86_64", "aarch64"},
    reason="the modules have no program for this kernel",
)
FILTERS = {"worker": "worker.yml", "settings": "settings.json", "listener": "listener.toml"}
SANDBOX = """
import os, sys
sys.path.insert(0, sys.argv[1])
from sandbox import settings
settings.install()
try:
    os.kill(os.getpid(), 0)
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(0, 0, 0, 0) == -1
    print(ctypes.get_errno(), flush=True)
finally:
    os.kill(os.getpid(), 64)
"""
"""The policy refuses ptrace with EPERM, and kills for kill() with the signals 64 to 128."""


@pytest.fixture(params=RELEASES)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of what a release made."""
    return shutil.copytree(RELEASED / request.param, tmp_path / "released")


def holds(place: Path) -> None:
    """Require that ``place / "sandbox"`` confines a process."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", SANDBOX, place],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (run.stdout, run.returncode) == ("1\n", -31), run.stderr


@pytest.mark.few(2, "does all that a page shows")
@pytest.mark.parametrize("name", FILTERS)
def test_policies_mean_what_they_meant(released: Path, name: str) -> None:
    policy = released / "policies" / FILTERS[name]
    run = inside("equiv", "--json", f"sandbox/{name}", policy, cwd=released)
    assert run.code == 0, run.out + run.err


def test_a_lock_that_an_older_seccompgen_wrote_is_read(released: Path) -> None:
    numbers = ("policies/numbers.yml", "--tables", "tables", "-o", "out")
    run = inside("build", *numbers, cwd=released)
    assert run.code == 0, run.err
    assert inside("equiv", "out/numbers", "alone.py", cwd=released).code == 0


def test_the_runtime_in_a_single_file_counts_only_as_it_was(released: Path) -> None:
    alone = released / "alone.py"
    assert read_module(alone).programs
    alone.write_text(
        alone.read_text().replace("_EFAULT, _EINVAL = 14, 22", "_EFAULT, _EINVAL = 14, 0")
    )
    with pytest.raises(InputError, match="its runtime is not that of this seccompgen"):
        read_module(alone)


@needs_filters
def test_modules_of_then_hold_as_they_are(released: Path) -> None:
    holds(released)


@needs_filters
def test_modules_of_then_work_with_the_runtime_of_now(released: Path) -> None:
    for name in RUNTIME:
        shutil.copy(ROOT / "templates" / name, released / "sandbox")
    holds(released)


@needs_filters
def test_modules_of_now_work_with_the_runtime_of_then(released: Path) -> None:
    policy = released / "policies" / "settings.json"
    assert inside("build", policy, "-o", "new/sandbox", cwd=released).code == 0
    for name in RUNTIME:
        shutil.copy(released / "sandbox" / name, released / "new" / "sandbox")
    holds(released / "new")


@pytest.mark.long("does all that a page shows")
@pytest.mark.parametrize("vendored", ["sandbox", "alone.py"])
def test_a_manifest_of_then_is_brought_up_to_date(released: Path, vendored: str) -> None:
    checked = inside("vendor", "--check", vendored, cwd=released)
    assert checked.code in {0, 1}, checked.err
    assert "edited" not in checked.out + checked.err
    assert inside("vendor", vendored, cwd=released).code == 0
    assert inside("vendor", "--check", vendored, cwd=released).code == 0


def surface() -> dict[str, dict[str, list[str]] | list[str]]:
    """Return the names by which people and programs call seccompgen."""
    with click.Context(command) as ctx:
        return {
            "library": sorted(seccompgen.__all__),
            "problems": sorted(codes()),
            "commands": {
                name: sorted(_spellings(command.get_command(ctx, name)))
                for name in command.list_commands(ctx)
            },
        }


def _spellings(one: click.Command | None) -> Iterator[str]:
    assert one is not None
    for option in one.params:
        if isinstance(option, click.Option) and not option.hidden:
            yield from (*option.opts, *option.secondary_opts)


GONE = {"report": {"--dot"}}
"""Options that CHANGELOG.md says are removed."""


@pytest.mark.parametrize("release", RELEASES)
def test_names_are_added_and_never_taken_away(release: str) -> None:
    then = json.loads((RELEASED / release / "surface.json").read_text())
    now = surface()
    for part in ("library", "problems"):
        assert set(now[part]) >= set(then[part]), part
    commands = now["commands"]
    assert isinstance(commands, dict)
    for name, options in then["commands"].items():
        assert set(commands.get(name, ())) >= set(options) - GONE.get(name, set()), name
