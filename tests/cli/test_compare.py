"""``subset`` and ``equiv`` from outside: all classes of calls that differ, and their rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside
from verify_command import raw

if TYPE_CHECKING:
    from pathlib import Path

BASE = """\
arches: [x86_64]
default_action: errno
syscalls:
- {action: allow, names: [read, write]}
- {action: log, names: [mount]}
- action: allow
  names_with_args:
  - {name: socket, when: "family in {AF_UNIX, AF_INET}"}
"""
LOOSER = BASE.replace("AF_INET}", "AF_INET, AF_ALG}").replace("write]", "write, close, open]")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "looser.yml").write_text(LOOSER)
    (tmp_path / "wider.yml").write_text(BASE.replace("[x86_64]", "[x86_64, aarch64]"))
    return tmp_path


SAYS = "looser.yml says allow, base.yml says errno(EPERM)"
CLASSES = [
    f"  socket on x86_64 where family == AF_ALG: {SAYS}; such as socket(AF_ALG) on x86_64",
    "    looser.yml: by rule 3, looser.yml:8:12",
    "    base.yml: by default_action, base.yml:2:17",
    f"  open, close on x86_64: {SAYS}; such as open() on x86_64",
    "    looser.yml: by rule 1, looser.yml:4:3",
    "    base.yml: by default_action, base.yml:2:17",
]


def test_what_is_no_looser_is_proved(here: Path) -> None:
    run = inside("subset", "base.yml", "looser.yml", cwd=here)
    proved = "base.yml within looser.yml: proved for x86_64 (classes and z3)\n"
    assert (run.code, run.out, run.err) == (0, proved, "")


def test_all_looser_calls_are_listed_with_both_rules(here: Path) -> None:
    run = inside("subset", "looser.yml", "base.yml", cwd=here)
    header, *lines = run.out.splitlines()
    assert (run.code, header) == (1, "looser.yml within base.yml: refuted for x86_64")
    assert sorted(lines) == sorted(CLASSES)


def test_json_has_every_class(here: Path) -> None:
    run = inside("subset", "looser.yml", "base.yml", "--json", cwd=here)
    (refuted,) = json.loads(run.out)["programs"]
    assert sorted((one["calls"], one["condition"]) for one in refuted["classes"]) == [
        (["open", "close"], None),
        (["socket"], "family == AF_ALG"),
    ]
    run = inside("equiv", "looser.yml", "base.yml", "--json", cwd=here)
    assert json.loads(run.out)["programs"][0]["classes"] == refuted["classes"]


@pytest.mark.parametrize(("up_to", "code"), [("log", 0), ("allow", 1), ("errno", 0)])
def test_what_permits_can_be_said(here: Path, up_to: str, code: int) -> None:
    text = BASE.replace("action: log", "action: allow").replace("errno", "errno(ENOSYS)", 1)
    (here / "other.yml").write_text(text)
    assert inside("subset", "other.yml", "base.yml", "--up-to", up_to, cwd=here).code == code


def test_an_abi_without_a_program_refuses_every_call(here: Path) -> None:
    run = inside("subset", "wider.yml", "base.yml", cwd=here)
    assert run.code == 1
    assert run.out.splitlines()[-1] == (
        "base.yml has no program for aarch64: it refuses every call there"
    )
    assert inside("subset", "wider.yml", "base.yml", "--arch", "aarch64", cwd=here).code == 1
    assert inside("subset", "base.yml", "wider.yml", cwd=here).code == 0


def test_what_is_no_filter_is_told_of_both_sides(here: Path) -> None:
    for name in ("a.yml", "b.yml"):
        (here / name).write_text("arches: [x86_64]\n")
    run = inside("subset", "a.yml", "b.yml", cwd=here)
    assert run.code == 2
    assert {line.split(":")[0] for line in run.err.splitlines()} == {"a.yml", "b.yml"}


def test_numbers_without_a_name_are_shown_one_by_one_or_as_a_stretch(tmp_path: Path) -> None:
    ld, jeq, jge, jgt, ret = 0x20, 0x15, 0x35, 0x25, 0x06
    head = [(ld, 0, 0, 4), (jeq, 1, 0, 0xC000003E), (ret, 0, 0, 0x80000000), (ld, 0, 0, 0)]
    refuse, allow = (ret, 0, 0, 0x00050001), (ret, 0, 0, 0x7FFF0000)
    some = [(jeq, 3, 0, 0x258), (jge, 0, 1, 0x2BC), (jgt, 0, 1, 0x2BE)]
    raw(tmp_path / "a.bpf", *head, *some, refuse, allow)
    raw(tmp_path / "b.bpf", *head, refuse)
    run = inside("subset", "a.bpf", "b.bpf", "--arch", "x86_64", cwd=tmp_path)
    assert run.code == 1
    assert "  numbers 0x258, 0x2bc-0x2be on x86_64: a.bpf says allow" in run.out
