"""Reports: their text, and the decision tree in them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import interpreter
import pytest
from command import inside
from seccompgen.core.abis import ABIS
from seccompgen.core.filter_summary import Permission
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.filters.tell.abilities import abilities, queries
from seccompgen.formats import load_policy
from seccompgen.kernel.powers import powers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy
from seccompgen.policy.document import read_document
from seccompgen.policy.stock import stock_policies
from seccompgen.render.decision_tree import TreeRow, decision_tree

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.program import Program

TABLES = shipped_tables()
POLICY = """\
description: |
  Reads & writes.

  - <b>nothing</b> else
arches: [x86_64, mips64]
default_action: errno(EPERM)
syscalls:
- action: allow
  names: [read, write]
- action: allow
  names: [openat]
  when: flags & O_ACCMODE == O_RDONLY and not flags & O_CREAT
- action: errno(ENOSYS)
  names: [clone3]
"""
PARTLY = """\
arches: [x86_64, aarch64]
flags: [new_listener]
default_action: errno(EPERM)
syscalls:
- {action: allow, names: [bpf, adjtimex]}
- {action: user_notif, names: [clock_settime]}
- {action: allow, names: [chroot], arches: [x86_64]}
- {action: allow, names: [unshare], when: not unshare_flags & CLONE_NEWNS}
- action: allow
  names: [socket]
  when: family in {AF_INET, AF_INET6} and type & 0xf == SOCK_STREAM
"""
STRUCTURE = """\
h1 policy
h2 What a process can do
h3 Calls without a name
h2 All calls
h2 What differs between ABIs
h2 Try a call
h2 Costs
h2 Findings
h2 Proofs and hashes
"""


class Page(HTMLParser):
    """The headings, scripts and texts of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text = file.read_text()
        self.headings: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.styled: list[str] = []
        self._in_heading = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._in_heading = bool(re.fullmatch("h[1-6]", tag))
        if self._in_heading:
            self.headings.append(tag)
        if tag == "script":
            self.scripts.append(found)
        if "id" in found:
            self.ids.append(str(found["id"]))
        self.styled += [name for name in found if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._in_heading and data.strip():
            self.headings[-1] += f" {data.strip()}"
            self._in_heading = False

    @property
    def data(self) -> list[dict[str, list[object]]]:
        found = re.search(r'id="data">(.*?)</script>', self.text, re.DOTALL)
        assert found
        return json.loads(found[1])  # type: ignore[no-any-return] # as it was written


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report")
    (made / "policy.yml").write_text(POLICY)
    run = inside("report", "policy.yml", "-o", "report.html", cwd=made)
    assert (run.code, run.out) == (0, "wrote report.html\n")
    return made


@pytest.fixture(scope="module")
def page(directory: Path) -> Page:
    return Page(directory / "report.html")


@pytest.fixture(scope="module")
def program() -> Program:
    return build_policy(stock_policies()["web_worker"], TABLES, [ABIS["x86_64"]]).programs[0]


@pytest.fixture(scope="module")
def rows(program: Program) -> tuple[TreeRow, ...]:
    return decision_tree(program, TABLES)


@pytest.mark.long("renders and compiles many modules")
def test_a_page_has_these_parts(page: Page) -> None:
    assert "\n".join(page.headings) + "\n" == STRUCTURE
    assert page.scripts == [{"type": "application/json", "id": "data"}, {}]
    assert page.styled == []
    assert len(page.ids) == len(set(page.ids))


def test_a_page_says_what_each_call_gets(page: Page) -> None:
    row = re.search(
        r'<tr id="f0-c-openat".*?<td class=some colspan=2><b>C</b>', page.text, re.DOTALL
    )
    assert row
    assert "flags &amp; O_ACCMODE == O_RDONLY and not flags &amp; O_CREAT" in row[0]
    assert "policy.yml:10" in row[0]
    assert "otherwise" in row[0]
    assert "&lt;b&gt;nothing&lt;/b&gt; else" in page.text
    assert "proved by classes" in page.text
    assert "Most that it refuses gets <b>errno(EPERM)</b>: the call is not made" in page.text


def test_a_page_tells_neither_when_nor_where_it_was_made(directory: Path, page: Page) -> None:
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "policy.yml").write_text(POLICY)
    assert inside("report", elsewhere / "policy.yml", "-o", "again.html", cwd=directory).code == 0
    assert (directory / "again.html").read_text() == page.text
    assert str(directory) not in page.text


