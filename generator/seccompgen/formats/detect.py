"""Tell the formats of policy files apart, by what stands in them."""

from __future__ import annotations

import re

from seccompgen.core.foreign import Format

_LOOKED_AT = 1 << 16
"""Bytes of a file that are looked at: each format shows itself early."""

PROCESS = r"(?:\[pid +(?:\S+<)?\d+>?\] +|\d+(?:<[^>]{1,15}>)? +)?"
BEFORE = (
    r"(?:(?:\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?|\d{9,12}(?:\.\d{1,9})?| *\d{1,6}\.\d{6})"
    r"(?: \(\+ *\d+\.\d+\))? +)?(?:\[[0-9a-f]{8,16}\] +)?(?:\[ *-?\d+\] +)?"
)
"""The head of a line of strace, before its call: who makes it, when, and where."""

_SIGNS: tuple[tuple[Format, re.Pattern[str]], ...] = (
    # Traces come first: what they quote may be anything.
    (
        Format.STRACE,
        re.compile(
            rf"^{PROCESS}{BEFORE}"
            r"[a-z_][a-z0-9_]*\((?:[^\n]*\) += (?:-?\d|0x|\?)|[^\n]*<unfinished \.\.\.>$)",
            re.M | re.A,
        ),
    ),
    (Format.PFC, re.compile(r"^# (?:pseudo filter code start|filter for arch \w+ \(\d+\))$", re.M)),
    (Format.PFC, re.compile(r"^if \(\$arch == \d+\)$", re.M)),
    (
        Format.AUDIT,
        re.compile(r"^[^#\n].*\btype=(?:SECCOMP|1326)\b|^type=(?:SECCOMP|1326)\b", re.M),
    ),
    (Format.AUDIT, re.compile(r'^[^#\n]*"?syscallName"?[=:] ?"[a-z_0-9]+"', re.M)),
    (Format.KAFEL, re.compile(r"^[ \t]*seccomp_(?:string|policy_file)[ \t]*:", re.M)),
    (
        Format.KAFEL,
        re.compile(
            r"^[^#\n\"]*?\bPOLICY\s+[A-Za-z]\w*\s*\{"
            r"|^[^#\n\"]*?\b(?:ALLOW|LOG|USER_NOTIF|DENY|KILL(?:_PROCESS|_THREAD)?"
            r"|(?:ERRNO|TRAP|TRACE)\s*\(\s*\w+\s*\))\s*\{"
            r"|^[ \t]*USE\s+[A-Za-z]\w*(?:\s+DEFAULT\b|\s*$)"
            r"|^[ \t]*DEFAULT\s+(?:ALLOW|LOG|USER_NOTIF|DENY|KILL(?:_PROCESS|_THREAD)?"
            r"|ERRNO|TRAP|TRACE)\b",
            re.M | re.A,
        ),
    ),
    # An OCI profile; SPO's object; the config.json of a bundle.
    (Format.OCI, re.compile(r'(?i)"?defaultAction"?\s*:\s*"?SCMP_ACT_')),
    (Format.OCI, re.compile(r"(?m)^[ \t]*\"?kind\"?:\s*\"?SeccompProfile\b")),
    (Format.OCI, re.compile(r'"ociVersion"\s*:')),
    (Format.SECCOMPILER, re.compile(r'"(mismatch_action|filter_action|match_action)"\s*:')),
    (Format.SYSTEMD, re.compile(r"^[ \t]*\[(?:Service|Socket|Mount|Swap)\][ \t]*\r?$", re.M)),
    (
        Format.ANDROID,
        re.compile(
            r"^[A-Za-z_][\w \t*]*[ \t*]\w+(?:\|[\w,]+)?(?::\w+)*[ \t]*\([^()\n]*\)[ \t]+"
            r"(?:all|lp32|lp64|arm|arm64|riscv64|x86|x86_64)(?:,[\w!]+)*[ \t]*(?:#.*)?\r?$",
            re.M | re.A,
        ),
    ),
    (
        Format.MINIJAIL,
        # A statement, in what has none of the keys that each of our policies has, or should have.
        re.compile(
            r"\A(?![\s\S]*(?:^|[{,])(?:[ \t]|- )*[\"']?"
            r"(syscalls|default_?[aA]ction|action|names?)[\"']?[ \t]*:)"
            r"[\s\S]*?^[ \t]*"
            r"(@(include|frequency|denylist|default)\b"
            r"|(\w+|\{[\w, \t\[\]=;]+\})(\[[^\]\n]*\])?[ \t]*:[ \t]*\{?[ \t]*(\\\r?\n[ \t]*)?"
            r"(1[ \t]*(#[^\n]*)?$|return[ \t]+-?\w+|!\(|arg\w+[ \t]"
            r"|(allow|kill|kill-process|kill-thread|trap|trace|log|user-notify)"
            r"[ \t]*(#[^\n]*)?$))",
            re.MULTILINE,
        ),
    ),
)
"""A pattern that some text of a format has, and no text of the formats below it or of ours."""


_OURS = re.compile(
    r"^(?:[ \t{]|- )*[\"']?"
    r"(?:default_?[aA]ction|syscalls?|seccomp|include|arches|groups)[\"']?[ \t]*[:=]"
    r"|^\[+[ \t]*(?:seccomp|syscalls|groups)",
    re.M,
)


def shows_ours(content: bytes) -> bool:
    """Return True if some key of a policy of ours is in ``content``, or one that is nearly that."""
    return _OURS.search(content[:_LOOKED_AT].decode(errors="replace")) is not None


def detect(content: bytes, file: str) -> Format:
    """Return the format of ``content``; ours if it shows no other.

    The name of ``file`` decides nothing that content can: people keep all of these in ``.json``.
    """
    del file
    text = content[:_LOOKED_AT].decode(errors="replace")
    return next((one for one, sign in _SIGNS if sign.search(text)), Format.SECCOMPGEN)
