"""Differences between two tags in the arguments of calls that both tags have."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.facts import Facts, Parameter


@dataclass(frozen=True, slots=True)
class PrototypeChange:
    """The arguments of a call that differ on ``abis``, as text: ``arg5 pgoff: off_t``.

    ``before`` or ``after`` is empty if only the other tag has more arguments.
    """

    call: str
    abis: tuple[str, ...]
    before: str
    after: str


def compare_prototypes(before: Facts, after: Facts) -> list[PrototypeChange]:
    """Return the changed prototypes, on ABIs where both know the call, sorted by call."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for abi in (abi for abi in after.prototypes if abi in before.prototypes):
        old, new = before.prototypes[abi], after.prototypes[abi]
        for call in old.keys() & new.keys():
            if old[call].parameters != new[call].parameters:
                texts = _differing(old[call].parameters, new[call].parameters)
                found.setdefault((call, *texts), []).append(abi)
    return [
        PrototypeChange(call, tuple(abis), old, new)
        for (call, old, new), abis in sorted(found.items())
    ]


def _differing(old: Sequence[Parameter], new: Sequence[Parameter]) -> tuple[str, str]:
    pairs = [
        (_text(index, one, other), _text(index, other, one))
        for index, (one, other) in enumerate(zip_longest(old, new))
        if one != other
    ]
    before, after = (", ".join(filter(None, texts)) for texts in zip(*pairs, strict=True))
    return before, after


def _text(index: int, one: Parameter | None, other: Parameter | None) -> str:
    """Return ``one`` as text, with its bits if ``other`` has the same name and type."""
    if one is None:
        return ""
    same = other is not None and (one.name, one.type) == (other.name, other.type)
    return f"arg{index} {one.name}: {one.type}" + (f" ({one.bits} bits)" if same else "")