def test_numbers_of_each_abi_are_in_the_data(page: Page) -> None:
    (one,) = page.data
    read = one["names"].index("read")
    ways = {str(way["label"]): way for way in one["ways"] if isinstance(way, dict)}
    for abi, way in ways.items():
        numbers = one["numbers"][way["numbers"]]
        assert isinstance(numbers, list)
        assert numbers[read] == TABLES.tables[abi].numbers["read"]


@pytest.mark.long("renders and compiles many modules")
def test_several_filters_share_a_page(directory: Path) -> None:
    run = inside(
        "report", "policy.yml", "no_exec", "--arch", "x86_64", "--against", "policy.yml",
        "-o", "two.html", "--json", cwd=directory,
    )  # fmt: skip
    assert run.code == 0, run.err
    made = Page(directory / "two.html")
    assert json.loads(run.out)["bytes"] == len(made.text.encode())
    assert [one for one in made.headings if one.startswith("h2")] == ["h2 policy", "h2 no_exec"]
    assert made.headings.count("h3 Changes since policy.yml") == 2
    assert len(made.ids) == len(set(made.ids))
    assert "newly permitted" in made.text


def test_what_is_no_report_is_not_replaced(directory: Path) -> None:
    run = inside("report", "policy.yml", "-o", "policy.yml", cwd=directory)
    assert run.code == 2
    assert run.err == (
        "policy.yml: is there already, and no report: name another file, or remove it first\n"
    )
    assert (directory / "policy.yml").read_text() == POLICY


def test_a_drawing_is_of_one_program(directory: Path) -> None:
    run = inside("report", "policy.yml", "--svg", cwd=directory)
    assert run.code == 2
    assert run.err == "choose the program to draw with --arch: x86_64, mips64\n"
    run = inside("report", "policy.yml", cwd=directory)
    assert (run.code, run.err) == (2, "name the file of the page: -o FILE\n")
    run = inside("report", "policy.yml", "--svg", "--arch", "mips64", cwd=directory)
    assert run.code == 0
    assert run.out.startswith("<svg ")
    assert "flags &amp;" in run.out


def test_a_filter_of_one_answer_asks_nothing(directory: Path) -> None:
    (directory / "none.yml").write_text("default_action: allow\nsyscalls: []\narches: [x86_64]\n")
    (directory / "raw.bpf").write_bytes(interpreter.assemble([(6, 0, 0, 0x7FFF0000)], "little"))
    run = inside("report", "raw.bpf", "--arch", "x86_64", "--svg", cwd=directory)
    assert "every call: allow" in run.out
    run = inside("report", "raw.bpf", "--arch", "x86_64", "-o", "raw.html", cwd=directory)
    assert run.code == 0, run.err
    assert "of raw instructions no policy is known" in (directory / "raw.html").read_text()


# --- the tree ------------------------------------------------------------------------------------


@pytest.mark.long("renders and compiles many modules")
def test_each_jump_has_one_row(program: Program, rows: tuple[TreeRow, ...]) -> None:
    jumps = [i for i, one in enumerate(program.instructions) if one.code & 7 == 5 and one.code != 5]
    assert sorted(row.at for row in rows) == jumps
    drawn = [target.row for row in rows for target in (row.yes, row.no) if not target.again]
    assert sorted(n for n in drawn if n is not None) == list(range(1, len(rows)))


def test_rows_follow_what_they_are_parts_of(rows: tuple[TreeRow, ...]) -> None:
    for n, row in enumerate(rows[1:], 1):
        assert row.parent is not None
        assert row.parent < n
        parent = rows[row.parent]
        assert row.depth - parent.depth in {0, 1}
        assert {"yes": parent.yes, "no": parent.no}[row.via].row == n
    assert max(row.depth for row in rows) <= 8


def test_rows_lead_where_the_program_does(program: Program, rows: tuple[TreeRow, ...]) -> None:
    data = [
        interpreter.seccomp_data(nr, program.abi.audit_arch, [a, b, c, 0, a, b])
        for nr in TABLES.tables["x86_64"].numbers.values()
        for a, b, c in ((0, 0, 0), (1, 6, 0x41), (1 << 32, 9, 4))
    ]
    for one in data:
        told = interpreter.run(program.to_bytes(), one, "little")
        ran = set(told.path)
        at, lit = rows[0], {rows[0].at}
        while True:
            ways = [way for way in (at.yes, at.no) if way.row is not None]
            ways = [way for way in ways if rows[way.row or 0].at in ran - lit]
            if not ways:
                break
            at = rows[ways[0].row or 0]
            lit.add(at.at)
        assert told.value in {at.yes.ret, at.no.ret}
        assert rows[0].cost.least <= len(told.path) <= rows[0].cost.most + 2


