"""The policy front end: a policy file and what it includes, checked, as a ``model.ResolvedPolicy``.

``document`` reads YAML, JSON or TOML with positions, ``layers`` what a file includes, ``schema``
says what may stand in it, ``resolve`` gives it meaning against the tables. ``write`` goes the other
way, for policies that a tool derives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.policy.resolve import resolve_policy

__all__ = ["resolve_policy"]


def __getattr__(name: str) -> object:
    """Import what reads policies when it is used: that takes long."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from seccompgen.policy import resolve  # noqa: PLC0415

    return getattr(resolve, name)
