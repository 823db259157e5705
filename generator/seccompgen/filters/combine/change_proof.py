"""Prove that one policy is another one with some calls refused or allowed, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, ActionKind, kind_of_ret
from seccompgen.core.word import ARCH, ARGS, NR
from seccompgen.formats import filter_names, translate
from seccompgen.formats.amending import refuses
from seccompgen.formats.losses import OTHER_ERRNO
from seccompgen.render.call_names import difference_text
from seccompgen.verify import SAME, Difference, Meaning, Relation, meaning, prove
from seccompgen.verify.oracle import Case, FieldTest, OneOf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.amending import Change

_LEAST_LAX = Relation(ActionKind.USER_NOTIF)
_KEPT = ("arches", "compat_arches", "settings", "default_action", "unknown_action", "kernel")


def unproved(
    before: ResolvedPolicy,
    after: ResolvedPolicy,
    change: Change,
    tables: Tables,
    *,
    any_refusal: bool = False,
) -> str | None:
    """Return why ``after`` is not ``before`` with a change; None if that is proved for every call.

    Changed calls get one answer on each ABI. Calls that do not count (`Change.most`) are answered
    as before or refused. With ``any_refusal``, a refusal is as good as another.
    """
    for key in _KEPT:
        if getattr(before, key) != getattr(after, key):
            return f"it changes {key}"
    for abi in before.arches:
        old, new = (meaning(one, abi, tables) for one in (before, after))
        if any_refusal:
            old, new = map(_of_one_refusal, (old, new))
        if text := _unproved_on(old, new, before, change, tables):
            return text
    return None


def changes_nothing(before: ResolvedPolicy, change: Change, tables: Tables) -> bool:
    """Return True if a policy answers all calls of a change already as it asks for."""
    for abi in before.arches:
        old = meaning(before, abi, tables)
        marked = _changed(old, meaning(change.calls, abi, tables), change, _mark(change))
        if isinstance(prove(old, marked), Difference):
            return False
    return True


def other_filter(
    texts: tuple[bytes, bytes], file: str, reading: Reading, tables: Tables
) -> str | None:
    """Return the name of a filter, but that of ``reading``, that differs between two texts."""
    for name in filter_names(texts[0], file, reading):
        if name != reading.thread:
            own = replace(reading, thread=name)
            before, after = (translate(one, file, own, tables) for one in texts)
            if not before or not after or before.document().data != after.document().data:
                return name
    return None


def _of_one_refusal(one: Meaning) -> Meaning:
    """Return a meaning in which all refusals are the same."""
    refusal = ActionKind.KILL_PROCESS.value
    cases = (
        replace(case, ret=refusal) if refuses(kind_of_ret(case.ret)) else case for case in one.cases
    )
    return Meaning(one.abi, tuple(cases))


def _unproved_on(
    old: Meaning, new: Meaning, before: ResolvedPolicy, change: Change, tables: Tables
) -> str | None:
    abi = old.abi
    found = prove(old, new)
    answer = found.right if isinstance(found, Difference) else _mark(change)
    kind = kind_of_ret(answer)
    if not (kind.lets_through if change.allows else refuses(kind)):
        assert isinstance(found, Difference)
        return difference_text(found, ("before", "after"), abi, tables)
    wanted = _changed(old, meaning(change.calls, abi, tables), change, answer)
    ignored = tuple(_ignored(abi, before, change, tables, old.cases[-1].origin))
    pairs = [(Meaning(abi, (*ignored, *wanted.cases)), Meaning(abi, (*ignored, *new.cases)), SAME)]
    if ignored:
        pairs.append((new, wanted, _LEAST_LAX))
    for left, right, relation in pairs:
        result = prove(left, right, relation=relation)
        if isinstance(result, Difference):
            names = ("wanted", "after") if relation is SAME else ("after", "wanted")
            text = difference_text(result, names, abi, tables)
            both = all(refuses(kind_of_ret(one)) for one in (result.left, result.right))
            hint = f" (with --accept {OTHER_ERRNO} that is no reason)" if both else ""
            return f"{text}{hint}"
    return None


def _mark(change: Change) -> int:
    kind = ActionKind.ALLOW if change.allows else ActionKind.KILL_PROCESS
    return int(kind.value)


def _changed(old: Meaning, calls: Meaning, change: Change, answer: int) -> Meaning:
    """Return ``old`` with ``answer`` to the calls that change."""
    marked = list(_relevant(calls, change))
    cases: list[Case] = []
    for case in old.cases:
        if change.concerns(kind_of_ret(case.ret)):
            cases += (
                Case(
                    (*case.tests, *one.tests),
                    answer if _is_changed(one, change) else case.ret,
                    case.origin,
                )
                for one in marked
                if _meet(case, one)
            )
        cases.append(case)
    return Meaning(old.abi, tuple(cases))


def _relevant(calls: Meaning, change: Change) -> Iterator[Case]:
    """Yield the cases of changed calls, and those before them that make exceptions."""
    for n, case in enumerate(calls.cases):
        later = (one for one in calls.cases[n + 1 :] if _is_changed(one, change))
        if _is_changed(case, change) or any(_meet(case, one) for one in later):
            yield case


def _is_changed(case: Case, change: Change) -> bool:
    return kind_of_ret(case.ret).lets_through == change.allows


def _meet(one: Case, other: Case) -> bool:
    """Return False if no call can match both cases, by their audit values and numbers."""
    (arch, numbers), (other_arch, other_numbers) = _place(one), _place(other)
    if None not in {arch, other_arch} and arch != other_arch:
        return False
    return numbers is None or other_numbers is None or not numbers.isdisjoint(other_numbers)


def _place(case: Case) -> tuple[int | None, frozenset[int] | None]:
    arch = next(
        (
            test.value
            for test in case.tests
            if isinstance(test, FieldTest) and (test.field, test.relation) == (ARCH, "==")
        ),
        None,
    )
    numbers = [test.values for test in case.tests if isinstance(test, OneOf) and test.field == NR]
    return arch, frozenset.intersection(*numbers) if numbers else None


def _ignored(
    abi: Abi, before: ResolvedPolicy, change: Change, tables: Tables, origin: Origin
) -> Iterator[Case]:
    """Yield cases for the calls that do not count; their answer is the same on both sides."""
    for one in (abi, *before.compat_of(abi)):
        table = tables.tables[one.name]
        for name in change.names:
            if name in table.numbers:
                for argument, most in change.most(name, one).items():
                    tests = (
                        FieldTest(ARCH, "==", one.audit_arch),
                        OneOf(NR, frozenset({table.numbers[name] & U32})),
                        FieldTest(ARGS + argument, ">", most),
                    )
                    yield Case(tests, ActionKind.KILL_PROCESS.value, origin)
