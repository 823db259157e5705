"""The stock policies that come with seccompgen, by name."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "policies", _PACKAGE.parents[1] / "policies")
"""The directory inside the package in a wheel, or at the top of a checkout."""


def stock_policies() -> dict[str, Path]:
    """Return the file of each stock policy, by its name, sorted."""
    return {path.stem: path for path in sorted(stock_directory().glob("*.yml"))}


def stock_directory() -> Path:
    """Return the directory of the stock policies."""
    return next(place for place in _PLACES if place.is_dir())
