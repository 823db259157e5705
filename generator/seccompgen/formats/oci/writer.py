"""Write a policy as an OCI seccomp profile, or report why no profile can express it.

Container runtimes pass a profile to libseccomp, which defines its meaning. A rule names calls and
compares each argument at most once; all its comparisons must hold. Rules have no order. A call that
no rule matches gets the default action, as does a number that libseccomp does not know. Other ABIs
get kill_thread, whatever the profile says.

A policy's first match becomes rules that do not overlap. Only what libseccomp compiles correctly is
used: one rule with any comparisons, if it covers all that a call's arguments decide, and otherwise
rules of ``MASKED_EQ`` alone (its trees are wrong if several rules of one call compare by order or
by ``NE``).

Sources: runtime-spec's config-linux.md, seccomp_rule_add(3).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.model import (
    ERRNO_MAX,
    RET_DATA_MAX,
    U32,
    U64,
    ActionKind,
    Comparison,
    Op,
    comparisons,
)
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Box, Sets
from seccompgen.core.settings import FilterFlag
from seccompgen.formats.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action, Origin, ResolvedPolicy, Rule
    from seccompgen.core.tables import Table, Tables

MOST_ALTERNATIVES = 256
"""The most rules for one call. Nobody could read more, and a runtime adds them one by one."""

_KILL_THREAD = ActionKind.KILL_THREAD.value
_FEW = 4
"""The most names that are written on the line of their rule."""
_EXACT = {"x86_64", "aarch64", "riscv64", "loongarch64", "ppc64le", "ppc64", "s390x"}


@dataclass(frozen=True, slots=True)
class ProfileMatch:
    """One comparison of an argument, 0 to 5, unsigned and 64 bits wide.

    ``op`` is SCMP_CMP_*; for MASKED_EQ ``value`` is the mask and ``value_two`` the masked value.
    """

    index: int
    op: str
    value: int
    value_two: int = 0


@dataclass(frozen=True, slots=True)
class ProfileRule:
    """Calls by name, comparisons that must all hold, and the SECCOMP_RET value if they do."""

    names: tuple[str, ...]
    matches: tuple[ProfileMatch, ...]
    ret: int


@dataclass(frozen=True, slots=True)
class OciProfile:
    """A profile for one filter, which answers for ``architectures``.

    ``default`` is a SECCOMP_RET value, ``flags`` those of its filter.
    """

    architectures: tuple[str, ...]
    default: int
    flags: FilterFlag
    rules: tuple[ProfileRule, ...]


def architecture(abi: Abi) -> str | None:
    """Return the name of ``abi`` in profiles; None if no profile is exact for it.

    Profiles are exact for the 64-bit ABIs on which containers run, except MIPS: there libseccomp
    treats calls through another MIPS ABI as unknown ones. On 32-bit ABIs it compares halves of
    arguments, and lets one call be made through another.
    """
    return _architecture(abi) if abi.name in _EXACT else None


def _architecture(abi: Abi) -> str | None:
    return next((name for name in abi.aliases if name.startswith("SCMP_ARCH_")), None)


def profile(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> OciProfile:
    """Return the profile for ``abi``, for which `architecture` has a name.

    Raises one InputError with all that a profile cannot express, each at its position in the
    policy.
    """
    served = (abi, *policy.compat_of(abi))
    architectures = tuple(name for one in served if (name := _architecture(one)))
    problems = [*_settings(policy, abi), *_actions(policy), *_nameless(policy, abi, tables)]
    if problems:
        raise InputError(*problems, kind=Problem.NOT_IN_OCI_PROFILE)
    default = policy.unknown_action.ret(abi)
    table = tables.tables[abi.name]
    sets = Sets()
    grouped: dict[tuple[tuple[tuple[ProfileMatch, ...], int], ...], list[str]] = {}
    said: set[str] = set()
    for one in served:
        own = tables.tables[one.name]
        for calls, rules in _calls(policy, own):
            names = [call for call in calls if call not in said]
            if not names:
                continue
            try:
                answers = _answers(sets, policy, one, rules, default, narrows=len(served) > 1)
            except _TooManyError:
                text = f"an OCI profile would take more than {MOST_ALTERNATIVES} rules for "
                text += f"{names[0]}; make its conditions simpler"
                problems.append(Diagnostic(text, rules[0].origin.position))
                continue
            tested = any(matches for matches, _ in answers)
            if one is not abi and tested and MULTIPLEXED.keys() & {*names}:
                continue  # libseccomp derives its rules from those for the calls behind it
            grouped.setdefault(answers, []).extend(names)
        said.update(own.numbers)
    rules_of = {call: answers for answers, calls in grouped.items() for call in calls}
    problems += _multiplexed(policy, abi, table, rules_of)
    if problems:
        raise InputError(*problems, kind=Problem.NOT_IN_OCI_PROFILE)
    rules_made = tuple(
        ProfileRule(tuple(calls), matches, ret)
        for answers, calls in grouped.items()
        for matches, ret in answers
    )
    flags = policy.flags & (FilterFlag.LOG | FilterFlag.SPEC_ALLOW)
    return OciProfile(architectures, default, flags, rules_made)


def _calls(policy: ResolvedPolicy, table: Table) -> Iterator[tuple[list[str], list[Rule]]]:
    """Yield the names of each number of an ABI, and its rules in order."""
    by_number: dict[int, list[Rule]] = {nr: [] for nr in sorted(table.names)}
    for rule in policy.rules:
        number = table.number_of(rule.name) if rule.applies_to(table.abi) else None
        if number in by_number:
            by_number[number].append(rule)
    names: dict[int, list[str]] = {nr: [] for nr in by_number}
    for call, nr in sorted(table.numbers.items()):
        names[nr].append(call)
    return ((names[nr], rules) for nr, rules in by_number.items())


def _settings(policy: ResolvedPolicy, abi: Abi) -> Iterator[Diagnostic]:
    """Yield an error for each setting of the policy that no profile can express."""
    if policy.bad_arch_action.ret(abi) != _KILL_THREAD:
        yield Diagnostic(
            f"an OCI profile cannot express {policy.said('bad_arch_action')}: runtimes answer "
            "calls through other ABIs with kill_thread; say `bad_arch_action: kill_thread`, in a "
            "policy that includes this one if others need it as it is, or build with "
            "`--accept bad_arch_action`",
            policy.bad_arch_origin.position,
        )
    nameless = [one.name for one in policy.compat_of(abi) if _architecture(one) is None]
    if nameless:
        yield Diagnostic(
            f"libseccomp does not know {', '.join(nameless)}; take it out of compat_arches",
            policy.arches_origin.position,
        )
    if policy.flags & (FilterFlag.NEW_LISTENER | FilterFlag.WAIT_KILLABLE_RECV):
        yield Diagnostic(
            "an OCI profile has a listener only if its runtime gets a socket for it; take "
            "new_listener and wait_killable_recv out of flags",
            Position(policy.file),
        )


def _actions(policy: ResolvedPolicy) -> Iterator[Diagnostic]:
    """Yield an error for each action that no profile can express."""
    said: list[tuple[Action, Origin]] = [
        (policy.default_action, policy.default_origin),
        (policy.unknown_action, policy.unknown_origin),
        *((rule.action, rule.origin) for rule in policy.rules),
    ]
    for action, origin in dict.fromkeys(said):
        if action.kind is ActionKind.USER_NOTIF:
            text = "user_notif: the runtime needs a socket for the listener; use another action"
        elif action.kind is ActionKind.TRAP and action.data:
            text = f"{action}: libseccomp's trap carries no number; write trap"
        elif action.kind is ActionKind.ERRNO and action.data > ERRNO_MAX - 1:
            text = f"{action}: libseccomp accepts errno values up to {ERRNO_MAX - 1}"
        else:
            continue
        yield Diagnostic(f"an OCI profile cannot express {text}", origin.position)


def _nameless(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Iterator[Diagnostic]:
    """Yield an error for each rule for a number that no call has: a profile names calls."""
    names = tables.tables[abi.name].names
    for rule in policy.rules:
        number = tables.tables[abi.name].number_of(rule.name) if rule.applies_to(abi) else None
        if number is not None and number not in names:
            text = f"an OCI profile cannot express {rule.name}, a number without a name"
            yield Diagnostic(text, rule.position)


class _TooManyError(Exception):
    """A call would take more than `MOST_ALTERNATIVES` rules."""


def _answers(
    sets: Sets,
    policy: ResolvedPolicy,
    abi: Abi,
    rules: Sequence[Rule],
    default: int,
    *,
    narrows: bool,
) -> tuple[tuple[tuple[ProfileMatch, ...], int], ...]:
    """Return pairs of comparisons and SECCOMP_RET value for the arguments not answered ``default``.

    No two pairs match the same arguments. With ``narrows`` they are also exact on ABIs for which
    libseccomp compares the low words alone.
    """
    rest = policy.default_action.ret(abi)
    (first, *others) = rules or (None,)
    if first is None:
        return () if rest == default else (((), rest),)
    ret = first.action.ret(abi)
    if not others and rest == default != ret and (plain := _plain(first)) is not None:
        return ((plain, ret),)
    pieces: list[tuple[Box, int]] = []
    left = [EVERYTHING]
    for rule in rules:
        box = sets.box(rule.condition)
        here = [hit for part in left if NOTHING not in (hit := sets.common(part, box))]
        pieces += ((hit, rule.action.ret(abi)) for hit in here)
        left = [piece for part in left for piece in sets.without(part, box)]
        if len(left) > MOST_ALTERNATIVES:
            raise _TooManyError
    pieces += ((part, rest) for part in left)
    if len({ret for _, ret in pieces}) == 1:
        pieces = [(EVERYTHING, pieces[0][1])]
    tested = {n for box, _ in pieces for n, part in enumerate(box) if part != ALL}
    # libseccomp is wrong if rules compare several arguments, and some by order.
    ordered = narrows and len(tested) == 1
    found = [
        (matches, ret)
        for box, ret in pieces
        if ret != default
        for matches in itertools.islice(
            _alternatives(sets, box, ordered=ordered), MOST_ALTERNATIVES + 1
        )
    ]
    if len(found) > MOST_ALTERNATIVES:
        raise _TooManyError
    return tuple(found)


def _plain(rule: Rule) -> tuple[ProfileMatch, ...] | None:
    """Return a rule's comparisons one for one; None if a profile needs another form."""
    tests = list(comparisons(rule.condition))
    matches = [_match(test) for test in tests]
    if len({test.argument for test in tests}) < len(tests) or None in matches:
        return None
    return tuple(match for match in matches if match)


