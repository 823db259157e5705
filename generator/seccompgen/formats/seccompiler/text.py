"""Render a filter as the JSON that seccompiler reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from seccompgen.core.model import RET_DATA_MAX, ActionKind

if TYPE_CHECKING:
    from seccompgen.formats.seccompiler.writer import ArgumentCondition, SeccompilerFilter


def render_seccompiler(found: SeccompilerFilter) -> bytes:
    """Return a file with one filter, a rule to a line."""
    rules = [f"      {json.dumps(_rule(name, tests))}" for name, tests in found.rules]
    lines = [
        "{",
        f"  {json.dumps(found.name)}: {{",
        f'    "mismatch_action": {json.dumps(_action(found.mismatch))},',
        f'    "match_action": {json.dumps(_action(found.match))},',
        '    "filter": [',
        *([",\n".join(rules)] if rules else []),
        "    ]",
        "  }",
        "}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _rule(name: str, tests: tuple[ArgumentCondition, ...]) -> dict[str, Any]:
    rule: dict[str, Any] = {"syscall": name}
    if tests:
        rule["args"] = [
            {
                "index": test.index,
                "type": "dword" if test.bits == 32 else "qword",
                "op": test.op if test.mask is None else {test.op: test.mask},
                "val": test.value,
            }
            for test in tests
        ]
    return rule


def _action(ret: int) -> str | dict[str, int]:
    kind, data = ActionKind(ret & ~RET_DATA_MAX), ret & RET_DATA_MAX
    name = kind.name.lower()
    return {name: data} if kind in {ActionKind.ERRNO, ActionKind.TRACE} else name
