"""The versions of packages that we test with, for environments that tests make."""

from __future__ import annotations

from command import ROOT


def pins() -> str:
    """Return the versions that we test with, as constraints for pip."""
    lines = {
        line.removesuffix(" \\")
        for name in ("dev.txt", "ecosystem.txt")
        for line in (ROOT / "requirements" / name).read_text().splitlines()
        if "==" in line
    }
    return "\n".join(sorted(lines))
