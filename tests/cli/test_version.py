"""``--version``, and with ``--verbose`` all that decides how this seccompgen behaves."""

from __future__ import annotations

import hashlib
import platform
import tomllib
from importlib import metadata

from command import ROOT, seccompgen
from seccompgen import __version__

LOCK = ROOT / "generator/seccompgen/kernel/kernel.lock.toml"


def test_the_version_alone_is_one_line() -> None:
    assert seccompgen("--version").out == f"seccompgen, version {__version__}\n"
    assert seccompgen("-V").out == f"seccompgen, version {__version__}\n"


def test_verbose_tells_the_pin_its_lock_and_what_is_installed() -> None:
    told = seccompgen("--version", "--verbose")
    assert (told.code, told.err) == (0, "")
    assert told.out == seccompgen("--verbose", "-V").out
    said = dict(line.split(": ", 1) for line in told.out.splitlines())
    assert said["seccompgen"] == __version__
    assert said["tables"] == f"Linux {tomllib.loads(LOCK.read_text())['tag']}"
    assert said["lock"] == f"sha256:{hashlib.sha256(LOCK.read_bytes()).hexdigest()}"
    assert platform.python_version() in said["python"]
    for name in ("click", "numpy", "z3-solver"):
        assert said[name] == metadata.version(name)
    assert "pytest" not in said


def test_verbose_belongs_to_version() -> None:
    alone = seccompgen("--verbose", "syscalls", "read")
    assert alone.code == 2
    assert "seccompgen --version --verbose" in alone.err
    # What stands behind a command is the command's.
    assert seccompgen("syscalls", "read", "--version").code == 2
