"""What several tests of this folder need."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless; without it or playwright, tests that ask for it are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as drive:
        # As root, in a container, it has no sandbox of its own.
        opened = drive.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
