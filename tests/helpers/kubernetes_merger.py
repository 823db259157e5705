"""Two profiles made into one by the rules that are public, written anew: for x86_64 alone.

``proposed`` has those of runtime-spec's issue 1317, which security-profiles-merger had up to 0.3;
``settled`` those of its later versions, for CRI runtimes by KEP-6061. The profile that they make
permits a call if both do. Left out is what is about other architectures, flags, listeners, sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

_U64 = (1 << 64) - 1
STRICTEST_FIRST = ("KILL_PROCESS", "KILL", "TRAP", "ERRNO", "NOTIFY", "TRACE", "LOG", "ALLOW")
_EPERM = 1
Condition = tuple[int, str, int, int]
"""An argument, an operator, its value, and the second value of MASKED_EQ."""


@dataclass(frozen=True)
class Clause:
    """``errno`` is None where the action has none."""

    action: str
    errno: int | None
    conditions: tuple[Condition, ...] = ()

    @property
    def answer(self) -> tuple[str, int | None]:
        return self.action, self.errno

    @property
    def rank(self) -> int:
        return STRICTEST_FIRST.index(self.action)


def _clause(holder: dict[str, Any], key: str, errno: str) -> Clause:
    action = holder[key].removeprefix("SCMP_ACT_").replace("KILL_THREAD", "KILL")
    number = holder.get(errno)
    takes = action in {"ERRNO", "TRACE"}
    return Clause(action, (_EPERM if number is None else number) if takes else None)


def _condition(one: dict[str, Any]) -> Condition:
    op, value = one["op"].removeprefix("SCMP_CMP_"), one["value"]
    return one["index"], op, value, one.get("valueTwo", 0) & value if op == "MASKED_EQ" else 0


def _entry(name: str, clause: Clause) -> dict[str, Any]:
    args = [
        {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}
        for index, op, value, two in clause.conditions
    ]
    errno = {} if clause.errno is None else {"errnoRet": clause.errno}
    return {"names": [name], "action": f"SCMP_ACT_{clause.action}", "args": args, **errno}


def _profile(default: Clause, rules: list[dict[str, Any]]) -> dict[str, Any]:
    errno = {} if default.errno is None else {"defaultErrnoRet": default.errno}
    head = {"defaultAction": f"SCMP_ACT_{default.action}", "architectures": ["SCMP_ARCH_X86_64"]}
    return {**head, **errno, "syscalls": rules}


def _default(profile: dict[str, Any]) -> Clause:
    return _clause(profile, "defaultAction", "defaultErrnoRet")


def stricter(left: Clause, right: Clause) -> Clause:
    """Return the stricter one; of the left one's errno if both have one action."""
    return left if left.rank <= right.rank else right


# --- as proposed ---------------------------------------------------------------------------------


