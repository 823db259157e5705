"""Policies in kafel, nsjail's language, and in configurations of nsjail."""

from seccompgen.formats.declaration import NEVER, Format

CONFIGURATION = r"(?m)^[ \t]*seccomp_(?:string|policy_file)[ \t]*:"
"""A pattern of nsjail's configurations that hold or name a policy."""

FORMAT = Format(
    title="[kafel](#kafel), also in nsjail's configurations",
    meaning="google/kafel",
    signs=(
        CONFIGURATION,
        r"(?ma)^[^#\n\"]*?\bPOLICY\s+[A-Za-z]\w*\s*\{"
        r"|^[^#\n\"]*?\b(?:ALLOW|LOG|USER_NOTIF|DENY|KILL(?:_PROCESS|_THREAD)?"
        r"|(?:ERRNO|TRAP|TRACE)\s*\(\s*\w+\s*\))\s*\{"
        r"|^[ \t]*USE\s+[A-Za-z]\w*(?:\s+DEFAULT\b|\s*$)"
        r"|^[ \t]*DEFAULT\s+(?:ALLOW|LOG|USER_NOTIF|DENY|KILL(?:_PROCESS|_THREAD)?"
        r"|ERRNO|TRAP|TRACE)\b",
    ),
    names_abis=NEVER,
)
