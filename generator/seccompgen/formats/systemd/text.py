"""Render the settings of a unit as a drop-in for systemd."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from seccompgen.formats.systemd.writer import answer_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.formats.systemd.writer import UnitSettings

_WIDTH = 96


def render_drop_in(settings: UnitSettings) -> bytes:
    """Return the drop-in; it resets what the unit says itself, so that it means one thing.

    One that only logs leaves alone what the unit refuses.
    """
    if settings.unlogged is not None:
        lines = [
            f"# Lists for systemd {settings.release}. REPORT ONLY: refuses nothing.",
            "[Service]",
            "SystemCallLog=",
            *_assignments("SystemCallLog=~", settings.unlogged),
        ]
        return "\n".join([*lines, ""]).encode()
    lines = [
        f"# Lists for systemd {settings.release}.",
        "[Service]",
        "SystemCallArchitectures=",
        "SystemCallFilter=",
        "SystemCallLog=",
        f"SystemCallErrorNumber={answer_text(settings.negative)}",
    ]
    if settings.architectures is not None:
        lines.append(f"SystemCallArchitectures={' '.join(settings.architectures)}")
    if settings.allows:
        lines += _assignments("SystemCallFilter=", settings.listed or ("execve",))
    by_answer: dict[int, list[str]] = {}
    for call, ret in settings.refused:
        by_answer.setdefault(ret, []).append(call)
    for ret, calls in by_answer.items():
        plain = ret == settings.negative
        words = calls if plain else [f"{call}:{answer_text(ret)}" for call in calls]
        lines += _assignments("SystemCallFilter=~", words)
    lines += _assignments("SystemCallLog=", settings.logged)
    return "\n".join([*lines, ""]).encode()


def _assignments(key: str, words: Iterable[str]) -> list[str]:
    text = textwrap.wrap(" ".join(words), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"{key}{line}" for line in text]