def _match(test: Comparison) -> ProfileMatch | None:
    mask = test.mask & (U64 if test.width == 64 else U32)
    match test.op:
        case Op.EQ | Op.MASKED_EQ if mask != U64:
            return ProfileMatch(test.argument, "MASKED_EQ", mask, test.value)
        case Op.NO_BITS:
            return ProfileMatch(test.argument, "MASKED_EQ", test.value, 0)
        case Op.ANY_BITS:
            return None
        case Op.MASKED_EQ:
            return ProfileMatch(test.argument, "EQ", test.value)
        case _ if mask == U64:
            return ProfileMatch(test.argument, test.op.name, test.value)
    return None


def _alternatives(sets: Sets, box: Box, *, ordered: bool) -> Iterator[tuple[ProfileMatch, ...]]:
    """Yield disjoint conjunctions that together make up ``box``."""
    choices = [
        list(_choices(sets, n, part, ordered=ordered)) for n, part in enumerate(box) if part != ALL
    ]
    yield from itertools.product(*choices)


def _choices(sets: Sets, argument: int, node: int, *, ordered: bool) -> Iterator[ProfileMatch]:
    """Yield comparisons; exactly one of them holds for each value of a set.

    They are ``MASKED_EQ`` or ``EQ``. If ``ordered``, the values above the greatest missing one
    become a ``GT``, so that no mask tests high words where only the low ones are compared.
    """
    last = sets.greatest(sets.minus(ALL, node))
    if ordered and last < U32:
        yield ProfileMatch(argument, "GT", last)
        node = sets.minus(node, sets.above(U64, last))
    for mask, value in sets.cubes(node):
        if mask == U64:
            yield ProfileMatch(argument, "EQ", value)
        else:
            yield ProfileMatch(argument, "MASKED_EQ", mask, value)


