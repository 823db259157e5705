"""The kernel's records of seccomp, as policies that allow what they report."""

from seccompgen.formats.declaration import Format

FORMAT = Format(
    title="[audit records of seccomp](#observations)",
    meaning="the same",
    signs=(
        r"(?m)^[^#\n].*\btype=(?:SECCOMP|1326)\b|^type=(?:SECCOMP|1326)\b",
        r'(?m)^[^#\n]*"?syscallName"?[=:] ?"[a-z_0-9]+"',
    ),
    precedence=1,
)
