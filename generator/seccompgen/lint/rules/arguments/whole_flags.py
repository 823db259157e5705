"""A word of flags is compared as one value, so another flag gets past the comparison.

`socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC)` is another word but the same socket; `prot == PROT_EXEC`
refuses one of eight protections that make memory executable. FUTEX_PRIVATE_FLAG,
SCHED_RESET_ON_FORK, permissions in `mknod`'s mode and other flags of `open`, `clone` or `send` get
through alike. O_RDWR writes as O_WRONLY does, so `flags & O_ACCMODE != O_WRONLY` permits writing;
O_RDONLY|O_TRUNC empties a file that may not be written, which is a warning. Only flags count that
take nothing from what the call does. An allowlist of certain words is narrow, so it is no finding.
Compare under a mask.

```diff
-- {action: errno, names: [socket], when: 'family in {AF_INET, AF_INET6} and type == SOCK_RAW'}
+- action: errno
+  names_with_args:
+  - {name: socket, when: 'family in {AF_INET, AF_INET6} and type & 0xf == SOCK_RAW'}
 - {action: errno(ENOSYS), names: [io_uring_setup]}
```
"""

# A value is reported if it is refused, permitted with a harmless flag, and permitted with a bit
# that means nothing: so the filter compares the word. Sources: the entry points of the calls in the
# kernel, such as net/socket.c, fs/open.c, mm/mmap.c and kernel/fork.c.

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from seccompgen.core.argument_families import dependent_families, family_of, known_families
from seccompgen.core.constant_families import ConstantFamily, FamilyValues
from seccompgen.core.facts import Prototype
from seccompgen.core.model import U32, U64, Origin
from seccompgen.core.naming import Naming
from seccompgen.core.sets import ALL, NOTHING, Box
from seccompgen.core.spelling import Spelling
from seccompgen.lint.answers import BoxedAnswer, asks
from seccompgen.lint.rule import FilterView, Finding, Findings, LintRule, Severity
from seccompgen.verify import Meaning
from seccompgen.verify.call import Call

_KNOWN = known_families().named
_MOST_VALUES = 8
"""The most refused values of an argument that get a finding each; of more, only the first."""
_PERMISSIONS = " ".join(f"{1 << bit:#o}" for bit in reversed(range(9)))


def _of(call: str, argument: str) -> ConstantFamily:
    """Return the flags of an argument that only few calls take."""
    family = family_of(call, argument)
    assert family is not None
    return family


