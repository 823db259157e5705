"""The versions that determine how this seccompgen behaves, for a bug report or a record."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from importlib import metadata

from seccompgen.io.reading import read_file
from seccompgen.kernel.shipped import LOCK_NAME, SHIPPED, shipped_tables

_EXTRAS = ("proof", "scan")
"""Extras for users; the others are for people who work on seccompgen."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;\s*extra == ['\"](\w+)['\"])?")
_MOST = 1 << 24


def versions() -> dict[str, str]:
    """Return the versions by name: the tables, Python, and each dependency."""
    lock = hashlib.sha256(read_file(SHIPPED / LOCK_NAME, _MOST)).hexdigest()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    threads = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else ", free-threaded"
    return {
        "tables": f"Linux {shipped_tables().tag}",
        "lock": f"sha256:{lock}",
        "python": python + threads,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: _installed(name) for name in _dependencies()},
    }


def _dependencies() -> list[str]:
    """Return the dependencies that seccompgen declares; none if it was not installed."""
    try:
        lines = metadata.requires("seccompgen") or []
    except metadata.PackageNotFoundError:
        return []
    found = [match for line in lines if (match := _REQUIREMENT.fullmatch(line))]
    return sorted({name for name, extra in map(_parts, found) if extra in {None, *_EXTRAS}})


def _parts(match: re.Match[str]) -> tuple[str, str | None]:
    return match[1], match[2]


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
