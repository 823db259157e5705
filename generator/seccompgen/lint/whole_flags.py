"""Words of flags that a filter compares as one value, so that another flag gets past it.

``type == SOCK_RAW`` does not refuse ``SOCK_RAW|SOCK_CLOEXEC``, which makes the same socket. Such a
value is refused, permitted with a flag that takes nothing from what the call does, and permitted
with a bit that means nothing as well: so it is the word that was compared. A filter that permits
certain words only has no such value, nor has one that asks for a flag. Sources: the entry points of
the calls in the kernel, such as net/socket.c, fs/open.c, mm/mmap.c and kernel/fork.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.argument_families import dependent_families, family_of, known_families
from seccompgen.core.model import U32, U64
from seccompgen.core.naming import Naming
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, NOTHING, Box
from seccompgen.lint.answers import asks
from seccompgen.lint.finding import Finding, Severity
from seccompgen.verify import Meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.constant_families import ConstantFamily, FamilyValues
    from seccompgen.core.facts import Prototype
    from seccompgen.core.model import Origin
    from seccompgen.core.spelling import Spelling
    from seccompgen.lint.answers import CallAnswer
    from seccompgen.lint.view import FilterView
    from seccompgen.verify.call import Call

_KNOWN = known_families().named
_MOST_VALUES = 8
"""So many refused values of one argument get a finding each; of more, the first alone."""
_PERMISSIONS = " ".join(f"{1 << bit:#o}" for bit in reversed(range(9)))


class _Added(NamedTuple):
    """Flags, by names or numbers, with which a call still does what it does without them.

    ``zero``: a word without flags is a value as well, such as O_RDONLY or FUTEX_WAIT.
    """

    flags: tuple[str, ...]
    zero: bool = False


def _added(flags: str, *, zero: bool = False) -> _Added:
    return _Added(tuple(flags.split()), zero)


def _of(call: str, argument: str) -> ConstantFamily:
    """Return the flags of an argument that only few calls take."""
    family = family_of(call, argument)
    assert family is not None
    return family


ADDED_FLAGS: Mapping[ConstantFamily, _Added] = {
    _KNOWN["socket_types"]: _added("SOCK_CLOEXEC SOCK_NONBLOCK"),
    _of("accept4", "flags"): _added("SOCK_CLOEXEC SOCK_NONBLOCK"),
    _KNOWN["message_flags"]: _added("MSG_NOSIGNAL MSG_DONTWAIT"),
    _KNOWN["protections"]: _added("PROT_READ PROT_WRITE PROT_EXEC PROT_SEM"),
    _KNOWN["map_flags"]: _added("MAP_NORESERVE MAP_STACK"),
    _of("mlockall", "flags"): _added("MCL_CURRENT MCL_FUTURE"),
    _of("mremap", "flags"): _added("MREMAP_MAYMOVE"),
    _of("memfd_create", "flags"): _added("MFD_CLOEXEC MFD_ALLOW_SEALING"),
    _of("shmget", "shmflg"): _added(f"{_PERMISSIONS} SHM_NORESERVE"),
    _of("shmat", "shmflg"): _added("SHM_RND SHM_RDONLY"),
    _of("msgget", "msgflg"): _added(_PERMISSIONS),
    _KNOWN["open_flags"]: _added("O_CLOEXEC O_NONBLOCK O_NOCTTY", zero=True),
    _KNOWN["descriptor_flags"]: _added("O_CLOEXEC"),
    _KNOWN["file_modes"]: _added(f"{_PERMISSIONS} S_ISVTX"),
    _KNOWN["clone_flags"]: _added("CLONE_UNTRACED CLONE_IO"),
    _KNOWN["namespaces"]: _added("CLONE_NEWUTS CLONE_NEWIPC"),
    _KNOWN["personalities"]: _added("UNAME26 SHORT_INODE ADDR_NO_RANDOMIZE"),
    _KNOWN["futex_operations"]: _added("FUTEX_PRIVATE_FLAG", zero=True),
    _KNOWN["schedulers"]: _added("SCHED_RESET_ON_FORK", zero=True),
    _KNOWN["mount_flags"]: _added("MS_SILENT", zero=True),
    _KNOWN["umount_flags"]: _added("0x8"),  # UMOUNT_NOFOLLOW, which no header for programs has
    _of("open_tree", "flags"): _added("OPEN_TREE_CLOEXEC AT_NO_AUTOMOUNT"),
    _of("fanotify_init", "flags"): _added("FAN_CLOEXEC FAN_NONBLOCK"),
    _of("userfaultfd", "flags"): _added("O_CLOEXEC O_NONBLOCK", zero=True),
    _of("execveat", "flags"): _added("AT_SYMLINK_NOFOLLOW"),
    _of("seccomp", "flags"): _added("SECCOMP_FILTER_FLAG_LOG SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
}
"""Flags by the family of the argument, such as every value takes.