ADDED_FLAGS: Mapping[ConstantFamily, str] = {
    _KNOWN["socket_types"]: "SOCK_CLOEXEC SOCK_NONBLOCK",
    _of("accept4", "flags"): "SOCK_CLOEXEC SOCK_NONBLOCK",
    _KNOWN["message_flags"]: "MSG_NOSIGNAL MSG_DONTWAIT",
    _KNOWN["protections"]: "PROT_READ PROT_WRITE PROT_EXEC PROT_SEM",
    _KNOWN["map_flags"]: "MAP_NORESERVE MAP_STACK",
    _of("mlockall", "flags"): "MCL_CURRENT MCL_FUTURE",
    _of("mremap", "flags"): "MREMAP_MAYMOVE",
    _of("memfd_create", "flags"): "MFD_CLOEXEC MFD_ALLOW_SEALING",
    _of("shmget", "shmflg"): f"{_PERMISSIONS} SHM_NORESERVE",
    _of("shmat", "shmflg"): "SHM_RND SHM_RDONLY",
    _of("msgget", "msgflg"): _PERMISSIONS,
    _KNOWN["open_flags"]: "O_CLOEXEC O_NONBLOCK O_NOCTTY",
    _KNOWN["descriptor_flags"]: "O_CLOEXEC",
    _KNOWN["file_modes"]: f"{_PERMISSIONS} S_ISVTX",
    _KNOWN["clone_flags"]: "CLONE_UNTRACED CLONE_IO",
    _KNOWN["namespaces"]: "CLONE_NEWUTS CLONE_NEWIPC",
    _KNOWN["personalities"]: "UNAME26 SHORT_INODE ADDR_NO_RANDOMIZE",
    _KNOWN["futex_operations"]: "FUTEX_PRIVATE_FLAG",
    _KNOWN["schedulers"]: "SCHED_RESET_ON_FORK",
    _KNOWN["mount_flags"]: "MS_SILENT",
    _KNOWN["umount_flags"]: "0x8",  # UMOUNT_NOFOLLOW, which no header for programs has
    _of("open_tree", "flags"): "OPEN_TREE_CLOEXEC AT_NO_AUTOMOUNT",
    _of("fanotify_init", "flags"): "FAN_CLOEXEC FAN_NONBLOCK",
    _of("userfaultfd", "flags"): "O_CLOEXEC O_NONBLOCK",
    _of("execveat", "flags"): "AT_SYMLINK_NOFOLLOW",
    _of("seccomp", "flags"): "SECCOMP_FILTER_FLAG_LOG SECCOMP_FILTER_FLAG_SPEC_ALLOW",
}
"""Flags that can be added to any value, by the family of the argument.

CLONE_SYSVSEM cannot: clone(CLONE_NEWIPC|CLONE_SYSVSEM) is an error.
"""
_ZERO = {
    _KNOWN["open_flags"],
    _KNOWN["futex_operations"],
    _KNOWN["schedulers"],
    _KNOWN["mount_flags"],
    _of("userfaultfd", "flags"),
}
"""Families in which a word without flags is a value as well, such as O_RDONLY or FUTEX_WAIT."""
_CREATING = {"open", "openat", "mq_open"}
"""Calls whose mode counts where O_CREAT is among their flags."""


class _Stronger(NamedTuple):
    """Values under ``mask``: ``refused`` ones, and a ``passing`` one that does the same.

    Constants of a value are joined by ``|``. ``other`` is a value that is permitted as well, so the
    filter is no list of words. ``calls`` are the calls that this is true of.
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
class _FlagsWord:
    """An argument of a call that holds flags of ``values``.

    ``limits`` are the sets of values of other arguments for which that is true.
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
        return [bit for bit in map(self.number, ADDED_FLAGS[self.values.family].split()) if bit]

    @cached_property
    def probes(self) -> list[int]:
        """The bits without a known meaning.

        If all have one, the last flag that any value takes.
        """
        known = 0
        for value in (*self.added, *self.values.flags, *self.values.part):
            known |= value & U32
        unknown = [1 << bit for bit in range(min(self.bits, 32)) if not known >> bit & 1]
        return unknown or self.added[-1:]

    def number(self, constants: str) -> int:
        """Return the value of joined constants or numbers; 0 for one that the ABI lacks."""
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
        """Return the rule that decides on such a call; without a policy, ``value``."""
        side = self.view.side
        return side.case(self.call(others, value)).origin if isinstance(side, Meaning) else value

    def groups(self, boxes: Iterable[Box]) -> Mapping[Box, int]:
        """Return the values of the argument in ``boxes``, by the sets of the other arguments."""
        sets, n = self.view.sets, self.argument
        limits = [self.limits.get(m, ALL) for m in range(6)]
        found: dict[Box, int] = {}
        for box in boxes:
            others: Box = (*box[:n], ALL, *box[n + 1 :])  # type: ignore[assignment] # six
            others = tuple(map(sets.both, others, limits))  # type: ignore[assignment] # six
            if NOTHING not in others:
                found[others] = sets.either(found.get(others, NOTHING), box[n])
        return found


def _check(view: FilterView) -> Findings:
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
                yield from _of_word(_FlagsWord(view, naming, name, n, values, limits), answer)


