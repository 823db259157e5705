"""systemd's unit files and drop-ins as policies: the combined effect of their settings.

systemd installs one filter for each of several settings, and each filter once for every ABI of the
kernel; the kernel takes the severest answer, and of equal ones the last filter's. Filters that only
look at the number are combined here, call by call; `restrictions` has the others. SystemCallFilter
is installed last; if it is an allow list, calls that systemd does not know at all get ENOSYS.
SystemCallArchitectures is a filter of its own, which kills a thread that calls through any other
ABI, and later filters omit these ABIs; without it, ABIs that systemd does not know remain open.

Sources: systemd.exec(5), systemd.syntax(7); seccomp-util.c, exec-invoke.c and load-fragment.c of
systemd. Tests compare with the filters that its functions, and a guest that boots it, make of
settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.ages import release_known
from seccompgen.core.errnos import ERRNO_NAMES
from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft, Entry
from seccompgen.formats.source_comments import SourceComment
from seccompgen.formats.stacked import severest
from seccompgen.formats.systemd.groups import DEFAULT_RELEASE, systemd_groups
from seccompgen.formats.systemd.restrictions import (
    WITH_SOCKET,
    Families,
    Namespaces,
    Restriction,
    asks_kernel,
    personality,
    realtime,
    set_id_files,
    written_code,
)
from seccompgen.formats.systemd.unit_file import Assignment, UnitWord, read_assignments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

# fmt: off
ARCHITECTURES = {
    "x86": "i386", "x86-64": "x86_64", "x32": "x32", "arm": "arm", "arm64": "aarch64",
    "loongarch64": "loongarch64", "mips": "mips", "mips64": "mips64", "mips64-n32": "mips64n32",
    "mips-le": "mipsel", "mips64-le": "mips64el", "mips64-le-n32": "mips64n32el",
    "parisc": "parisc", "parisc64": "parisc64", "ppc": "ppc", "ppc64": "ppc64",
    "ppc64-le": "ppc64le", "riscv64": "riscv64", "s390": "s390", "s390x": "s390x",
}
"""systemd's names of ABIs, and ours."""
_ON = frozenset({"1", "yes", "y", "true", "t", "on"})
_OFF = frozenset({"0", "no", "n", "false", "f", "off"})
_SIMPLE: dict[str, str] = {
    "ProtectHostname": "sethostname setdomainname", "ProtectKernelTunables": "_sysctl",
    "ProtectKernelModules": "@module", "ProtectKernelLogs": "syslog", "ProtectClock": "@clock",
    "PrivateDevices": "@raw-io",
}
"""Settings whose filter answers some calls with EPERM, in the order of their installation."""
_SWITCHES = frozenset({
    *_SIMPLE, "NoNewPrivileges", "RestrictRealtime", "RestrictSUIDSGID",
    "MemoryDenyWriteExecute", "LockPersonality", "DynamicUser",
})
"""Settings that take yes or no."""
# fmt: on
_UNKNOWN = "errno(ENOSYS)"
"""The answer of an allow list to calls that systemd does not know."""
_MULTIPLEXERS = frozenset(MULTIPLEXED)
_BEHIND = frozenset(call for listed in MULTIPLEXED.values() for call in listed.split())
"""The calls that can be made through socketcall or ipc."""
_HANDOFF_SINCE = 256
"""The first release that writes to a pipe after the filter is installed, so that write passes."""


@dataclass
class _UnitFilter:
    """One filter of a unit: its answers, each with the position that states it.

    ``unknown`` answers numbers that no call has.
    """

    default: tuple[str, Position]
    calls: dict[str, tuple[str, Position]]
    unknown: tuple[str, Position]

    def answer(self, call: str) -> tuple[str, Position]:
        return self.calls.get(call, self.default)


_OPEN = _UnitFilter(("allow", Position("", 1)), {}, ("allow", Position("", 1)))


@dataclass
class _CallList:
    """A list of calls as its assignments build it: systemd's SystemCallFilter or SystemCallLog.

    ``calls`` maps each call that a list names to its own answer, or to None for the list's.
    """

    allows: bool | None = None
    start: Position | None = None
    calls: dict[str, tuple[str | None, Position]] = field(default_factory=dict)


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy that a unit file's settings express. Raises InputError with every fault."""
    assignments, faults = read_assignments(text, file)
    unit = _Unit(file, reading, tables, faults)
    for one in assignments:
        unit.assign(one)
    return unit.draft()


