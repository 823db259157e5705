"""The documentation's site in a browser: it builds without a warning, fits a telephone, and finds.

The browser is Debian's chromium, headless; the rules of accessibility are npm's axe-core.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from navigation import site_pages
from seccompgen.cli.commands import COMMANDS

from website.links import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

AXE = ROOT / "build" / "report" / "node_modules" / "axe-core" / "axe.min.js"
pytest.importorskip("mkdocs", reason="make test-ecosystem installs what this needs")

pytestmark = [
    pytest.mark.ecosystem,
]

ADDRESSES = sorted(
    {
        re.sub(r"(^|/)(index|README)\.md$", r"\1", page).replace(".md", "/")
        for page in site_pages() | {f"commands/{name}.md" for name in COMMANDS}
    }
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a warning, such as a link that leads nowhere, fails."""
    place = tmp_path_factory.mktemp("site") / "site"
    words = ["build", "--quiet", "--strict", "--site-dir", str(place)]
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
    return place


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A telephone's page by day, which asks nobody else, and complains of nothing."""
    opened = browser.new_page(
        viewport={"width": 400, "height": 900},
        color_scheme="light",
        reduced_motion="reduce",  # colours on their way to others have too little contrast
        base_url=address,
    )
    opened.set_default_timeout(120_000)
    asked: list[str] = []
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda one: asked.append(one.url))
    yield opened
    opened.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(address)] == []


def test_no_page_is_left_out(built: Path) -> None:
    found = {f"{path.parent.relative_to(built)}/" for path in built.rglob("index.html")}
    assert sorted("" if one == "./" else one for one in found) == ADDRESSES
    assert [path for path in built.rglob("*.html") if NOWHERE in path.read_text()] == []


@pytest.mark.parametrize("there", ADDRESSES)
def test_a_page_fits_and_lets_all_in(page: Page, there: str) -> None:
    """On a telephone by day, and on a desk by night; every other page lets all in by night."""
    by_night = ADDRESSES.index(there) % 2
    page.goto(there)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert by_night or violations(page) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    if by_night:
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector("[data-md-color-scheme=slate]")
        assert violations(page) == []


def violations(page: Page) -> list[tuple[str, str]]:
    """Return the rules of accessibility that a page breaks; none where npm's axe is not."""
    if not AXE.exists():
        return []
    page.wait_for_function("!document.querySelector('pre > code:not([tabindex])')")
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [(each["id"], each["nodes"][0]["html"]) for each in found]


@pytest.mark.parametrize(
    ("words", "there"),
    [
        ("vendor single file", "vendor/"),
        ("circular include", "codes/"),
        ("TSYNC", "glossary/"),
        *((word, "start/") for word in ("postgres", "django", "fastapi", "jupyter")),
        *((word, "start/") for word in ("nginx", "redis")),
    ],
)
def test_search_finds_pages(page: Page, words: str, there: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("")
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.locator(".md-search-result__link").first.wait_for()
    links = page.locator(".md-search-result__link").evaluate_all("all => all.map((a) => a.href)")
    assert any(f"/{there}" in link for link in links), links


def test_the_gallery_opens_reports_in_which_calls_can_be_tried(page: Page) -> None:
    page.goto("gallery/")
    names = page.locator("h2").all_inner_texts()
    assert [name.rstrip("¶") for name in names] == [
        "compute_only",
        "no_escape",
        "no_exec",
        "no_listen",
        "no_network",
        "no_path_sockets",
        "sandboxed_code",
        "web_worker",
    ]
    page.locator(".md-button").nth(2).click()  # no_exec
    page.locator("[name=call]").first.fill("execve")
    page.locator("[name=call]").first.press("Enter")
    assert "errno(EACCES)" in page.locator(".answer").first.inner_text()


def test_the_navigation_leads_from_the_front_to_the_tutorial(page: Page) -> None:
    page.goto("")
    page.get_by_role("link", name="Confine a gunicorn worker in five minutes").click()
    assert page.locator("h1").inner_text().startswith("Confine a gunicorn worker")
    assert "gunicorn --daemon" in page.locator("article").inner_text()
