"""Detect the format of a policy file by its content."""

from __future__ import annotations

import re

from seccompgen.core.foreign import OURS
from seccompgen.formats import FORMATS

_LOOKED_AT = 1 << 16
"""Bytes of a file that are searched: the signs of each format occur early."""

_OURS = re.compile(
    r"^(?:[ \t{]|- )*[\"']?"
    r"(?:default_?[aA]ction|syscalls?|seccomp|include|arches|groups)[\"']?[ \t]*[:=]"
    r"|^\[+[ \t]*(?:seccomp|syscalls|groups)",
    re.M,
)


def shows_ours(content: bytes) -> bool:
    """Return True if ``content`` has a key of our policies, or a near miss of one."""
    return _OURS.search(content[:_LOOKED_AT].decode(errors="replace")) is not None


def detect(content: bytes) -> str:
    """Return the name of the format whose signs ``content`` has; ours if it has none.

    The name of the file is not used: people keep files of all these formats in ``.json``.
    """
    text = content[:_LOOKED_AT].decode(errors="replace")
    for name, one in sorted(FORMATS.items(), key=lambda item: item[1].precedence):
        if any(re.search(sign, text) for sign in one.signs):
            return name
    return OURS
