"""Detect the format of a policy file by its content."""

from __future__ import annotations

import re

from seccompgen.core.foreign import OURS
from seccompgen.formats import FORMATS

_LOOKED_AT = 1 << 16
"""Bytes of a file that are looked at: each format shows itself early."""

_OURS = re.compile(
    r"^(?:[ \t{]|- )*[\"']?"
    r"(?:default_?[aA]ction|syscalls?|seccomp|include|arches|groups)[\"']?[ \t]*[:=]"
    r"|^\[+[ \t]*(?:seccomp|syscalls|groups)",
    re.M,
)


def shows_ours(content: bytes) -> bool:
    """Return True if some key of a policy of ours is in ``content``, or one that is nearly that."""
    return _OURS.search(content[:_LOOKED_AT].decode(errors="replace")) is not None


def detect(content: bytes) -> str:
    """Return the name of the format that ``content`` shows; ours if it shows no other.

    The name of a file decides nothing that content can: people keep all of these in ``.json``.
    """
    text = content[:_LOOKED_AT].decode(errors="replace")
    for name, one in sorted(FORMATS.items(), key=lambda item: item[1].precedence):
        if any(re.search(sign, text) for sign in one.signs):
            return name
    return OURS