class _Unit:
    """The settings of a unit, assignment by assignment."""

    def __init__(
        self, file: str, reading: Reading, tables: Tables, faults: list[Diagnostic]
    ) -> None:
        self.file, self.reading, self.faults = file, reading, faults
        self.tables = tables
        self.release = reading.systemd or DEFAULT_RELEASE
        self.groups = systemd_groups(reading.systemd)
        self.names = tables.calls
        self.notes: list[Diagnostic] = []
        self.filter, self.log = _CallList(), _CallList()
        self.negative = "kill_process"
        self.archs: dict[str, Position] = {}
        self.native: Position | None = None
        self.switches: dict[str, tuple[bool, Position]] = {}
        self.families, self.namespaces = Families(), Namespaces(self.release)
        self.personality: Assignment | None = None
        self.seen: Position | None = None
        self.assigned: list[Assignment] = []

    def fault(self, text: str, where: Position, kind: Problem = Problem.WRONG_VALUE) -> None:
        self.faults.append(Diagnostic(text, where, kind))

    def assign(self, one: Assignment) -> None:
        """Apply one assignment as systemd does."""
        match one.key:
            case "SystemCallFilter":
                self._list(self.filter, one)
            case "SystemCallLog":
                self._list(self.log, one)
            case "SystemCallErrorNumber":
                self._error_number(one)
            case "SystemCallArchitectures":
                self._architectures(one)
            case "RestrictAddressFamilies":
                self.faults += self.families.assign(one, self.tables)
            case "RestrictNamespaces":
                self.faults += self.namespaces.assign(one, _ON, _OFF)
            case "Personality":
                self.personality = one
                return
            case key if key in _SWITCHES:
                self._switch(one)
            case _:
                return
        self.seen = self.seen or one.position
        self.assigned.append(one)

    def _list(self, listed: _CallList, one: Assignment) -> None:
        if not one.words:
            listed.allows, listed.start = None, None
            listed.calls.clear()
            return
        words = list(one.words)
        first = words[0]
        takes = first.text.startswith("~")
        if takes:
            where = Position(self.file, first.position.line, (first.position.column or 0) + 1)
            words[0] = UnitWord(first.text[1:], where)
            if not words[0].text:
                del words[0]
        if listed.allows is None:
            listed.allows, listed.start = not takes, one.position
            if listed.allows and listed is self.filter:
                for call in sorted(self.groups["default"]):
                    listed.calls[call] = None, one.position
        for word in words:
            self._item(listed, word, takes=takes)

    def _item(self, listed: _CallList, word: UnitWord, *, takes: bool) -> None:
        name, colon, said = word.text.partition(":")
        action = self._action(said, word) if colon else None
        if colon and action is None:
            return
        if colon and (not takes or listed is self.log):
            text = f"{word.text}: only a list with ~ of SystemCallFilter can say an error number"
            self.fault(text, word.position)
            return
        for call in self._calls(name, word):
            if takes != listed.allows or action is not None:
                listed.calls[call] = action, word.position
            else:
                listed.calls.pop(call, None)

    def _calls(self, name: str, word: UnitWord) -> list[str]:
        """Return the calls that a word names, except those that are in no table here."""
        if name.startswith("@"):
            group = self.groups.get(name[1:])
            if group is None:
                hint = did_you_mean(name, [f"@{one}" for one in self.groups])
                text = f"systemd {self.release} has no group {name!r}{hint}; it would skip that"
                self.fault(text, word.position, Problem.UNKNOWN_GROUP)
                return []
            return sorted(group)
        if name not in self.names and not any(name in group for group in self.groups.values()):
            hint = did_you_mean(name, self.names) if name and len(self.faults) < MOST_HINTS else ""
            text = f"{name!r} is not the name of a system call{hint}; systemd would skip it"
            self.fault(text, word.position, Problem.UNKNOWN_CALL)
            return []
        if name not in self.names:
            text = f"no ABI of the tables has {name}, which is left out"
            self.notes.append(Diagnostic(text, word.position, Problem.CALL_SKIPPED))
        elif not any(name in group for group in self.groups.values()):
            text = f"systemd {self.release} does not list {name}; it skips the name if its "
            text += "libseccomp does not know it either"
            self.notes.append(Diagnostic(text, word.position, Problem.UNKNOWN_CALL))
        return [name]

    def _action(self, said: str, word: UnitWord) -> str | None:
        """Return the action for an error number as systemd spells it."""
        if said == "kill":
            return "kill_process"
        if said.isascii() and said.isdigit() and len(said) <= 4 and int(said) <= 4095:
            return f"errno({int(said)})"
        if said in ERRNO_NAMES:
            return f"errno({said})"
        text = f"{said!r} is no error number: a name such as EPERM, 0 to 4095, or kill"
        self.fault(text, word.position)
        return None

    def _single(self, one: Assignment) -> UnitWord | None:
        if len(one.words) > 1:
            self.fault(f"{one.key}= takes one word", one.words[1].position)
        return one.words[0] if len(one.words) == 1 else None

    def _error_number(self, one: Assignment) -> None:
        if not one.words:
            self.negative = "kill_process"
        elif word := self._single(one):
            self.negative = self._action(word.text, word) or self.negative

    def _architectures(self, one: Assignment) -> None:
        if not one.words:
            self.archs.clear()
            self.native = None
        for word in one.words:
            if word.text == "native":
                self.native = word.position
            elif word.text in ARCHITECTURES:
                self.archs[ARCHITECTURES[word.text]] = word.position
            else:
                hint = did_you_mean(word.text, ARCHITECTURES)
                self.fault(f"systemd has no architecture {word.text!r}{hint}", word.position)

    def _switch(self, one: Assignment) -> None:
        if not one.words:
            self.switches.pop(one.key, None)
        elif word := self._single(one):
            said = word.text.lower()
            if one.key == "ProtectHostname" and said.partition(":")[0] == "private":
                said = "no"  # a namespace of its own, not a filter
            if said in _ON | _OFF:
                self.switches[one.key] = said in _ON, word.position
            else:
                self.fault(f"{one.key}= takes yes or no, not {word.text!r}", word.position)

    def draft(self) -> Draft:
        """Return the policy, or raise InputError with every fault."""
        start = self.seen or Position(self.file, 1, 1)
        filters = self._filters(start)
        restrictions = list(self._restrictions())
        restricts = bool(self.archs or self.native)
        if not filters and not restrictions and not restricts and not self.faults:
            text = "the unit has no setting that becomes a filter here, such as SystemCallFilter="
            self.fault(text, start, Problem.NO_RULES)
        if self.faults:
            raise InputError(*self.faults)
        draft = Draft(self.file, self.notes)
        self._abis(draft, start, restricts=restricts)
        default, where = severest(one.default for one in filters) if filters else ("allow", start)
        draft.setting("default_action", default, where)
        if filters:
            unknown, at = severest(one.unknown for one in filters)
            kernel = release_known(self.tables, self._served()) if unknown != default else None
            if kernel:
                draft.setting("kernel", kernel, at)
            draft.setting("unknown_action", unknown, at)
        if "NoNewPrivileges" in self.switches:
            draft.setting("no_new_privs", *self.switches["NoNewPrivileges"])
        named: dict[str, tuple[str, Position]] = {}
        calls = {call for one in filters for call in one.calls}
        unresolved = self._unresolved_multiplexers()
        behind = _BEHIND if unresolved else frozenset()
        for call in sorted(calls | behind):
            answer = severest(one.answer(call) for one in filters)
            if answer[0] != default or call in _MULTIPLEXERS | behind:
                named[call] = answer
        if self.release >= _HANDOFF_SINCE and self.filter.allows is not None:
            self._handoff(filters, named)
        for call in self._restrict(draft, restrictions, filters):
            named.pop(call, None)
        self._entrances(draft, named, unresolved)
        unlisted = (_UNKNOWN, self.filter.start) if self.filter.allows else None
        _rules(draft, named, unlisted)
        draft.comments += self._comments(draft)
        return draft

    def _comments(self, draft: Draft) -> Iterator[SourceComment]:
        """Yield the unit's comments on assignments, and each assignment that made rules."""
        made = set(draft.groups.values())
        for one, later in pairwise([*self.assigned, None]):
            assert one
            own = any(one.position <= at and not (later and later.position <= at) for at in made)
            lines = (*one.comments, str(one)) if own else one.comments
            if lines:
                yield SourceComment(one.position, None)
            yield from (SourceComment(one.position, line) for line in lines)

    def _unresolved_multiplexers(self) -> frozenset[str]:
        """Return those of socketcall and ipc that have no rule of their own in an allow list.

        systemd looks names up on the kernel's own ABI. A name that this ABI lacks gets no rule on
        any other, unless the list names it. So calls made through such a multiplexer get the
        answers of the calls behind it, and its other uses fail as unknown.
        """
        if not self.filter.allows:
            return frozenset()
        own = {call for abi in self._natives() for call in self.tables.tables[abi].numbers}
        return _MULTIPLEXERS - own - self.filter.calls.keys()

    def _entrances(
        self, draft: Draft, named: dict[str, tuple[str, Position]], unresolved: frozenset[str]
    ) -> None:
        """Turn answers to calls through ``unresolved`` into rules that compare the whole number.

        The kernel reads fewer bits of the number, and so would a rule by the name of the call.
        """
        for multiplexer in sorted(unresolved):
            numbers: dict[tuple[str, Position], list[str]] = {}
            for call in MULTIPLEXED[multiplexer].split():
                entered = entrance(call)
                if entered:
                    numbers.setdefault(named[call], []).append(str(entered[1]))
            for (answer, where), found in sorted(numbers.items()):
                entry = Entry(multiplexer, where, f"u32(arg0) in {{{', '.join(found)}}}")
                draft.rule(answer, [entry], where, optional=True)
            answer, where = named.pop(multiplexer)
            draft.rule(answer, [Entry(multiplexer, where)], where, optional=True)
        if unresolved:
            direct = {call for abi in self._served() for call in self.tables.tables[abi].numbers}
            for call in _BEHIND - direct:
                named.pop(call, None)

    def _filters(self, start: Position) -> list[_UnitFilter]:
        """Return the unit's filters that test only the number, in the order of installation."""
        filters = []
        for key, calls in _SIMPLE.items():
            on, where = self.switches.get(key, (False, start))
            if on:
                group = self.groups[calls[1:]] if calls.startswith("@") else calls.split()
                answers = dict.fromkeys(group, ("errno(EPERM)", where))
                filters.append(_UnitFilter(("allow", where), answers, ("allow", where)))
        for listed, hit in ((self.log, "log"), (self.filter, self.negative)):
            if listed.allows is None or listed.start is None:
                continue
            named, rest = ("allow", hit) if listed.allows else (hit, "allow")
            if listed is self.log:
                # SystemCallLog= lists what is logged, and with ~ what is not.
                named, rest = rest, named
            answers = {c: (said or named, at) for c, (said, at) in listed.calls.items()}
            unknown = rest
            if listed is self.filter and listed.allows:
                # Calls that systemd does not know fail as on a kernel that does not have them.
                unknown = _UNKNOWN
                # So do those that the kernel's own ABI lacks and another of its ABIs has.
                own = {c for abi in self._natives() for c in self.tables.tables[abi].numbers}
                for call in self.names - (self.groups["known"] & own) - answers.keys():
                    answers[call] = unknown, listed.start
            filters.append(_UnitFilter((rest, listed.start), answers, (unknown, listed.start)))
        return filters

    def _handoff(self, filters: list[_UnitFilter], named: dict[str, tuple[str, Position]]) -> None:
        """Let write pass SystemCallFilter, as systemd does for itself."""
        system_calls = filters[-1]
        answer, where = system_calls.answer("write")
        if answer == "allow":
            return
        text = f"systemd {self.release} needs write after its filter is there, so it permits write"
        self.notes.append(Diagnostic(text, where, Problem.OTHER_FILTER))
        system_calls.calls["write"] = "allow", where
        named["write"] = severest(one.answer("write") for one in filters)

    def _natives(self) -> tuple[str, ...]:
        wide = tuple(one for one in self.archs if ABIS[one].bits == 64)
        return self.reading.abis or wide or ("x86_64",)

    def _abis(self, draft: Draft, start: Position, *, restricts: bool) -> None:
        natives = self._natives()
        where = self.native or next(iter(self.archs.values()), start)
        draft.setting("arches", list(natives), where)
        draft.setting("compat_arches", self._compat(restricts=restricts), where)
        draft.setting("bad_arch_action", "kill_thread" if restricts else "allow", where)

    def _served(self) -> list[str]:
        """Return all ABIs that the filters are for."""
        return [*self._natives(), *self._compat(restricts=bool(self.archs or self.native))]

    def _compat(self, *, restricts: bool) -> list[str]:
        """Return the other ABIs of the kernel that the filters are for."""
        natives = self._natives()
        compat = [
            other
            for abi in natives
            for other in ABIS[abi].siblings
            if (other in self.archs or not restricts)
            and other in ARCHITECTURES.values()
            and other not in natives
        ]
        return list(dict.fromkeys(compat))

    def _is_on(self, key: str) -> Position | None:
        on, where = self.switches.get(key, (False, None))
        return where if on else None

    def _restrictions(self) -> Iterator[Restriction]:
        """Yield what the filters that compare arguments refuse."""
        yield from self.families.restrictions(self.release)
        if at := self._is_on("MemoryDenyWriteExecute"):
            if asks_kernel(self.release, self.reading):
                text = "MemoryDenyWriteExecute= makes no filter: systemd asks the kernel itself to "
                text += "refuse such memory, from Linux 6.3 on; --kernel says an older one"
                self.notes.append(Diagnostic(text, at, Problem.OTHER_FILTER))
            else:
                yield from written_code(at)
        if at := self._is_on("RestrictRealtime"):
            yield from realtime(at, self.release)
        if at := self._is_on("RestrictSUIDSGID") or self._is_on("DynamicUser"):
            yield from set_id_files(at)
        yield from self.namespaces.restrictions()
        if at := self._is_on("LockPersonality"):
            said = [word.text for word in self.personality.words] if self.personality else []
            yield from personality(at, said[-1] if said else None, self._natives()[0])

    def _restrict(
        self, draft: Draft, restrictions: list[Restriction], filters: list[_UnitFilter]
    ) -> list[str]:
        """Add rules for what ``restrictions`` refuse and ``filters`` permit.

        If two filters refuse a call, the later one's answer, SystemCallFilter's, is used. Return
        the calls that are refused whatever their arguments, through every ABI.
        """
        served = self._served()
        effective = [
            one
            for one in restrictions
            if (one.abis is None or one.abis & set(served))
            and severest(by.answer(one.call) for by in filters or [_OPEN])[0] in {"allow", "log"}
        ]
        for (answer, where, abis), rules in groupby(
            effective, lambda o: (o.answer, o.position, o.abis)
        ):
            entries = [Entry(one.call, one.position, one.when) for one in rules]
            more = {} if abis is None else {"arches": [abi for abi in served if abi in abis]}
            draft.rule(answer, entries, where, optional=True, **more)
        unrestricted = [abi for abi in served if abi not in WITH_SOCKET]
        if unrestricted and any(one.call == "socket" for one in effective):
            text = "systemd restricts no address families for calls through "
            text += f"{', '.join(unrestricted)}: all sockets can be made there"
            where = self.families.position
            self.notes.append(Diagnostic(text, where, Problem.OTHER_FILTER))
        return [
            one.call
            for one in effective
            if not one.when and (one.abis or set(served)) >= set(served)
        ]


def _rules(
    draft: Draft,
    named: dict[str, tuple[str, Position]],
    unlisted: tuple[str, Position | None] | None,
) -> None:
    """Add a rule for each word of the file; ``unlisted`` answers what systemd does not know.

    libseccomp answers socketcall and ipc by their own rule if there is one, whatever other rules
    say: such a rule comes first.
    """
    by_origin: dict[tuple[bool, Position, str], list[str]] = {}
    for call, (action, where) in named.items():
        by_origin.setdefault((call not in _MULTIPLEXERS, where, action), []).append(call)
    for (_, where, action), calls in sorted(by_origin.items()):
        draft.rule(action, [Entry(one, where) for one in calls], where, optional=True)
        if (action, where) == unlisted:
            draft.remark("unknown to systemd, or to the machine's own ABI")