def _families(
    view: FilterView, name: str, prototype: Prototype, n: int
) -> Iterator[tuple[ConstantFamily, Mapping[int, int]]]:
    """Yield the families of an argument that have flags, with the other arguments' values."""
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
    flag = view.constant("O_CREAT") or 0
    indices = (i for i in map(prototype.index, ("flags", "oflag")) if i is not None)
    return {i: view.sets.masked(flag, flag) for i in indices}


def _of_word(word: _FlagsWord, answer: BoxedAnswer) -> Findings:
    sets = word.view.sets
    permitted = word.groups(answer.permitted)
    # Nothing should get past a supervisor either.
    for others, values in word.groups((*answer.refused, *answer.asked)).items():
        refused = sets.both(values, word.plain)
        for with_them, passing in permitted.items():
            both = sets.common(others, with_them)
            if NOTHING not in both:
                yield from _with_a_flag(word, both, refused, passing)
                yield from _by_a_stronger(word, both, refused, passing)


def _with_a_flag(word: _FlagsWord, others: Box, refused: int, permitted: int) -> Findings:
    """Yield the ``refused`` values that are ``permitted`` with another flag.

    ``others`` are the sets of the other arguments.
    """
    sets = word.view.sets
    done = NOTHING if word.values.family in _ZERO else sets.masked(U32, 0)
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


def _by_a_stronger(word: _FlagsWord, others: Box, refused: int, permitted: int) -> Findings:
    """Yield refused values of a part of the word, if a permitted one does the same."""
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


def _fitting(word: _FlagsWord, first: tuple[int, int], *sides: tuple[int, int], mask: int) -> int:
    """Return the members of the first set with its bits under ``mask``.

    With the bits of each other pair, they are in that pair's set.
    """
    sets = word.view.sets
    found = sets.both(first[0], sets.masked(mask, first[1]))
    for values, bits in sides:
        if found == NOTHING:
            break
        found = sets.both(found, sets.given(values, mask, bits))
    return found


def _members(word: _FlagsWord, values: int) -> list[int]:
    """Return the members of a small set; the smallest one of a large set."""
    sets = word.view.sets
    found: list[int] = []
    left = values
    while left != NOTHING and len(found) <= _MOST_VALUES:
        found.append(sets.least(left))
        left = sets.minus(left, sets.masked(U64, found[-1]))
    return found if left == NOTHING else found[:1]


def _finding(
    word: _FlagsWord, others: Box, shut: int, opened: int, part: _Stronger | None = None
) -> Finding:
    """Return the finding that the value ``shut`` is refused, but ``opened`` is permitted.

    The filter compares the word as one value, or a ``part`` of it with another value.
    """
    view, n = word.view, word.argument
    refused, permitted = word.call(others, shut), word.call(others, opened)
    weak, strong = (
        word.naming.value(word.name, n, call.args, view.abi) for call in (refused, permitted)
    )
    about = f"{word.name}'s {word.shown}"
    how = about if part else f"the filter compares {about} as a whole"
    beside = view.witness(refused)
    fate = "is left to a supervisor" if asks(beside.ret) else "is refused"
    does = part.does if part else "does no less"
    return RULE.finding(
        f"{how}: {weak} {fate}, but {strong} is permitted and {does}",
        f"refuse {strong}, too" if part else f"compare under a mask: {_masked(word, shut)}",
        part.severity if part else Severity.ERROR,
        view=view,
        witness=view.witness(permitted),
        beside=beside,
    )


def _masked(word: _FlagsWord, value: int) -> str:
    """Return a comparison of the bits of a value that matter."""
    values, spelling = word.values, word.spelling
    low, mask = value & U32, values.mask & U32
    flags = low & ~mask
    if flags and (not low & mask or values.family is _KNOWN["clone_flags"]):
        mask = flags
    asked = "" if low & mask == mask and mask.bit_count() == 1 else spelling.under(mask, low & mask)
    return f"{word.shown} & {spelling.bits(mask)}{asked and f' == {asked}'}"


RULE = LintRule("whole-flags", Severity.ERROR, _check)
