"""Values in a notebook: as HTML, in which other people's text stays text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from seccompgen import (
    ABIS,
    Action,
    Condition,
    Filter,
    FilterFlag,
    Instruction,
    NameWithConditions,
    Op,
    Policy,
    Program,
    SyscallGroup,
    compile,  # noqa: A004 - the library's own
    dump,
    equiv,
    lint,
    validate,
    verify,
)

HOSTILE = "<script>alert(1)</script>\x1b[31m&amp;"
POLICY = Policy(
    Action.errno("EPERM"),
    [SyscallGroup(Action.ALLOW, ["read", "exit_group"])],
    name="worker",
    description=HOSTILE,
    arches=["x86_64"],
)
OTHER = Policy(Action.errno("EPERM"), [SyscallGroup(Action.ALLOW, ["read"])], arches=["x86_64"])
LOOSE = Policy(
    Action.ALLOW,
    [
        SyscallGroup(
            Action.errno("EPERM"),
            names_with_args=[NameWithConditions("syslog", [Condition(0, Op.EQ, 5, width=64)])],
        )
    ],
    arches=["x86_64"],
)
TAGS = {"details", "summary", "pre", "p", "b", "code", "ul", "li", "br"}


class Page(HTMLParser):
    """The text of a page; refuses tags that no value needs, and ones that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= {"open"}
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def close(self) -> None:
        super().close()
        assert not self._open


def shown(value: Any) -> str:
    """Return the text of a value as a notebook shows it."""
    page = Page()
    page.feed(value._repr_html_())
    page.close()
    assert "\x1b" not in page.text
    return page.text


def test_a_policy_is_the_file_that_says_the_same() -> None:
    text = shown(POLICY)
    assert text.startswith("Policy worker")
    assert "default_action: errno(EPERM)\n" in text
    assert "<script>alert(1)</script>" in text
    assert "flags: [tsync]" in shown(Filter(POLICY, flags=FilterFlag.TSYNC))


@pytest.mark.parametrize("name", ["wirte", HOSTILE, "\ud800"])
def test_a_wrong_policy_says_so(name: str) -> None:
    wrong = Policy(Action.ALLOW, [SyscallGroup(Action.LOG, [name])], arches=["x86_64"])
    assert shown(wrong).startswith("wrong:policy: syscalls[0].names[0]")
    (problem,) = validate(wrong)
    assert shown(problem).startswith("policy: syscalls[0].names[0]")


def test_a_program_is_its_assembly() -> None:
    program = compile(POLICY, "x86_64")
    text = shown(program)
    assert text.startswith("CompiledProgram for x86_64: ")
    assert f"{program.cost.longest} on the longest path" in text
    bare = Program(program.abi, program.instructions)
    assert shown(bare).endswith(dump(bare).rstrip("\n"))


def test_a_program_that_no_kernel_takes_says_so() -> None:
    text = shown(Program(ABIS["x86_64"], (Instruction(0x20, 0, 0, 3),)))
    assert "which the kernel refuses" in text


def test_verdicts_and_findings() -> None:
    (proved,) = verify(POLICY)
    assert shown(proved) == "proved: worker on x86_64"
    (refuted,) = equiv(POLICY, OTHER)
    assert "exit_group() on x86_64" in shown(refuted)
    (finding,) = lint(LOOSE)
    assert shown(finding).startswith("error policy: syscalls[0].names_with_args[0].name: ")
    assert shown(finding).endswith("[ignored-bits]fix: write width: 32")
