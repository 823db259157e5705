"""Tell the formats of policy files apart, by what stands in them."""

from __future__ import annotations

import re

from seccompgen.policy.formats.reading import Format

_LOOKED_AT = 1 << 16
"""Bytes of a file that are looked at: each format shows itself early."""

_SIGNS: tuple[tuple[Format, re.Pattern[str]], ...] = (
    # An OCI profile; SPO's object; the config.json of a bundle.
    (Format.OCI, re.compile(r'(?i)"?defaultAction"?\s*:\s*"?SCMP_ACT_')),
    (Format.OCI, re.compile(r"(?m)^\s*\"?kind\"?:\s*\"?SeccompProfile\b")),
    (Format.OCI, re.compile(r'"ociVersion"\s*:')),
    (Format.SECCOMPILER, re.compile(r'"(mismatch_action|filter_action|match_action)"\s*:')),
    (
        Format.MINIJAIL,
        # A statement, in what has none of the keys that each of our policies has.
        re.compile(
            r"\A(?![\s\S]*^[ \t]*[\"']?(syscalls|default_action)[\"']?[ \t]*:)[\s\S]*?^[ \t]*"
            r"(@(include|frequency|denylist|default)\b"
            r"|(\w+|\{[\w, \t]+\})(\[[^\]\n]*\])?[ \t]*:[ \t]*\{?[ \t]*(\\\r?\n[ \t]*)?"
            r"(1[ \t]*(#[^\n]*)?$|return[ \t]+-?\w+|!\(|arg\w+[ \t]"
            r"|(allow|kill|kill-process|kill-thread|trap|trace|log|user-notify)"
            r"[ \t]*(#[^\n]*)?$))",
            re.MULTILINE,
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
