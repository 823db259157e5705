"""Ten questions that a reviewer asks of a container's profile, answered by what a report shows.

They are asked in a browser, of a wide window and of a narrow one: of the profile that Docker ships
where ``../shared`` has it, and of one of our own writing that differs from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from command import ROOT, inside
from corpus import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


pytestmark = [
    pytest.mark.ecosystem,
]

PROFILES = {
    "docker": SHARED / "oci" / "moby-default.json",
    "own": ROOT / "tests" / "data" / "policies" / "container-default.json",
}
WIDTHS = (1200, 400)

HIDDEN_LETTERS = """() => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  const hidden = [];
  for (const scroll of document.querySelectorAll(".kind .scroll")) {
    for (const at of [0, 0.5, 1]) {
      scroll.scrollLeft = at * (scroll.scrollWidth - scroll.clientWidth);
      const frame = scroll.getBoundingClientRect();
      for (const cell of scroll.querySelectorAll("td[colspan]")) {
        const first = cell.parentElement.cells[0].getBoundingClientRect().right;
        const [left, right] = [Math.max(frame.left, first), frame.right];
        const box = cell.getBoundingClientRect();
        if (Math.min(box.right, right) - Math.max(box.left, left) < 24) continue;
        const letter = cell.firstElementChild.getBoundingClientRect();
        if (letter.left < left - 1 || letter.right > right + 1) {
          hidden.push(`${cell.parentElement.id} at ${at}`);
        }
      }
    }
  }
  return hidden;
}"""
"""Returns the merged cells that are seen without their letter, wherever the table is scrolled."""


class Asked(NamedTuple):
    """A page in a window, and whose profile it is about."""

    page: Page
    profile: str

    def can(self, title: str) -> tuple[str, str]:
        """Return the answer to “Can it …”, and by which calls, as a reader sees them."""
        (row,) = (
            row
            for row in self.page.locator("#f0-can tbody tr").all()
            if row.locator("th").inner_text().startswith(title)
        )
        answer, calls = row.locator("td").all_inner_texts()
        return answer.split(maxsplit=1)[1], calls.strip()

    def tried(self, call: str, arguments: str = "", abi: str = "x86_64") -> str:
        """Return the sentence that the page says of a call that somebody types."""
        form = self.page.locator("form.try")
        form.locator("[name=abi]").select_option(label=abi)
        form.locator("[name=call]").fill(call)
        form.locator("[name=args]").fill(arguments)
        form.locator("[name=args]").press("Enter")
        said: str = self.page.locator(".answer").inner_text()
        return said

    def compared(self, one: str, other: str) -> tuple[str, dict[str, list[str]]]:
        """Return what is said to differ between two ABIs, and by call the two answers."""
        self.page.locator("[name=one]").select_option(label=one)
        self.page.locator("[name=other]").select_option(label=other)
        found: dict[str, list[str]] = {}
        for row in self.page.locator(".differing tbody tr").all():
            answers = [text.rpartition(": ")[2] for text in row.locator("td").all_inner_texts()]
            found |= dict.fromkeys(row.locator("a").all_inner_texts(), answers)
        return self.page.locator(".difference").inner_text(), found


@pytest.fixture(scope="module", params=PROFILES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page, whose name is that of the profile."""
    profile = PROFILES[request.param]
    if not profile.is_file():
        pytest.skip("no profile of Docker's here: ../shared has it")
    page = tmp_path_factory.mktemp("asked") / f"{request.param}.html"
    run = inside("report", profile, "-o", page, cwd=page.parent)
    assert run.code == 0, run.err
    return page


@pytest.fixture(scope="module", params=WIDTHS)
def asked(browser: Browser, written: Path, request: pytest.FixtureRequest) -> Iterator[Asked]:
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.goto(written.as_uri())
    yield Asked(page, written.stem)
    assert page.evaluate("document.documentElement.scrollWidth") == request.param
    page.close()


def test_may_it_open_raw_sockets(asked: Asked) -> None:
    assert asked.can("Make a raw socket") == ("yes", "socket, socketcall")
    assert "gets ✓ allow" in asked.tried("socket", "AF_INET SOCK_RAW IPPROTO_ICMP")


def test_may_it_open_packet_sockets_or_those_of_other_families(asked: Asked) -> None:
    assert asked.can("Make a packet socket") == ("yes", "socket, socketcall")
    assert "gets ✓ allow" in asked.tried("socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 768)")
    answer, calls = asked.can("Make a socket of any other family")
    assert answer == "partly"
    assert calls.startswith("socket unless u64(family) in {AF_ALG, AF_VSOCK} on x86_64, aarch64")
    assert "gets ✗ errno(EPERM)" in asked.tried("socket", "family=AF_VSOCK")