CLONE_SYSVSEM is none: clone(CLONE_NEWIPC|CLONE_SYSVSEM) is an error.
"""
_CREATING = {"open", "openat", "mq_open"}
"""Calls whose mode counts where O_CREAT is among their flags."""


class _Stronger(NamedTuple):
    """Under ``mask``, what ``passing`` does is refused with each of ``refused``.

    Constants that make up a value are joined by ``|``. ``other`` is a value that is permitted as
    well, so that no list of words was meant. ``calls`` are those that it is so for.
    """

    calls: str
    mask: str
    refused: str
    passing: str
    other: str
    does: str = "does no less"
    severity: Severity = Severity.ERROR


_OPENING = "open openat open_by_handle_at"
_STRONGER: Mapping[ConstantFamily, tuple[_Stronger, ...]] = {
    _KNOWN["open_flags"]: (
        _Stronger(f"{_OPENING} mq_open", "O_ACCMODE", "O_WRONLY", "O_RDWR", "O_RDONLY"),
        _Stronger(
            _OPENING,
            "O_ACCMODE|O_TRUNC",
            "O_WRONLY O_RDWR",
            "O_RDONLY|O_TRUNC",
            "O_RDONLY",
            "empties the file",
            Severity.WARNING,
        ),
    ),
    _KNOWN["file_modes"]: (_Stronger("mknod mknodat", "S_IFMT", "S_IFREG", "0", "S_IFIFO"),),
}


@dataclass(frozen=True)
class _Word:
    """An argument of a call that holds flags of ``values``.

    ``limits`` are sets of values of other arguments for which that is so.
    """

    view: FilterView
    naming: Naming
    name: str
    argument: int
    values: FamilyValues
    limits: Mapping[int, int]

    @cached_property
    def bits(self) -> int:
        """The number of low bits that the kernel reads."""
        return self.view.bits(self.name, self.argument)

    @cached_property
    def plain(self) -> int:
        """The values of the argument as callers pass them."""
        return self.view.plain_values(self.bits)

    @property
    def shown(self) -> str:
        """The argument as messages call it."""
        return self.naming.argument(self.name, self.argument, self.view.abi)

    @cached_property
    def spelling(self) -> Spelling:
        """The form in which values of the argument are written."""
        return self.naming.spelling(self.values.family, self.view.abi, self.bits)

    @cached_property
    def added(self) -> list[int]:
        """The flags that any value takes, on this ABI."""
        return [bit for bit in map(self.number, ADDED_FLAGS[self.values.family].flags) if bit]

    @cached_property
    def probes(self) -> list[int]:
        """The bits that mean nothing in the argument, as far as anybody knows.

        Where all have a meaning, that is the last of those that any value takes.
        """
        known = 0
        for value in (*self.added, *self.values.flags, *self.values.part):
            known |= value & U32
        unknown = [1 << bit for bit in range(min(self.bits, 32)) if not known >> bit & 1]
        return unknown or self.added[-1:]

    def number(self, constants: str) -> int:
        """Return the value of constants, or numbers, that are joined; 0 where the ABI lacks one."""
        found = 0
        for name in constants.split("|"):
            known = (
                int(name, 0) if name[0].isdigit() else self.view.facts.value(name, self.view.abi)
            )
            found |= known or 0
        return found

    def call(self, others: Box, value: int) -> Call:
        """Return a call with ``value``, whose other arguments are in the sets ``others``."""
        sets, n = self.view.sets, self.argument
        return self.view.call(self.name, (*others[:n], sets.masked(U64, value), *others[n + 1 :]))

    def rule(self, others: Box, value: int) -> Origin | int:
        """Return the part of a policy that decides on such a call; of a program, ``value``."""
        side = self.view.side
        return side.case(self.call(others, value)).origin if isinstance(side, Meaning) else value

    def groups(self, boxes: Iterable[Box]) -> Mapping[Box, int]:
        """Return what the argument may be in ``boxes``, by the sets of the other arguments."""
        sets, n = self.view.sets, self.argument
        limits = [self.limits.get(m, ALL) for m in range(6)]
        found: dict[Box, int] = {}
        for box in boxes:
            others: Box = (*box[:n], ALL, *box[n + 1 :])  # type: ignore[assignment] # six
            others = tuple(map(sets.both, others, limits))  # type: ignore[assignment] # six
            if NOTHING not in others:
                found[others] = sets.either(found.get(others, NOTHING), box[n])
        return found


def whole_flags(view: FilterView) -> Iterator[Finding]:
    """Yield words of flags that are refused, and not with another flag."""
    naming = Naming(view.facts)
    for name, answer in view.conditional():
        prototype = view.prototype(name)
        if prototype is None or not answer.permitted:
            continue
        for n in range(len(prototype.parameters)):
            if all(box[n] == ALL for box, _ in answer.parts):
                continue
            for family, limits in _families(view, name, prototype, n):
                values = family.on(view.facts, view.abi)
                yield from _of_word(_Word(view, naming, name, n, values, limits), answer)


def _families(
    view: FilterView, name: str, prototype: Prototype, n: int
) -> Iterator[tuple[ConstantFamily, Mapping[int, int]]]:
    """Yield the families of an argument that have flags, with what other arguments are then."""
    argument = prototype.parameters[n].name
    own = family_of(name, argument)
    if own and own in ADDED_FLAGS:
        yield (
            own,
            _creates(view, prototype) if own is _KNOWN["file_modes"] and name in _CREATING else {},
        )
    others, families = dependent_families(name, argument)
    at = next((i for i in map(prototype.index, others) if i is not None), None)
    for constant, family in families.items():
        value = view.facts.value(constant, view.abi)
        if family in ADDED_FLAGS and at is not None and value is not None:
            yield family, {at: view.sets.masked(U32, value & U32)}


def _creates(view: FilterView, prototype: Prototype) -> Mapping[int, int]:
    flag = view.constant("O_CREAT", 0o100)
    places = (i for i in map(prototype.index, ("flags", "oflag")) if i is not None)
    return {i: view.sets.masked(flag, flag) for i in places}


def _of_word(word: _Word, answer: CallAnswer) -> Iterator[Finding]:
    sets = word.view.sets
    permitted = word.groups(answer.permitted)
    # What a supervisor decides should not get past it either.
    for others, values in word.groups((*answer.refused, *answer.asked)).items():
        refused = sets.both(values, word.plain)
        for with_them, passing in permitted.items():
            both = sets.common(others, with_them)
            if NOTHING not in both:
                yield from _with_a_flag(word, both, refused, passing)
                yield from _by_a_stronger(word, both, refused, passing)


def _with_a_flag(word: _Word, others: Box, refused: int, permitted: int) -> Iterator[Finding]:
    """Yield the ``refused`` values that are ``permitted`` with another flag.

    ``others`` are the sets of the other arguments.
    """
    sets, added = word.view.sets, ADDED_FLAGS[word.values.family]
    done = NOTHING if added.zero else sets.masked(U32, 0)
    flags = word.added
    for flag in flags:
        left = sets.minus(_fitting(word, (refused, 0), (permitted, flag), mask=flag), done)
        found = NOTHING
        for other in word.probes if left != NOTHING else ():
            if other != flag:
                every = ((permitted, bits) for bits in (flag, other, flag | other))
                found = sets.either(found, _fitting(word, (left, 0), *every, mask=flag | other))
        done = sets.either(done, found)
        # One for each rule, by its smallest value.
        values = {word.rule(others, value): value for value in reversed(_members(word, found))}
        for value in values.values():
            yield _finding(word, others, value, value | flag)


def _by_a_stronger(word: _Word, others: Box, refused: int, permitted: int) -> Iterator[Finding]:
    """Yield values of a part that are refused, where another one does what they do."""
    for one in _STRONGER.get(word.values.family, ()):
        mask, strong, third = map(word.number, (one.mask, one.passing, one.other))
        weak = [word.number(value) for value in one.refused.split()]
        for other in word.probes if word.name in one.calls.split() else ():
            sides = [(refused, bits | more) for bits in weak for more in (0, other)]
            sides += [(permitted, bits | more) for bits in (strong, third) for more in (0, other)]
            found = _fitting(word, *sides, mask=mask | other)
            if found != NOTHING:
                value = word.view.sets.least(found)
                yield _finding(word, others, value, value & ~mask | strong, one)
                break


def _fitting(word: _Word, first: tuple[int, int], *sides: tuple[int, int], mask: int) -> int:
    """Return the members of the first set whose bits under ``mask`` are those given with it.

    With the bits of each other pair under ``mask`` they are in its set.
    """
    sets = word.view.sets
    found = sets.both(first[0], sets.masked(mask, first[1]))
    for values, bits in sides:
        if found == NOTHING:
            break
        found = sets.both(found, sets.given(values, mask, bits))
    return found


def _members(word: _Word, values: int) -> list[int]:
    """Return the members of a small set; the smallest one of a large set."""
    sets = word.view.sets
    found: list[int] = []
    left = values
    while left != NOTHING and len(found) <= _MOST_VALUES:
        found.append(sets.least(left))
        left = sets.minus(left, sets.masked(U64, found[-1]))
    return found if left == NOTHING else found[:1]


def _finding(
    word: _Word, others: Box, shut: int, opened: int, part: _Stronger | None = None
) -> Finding:
    """Return the finding that the value ``shut`` is refused, and ``opened`` is permitted.

    That is because the word is compared as one value, or of a ``part`` of it another value.
    """
    view, n = word.view, word.argument
    refused, permitted = word.call(others, shut), word.call(others, opened)
    weak, strong = (
        word.naming.value(word.name, n, call.args, view.abi) for call in (refused, permitted)
    )
    about = f"{word.name}'s {word.shown}"
    how = about if part else f"the filter compares {about} as a whole"
    beside = view.witness(refused)
    fate = "is asked about" if asks(beside.ret) else "is refused"
    return Finding(
        Problem.WHOLE_FLAGS,
        part.severity if part else Severity.ERROR,
        f"{how}: {weak} {fate}, and {strong}, which {part.does if part else 'does no less'}, "
        "is permitted",
        f"refuse {strong} as well" if part else f"compare under a mask: {_masked(word, shut)}",
        (view.abi.name,),
        witness=view.witness(permitted),
        beside=beside,
        programs=(view.program.name,),
    )


def _masked(word: _Word, value: int) -> str:
    """Return a comparison of the bits of a value that matter."""
    values, spelling = word.values, word.spelling
    low, mask = value & U32, values.mask & U32
    flags = low & ~mask
    if flags and (not low & mask or values.family is _KNOWN["clone_flags"]):
        mask = flags
    asked = "" if low & mask == mask and mask.bit_count() == 1 else spelling.under(mask, low & mask)
    return f"{word.shown} & {spelling.bits(mask)}{asked and f' == {asked}'}"
