"""Policies that are built, as near to them as settings of systemd's units can be, and what differs.

Some of what the list permits too much other settings take away again: each is written where it
refuses nothing that the policy permits, which is proved. systemd compares whole arguments, and the
kernel reads 32 bits of some: of these no program sets the others, nor signals of number 128.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading
from seccompgen.core.model import U32, Action, ActionKind, Comparison, Op, Rule
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy
from seccompgen.formats.systemd import reader as systemd
from seccompgen.formats.systemd.groups import DEFAULT_RELEASE
from seccompgen.formats.systemd.nearest import nearest_policy
from seccompgen.formats.systemd.writer import in_units
from seccompgen.pipeline.build import proved_program
from seccompgen.verify import Proof, meaning, prove
from seccompgen.verify.call import Call
from seccompgen.verify.relation import Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.systemd.nearest import NearestPolicy

_PERMITS_ALL = Relation(up_to=ActionKind.LOG)
_NO_FAMILIES = frozenset({"AF_UNSPEC", "AF_MAX", "AF_LOCAL", "AF_ROUTE"})
"""No families, and second names of some."""
_TYPES = range(1, 7)
"""SOCK_STREAM to SOCK_DCCP."""
_NEVER = {
    "socket": (0, Op.GT, U32),
    "unshare": (0, Op.GT, U32),
    "personality": (0, Op.GT, U32),
    **dict.fromkeys(("mmap", "mprotect", "pkey_mprotect"), (2, Op.GT, U32)),
    "clone": (0, Op.ANY_BITS, 0x80),
}
"""By call: arguments that no program passes, as a test."""
_WITHOUT_KERNEL = 252
"""A release whose MemoryDenyWriteExecute is a filter, which can be read."""


def nearest_units(built: Iterable[Built], tables: Tables, release: int | None) -> list[Built]:
    """Return what drop-ins can say of policies, with notes of what differs."""
    return [_nearest(one, tables, release) for one in built]


def _nearest(one: Built, tables: Tables, release: int | None) -> Built:
    abis = [program.abi for program in one.programs if in_units(program.abi)]
    near = nearest_policy(one.policy, tables, release)
    if not abis or not (near.whole or near.absent):
        return one
    settings = [
        line
        for line in _candidates(near, abis, tables)
        if _refuses_nothing(line, near, abis, tables)
    ]
    notes = list(_notes(near, settings, release))
    return one._replace(
        policy=near.policy,
        programs=tuple(proved_program(near.policy, abi, tables, one.objective) for abi in abis),
        notes=(
            *one.notes,
            *(Diagnostic(text, _top(one.policy), Problem.NOT_IN_UNIT) for text in notes),
        ),
        unit_lines=(*_comments(notes), *settings),
    )


def _comments(notes: Iterable[str]) -> Iterator[str]:
    import textwrap  # noqa: PLC0415 - only here

    for text in notes:
        yield from textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")


def _top(policy: ResolvedPolicy) -> Position:
    return Position(policy.sources[-1][0])


def _notes(near: NearestPolicy, settings: Sequence[str], release: int | None) -> Iterator[str]:
    if near.whole:
        text = "settings of a unit see no arguments, so that these calls are permitted with any: "
        text += ", ".join(near.whole)
        keys = ", ".join(line.partition("=")[0] + "=" for line in settings)
        yield text + (f"; a part of that is refused by {keys}" if keys else "")
    if near.absent:
        text = f"systemd {release or DEFAULT_RELEASE} does not know these, and answers ENOSYS: "
        yield text + ", ".join(near.absent)


def _candidates(near: NearestPolicy, abis: Sequence[Abi], tables: Tables) -> Iterator[str]:
    """Yield settings that take away some of what calls do that are permitted whole."""
    whole = {*near.whole}
    if whole & {"clone", "unshare"}:
        yield "RestrictNamespaces=yes"
    if "socket" in whole:
        families = sorted({name for abi in abis for name in _families(near.narrower, abi, tables)})
        yield f"RestrictAddressFamilies={' '.join(families) or 'none'}"
    if whole & {"mmap", "mprotect", "pkey_mprotect"}:
        yield "MemoryDenyWriteExecute=yes"
    if "personality" in whole:
        yield "LockPersonality=yes"


def _families(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Iterator[str]:
    """Yield the families of which some socket is permitted."""
    answers, number = meaning(policy, abi, tables), tables.tables[abi.name].numbers.get("socket")
    for name in tables.facts.constants:
        if name.startswith("AF_") and name not in _NO_FAMILIES and number is not None:
            family = tables.facts.value(name, abi)
            calls = (
                Call(number, abi.audit_arch, (family, kind, 0, 0, 0, 0))
                for kind in _TYPES
                if family is not None
            )
            if any(_PERMITS_ALL.permits(answers.answer(call)) for call in calls):
                yield name


def _as_called(policy: ResolvedPolicy, abi: Abi) -> ResolvedPolicy:
    """Return the policy that refuses what no program asks for, too."""
    at, refusal = policy.default_origin, Action(ActionKind.KILL_PROCESS)
    rules = (
        Rule(call, Comparison(argument, op, value, width=64), refusal, at.position, at)
        for call, (argument, op, value) in _NEVER.items()
        if abi.bits == 64
    )
    return replace(policy, rules=(*rules, *policy.rules))


def _refuses_nothing(line: str, near: NearestPolicy, abis: Sequence[Abi], tables: Tables) -> bool:
    """Return True if a setting refuses nothing that the policy permits."""
    reading = Reading(abis=tuple(abi.name for abi in abis), systemd=_WITHOUT_KERNEL)
    try:
        draft = systemd.read(f"[Service]\n{line}\n", "setting.conf", reading, tables)
        setting, _ = load_policy(draft.document(), tables)
    except InputError:
        return False
    return all(
        isinstance(
            prove(
                meaning(_as_called(near.narrower, abi), abi, tables),
                meaning(setting, abi, tables),
                relation=_PERMITS_ALL,
            ),
            Proof,
        )
        for abi in abis
    )
