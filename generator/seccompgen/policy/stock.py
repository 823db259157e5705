"""The stock policies that come with seccompgen, by name."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "policies", _PACKAGE.parents[1] / "policies")
"""Beside the package in a wheel, at the top in a checkout."""


def stock_policies() -> dict[str, Path]:
    """Return the file of each stock policy, by the name that it goes by, sorted."""
    place = next(place for place in _PLACES if place.is_dir())
    return {path.stem: path for path in sorted(place.glob("*.yml"))}
