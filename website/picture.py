"""The picture of a report that README.md shows: ``python -m website.picture``, with Chromium.

It is committed: each release of Chromium draws letters differently. Make it when reports change.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from website.gallery import report
from website.links import ROOT

PICTURE = ROOT / "docs" / "assets" / "report.png"
_SIZE = "1000,760"


def main() -> None:
    """Write the picture: the upper part of the page about web_worker on x86_64."""
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory, "report.html")
        report("web_worker", "--arch=x86_64", "-o", str(page))
        subprocess.run(  # noqa: S603
            [  # noqa: S607
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
                f"--window-size={_SIZE}",
                f"--screenshot={PICTURE}",
                page.as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    main()