def _multiplexed(
    policy: ResolvedPolicy,
    abi: Abi,
    table: Table,
    rules_of: dict[str, tuple[tuple[tuple[ProfileMatch, ...], int], ...]],
) -> Iterator[Diagnostic]:
    """Yield an error for each multiplexer whose calls do not all have one unconditional answer."""
    if abi.name not in {"ppc64", "ppc64le", "s390x"}:
        return
    # Here libseccomp makes two rules of one: for the call itself and for its multiplexer.
    for through, listed in MULTIPLEXED.items():
        calls = set(listed.split())
        answers = {rules_of[call] for call in (through, *sorted(calls)) if call in table.numbers}
        plain = all(not matches for answer in answers for matches, _ in answer)
        if len(answers) > 1 or not plain:
            yield Diagnostic(
                f"on {abi.name} {through} also makes other calls, and libseccomp applies their "
                f"rules to it: give {through} and these calls one answer, without conditions, or "
                f"take {abi.name} out of arches: "
                + ", ".join(sorted(calls & table.numbers.keys())),
                next(
                    (rule.origin.position for rule in policy.rules if rule.name in calls),
                    policy.default_origin.position,
                ),
            )


def render_profile(profile: OciProfile) -> bytes:
    """Return ``profile`` as the ``linux.seccomp`` of runtime-spec.

    ``flags`` are always written: without them, runtimes set SPEC_ALLOW. Docker and Podman drop an
    empty list. TSYNC, which would change nothing, cannot be added to prevent that: runc 1.1 refuses
    every flag.

    The last rule has the default action, so that runtimes skip it; its name, which no call has, is
    a digest of all the rest. crun (1.21) caches programs by a digest of the profile without the
    errno numbers of rules: a profile that differs only in these would get the other's program.
    """
    action, data = _action(profile.default)
    names = (flag.name for flag in FilterFlag if flag & profile.flags)
    settings: dict[str, Any] = {
        "defaultAction": action,
        **({} if data is None else {"defaultErrnoRet": data}),
        "architectures": list(profile.architectures),
        "flags": [f"SECCOMP_FILTER_FLAG_{name}" for name in names],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in settings.items()]
    rules = [_rule(rule) for rule in profile.rules]
    digest = hashlib.sha256("\n".join([*lines, *rules]).encode()).hexdigest()
    rules.append(_rule(ProfileRule((f"profile_{digest[:16]}",), (), profile.default)))
    listed = ",\n".join(f"    {rule}" for rule in rules)
    return "\n".join(["{", *lines, '  "syscalls": [', listed, "  ]", "}", ""]).encode()


