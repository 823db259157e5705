"""Powers: what each system call gives to who may make it, beyond what a process has anyway.

The table is ``powers.toml``, for people to review. Every call has one line without a condition, and
may have cases, in which it gives something else. What is refused of one call is refused in vain
where another gives the same, and what gives nothing can be permitted to everybody.
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
    """A kind of what calls give; ``gives`` says what, empty for nothing."""

    name: str
    gives: str


class PowerLine(NamedTuple):
    """Calls that give the same where ``when`` holds, always if that is empty, and what they do.

    The condition is written as in a policy; ``reason`` follows the name of a call.
    """

    power: Power
    calls: tuple[str, ...]
    when: str
    reason: str


class RefusalEffect(Enum):
    """The fate of a program whose call is refused by an errno, and that is not prepared."""

    CRASH = "crash"
    SPIN = "spin"
    SILENCE = "silence"
    EXCESS = "excess"


class Refused(NamedTuple):
    """The effect of refusing a call by an errno, and a sentence on it."""

    effect: RefusalEffect
    text: str


class Powers(NamedTuple):
    """The table: its kinds and lines in the order of the file, and what it says of single calls.

    ``hidden`` says what of a call lies in memory, where no filter looks, and decides what it gives.
    """

    kinds: Mapping[str, Power]
    lines: tuple[PowerLine, ...]
    by_call: Mapping[str, tuple[PowerLine, ...]]
    refused: Mapping[str, Refused]
    hidden: Mapping[str, str]

    def of(self, call: str) -> tuple[PowerLine, ...]:
        """Return the lines of a call, its cases first; none for one that the table lacks."""
        if _PLACEHOLDER.fullmatch(call):
            return (PowerLine(self.kinds[_GONE], (call,), "", "is a free number: ENOSYS"),)
        return self.by_call.get(call, ())

    def same(self, call: str) -> tuple[str, ...]:
        """Return the calls that give what ``call`` gives, cases aside; it is among them."""
        return self.of(call)[-1].calls

    def given(self, kind: str) -> Iterator[tuple[str, str]]:
        """Yield the calls that give what ``kind`` is, with the condition under which each does so.

        A call's line without a condition leaves out what its cases say of other kinds.
        """
        for line in self.lines:
            if line.power.name != kind:
                continue
            for call in line.calls:
                others = (one.when for one in self.of(call) if one.when and one.power != line.power)
                yield call, line.when or " and ".join(map(_negated, others))


@lru_cache(maxsize=1)
def powers() -> Powers:
    """Return the table of what each call gives."""
    import tomllib  # noqa: PLC0415 - few commands ask what calls give

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
    return Powers(kinds, lines, by_call, refused, dict(_each(read["hidden"])))


def _negated(when: str) -> str:
    return f"not ({when})" if re.search(" and | or ", when) else f"not {when}"


def _key(key: str) -> tuple[tuple[str, ...], str]:
    """Return the calls and the condition of ``open openat if CONDITION``."""
    names, _, when = key.partition(" if ")
    return tuple(names.split()), when


def _each(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((call, text) for names, text in texts.items() for call in names.split())
