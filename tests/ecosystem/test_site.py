"""The documentation's site in a browser: it builds without a warning, fits a telephone, and finds.

The browser is Debian's chromium, headless; the rules of accessibility are npm's axe-core.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from command import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
AXE = ROOT / "build" / "report" / "node_modules" / "axe-core" / "axe.min.js"
pytest.importorskip("mkdocs", reason="make test-ecosystem installs what this needs")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here"),
]

LOOKS = [("light", 400), ("dark", 400), ("light", 1280), ("dark", 1280)]
FORMS = ["", "tutorial/", "policy/", "kernels/", "commands/build/", "python/", "codes/", "gallery/"]
"""A page of each form: prose, code, wide tables, generated ones."""


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as drive:
        # As root, in a container, it has no sandbox of its own.
        opened = drive.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the browser in one look, which asks nobody else, and complains of nothing."""
    scheme, width = getattr(request, "param", ("light", 1280))
    opened = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=address
    )
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request", lambda one: one.url.startswith((address, "blob:")) or complaints.append(one.url)
    )
    yield opened
    opened.close()
    assert complaints == []


def all_pages(built: Path) -> list[str]:
    found = [f"{path.parent.relative_to(built)}/" for path in built.rglob("index.html")]
    return sorted("" if one == "./" else one for one in found)


@pytest.mark.parametrize("page", LOOKS[:2], indirect=True, ids=str)
def test_a_telephone_does_not_scroll_sideways(page: Page, built: Path) -> None:
    pages = all_pages(built)
    assert len(pages) > 60
    for one in pages:
        page.goto(one)
        assert page.evaluate("document.documentElement.scrollWidth") == 400, one


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=str)
def test_no_rule_of_accessibility_is_broken(page: Page) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core: npm ci fetches it, `make report-rules`")
    for one in FORMS:
        page.goto(one)
        page.wait_for_function(
            "document.querySelectorAll('pre > code:not([tabindex])').length === 0"
        )
        page.add_script_tag(path=str(AXE))
        found = page.evaluate("axe.run().then((result) => result.violations)")
        assert [(one, each["id"], each["nodes"][0]["html"]) for each in found] == []


@pytest.mark.parametrize(
    ("words", "there"),
    [
        ("vendor single file", "vendor/"),
        ("UNKNOWN_CALL unknown-call", "codes/"),
        ("TSYNC", "glossary/"),
    ],
)
def test_search_finds_pages(page: Page, words: str, there: str) -> None:
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
        "no_exec",
        "no_network",
        "web_worker",
    ]
    page.locator(".md-button").nth(1).click()
    page.locator("[name=call]").first.fill("execve")
    page.locator("[name=call]").first.press("Enter")
    assert "errno(EACCES)" in page.locator(".answer").first.inner_text()


def test_the_navigation_leads_from_the_front_to_the_tutorial(page: Page) -> None:
    page.goto("")
    page.get_by_role("link", name="Confine a gunicorn worker in five minutes").click()
    assert page.locator("h1").inner_text().startswith("Confine a gunicorn worker")
    assert "gunicorn --daemon" in page.locator("article").inner_text()