def test_may_it_mount_or_only_change_its_root(asked: Asked) -> None:
    answer, calls = asked.can("Mount, move or unmount file systems")
    assert answer == "no"
    assert calls.startswith("not by mount, ")
    assert "pivot_root" in calls
    assert asked.can("Change its root directory") == ("yes", "chroot not by fchroot")


def test_may_it_set_the_clock_or_only_read_it(asked: Asked) -> None:
    answer, calls = asked.can("Set the machine's clock")
    assert answer == "no"
    assert "clock_settime" in calls
    answer, calls = asked.can("Adjust the machine's clock")
    if asked.profile == "own":
        assert answer == "no"
    else:
        assert answer == "partly"
        assert calls.startswith("adjtimex, clock_adjtime, clock_adjtime64: without CAP_SYS_TIME it")


def test_may_it_make_user_namespaces_and_what_does_clone_get_then(asked: Asked) -> None:
    assert asked.can("Make a user namespace") == ("no", "not by clone3, clone, unshare")
    assert asked.can("Make other namespaces")[0] == "no"
    for flags in ("CLONE_NEWUSER", "CLONE_NEWUSER|CLONE_NEWNS", "CLONE_VM | CLONE_NEWNET"):
        assert "gets ✗ errno(EPERM)" in asked.tried("clone", f"flags={flags}")
    assert "gets ✓ allow" in asked.tried("clone", "flags=CLONE_VM|CLONE_THREAD|CLONE_SIGHAND")
    assert "it knows CLONE_" in asked.tried("clone", "flags=CLONE_NEWUSR")


def test_may_it_trace_or_change_other_processes(asked: Asked) -> None:
    if asked.profile == "own":
        assert asked.can("Trace other processes") == ("no", "not by ptrace")
        assert asked.can("Take descriptors from another process") == ("yes", "pidfd_getfd")
    else:
        assert asked.can("Trace other processes") == ("yes", "ptrace")
        assert asked.can("Take descriptors from another process") == ("no", "not by pidfd_getfd")


def test_may_it_load_modules_or_bpf_programs_or_read_the_log(asked: Asked) -> None:
    for title, calls in (
        ("Load or unload modules of the kernel", "init_module, finit_module, delete_module"),
        ("Call bpf()", "bpf"),
        ("Read the kernel's log", "syslog"),
    ):
        assert asked.can(title) == ("no", f"not by {calls}")


def test_how_many_calls_are_refused_that_have_a_name(asked: Asked) -> None:
    page = asked.page
    said = int(page.locator(".glance dd.errno").inner_text())
    page.check("input[value=no]")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    names = page.locator(".calls tbody tr:visible .call").all_inner_texts()
    assert page.locator("#found").inner_text().startswith(f"{said} of ")
    page.check("input[value=all]")
    assert len(names) == said
    assert not any(name.isdecimal() for name in names)
    rest = page.locator("#f0-can .can").last.inner_text()
    if asked.profile == "docker":
        assert "377 numbers without a name, but with rules in the policy: 0xd, 0x10-0x12" in rest
    assert "calls through any other ABI of the kernel" in rest


def test_which_call_has_the_longest_path(asked: Asked) -> None:
    row = asked.page.locator(".figures tbody tr").first
    assert row.locator("th").inner_text() == "x86_64"
    cells = row.locator("td").all_inner_texts()
    longest, (of_all, outside) = cells[2], cells[-2:]
    for run, names in ((longest, of_all), outside.split(": ")):
        name = names.split(",")[0]
        abi = "i386 on x86_64" if " on i386" in names else "x86_64"
        said = [asked.tried(name, arguments, abi) for arguments in ("", "0xffff", "8", "39")]
        assert any(f" {run} instructions" in one for one in said), (run, name, said)


def test_what_differs_between_abis(asked: Asked) -> None:
    said, found = asked.compared("x86_64", "i386 on x86_64")
    assert said.startswith("2 calls get different answers. On x86_64 alone ")
    assert found["socketcall"][0] == "no such call"
    assert found["socketcall"][1].startswith("allow")
    assert found["epoll_ctl_old"][1] == "no such call"
    assert "family < AF_ALG" in found["socket"][1]
    assert "read" not in found
    said, found = asked.compared("x86_64", "aarch64")
    assert found["open"] == ["allow", "no such call"]
    assert found["modify_ldt" if asked.profile == "docker" else "fork"][1] == "no such call"
    assert asked.compared("aarch64", "aarch64") == ("All calls get the same answers.", {})


def test_a_merged_cell_shows_its_letter(asked: Asked) -> None:
    hidden: Any = asked.page.evaluate(HIDDEN_LETTERS)
    assert hidden == []
