"""Metadata and manifests of Flatpak's applications, whose features choose a filter."""

from seccompgen.formats.declaration import NEVER, Format

FORMAT = Format(
    title="[Flatpak](#flatpak)'s metadata and manifests",
    meaning="flatpak 1.16.6",
    signs=(
        r"(?m)^\[Context\][ \t]*\r?$",
        r"(?m)^\[(?:Application|Runtime)\][ \t]*\r?\n(?:.+\n){0,20}?runtime[ \t]*=",
        r"(?m)^[ \t{]*[\"']?finish-args[\"']?[ \t]*:",
    ),
    names_abis=NEVER,
)
