"""Tell the formats of policy files apart, by what stands in them."""

from __future__ import annotations

import re

from seccompgen.policy.formats.reading import Format

_LOOKED_AT = 1 << 16
"""Bytes of a file that are looked at: each format shows itself early."""

_SIGNS: tuple[tuple[Format, re.Pattern[str]], ...] = (
    (Format.SYSTEMD, re.compile(r"^[ \t]*\[(?:Service|Socket|Mount|Swap)\][ \t]*\r?$", re.M)),
    (
        Format.ANDROID,
        re.compile(
            r"^[A-Za-z_][\w \t*]*[ \t*]\w+(?:\|[\w,]+)?(?::\w+)*[ \t]*\([^()\n]*\)[ \t]+"
            r"(?:all|lp32|lp64|arm|arm64|riscv64|x86|x86_64)(?:,[\w!]+)*[ \t]*(?:#.*)?\r?$",
            re.M | re.A,
        ),
    ),
)
"""A pattern that some text of a format has, and no text of the formats below it or of ours."""


def detect(content: bytes, file: str) -> Format:
    """Return the format of ``content``; ours if it shows no other.

    The name of ``file`` decides nothing that content can: people keep all of these in ``.json``.
    """
    del file
    text = content[:_LOOKED_AT].decode(errors="replace")
    return next((one for one, sign in _SIGNS if sign.search(text)), Format.SECCOMPGEN)
