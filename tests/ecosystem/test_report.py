"""A report in a browser: it loads from a file, runs programs as the kernel does, and lets all in.

The browser is Debian's chromium, headless; the rules of accessibility are npm's axe-core.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import interpreter
import pytest
from command import ROOT, inside
from seccompgen.core.abis import ABIS
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy
from seccompgen.policy.stock import stock_policies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

AXE = ROOT / "build" / "report" / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.ecosystem,
]

TABLES = shipped_tables()
SCHEMES = ("light", "dark")
HOSTILE = '</script></style><script>window.hit=1</script><img src=x onerror="window.hit=1">'


TYPE_ALL = """(calls) => calls.map(([call, args]) => {
  const form = document.querySelector(".try");
  form.elements.call.value = call;
  form.elements.args.value = args;
  form.requestSubmit();
  const { ret, path } = document.querySelector(".answer").dataset;
  return [ret, path, document.querySelectorAll("svg .lit rect").length];
})"""
"""Types calls one after the other, and returns for each the answer, the path, and what is lit."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    arguments = ("web_worker", "--arch", "x86_64", "--against", "no_exec", "-o", "report.html")
    assert inside("report", *arguments, cwd=directory).code == 0
    return directory / "report.html"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about two ABIs, which has all parts that a page can have."""
    directory = tmp_path_factory.mktemp("several")
    abis = ("--arch", "x86_64", "--arch", "aarch64")
    arguments = ("web_worker", *abis, "--against", "no_exec", "-o", "report.html")
    assert inside("report", *arguments, cwd=directory).code == 0
    return directory / "report.html"


class Watched:
    """A page, and all that it complains of."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.page: Page = browser.new_page(**options)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(file.as_uri())

    def _asked(self, url: str) -> None:
        if not url.startswith("file:"):
            self.complaints.append(f"asked for {url}")


@pytest.fixture
def watched(browser: Browser, report: Path) -> Iterator[Watched]:
    one = Watched(browser, report)
    yield one
    assert one.complaints == []
    one.page.close()


def visible_calls(page: Page) -> list[str]:
    texts: list[str] = page.locator(".calls tbody tr:visible .call").all_inner_texts()
    return texts


def try_call(page: Page, name: str, arguments: str) -> tuple[int, list[int]]:
    """Type a call in the first filter of a page; return its answer and its path."""
    page.locator("[name=call]").first.fill(name)
    page.locator("[name=args]").first.fill(arguments)
    page.locator("[name=args]").first.press("Enter")
    said = page.locator(".answer").first
    assert "Not understood" not in said.inner_text(), said.inner_text()
    path = str(said.get_attribute("data-path"))
    return int(str(said.get_attribute("data-ret"))), [int(at) for at in path.split()]


def test_search_finds_calls_by_name_and_condition(watched: Watched) -> None:
    page = watched.page
    assert visible_calls(page) == []  # the parts are closed
    page.keyboard.press("/")
    page.keyboard.type("prot_exec")
    assert visible_calls(page) == ["mprotect", "pkey_mprotect"]
    assert page.locator("#found").inner_text().startswith("2 of ")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "mprotect"
    page.locator("#query").focus()
    page.keyboard.press("Escape")
    assert page.locator("#query").input_value() == ""
    assert visible_calls(page) == []


def test_states_narrow_what_is_shown(watched: Watched) -> None:
    page = watched.page
    page.fill("#query", "openat")
    page.check("input[value=some]")
    assert visible_calls(page) == ["openat"]
    page.check("input[value=no]")
    assert visible_calls(page) == ["openat2"]


def test_a_call_of_the_table_is_tried_by_keyboard(watched: Watched) -> None:
    page = watched.page
    page.fill("#query", "sendto")
    page.press("#query", "Enter")
    page.keyboard.press("Enter")
    assert page.locator("[name=call]").input_value() == "sendto"
    assert "allow" in page.locator(".answer").inner_text()
    page.keyboard.type("fd=3 addr=0x10")
    page.keyboard.press("Enter")
    assert "errno(EPERM)" in page.locator(".answer").inner_text()


def test_links_open_the_part_that_has_the_call(watched: Watched) -> None:
    page = watched.page
    page.locator("#f0-can a", has_text="openat").first.click()
    assert page.locator("#f0-c-openat").is_visible()


def test_what_is_not_understood_is_said(watched: Watched) -> None:
    page = watched.page
    for call, arguments, told in (
        ("opnat", "", "“opnat” is no number"),
        ("openat", "O_NONSENSE", "“O_NONSENSE” is no number"),
        ("openat", "flag=1", "no argument is called “flag”"),
        ("openat", "1 2 3 4 5 6 7", "six arguments at most"),
    ):
        page.fill("[name=call]", call)
        page.fill("[name=args]", arguments)
        page.press("[name=args]", "Enter")
        assert told in page.locator(".answer").inner_text()


def test_numbers_have_any_base_and_constants_their_names(watched: Watched) -> None:
    page = watched.page
    ways = ["flags=0x41", "flags=65", "flags=0101", "flags=0b1000001", "flags=O_WRONLY|O_CREAT"]
    found = {str(try_call(page, "openat", way)) for way in ways}
    assert len(found) == 1
    assert try_call(page, "openat", "-100 0 O_RDONLY")[0] == 0x7FFF0000
    assert try_call(page, "257", "-100 0 0")[0] == 0x7FFF0000


