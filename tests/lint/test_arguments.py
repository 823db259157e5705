"""Comparisons of arguments, by prototypes that are written down in the helper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

POLICY = """\
default_action: {default}
arches: [{abi}]
syscalls:
- action: {action}
  names_with_args:
  - {{name: {name}, arguments: [{argument}]}}
"""


def found(
    tmp_path: Path,
    form: str,
    name: str,
    argument: str,
    abi: str = "x86_64",
    default: str = "allow",
    action: str = "errno",
) -> dict[str, Finding]:
    path = tmp_path / "policy.yml"
    text = POLICY.format(default=default, action=action, abi=abi, name=name, argument=argument)
    path.write_text(text)
    kinds = "ignored-bits pointer-argument wrong-argument no-such-argument"
    wanted = [one for one in findings(path, form) if one.kind.value in kinds.split()]
    assert len({one.kind for one in wanted}) == len(wanted)
    return {one.kind.value: one for one in wanted}


WIDE = "{argument: 0, operation: Equal, value: 1, width: 64}"
NARROW = "{argument: 0, operation: Equal, value: 1, width: 32}"


@pytest.mark.parametrize("form", FORMS)
def test_bits_that_the_kernel_ignores(tmp_path: Path, form: str) -> None:
    one = found(tmp_path, form, "socket", WIDE)["ignored-bits"]
    assert one.severity.value == "error"
    assert one.witness is not None
    assert one.beside is not None
    # The two calls are one to the kernel.
    assert one.witness.call.args[0] & 0xFFFFFFFF == one.beside.call.args[0] == 1
    assert one.witness.call.args[0] >> 32
    assert not found(tmp_path, form, "socket", NARROW)


@pytest.mark.parametrize("form", FORMS)
def test_a_negative_number_in_one_of_its_forms(tmp_path: Path, form: str) -> None:
    """An allowlist that refuses what some programs pass for AT_FDCWD is stricter, no hole."""
    minus = "{argument: 0, operation: Equal, value: %s, width: %d}"
    one = found(tmp_path, form, "openat", minus % ("0xffffff9c", 64), "x86_64", "errno", "allow")
    assert one["ignored-bits"].severity.value == "note"
    narrow = minus % ("0xffffff9c", 32)
    assert not found(tmp_path, form, "openat", narrow, "x86_64", "errno", "allow")
    assert not found(tmp_path, form, "socket", WIDE, default="errno", action="allow")


@pytest.mark.parametrize("form", FORMS)
def test_an_allowlist_with_a_hole_above(tmp_path: Path, form: str) -> None:
    """All families but one, in an allowlist: 64 bits compared let that one through."""
    argument = "{argument: 0, operation: NotEqual, value: 16, width: 64}"
    kinds = found(tmp_path, form, "socket", argument, default="errno", action="allow")
    one = kinds["ignored-bits"]
    assert one.severity.value == "error"
    assert one.witness is not None
    assert one.witness.call.args[0] & 0xFFFFFFFF == 16


@pytest.mark.parametrize("form", FORMS)
def test_a_narrow_type_in_a_word(tmp_path: Path, form: str) -> None:
    argument = "{argument: 3, operation: Equal, value: 0o4755, width: 32}"
    one = found(tmp_path, form, "openat", argument)["ignored-bits"]
    assert one.witness is not None
    assert one.witness.call.args[3] & 0xFFFF == 0o4755
    masked = "{argument: 3, operation: MaskedEqual, mask: 0xffff, value: 0o4755, width: 32}"
    assert not found(tmp_path, form, "openat", masked)


@pytest.mark.parametrize("form", FORMS)
def test_no_bits_are_ignored_where_arguments_have_32(tmp_path: Path, form: str) -> None:
    argument = "{argument: 0, operation: Equal, value: 1, width: 64}"
    assert not found(tmp_path, form, "openat", argument, abi="i386")


@pytest.mark.parametrize("form", FORMS)
def test_a_pointer_compared(tmp_path: Path, form: str) -> None:
    address = "{argument: 1, operation: Equal, value: 4096, width: 64}"
    one = found(tmp_path, form, "openat", address)["pointer-argument"]
    assert one.severity.value == "error"
    other = found(tmp_path, form, "openat", address, default="errno", action="allow")
    assert other["pointer-argument"].severity.value == "warning"


@pytest.mark.parametrize("form", FORMS)
def test_no_address_may_be_asked_for(tmp_path: Path, form: str) -> None:
    argument = "{argument: 4, operation: Equal, value: 0, width: 64}"
    assert not found(tmp_path, form, "sendto", argument, default="errno", action="allow")


@pytest.mark.parametrize("form", FORMS)
def test_the_flags_of_clone_stand_elsewhere(tmp_path: Path, form: str) -> None:
    flags = "{argument: %d, operation: BitsSet, value: 0x10000000, width: 32}"
    one = found(tmp_path, form, "clone", flags % 0, abi="s390x")["wrong-argument"]
    assert one.abis == ("s390x",)
    assert "flags is argument 1" in one.message
    assert not found(tmp_path, form, "clone", flags % 1, abi="s390x")
    assert not found(tmp_path, form, "clone", flags % 0, abi="x86_64")


@pytest.mark.parametrize("form", FORMS)
def test_an_argument_that_the_call_has_not(tmp_path: Path, form: str) -> None:
    argument = "{argument: 2, operation: BitsSet, value: 4, width: 32}"
    one = found(tmp_path, form, "mmap", argument, abi="s390x")["no-such-argument"]
    assert "no argument 2" in one.message
    assert not found(tmp_path, form, "mmap", argument, abi="x86_64")


@pytest.mark.parametrize("form", FORMS)
def test_a_stack_is_an_address_though_its_type_is_a_number(tmp_path: Path, form: str) -> None:
    argument = "{argument: 1, operation: Equal, value: 4096, width: 64}"
    assert "pointer-argument" in found(tmp_path, form, "clone", argument)
