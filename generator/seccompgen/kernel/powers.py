"""Powers: the abilities that each system call gives to a process that may make it.

The table is ``powers.toml``, for people to review. Every call has one line without a condition, and
may have lines for cases in which it gives another power. Refusing a call is useless if a permitted
one gives the same power, and calls that give no power can be permitted to everybody.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE = Path(__file__).with_name("powers.toml")
_PLACEHOLDER = re.compile("(available|reserved|unused)[0-9]+")
_GONE = "gone"


class Power(NamedTuple):
    """A power that calls can give; ``gives`` describes it, empty for no power."""

    name: str
    gives: str


class PowerLine(NamedTuple):
    """Calls that give one power if ``when`` holds (empty: always), and the reason.

    ``when`` is written as in a policy; ``reason`` is the rest of a sentence that begins with the
    name of a call.
    """

    power: Power
    calls: tuple[str, ...]
    when: str
    reason: str


class RefusalEffect(Enum):
    """The fate of a program that is not prepared for an errno from a refused call."""

    CRASH = "crash"
    SPIN = "spin"
    SILENCE = "silence"
    EXCESS = "excess"


class Refused(NamedTuple):
    """The effect of refusing a call by an errno, and a sentence about it."""

    effect: RefusalEffect
    text: str


class Powers(NamedTuple):
    """The table: its powers and lines in the order of the file, and notes on single calls."""

    kinds: Mapping[str, Power]
    lines: tuple[PowerLine, ...]
    by_call: Mapping[str, tuple[PowerLine, ...]]
    refused: Mapping[str, Refused]

    def of(self, call: str) -> tuple[PowerLine, ...]:
        """Return the lines of a call, its cases first; none if the table lacks the call."""
        if _PLACEHOLDER.fullmatch(call):
            return (PowerLine(self.kinds[_GONE], (call,), "", "is a free number: ENOSYS"),)
        return self.by_call.get(call, ())

    def same(self, call: str) -> tuple[str, ...]:
        """Return the calls, including ``call``, that give the same power, apart from cases."""
        return self.of(call)[-1].calls

    def given(self, kind: str) -> Iterator[tuple[str, str]]:
        """Yield the calls that give the power ``kind``, each with its condition, empty for always.

        The condition of a line without one excludes the call's cases with other powers.
        """
        for line in self.lines:
            if line.power.name != kind:
                continue
            for call in line.calls:
                others = (one.when for one in self.of(call) if one.when and one.power != line.power)
                yield call, line.when or " and ".join(map(_negated, others))


@lru_cache(maxsize=1)
def powers() -> Powers:
    """Return the table of the powers that calls give."""
    import tomllib  # noqa: PLC0415 - few commands need the powers of calls

    read = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    kinds = {name: Power(name, one["gives"]) for name, one in read["powers"].items()}
    lines = tuple(
        PowerLine(kinds[name], *_key(key), reason)
        for name, one in read["powers"].items()
        for key, reason in one["calls"].items()
    )
    by_call: dict[str, tuple[PowerLine, ...]] = {}
    for line in sorted(lines, key=lambda line: not line.when):
        for call in line.calls:
            by_call[call] = (*by_call.get(call, ()), line)
    refused = {
        call: Refused(effect, text)
        for effect in RefusalEffect
        for call, text in _each(read["refused"][effect.value])
    }
    return Powers(kinds, lines, by_call, refused)


def _negated(when: str) -> str:
    return f"not ({when})" if re.search(" and | or ", when) else f"not {when}"


def _key(key: str) -> tuple[tuple[str, ...], str]:
    """Split ``open openat if CONDITION`` into calls and condition."""
    names, _, when = key.partition(" if ")
    return tuple(names.split()), when


def _each(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((call, text) for names, text in texts.items() for call in names.split())