def _rule(rule: ProfileRule) -> str:
    """Return a rule on one line, or, with more than a few names, on one line per name."""
    action, data = _action(rule.ret)
    found: dict[str, Any] = {"action": action}
    if data is not None:
        found["errnoRet"] = data
    if rule.matches:
        found["args"] = [
            {
                "index": match.index,
                "value": match.value,
                **({"valueTwo": match.value_two} if match.op == "MASKED_EQ" else {}),
                "op": f"SCMP_CMP_{match.op}",
            }
            for match in rule.matches
        ]
    names = json.dumps(list(rule.names), indent=8 if len(rule.names) > _FEW else None)
    closed = f"{names[:-1].rstrip()}\n      ]" if len(rule.names) > _FEW else names
    return f'{{"names": {closed}, {json.dumps(found)[1:]}'


def _action(ret: int) -> tuple[str, int | None]:
    """Return the SCMP_ACT_* of a SECCOMP_RET value, and its data if profiles state that."""
    kind = ActionKind(ret & ~RET_DATA_MAX)
    has_data = kind in {ActionKind.ERRNO, ActionKind.TRACE}
    return f"SCMP_ACT_{kind.name}", ret & RET_DATA_MAX if has_data else None


def _refusal(policy: ResolvedPolicy, abi: Abi, text: str) -> Diagnostic | None:
    """Return the error for a policy for several ABIs that no profile expresses; else None.

    libseccomp has one list of rules by name for all ABIs, compares halves of arguments on 32-bit
    ones, and applies rules for `socket` to `socketcall`.
    """
    served = ", ".join(one.name for one in policy.compat_of(abi))
    if not served:
        return None
    text = f"no OCI profile for {abi.name} and {served} says this: {text}; give these calls one "
    text += "answer by name, or take ABIs out of compat_arches"
    return Diagnostic(text, policy.arches_origin.position, Problem.NOT_IN_OCI_PROFILE)


WRITER = Writer(
    suffix="json",
    fits=lambda abi: architecture(abi) is not None,
    render=lambda policy, abi, tables, _: render_profile(profile(policy, abi, tables)),
    reading=lambda _abi, _release: Reading("oci", runtime=Runtime.LIBSECCOMP),
    report_only=lambda policy, own: (
        replace(policy, bad_arch_action=own.bad_arch_action),
        "calls through other ABIs are killed even so: no profile can log these",
    ),
    refusal=_refusal,
    flags=~(FilterFlag.NEW_LISTENER | FilterFlag.WAIT_KILLABLE_RECV),
)
