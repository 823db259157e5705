"""The tables of keys in docs/policy.md and the pages beside it, made from their declarations.

``python -m website.key_tables`` writes them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.policy.form import keys_of, needed_keys
from seccompgen.policy.groups import MARK
from seccompgen.policy.keys import POLICY_KEYS, Condition, SyscallGroup
from seccompgen.policy.ring_keys import IoUring, OperationGroup
from seccompgen.policy.ring_section import ring_groups

from website.links import ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from seccompgen.policy.form import Key

_TABLE = re.compile(
    r"(<!-- make pages writes the (?:keys|groups) of (\w+) -->\n).*?(?=\n\n)", re.DOTALL
)
PAGES = ("docs/policy.md", "docs/conditions.md", "docs/io-uring.md")


def key_table(keys: Mapping[str, Key], needed: Collection[str]) -> str:
    """Return the table of some keys."""
    rows = ["| key | meaning | default |", "|---|---|---|"]
    for name, one in keys.items():
        default = "required" if name in needed else one.otherwise
        cells = [cell.replace("|", "\\|") for cell in (f"`{name}`", one.help, default)]
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(rows)


_TABLES = {
    "policies": key_table(POLICY_KEYS, ("default_action", "syscalls")),
    "rules": key_table(keys_of(SyscallGroup), needed_keys(SyscallGroup)),
    "arguments": key_table(keys_of(Condition), needed_keys(Condition)),
    "rings": key_table(keys_of(IoUring), needed_keys(IoUring)),
    "operations": key_table(keys_of(OperationGroup), needed_keys(OperationGroup)),
}


def _group_table() -> str:
    rows = ["| group | operations |", "|---|---|"]
    rows += (
        f"| `'{MARK}{name}'` | {', '.join(f'`{one}`' for one in members)} |"
        for name, members in ring_groups()["operations"].items()
    )
    return "\n".join(rows)


_TABLES["operation_groups"] = _group_table()


def with_tables(page: str) -> str:
    """Return the text of a page with the tables as they should be."""
    return _TABLE.sub(lambda found: found[1] + _TABLES[found[2]], page)


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(with_tables(path.read_text()))