def test_the_script_runs_programs_as_the_interpreter_of_the_tests_does(watched: Watched) -> None:
    (program,) = build_policy(stock_policies()["web_worker"], TABLES, [ABIS["x86_64"]]).programs
    code, arch = program.to_bytes(), program.abi.audit_arch
    jumps = {i for i, one in enumerate(program.instructions) if one.code & 7 == 5 and one.code != 5}
    chosen = random.Random(7)
    numbers = TABLES.tables["x86_64"].numbers
    conditional = ["openat", "mprotect", "sendto", "setsockopt", "fcntl", "clone", "prctl"]
    calls = [
        (name, [chosen.choice([0, 1, 2, 6, 9, 41, 0x41, 0x10000, 1 << 32]) for _ in range(6)])
        for name in [*chosen.sample(sorted(numbers), 200), *conditional * 40]
    ]
    typed = [[name, " ".join(map(hex, args))] for name, args in calls]
    said = watched.page.evaluate(TYPE_ALL, typed)
    for (name, args), one in zip(calls, said, strict=True):
        data = interpreter.seccomp_data(numbers[name], arch, args)
        told = interpreter.run(code, data, "little")
        path = " ".join(map(str, told.path))
        assert one == [str(told.value), path, len(jumps & {*told.path})], (name, args)


def test_the_tree_folds_by_keyboard(watched: Watched) -> None:
    page = watched.page
    rows = page.locator("svg g:visible")
    folded = rows.count()
    page.locator("svg g[role=button]:visible").first.focus()
    page.keyboard.press("ArrowRight")
    assert rows.count() > folded
    assert page.locator("svg g[aria-expanded=true]").count() == 1
    page.keyboard.press("ArrowLeft")
    assert rows.count() == folded
    page.get_by_role("button", name="Unfold all").click()
    assert rows.count() > 100


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_nothing(browser: Browser, several: Path, scheme: Any, width: int) -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core here; `make npm` fetches it")
    # Only what the tests inject needs the policy out of its way.
    options = {"bypass_csp": True, "viewport": {"width": width, "height": 900}}
    one = Watched(browser, several, color_scheme=scheme, **options)
    one.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    try_call(one.page, "openat", "0 0 O_CREAT")
    one.page.add_script_tag(path=str(AXE))
    found = one.page.evaluate("axe.run().then((result) => result.violations)")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
    one.page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_telephone_does_not_scroll_sideways(browser: Browser, several: Path, scheme: Any) -> None:
    one = Watched(browser, several, color_scheme=scheme, viewport={"width": 400, "height": 800})
    for step in ("", "for (const each of document.querySelectorAll('details')) each.open = true"):
        one.page.evaluate(step or "0")
        assert one.page.evaluate("document.documentElement.scrollWidth") == 400
    one.page.close()


def test_all_of_it_is_printed(browser: Browser, report: Path) -> None:
    one = Watched(browser, report)
    one.page.emulate_media(media="print")
    one.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert one.page.locator("#f0-c-openat").is_visible()
    assert not one.page.locator(".bar").is_visible()
    assert one.page.locator("svg g:visible").count() > 100
    one.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not one.page.locator("#f0-c-openat").is_visible()
    assert one.page.pdf(print_background=True).startswith(b"%PDF")
    one.page.close()


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory with reports on a policy, a module and a profile of markup and script."""
    policy = (
        f"description: |\n  {HOSTILE}\n\n  - {HOSTILE}\n"
        "default_action: errno(EPERM)\narches: [x86_64]\n"
        "syscalls:\n- {action: allow, names: [read, openat]}\n"
        "- {action: allow, names: [mmap], when: not prot & PROT_EXEC}\n"
    )
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read", HOSTILE], "action": "SCMP_ACT_ALLOW", "comment": HOSTILE}],
    }
    evil = HOSTILE.replace("/", "&")
    (tmp_path / f"{evil}.yml").write_text(policy)
    (tmp_path / f"{evil}.json").write_text(json.dumps(profile))
    (tmp_path / "plain.yml").write_text(policy)
    for args in (
        ("build", "plain.yml", "-o", "."),
        ("report", f"{evil}.yml", "--against", "no_exec", "-o", "policy.html"),
        ("report", "plain", "--against", f"{evil}.json", "--arch", "x86_64", "-o", "module.html"),
        ("report", f"{evil}.json", f"{evil}.yml", "-o", "profile.html"),
    ):
        run = inside(*args, cwd=tmp_path)
        assert run.code == 0, run.err
    return tmp_path


@pytest.mark.parametrize("form", ["policy", "module", "profile"])
def test_nothing_of_a_hostile_filter_leaves_its_place(
    browser: Browser, hostile: Path, form: str
) -> None:
    one = Watched(browser, hostile / f"{form}.html")
    assert one.page.evaluate("window.hit") is None
    assert one.page.locator("img").count() == 0
    assert one.page.locator("script").count() == 2
    assert "<script>" in one.page.locator("main").inner_text()
    assert try_call(one.page, "read", "0")[0] == 0x7FFF0000
    assert one.complaints == []
    one.page.close()


def test_what_came_in_all_the_same_does_not_run(browser: Browser, report: Path) -> None:
    one = Watched(browser, report)
    image = """document.body.insertAdjacentHTML("beforeend", '<img src=x onerror="hit=1">')"""
    one.page.evaluate(image)
    script = (
        "document.body.append(Object.assign(document.createElement('script'), {text: 'hit=1'}))"
    )
    one.page.evaluate(script)
    one.page.wait_for_timeout(100)
    assert one.page.evaluate("window.hit") is None
    assert any("Content Security Policy" in text for text in one.complaints)
    one.page.close()
