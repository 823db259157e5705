"""Filters of seccompiler and Firecracker, read and written."""

from seccompgen.formats.declaration import NEVER, Format

FORMAT = Format(
    title="[seccompiler and Firecracker](#seccompiler-and-firecracker)",
    meaning="seccompiler",
    signs=(r'"(mismatch_action|filter_action|match_action)"\s*:',),
    names_abis=NEVER,
    several=True,
)
