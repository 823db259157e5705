"""Traces of strace, as policies that allow the calls in them."""

from seccompgen.formats.declaration import NEVER, Format

PROCESS = r"(?:\[pid +(?:\S+<)?\d+>?\] +|\d+(?:<[^>]{1,15}>)? +)?"
BEFORE = (
    r"(?:(?:\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?|\d{9,12}(?:\.\d{1,9})?| *\d{1,6}\.\d{6})"
    r"(?: \(\+ *\d+\.\d+\))? +)?(?:\[[0-9a-f]{8,16}\] +)?(?:\[ *-?\d+\] +)?"
)
"""The head of a line of strace between process and call: time, address and number."""

FORMAT = Format(
    title="[traces of strace](#observations)",
    meaning="[record](record.md): what was called is allowed",
    signs=(
        rf"(?ma)^{PROCESS}{BEFORE}"
        r"[a-z_][a-z0-9_]*\((?:[^\n]*\) += (?:-?\d|0x|\?)|[^\n]*<unfinished \.\.\.>$)",
    ),
    precedence=0,
    names_abis=NEVER,
)
