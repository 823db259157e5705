"""Prototypes as CSV: written, read again, and refused where they are not what was written."""

from __future__ import annotations

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.facts import Parameter, Prototype
from seccompgen.kernel import prototypes_file
from seccompgen.kernel.entry_points import AbiPrototypes, Declared, EntryPoint
from seccompgen.pipeline.build import shipped_tables

NAMES = ["x86_64", "i386", "arm"]
READ = EntryPoint("sys_read", (Declared("fd", "unsigned int"), Declared("buf", "char __user *")))
CLONE = EntryPoint("sys_clone", (Declared("flags", "unsigned long", 32),))
BACKWARDS = EntryPoint("sys_clone", (Declared("", "int"), Declared("flags", "int")))
NOTHING = EntryPoint("sys_sync", ())
CONTENT = b"""\
sys_clone,flags: unsigned long: 32
sys_clone@2,: int,flags: int
sys_read,fd: unsigned int,buf: char __user *
sys_sync

clone,x86_64,sys_clone
clone,arm,sys_clone@2
read,all,sys_read
sync,all-arm,sys_sync
"""


def prototypes() -> dict[str, AbiPrototypes]:
    known = {
        "x86_64": {"read": READ, "clone": CLONE, "sync": NOTHING},
        "i386": {"read": READ, "sync": NOTHING},
        "arm": {"read": READ, "clone": BACKWARDS},
    }
    return {abi: AbiPrototypes(ABIS[abi], calls) for abi, calls in known.items()}


def test_what_is_written_is_read_again() -> None:
    assert prototypes_file.render(prototypes()) == CONTENT
    again = prototypes_file.read(CONTENT, "p.csv", NAMES)
    assert again == prototypes()
    assert prototypes_file.render(again) == CONTENT
    assert again["i386"]["read"] == Prototype(
        "sys_read",
        (
            Parameter("fd", "unsigned int", 32),
            Parameter("buf", "char __user *", 32, pointer=True),
        ),
    )
    assert again["arm"]["clone"].parameters[0] == Parameter("", "int", 32, signed=True)


def test_what_was_written_is_read_call_by_call() -> None:
    written = prototypes_file.WrittenPrototypes(CONTENT, "p.csv", NAMES)
    expected = prototypes()
    assert written["arm"]["read"] == expected["arm"]["read"]  # in any order
    assert written["arm"]["clone"] == expected["arm"]["clone"]
    assert written["x86_64"]["clone"] == expected["x86_64"]["clone"]
    for absent in ("clone", "clone,x86_64", "sys_read", ""):
        assert absent not in written["i386"]
    assert (dict(written), [*written], len(written)) == (expected, NAMES, 3)
    assert [*written["i386"].entry_points] == ["read", "sync"]
    assert len(written["arm"]) == 2
    assert prototypes_file.render(written) == CONTENT


def test_the_pins_file_is_what_its_values_give() -> None:
    known = shipped_tables().facts.prototypes
    content = prototypes_file.render({abi: known[abi] for abi in known})
    assert len(content) < 400_000
    assert prototypes_file.read(content, "p.csv", list(known)) == dict(known)


def test_values_of_another_origin_are_refused() -> None:
    """Declarations cannot be told from what they are on one ABI."""
    with pytest.raises(TypeError):
        prototypes_file.render({"x86_64": {"read": READ.on(ABIS["x86_64"])}})


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("sys_sync\n\nclone", "sys_sync\nclone", 9, "no blank line ends"),
        ("sys_sync\n\nclone", "sys_sync\n\nclone\nclone", 6, "a row is a call, its ABIs and"),
        ("all-arm,sys_sync\n", "all-arm,sys_sync", 9, "the last line is cut off"),
        ("sys_sync\n\n", "sys-sync\n\n", 4, "'sys-sync' is no name of an entry point"),
        ("sys_sync\n\n", "sys_read\n\n", 4, "'sys_read' is no name of an entry point, or is here"),
        ("fd: unsigned int", "fd unsigned int", 3, "'fd unsigned int' is no parameter with"),
        ("long: 32", "long: 31", 1, "'flags: unsigned long: 31' is no parameter"),
        ("read,all,", "Read,all,", 8, "a row is a call"),
        ("read,all,sys_read", "read,all,sys_raed", 8, "'sys_raed' (did you mean 'sys_read'?)"),
        ("x86_64,sys_clone", "x86_65,sys_clone", 6, "'x86_65' is no ABI of the lock (did you"),
        ("all-arm", "all-i387", 9, "'i387' is no ABI of the lock (did you mean 'i386'?)"),
        ("read,all", "clone,all", 8, "clone has two entry points on x86_64"),
    ],
)
def test_whatever_was_not_written_is_refused(old: str, new: str, line: int, message: str) -> None:
    text = CONTENT.decode()
    assert text.count(old) == 1
    with pytest.raises(InputError) as caught:
        prototypes_file.read(text.replace(old, new).encode(), "p.csv", NAMES)
    shown = [str(one) for one in caught.value.diagnostics]
    assert any(one.startswith(f"p.csv:{line}:") and message in one for one in shown), shown


def test_all_problems_are_told_at_once() -> None:
    broken = (
        CONTENT.replace(b"x86_64", b"x").replace(b"char", b"ch-ar").replace(b"sync,all", b"S,a")
    )
    with pytest.raises(InputError) as caught:
        prototypes_file.read(broken, "p.csv", NAMES)
    assert len(caught.value.diagnostics) >= 3