def test_questions_are_in_names(rows: tuple[TreeRow, ...]) -> None:
    asked = {row.question for row in rows}
    assert {"arch == x86_64", "prot & PROT_EXEC", "flags & MSG_FASTOPEN", "pid == 0"} <= asked
    assert "high half of addr == 0" in asked


# --- abilities -----------------------------------------------------------------------------------


@pytest.mark.long("renders and compiles many modules")
def test_abilities_are_what_the_stock_filters_promise() -> None:
    can = {
        name: {
            one.title: tuple(call.name for call in one.permitted)
            for one in abilities(load_filter(path, TABLES, ABIS["x86_64"]), TABLES)
        }
        for name, path in stock_policies().items()
    }
    assert can["web_worker"]["Open files to read them"] == ("open", "openat")
    assert can["web_worker"]["Start a thread"] == ("clone",)
    for title in (
        "Start a process",
        "Open files to write to them",
        "Create, rename or remove files",
    ):
        assert can["web_worker"][title] == ()
    assert can["no_exec"]["Execute another program"] == ()
    assert can["no_exec"]["Start a process"] == ("fork", "vfork", "clone3", "clone")
    assert can["no_network"]["Make an internet socket"] == ()
    assert can["no_network"]["Make a local (AF_UNIX) socket"] == ("socket",)


def test_every_call_of_an_ability_is_a_call() -> None:
    known = {name for table in TABLES.tables.values() for name in table.numbers}
    named = {given.name for one in queries() for given in one.given}
    assert named - known == set()


UNSAID = """
    listns chdir name_to_handle_at inotify_add_watch utime personality uselib setsid setpgid
    pidfd_open kcmp fcntl socketpair setsockopt listen prctl lsm_set_self_attr modify_ldt vm86
    spu_create spu_run s390_runtime_instr vhangup ipc syscall osf_syscall
"""
"""Lines of the table that no ability has: small, old, or of many things by their arguments."""


def test_what_calls_give_is_in_some_ability() -> None:
    """A new line of kernel/powers.toml gets a row, or a place among those that have none."""
    named = {given.name for one in queries() for given in one.given}
    lines = [line.calls for line in powers().lines if line.power.gives and not line.when]
    assert {calls[0] for calls in lines if named.isdisjoint(calls)} == {*UNSAID.split()}


def test_every_condition_of_an_ability_is_one_everywhere() -> None:
    in_memory = {"i386", "s390x", "m68k"}  # their mmap takes a pointer to its arguments
    given = {given for one in queries() for given in one.given}
    for name, when in {(one.name, text) for one in given for text in one[1:] if text}:
        abis = {
            abi
            for abi, table in TABLES.tables.items()
            if name in table.numbers and ABIS[abi].filters_since
        }
        abis -= in_memory if name == "mmap" else set()
        text = (
            f"{{arches: [{', '.join(sorted(abis))}], default_action: errno, multiplexed: errno, "
            f"syscalls: [{{action: allow, names: [{name}], when: '{when}'}}]}}"
        )
        load_policy(read_document(text.encode(), name), TABLES)


def test_an_ability_is_partial_where_arguments_or_abis_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(PARTLY)
    found = {one.title: one for one in abilities(load_filter(tmp_path / "p.yml", TABLES), TABLES)}
    told = {
        title: (
            one.answer,
            [
                (call.name, *when, [way.label for way in ways])
                for call in one.permitted
                for when, ways in call.conditions
            ],
        )
        for title, one in found.items()
    }
    both = ["x86_64", "aarch64"]
    assert told["Make an internet socket"] == (
        Permission.PARTLY,
        [("socket", "family in {AF_INET, AF_INET6} and type & 0xf == SOCK_STREAM", False, both)],
    )
    assert told["Make a raw socket: any protocol over IP"] == (Permission.NO, [])
    assert told["Make a user namespace"] == (
        Permission.PARTLY,
        [("unshare", "unshare_flags & (CLONE_NEWNS|CLONE_NEWUSER) == CLONE_NEWUSER", False, both)],
    )
    assert told["Mount, move or unmount file systems"] == (Permission.NO, [])
    assert told["Change its root directory"] == (
        Permission.PARTLY,
        [("chroot", "", False, ["x86_64"])],
    )
    assert told["Adjust the machine's clock"][0] is Permission.PARTLY
    assert "CAP_SYS_TIME" in found["Adjust the machine's clock"].note
    assert told["Set the machine's clock"] == (Permission.ASKED, [])
    assert told["Call bpf(): load programs, make maps"] == (
        Permission.YES,
        [("bpf", "", False, both)],
    )
