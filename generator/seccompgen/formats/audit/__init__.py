"""The kernel's seccomp records, read as policies that allow the recorded calls."""

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
