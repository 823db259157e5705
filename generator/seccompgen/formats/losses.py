"""Losses that a user may accept, by name, where a format cannot express all of a policy.

An accepted loss changes the policy before all else: program, file and proof are those of the
changed policy. Nothing else is lost.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.core.model import Action
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.formats.draft import Draft, Entry
    from seccompgen.formats.writing import Writer


_KIND = Problem.ACCEPTED_LOSS
_X32 = ABIS["x32"]


def accepted(
    policy: ResolvedPolicy, losses: Collection[str], how: Writer
) -> tuple[ResolvedPolicy, tuple[Diagnostic, ...]]:
    """Return ``policy`` without ``losses`` that its format forces on it; a note for each."""
    notes: list[Diagnostic] = []
    for name, lose in LOSSES.items():
        if name in losses:
            changed = lose(policy, how)
            if changed != policy:
                notes.append(_note(name, policy, changed))
            policy = changed
    return policy, tuple(notes)


def _note(name: str, before: ResolvedPolicy, after: ResolvedPolicy) -> Diagnostic:
    old, new = (_said(name, one) for one in (before, after))
    where = {
        "bad_arch_action": before.bad_arch_origin.position,
        "compat_arches": before.arches_origin.position,
    }
    text = f"accepted: {name} {old} becomes {new}"
    return Diagnostic(text, where.get(name), _KIND)


def _said(name: str, policy: ResolvedPolicy) -> str:
    match name:
        case "compat_arches":
            return f"[{', '.join(abi.name for abi in policy.compat_arches)}]"
        case "flags":
            return f"[{', '.join(policy.flags.names)}]"
    return str(policy.bad_arch_action)


def _bad_arch_action(policy: ResolvedPolicy, how: Writer) -> ResolvedPolicy:
    """Return ``policy`` with the format's answer to calls through other ABIs.

    x32's calls keep theirs where that is the default: formats that know only numbers give it.
    """
    own = Action(how.foreign)
    same = {policy.bad_arch_action, policy.default_action, policy.unknown_action}
    if len(same) == 1 and own not in same and how.numbers_x32 and ABIS["x86_64"] in policy.arches:
        policy = _with_plain_x32(policy)
    return replace(policy, bad_arch_action=own)


def _compat_arches(policy: ResolvedPolicy, how: Writer) -> ResolvedPolicy:
    """Return ``policy`` for its own ABIs; x32's calls get the format's default, if it has one."""
    kept = replace(policy, compat_arches=())
    return _with_plain_x32(kept) if how.numbers_x32 and _X32 in policy.compat_arches else kept


def _with_plain_x32(policy: ResolvedPolicy) -> ResolvedPolicy:
    """Return ``policy`` with the default for x32's calls, without rules for them."""
    if _X32 not in policy.compat_arches:
        policy = replace(policy, compat_arches=(*policy.compat_arches, _X32))
    here = {abi.name for abi in (*policy.arches, *policy.compat_arches)} - {_X32.name}
    own = frozenset(here)
    rules = (
        replace(one, abis=own & (own if one.abis is None else one.abis)) for one in policy.rules
    )
    return replace(policy, rules=tuple(one for one in rules if one.abis))


def _flags(policy: ResolvedPolicy, how: Writer) -> ResolvedPolicy:
    return replace(policy, flags=policy.flags & how.flags)


LOSSES: dict[str, Callable[[ResolvedPolicy, Writer], ResolvedPolicy]] = {
    "bad_arch_action": _bad_arch_action,
    "compat_arches": _compat_arches,
    "flags": _flags,
}
"""The losses by name, in the order in which they are applied."""

# --- conversions into our language -----------------------------------------------------------

UNNAMED_VALUES, OTHER_ERRNO = "unnamed_values", "other_errno"
AMENDED = (UNNAMED_VALUES, OTHER_ERRNO)
"""The side effects that a change in place may have on other calls: it refuses values above all that
have a name, or refuses a refused call with another errno."""
CONVERTED = {
    "high_bits": "comparisons cover the bits of arguments that the kernel reads, not more",
    "unused_numbers": "numbers without a call have no rule",
}
"""The losses that a conversion may have, by name, each with its meaning."""
_WHOLE = re.compile(r"\bu64\((\w+)\)")


def lose(draft: Draft, losses: Collection[str]) -> Draft:
    """Return ``draft`` without what ``losses`` name, with a note for each that it has."""
    for name in sorted(losses):
        changed = draft.with_entries(_plain if name == "high_bits" else _named)
        if changed.document().data != draft.document().data:
            changed.note(f"accepted: {name}: {CONVERTED[name]}", Position(draft.file), _KIND)
            draft = changed
    return draft


def _plain(entry: Entry) -> Entry:
    when = None if entry.when is None else _WHOLE.sub(r"\1", entry.when)
    return replace(entry, when=when)


def _named(entry: Entry) -> Entry | None:
    return entry if isinstance(entry.name, str) else None
