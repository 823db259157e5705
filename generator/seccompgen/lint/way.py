"""Ways to do what is refused by another call, as values: what `doors` lists and `ways` follows.

A door says where each thing that matters, such as ``flags``, stands among its arguments, or what
value it always has. What is neither lies in memory, where no filter can look: such a door does
whatever its caller wants.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.problems import Problem
    from seccompgen.lint.finding import Severity


class Named(NamedTuple):
    """A constant by name, with the value that most ABIs have."""

    name: str
    usual: int


class Bits(NamedTuple):
    """A condition on an argument: it is ``value``, or has its bits, or it is anything else.

    A value of 32 bits that is ``none`` of it only asks, whatever its bits are. With
    ``under``, a mask, only its bits count.
    """

    value: Named | int
    masked: bool = False
    other: bool = False
    none: int | None = None
    under: int = 0


@dataclass(frozen=True, slots=True)
class Door:
    """A call, or with ``where`` a part of it, by conditions on its own arguments by index.

    ``takes`` maps what matters to the index of an argument, ``always`` to a value. ``not_on`` are
    ABIs on which a call of that name is another one. ``only_other`` are those that are refused for
    reasons of their own: as a filter cannot look into them, that says nothing of the others. What
    is refused ``in_part`` counts only where the call is permitted with other arguments, and not if
    it falls to the default of an allowlist, as what is one of many commands does.
    """

    call: str
    takes: Mapping[str, int] = field(default_factory=dict)
    always: Mapping[str, tuple[Named | int, ...]] = field(default_factory=dict)
    where: Mapping[int, Bits] = field(default_factory=dict)
    not_on: frozenset[str] = frozenset()
    only_other: bool = False
    in_part: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """``others`` do what ``doors`` do; by default each other one of ``doors``.

    ``reason`` completes "CALL is permitted, and ...". With ``flips``, an argument of the doors and
    a bit, only what is refused for that bit counts: with the bit cleared it is permitted.
    ``nowhere`` is an argument of calls that are permitted in part: only those of its values count
    that are permitted with no others. Of ``needs``, if there are any, one must be permitted, too,
    and all of ``shut`` refused. With ``by_default`` it counts as well what an allowlist does not
    name, and what a supervisor decides: no rule can look behind ``others``.
    """

    kind: Problem
    severity: Severity
    reason: str
    doors: tuple[Door, ...]
    others: tuple[Door, ...] = ()
    flips: tuple[str, Named] | None = None
    nowhere: str = ""
    needs: tuple[Door, ...] = ()
    shut: tuple[Door, ...] = ()
    by_default: bool = False


def same(names: str, **takes: int) -> tuple[Door, ...]:
    """Return doors that take what matters at the same places."""
    return tuple(Door(name, takes) for name in names.split())