def proposed(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Merge call by call: the stricter action, where the conditions of both hold."""
    sides = [_folded(left), _folded(right)]
    defaults = [_default(left), _default(right)]
    default = stricter(*defaults)
    rules = []
    for name in sorted({*sides[0], *sides[1]}):
        here = [side.get(name) for side in sides]
        if here[0] and here[1]:
            found = _both(here[0], here[1])
        else:
            place = 0 if here[0] else 1
            own = here[place]
            assert own
            other = defaults[1 - place]
            # An errno that comes from a default is the merged profile's.
            found = own if own.rank <= other.rank else replace(other, conditions=own.conditions)
        if found.action != default.action or found.conditions:
            rules.append(_entry(name, found))
    return _profile(default, rules)


def _folded(profile: dict[str, Any]) -> dict[str, Clause]:
    found: dict[str, Clause] = {}
    for entry in profile["syscalls"]:
        conditions = tuple(map(_condition, entry.get("args") or ()))
        one = replace(_clause(entry, "action", "errnoRet"), conditions=conditions)
        for name in entry["names"]:
            found[name] = _both(found[name], one) if name in found else one
    return found


def _both(left: Clause, right: Clause) -> Clause:
    """Return what both say; an argument that they compare otherwise kills."""
    by_argument = [
        {index: sorted(group) for index, group in groupby(sorted(one.conditions), lambda c: c[0])}
        for one in (left, right)
    ]
    first, second = by_argument
    if any(first[index] != second[index] for index in first.keys() & second.keys()):
        return Clause("KILL_PROCESS", None)
    merged = first | second
    conditions = tuple(one for index in sorted(merged) for one in merged[index])
    return replace(stricter(left, right), conditions=conditions)


# --- as settled ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rules:
    """The rules of a profile for one call: ``always``, or under conditions."""

    always: Clause | None = None
    under: tuple[Clause, ...] = ()


def settled(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Merge what libseccomp surely answers rightly; other calls get the strictest answer."""
    defaults = _default(left), _default(right)
    default = stricter(*defaults)
    sides = [_read(profile, own) for profile, own in zip((left, right), defaults, strict=True)]
    rules = []
    for name in sorted({*sides[0], *sides[1]}):
        here = [side.get(name, _Rules()) for side in sides]
        always, under = _merged(here[0], here[1], *defaults)
        found = _finished(default, always, under)
        rules += [_entry(name, one) for one in found]
    return _profile(default, rules)


def _read(profile: dict[str, Any], default: Clause) -> dict[str, _Rules]:
    found: dict[str, _Rules] = {}
    for entry in profile["syscalls"]:
        answer = _clause(entry, "action", "errnoRet")
        if answer.answer == default.answer:
            continue
        every = sorted(map(_condition, entry.get("args") or ()))
        alone = len({one[0] for one in every}) < len(every)
        for conditions in [[one] for one in every] if alone else [every]:
            kept = tuple(one for one in conditions if one[1] != "MASKED_EQ" or one[2])
            for name in entry["names"]:
                rules = found.get(name, _Rules())
                one = replace(answer, conditions=kept)
                if kept:
                    under = rules.under if one in rules.under else (*rules.under, one)
                    found[name] = replace(rules, under=under)
                elif not rules.always:
                    found[name] = replace(rules, always=one)
    for name, rules in list(found.items()):
        if rules.always:
            found[name] = _Rules(rules.always)
        elif not _is_safe(rules.under):
            found[name] = _Rules(_collapsed(default, rules.under))
    return found


def _collapsed(default: Clause, under: tuple[Clause, ...]) -> Clause | None:
    """Return the strictest answer; None if that is the default's."""
    found = default
    for one in under:
        found = stricter(found, one)
    return None if found.answer == default.answer else replace(found, conditions=())


_COMPLEMENTS = {"EQ": "NE", "NE": "EQ", "LT": "GE", "GE": "LT", "LE": "GT", "GT": "LE"}


def _is_safe(under: tuple[Clause, ...]) -> bool:
    """Return True for rules of one call that libseccomp is known to answer rightly."""
    if len(under) <= 1:
        return True
    if any(len(one.conditions) != 1 for one in under):
        return False
    tests = [one.conditions[0] for one in under]
    indices = [test[0] for test in tests]
    lows = {test[2] & 0xFFFFFFFF for test in tests}
    if len({*indices}) == 1 and {t[1] for t in tests} == {"EQ"} and len(lows) == len(tests):
        return True
    if len(tests) == 2 and _complement(tests[0]) == tests[1]:
        return True
    wide = {t[0] for t in tests if t[1] in {"LT", "LE", "GT", "GE"} and t[2] > 0xFFFFFFFF}
    shared = {index for index in indices if indices.count(index) > 1}
    return len({one.answer for one in under}) == 1 and not wide & shared


def _complement(test: Condition) -> Condition | None:
    index, op, value, _ = test
    return (index, _COMPLEMENTS[op], value, 0) if op in _COMPLEMENTS else None


def _merged(
    left: _Rules, right: _Rules, left_default: Clause, right_default: Clause
) -> tuple[Clause, list[Clause]]:
    left_rest, right_rest = left.always or left_default, right.always or right_default
    found = _lowered(left.under, right.under, right_rest)
    found += _lowered(right.under, left.under, left_rest)
    for one in left.under:
        for other in right.under:
            together = tuple(sorted({*one.conditions, *other.conditions}))
            alone = len({test[0] for test in together}) == len(together)
            if alone and not _disjoint(one, other):
                found.append(replace(stricter(one, other), conditions=together))
    return stricter(left_rest, right_rest), found


def _lowered(under: tuple[Clause, ...], others: tuple[Clause, ...], rest: Clause) -> list[Clause]:
    """Return rules with the strictest answer that the other side may give where they match."""
    found = []
    for one in under:
        answer, covered = one, False
        for other in others:
            if not _disjoint(one, other):
                covered = covered or {*other.conditions} <= {*one.conditions}
                answer = stricter(answer, other)
        answer = answer if covered else stricter(answer, rest)
        found.append(replace(answer, conditions=one.conditions))
    return found


def _disjoint(left: Clause, right: Clause) -> bool:
    return any(
        one[0] == other[0] and _excludes(one, other)
        for one in left.conditions
        for other in right.conditions
    )


def _excludes(one: Condition, other: Condition) -> bool:
    for first, second in ((one, other), (other, one)):
        if first[1] == "EQ":
            return not _holds(second, first[2])
    ranges = [_range(test) for test in (one, other)]
    if ranges[0] is None or ranges[1] is None:
        return False
    return ranges[0][1] < ranges[1][0] or ranges[1][1] < ranges[0][0]


def _range(test: Condition) -> tuple[int, int] | None:
    _, op, value, _ = test
    found = {"LT": (0, value - 1), "LE": (0, value), "GT": (value + 1, _U64), "GE": (value, _U64)}
    low, high = found.get(op, (1, 0))
    return (low, high) if low <= high else None


def _holds(test: Condition, value: int) -> bool:
    _, op, of, two = test
    return {
        "EQ": value == of,
        "NE": value != of,
        "LT": value < of,
        "LE": value <= of,
        "GT": value > of,
        "GE": value >= of,
        "MASKED_EQ": value & of == two,
    }[op]


def _finished(default: Clause, always: Clause, under: list[Clause]) -> list[Clause]:
    """Return the entries of one call: one alone, or some that libseccomp answers rightly."""
    rest: Clause | None = always
    if always.answer == default.answer:
        rest, under = None, _pruned(under, default)
    elif always.action == default.action:
        under = _pruned(under, always)
        if any(one.action != always.action for one in under):
            rest, under = None, _pruned(under, default)
    else:
        under = _pruned(under, always)
    if rest and under:
        rest, under = _side_by_side(rest, under)
    if under and not _is_safe(tuple(under)):
        rest, under = _collapsed(default, tuple(under)), []
    alone = [rest] if rest and rest.answer != default.answer else []
    return [*alone, *under]


def _side_by_side(rest: Clause, under: list[Clause]) -> tuple[Clause | None, list[Clause]]:
    """Return rules for a call that has one without conditions, which would hide all others."""
    kept = [one for one in _least_strict(under) if one.action != rest.action]
    if len(kept) == 1 and len(kept[0].conditions) == 1:
        other = _complement(kept[0].conditions[0])
        if other:
            return None, [kept[0], replace(rest, conditions=(other,))]
    for one in kept:
        rest = replace(stricter(rest, one), conditions=())
    return rest, []


def _least_strict(under: list[Clause]) -> list[Clause]:
    """Return one rule for each set of conditions, the least strict."""
    found: dict[tuple[Condition, ...], Clause] = {}
    for one in under:
        before = found.get(one.conditions)
        found[one.conditions] = one if before is None or before.rank < one.rank else before
    return list(found.values())


def _pruned(under: list[Clause], rest: Clause) -> list[Clause]:
    """Return the rules that decide something, where ``rest`` answers what they do not match."""
    kept = [one for one in _least_strict(under) if one.answer != rest.answer]
    return sorted(
        (
            one
            for one in kept
            if not any(
                {*other.conditions} < {*one.conditions}
                and (one.answer == other.answer or one.rank < other.rank)
                for other in kept
            )
        ),
        key=lambda one: one.conditions,
    )
