"""Settings of systemd's units, read and written."""

from seccompgen.formats.declaration import Format

FORMAT = Format(
    title="[systemd](#systemd)'s units and drop-ins",
    meaning="systemd.exec(5)",
    signs=(r"(?m)^[ \t]*\[(?:Service|Socket|Mount|Swap)\][ \t]*\r?$",),
    names_abis=r"SystemCallArchitectures",
)
