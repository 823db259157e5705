"""The lines of a bump about prototypes that changed."""

from __future__ import annotations

from seccompgen.core.facts import Facts, Parameter, Prototype
from seccompgen.kernel.fact_changes import PrototypeChange, compare_prototypes

FD = Parameter("fd", "int", 32, signed=True)
MODE = Parameter("mode", "umode_t", 16)


def facts(**calls: tuple[Parameter, ...] | None) -> Facts:
    known = {name: Prototype(f"sys_{name}", one) for name, one in calls.items() if one is not None}
    return Facts(prototypes={"arm": known, "i386": known})


def test_changes_of_arguments() -> None:
    before = facts(same=(FD,), gone=(FD,), more=(FD,), less=(FD, MODE), other=(FD, MODE))
    after = facts(same=(FD,), new=(FD,), more=(FD, MODE), less=(FD,), other=(FD, FD))
    assert compare_prototypes(before, after) == [
        PrototypeChange("less", ("arm", "i386"), "arg1 mode: umode_t", ""),
        PrototypeChange("more", ("arm", "i386"), "", "arg1 mode: umode_t"),
        PrototypeChange("other", ("arm", "i386"), "arg1 mode: umode_t", "arg1 fd: int"),
    ]


def test_bits_are_told_where_these_alone_differ() -> None:
    narrow = Parameter("fd", "int", 8, signed=True)
    after = facts(close=(narrow,))
    on_one = Facts(prototypes={"i386": facts(close=(FD,)).prototypes["i386"], "sh": {}})
    assert compare_prototypes(on_one, after) == [
        PrototypeChange("close", ("i386",), "arg0 fd: int (32 bits)", "arg0 fd: int (8 bits)")
    ]
    assert compare_prototypes(Facts(), after) == []
