"""The line at the top of a policy that tells editors its JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_NAME = "_policy.schema.json"
"""The name of the schema in a directory of policies; a file of this name is no policy."""
MODELINE = f"# yaml-language-server: $schema={SCHEMA_NAME}\n"


def modeline(directory: Path) -> str:
    """Return the first line of a policy in ``directory``; empty if that contains no schema."""
    return MODELINE if (directory / SCHEMA_NAME).is_file() else ""
