"""The attacks of `escape` in a guest: what they need, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from escape import attacks
from escape.attack import ATTACKS, Outcome
from escape.judge import judged
from escape.promises import POLICIES
from escape.scene import FOREIGN
from guests.stock import NO_PROGRAM
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from escape.attack import Attack
    from guests.machines import Guest

attacks.load()

_REFUSED_BY_ITSELF = "the kernel refuses that by itself, in every release that was seen"
_BY_X32 = "Debian builds no kernel with x32"
NOWHERE: dict[str, str] = {
    "a_timer_for_another": _REFUSED_BY_ITSELF,
    "another_map_of_itself": _REFUSED_BY_ITSELF,
    "execute_at_by_the_number_of_o32": "o32 has a fifth argument on the stack, which we cannot put",
    "execute_x86_64s_number_with_x32s_bit": _BY_X32,
    "grow_with_garbage_above": _REFUSED_BY_ITSELF,
    "its_core_cookie": "no emulated processor has two threads a core",
    "listen_at_another_port_than_it_was_bound_to": _REFUSED_BY_ITSELF,
    "listen_with_a_pair": _REFUSED_BY_ITSELF,
    "listen_with_what_was_accepted": _REFUSED_BY_ITSELF,
    "map_for_writing_what_is_open_for_reading": _REFUSED_BY_ITSELF,
    "protect_with_garbage_above": _REFUSED_BY_ITSELF,
    "reopen_through_proc": _REFUSED_BY_ITSELF,
    "socket_of_family_40_datagram_protocol_0": "no transport of vsock here has datagrams",
    "socket_of_family_4_datagram_protocol_0": "Linux has no IPX since 5.15, Debian's not before",
    "start_shadow_memory": "the emulated processor has no shadow stacks",
    "uselib": "there is no library of the old kind to load",
    "watch_keys": "Debian builds no kernel with CONFIG_WATCH_QUEUE",
    **{one.name: _BY_X32 for one in ATTACKS if one.name.endswith("_by_the_number_of_x32")},
}
"""Attacks that no guest lets through, and the reason. Each is made nevertheless: where a kernel
lets it through one day, it has to be held off."""

_ESCAPE = Path(__file__).parents[1] / "escape"
_IN_GUESTS = ("attack", "foreign", "run", "scene", "tracing")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The number of attacks held off, the others by name with what kept the guest from trying them,
    and what is wrong: an attack on two policies counts twice. ``through`` are the names of those
    that get through without a filter."""

    tried: int
    through: list[str]
    untried: dict[str, str]
    differences: list[str]


def sources(module: str) -> dict[str, bytes]:
    """Return what a guest runs, by path: ``main()`` of a module of `inside`, and what they import.

    These are the scripts for guests, and the attacks.
    """
    paths = [_ESCAPE / f"{name}.py" for name in _IN_GUESTS]
    paths += sorted((_ESCAPE / "attacks").glob("*.py"))
    paths += sorted((Path(__file__).parent / "inside").glob("*.py"))
    files = {str(path.relative_to(_ESCAPE.parent)): path.read_bytes() for path in paths}
    return {"main.py": f"from guests.inside.{module} import main\n".encode(), **files}


def attacks_of(guest: Guest, share: slice) -> list[Attack]:
    """Return which a guest makes, in order: a share of those that all ABIs have, and all of its
    own; and where these leave out a promise, or what is none, the first that is made on it.
    """
    usable = [one for one in ATTACKS if one.exists(guest.abi)]
    chosen = {one.name for one in [one for one in usable if not one.abis][share]}
    chosen |= {one.name for one in usable if one.abis}
    tried = {promise for one in usable if one.name in chosen for promise in _promises(one)}
    for one in usable:
        if _promises(one) - tried:
            chosen.add(one.name)
            tried |= _promises(one)
    return [one for one in usable if one.name in chosen]


def _promises(one: Attack) -> set[tuple[str, str]]:
    return set(one.against.items())


def plan(guest: Guest, share: slice) -> dict[str, Any]:
    """Return what ``escape.run.outcomes`` needs to know."""
    tables = plain_tables()
    return {
        "abi": guest.abi,
        "foreign": {name: dict(tables[name]) for name in FOREIGN.get(guest.abi, ())},
        "attacks": [one.name for one in attacks_of(guest, share)],
        "policies": [name for name in POLICIES if (guest.abi, name) not in NO_PROGRAM],
    }


def judge(
    guest: Guest, share: slice, report: Mapping[str, Mapping[str, tuple[str, str]]]
) -> Verdict:
    """Judge what a guest reports: by policy, "" without one, and attack."""
    tried = 0
    untried: dict[str, str] = {}
    differences = []
    for one in attacks_of(guest, share):
        for policy in one.against:
            if (guest.abi, policy) in NO_PROGRAM:
                continue
            if one.name not in report[policy]:
                differences.append(f"attack {one.name} on {policy}: it was not made")
                continue
            free, confined = (Outcome(*report[key][one.name]) for key in ("", policy))
            found = judged(one, free, confined, chosen=True)
            if found.wrong:
                differences.append(f"attack {one.name} on {policy}: {found.wrong}")
            elif found.untried:
                untried[one.name] = found.untried
            else:
                tried += 1
    through = [name for name, (kind, _) in report[""].items() if kind == "escaped"]
    return Verdict(tried, through, untried, differences)


def held_by_nobody(through: Iterable[str]) -> list[str]:
    """Return the attacks that no guest lets through, ``through`` being those that some guest does.

    That a filter holds such an attack off says nothing.
    """
    return sorted({one.name for one in ATTACKS} - set(through) - NOWHERE.keys())


def let_through_after_all(through: Iterable[str]) -> list[str]:
    """Return the attacks of `NOWHERE` that a guest lets through: their reasons hold no longer."""
    return sorted(NOWHERE.keys() & set(through))
