"""Actions as policies and command lines write them: ``errno(EACCES)``, ``trace(7)``, ``allow``."""

from __future__ import annotations

import re

from seccompgen.core.errnos import ERRNO_NAMES
from seccompgen.core.errors import did_you_mean
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, Action, ActionKind

_EPERM = 1
_ACTION = re.compile(r"(?P<kind>\w+)\s*(\(\s*(?P<data>[\w.+-]*)\s*\))?", re.ASCII)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19}")
_ACTIONS = {kind.name.lower(): kind for kind in ActionKind}


def parse_action(text: object) -> Action:
    """Read ``errno(EACCES)``, ``trace(7)``, ``allow``; raise ValueError saying what is wrong."""
    if isinstance(text, Action):
        return text
    match = _ACTION.fullmatch(text.strip()) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is not an action; write allow, errno(EACCES), kill_process ...")
    kind = _ACTIONS.get(match["kind"].lower())
    if kind is None:
        known = did_you_mean(match["kind"].lower(), _ACTIONS) or f"; known: {', '.join(_ACTIONS)}"
        raise ValueError(f"unknown action {match['kind']!r}{known}")
    data = match["data"]
    if data is None:
        return Action(kind, _EPERM if kind is ActionKind.ERRNO else 0)
    if not kind.takes_data:
        raise ValueError(f"{match['kind'].lower()} takes no data; only errno, trap and trace do")
    if _NUMBER.fullmatch(data):
        number, most = int(data, 0), ERRNO_MAX if kind is ActionKind.ERRNO else RET_DATA_MAX
        if number > most:
            raise ValueError(f"{text}: the kernel delivers 0 to {most} here")
        return Action(kind, number)
    if kind is ActionKind.ERRNO and data.upper() in ERRNO_NAMES:
        return Action(kind, errno_name=data.upper())
    if kind is ActionKind.ERRNO and data:
        hint = did_you_mean(data.upper(), ERRNO_NAMES)
        raise ValueError(f"unknown errno {data!r}{hint}; write a name such as EACCES or a number")
    raise ValueError(f"{text}: the data must be a number, as in {match['kind'].lower()}(1)")
