"""The policies that are measured, and how other tools are told of them.

They are those of the tests' corpus, which others run in production. Where it is not there, the
project's stock policies stand in for them, as they apply to x86_64.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
from oracle import U32, U64
from resolved import Atom, Entry, Unreadable
from resolved import go_seccomp_bpf as stock

__all__ = ["Comparison", "Entry", "Unreadable", "for_peers", "production", "stock", "to_measure"]

if TYPE_CHECKING:
    from collections.abc import Callable

Comparison = tuple[int, str, int, int]

STOCK = Path(__file__).parents[1] / "policies"


def to_measure(note: Callable[[str], None]) -> dict[str, Entry]:
    """Return the corpus, or the stock policies in its place; tell ``note`` what is missing."""
    entries = production()
    if entries:
        return entries
    note("There is no corpus beside the checkout: the stock policies stand in for it.")
    for path in sorted(STOCK.glob("*.yml")):
        try:
            entries[path.stem] = stock(path)
        except Unreadable as error:
            note(f"Left out: {error}.")
    return entries


def production() -> dict[str, Entry]:
    """Return the corpus; empty where it is not there."""
    return corpus.production()


def for_peers(entry: Entry) -> dict[str, Any]:
    """Write a policy as rules that are calls to libseccomp or seccompy, in order.

    Each has one action and a conjunction of comparisons. Rules that change nothing are left out:
    libseccomp refuses some of them.
    """
    rules = []
    for nr, listed in entry["rules"].items():
        own: list[tuple[int, list[Comparison]]] = []
        for condition, action in listed:
            own += [(action, rule) for atoms in condition or [[]] for rule in _alternatives(atoms)]
            if condition is None:
                break
        while own and own[-1][0] == entry["default"]:
            own.pop()
        if own and not own[-1][1] and len({action for action, _ in own}) == 1:
            own = own[-1:]
        rules += [[int(nr), action, comparisons] for action, comparisons in own]
    return {"default": entry["default"], "rules": rules}


def _alternatives(conjunction: list[Atom]) -> list[list[Comparison]]:
    return [list(choice) for choice in product(*map(_comparisons, conjunction))]


def _comparisons(atom: Atom) -> list[Comparison]:
    """Return comparisons of which one must hold: in 64 bits, for that is all that peers have."""
    argument, op, value, mask, width = atom
    every = U32 if width == 32 else U64
    if op == "set":
        bits = [1 << bit for bit in range(64) if value >> bit & 1]
        return [(argument, "masked", bit, bit) for bit in bits]
    if op == "in":
        return [(argument, "masked", ~value & every, 0)]
    if op == "meq":
        return [(argument, "masked", mask, value)]
    if width == 64:
        return [(argument, op, value, 0)]
    below, above = _blocks(0, value - 1), _blocks(value + 1, U32)
    blocks = {
        "eq": [(U32, value)],
        "ne": below + above,
        "lt": below,
        "le": [*below, (U32, value)],
        "gt": above,
        "ge": [(U32, value), *above],
    }[op]
    return [(argument, "masked", block, start) for block, start in blocks]


def _blocks(low: int, high: int) -> list[tuple[int, int]]:
    """Return the 32-bit numbers ``low`` to ``high`` as masks, and what is under them."""
    found = []
    while low <= high:
        size = low & -low or 1 << 32
        while low + size - 1 > high:
            size //= 2
        found.append((U32 & -size, low))
        low += size
    return found
