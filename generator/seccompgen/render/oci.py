"""Render a profile as the JSON that container runtimes read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from seccompgen.model import RET_DATA_MAX, ActionKind, FilterFlag

if TYPE_CHECKING:
    from seccompgen.oci import Profile, ProfileRule

_FEW = 4
"""So many names fit on the line of their rule."""


def render_profile(profile: Profile) -> bytes:
    """Return ``profile`` as the ``linux.seccomp`` of runtime-spec.

    ``flags`` are always there: where they are absent, runtimes set SPEC_ALLOW.
    """
    action, data = _action(profile.default)
    names = (flag.name for flag in FilterFlag if flag & profile.flags)
    settings: dict[str, Any] = {
        "defaultAction": action,
        **({} if data is None else {"defaultErrnoRet": data}),
        "architectures": [profile.architecture],
        "flags": [f"SECCOMP_FILTER_FLAG_{name}" for name in names],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in settings.items()]
    rules = ",\n".join(f"    {_rule(rule)}" for rule in profile.rules)
    text = "\n".join(["{", *lines, '  "syscalls": [', *([rules] if rules else []), "  ]", "}", ""])
    return text.encode()


def _rule(rule: ProfileRule) -> str:
    """Return a rule as one line, or with more than a few names as one line a name."""
    action, data = _action(rule.ret)
    found: dict[str, Any] = {"action": action}
    if data is not None:
        found["errnoRet"] = data
    if rule.matches:
        found["args"] = [
            {
                "index": match.index,
                "value": match.value,
                **({"valueTwo": match.value_two} if match.op == "MASKED_EQ" else {}),
                "op": f"SCMP_CMP_{match.op}",
            }
            for match in rule.matches
        ]
    names = json.dumps(list(rule.names), indent=8 if len(rule.names) > _FEW else None)
    closed = f"{names[:-1].rstrip()}\n      ]" if len(rule.names) > _FEW else names
    return f'{{"names": {closed}, {json.dumps(found)[1:]}'


def _action(ret: int) -> tuple[str, int | None]:
    """Return SCMP_ACT_* of a SECCOMP_RET value, and its data where a profile has it apart."""
    kind = ActionKind(ret & ~RET_DATA_MAX)
    has_data = kind in {ActionKind.ERRNO, ActionKind.TRACE}
    return f"SCMP_ACT_{kind.name}", ret & RET_DATA_MAX if has_data else None
