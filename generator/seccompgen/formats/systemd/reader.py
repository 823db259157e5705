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

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.ages import release_known
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft, Entry
from seccompgen.formats.source_comments import SourceComment
from seccompgen.formats.stacked import severest
from seccompgen.formats.systemd.restrictions import (
    WITH_SOCKET,
    Restriction,
    asks_kernel,
    personality,
    realtime,
    set_id_files,
    written_code,
)
from seccompgen.formats.systemd.unit_file import read_assignments
from seccompgen.formats.systemd.unit_settings import ARCHITECTURES, SIMPLE_SWITCHES, UnitSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

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


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy that a unit file's settings express. Raises InputError with every fault."""
    assignments, faults = read_assignments(text, file)
    unit = UnitSettings(file, reading, tables, faults)
    for one in assignments:
        unit.assign(one)
    return _Translation(unit).draft()


class _Translation:
    """The filters that a unit gets, and their combined effect."""

    def __init__(self, unit: UnitSettings) -> None:
        self.unit, self.tables, self.release = unit, unit.tables, unit.release

    def draft(self) -> Draft:
        """Return the policy, or raise InputError with every fault."""
        start = self.unit.seen or Position(self.unit.file, 1, 1)
        filters = self._filters(start)
        restrictions = list(self._restrictions())
        restricts = bool(self.unit.archs or self.unit.native)
        if not filters and not restrictions and not restricts and not self.unit.faults:
            text = "the unit has no setting that becomes a filter here, such as SystemCallFilter="
            self.unit.fault(text, start, Problem.NO_RULES)
        if self.unit.faults:
            raise InputError(*self.unit.faults)
        draft = Draft(self.unit.file, self.unit.notes)
        self._abis(draft, start, restricts=restricts)
        default, where = severest(one.default for one in filters) if filters else ("allow", start)
        draft.setting("default_action", default, where)
        if filters:
            unknown, at = severest(one.unknown for one in filters)
            kernel = release_known(self.tables, self._served()) if unknown != default else None
            if kernel:
                draft.setting("kernel", kernel, at)
            draft.setting("unknown_action", unknown, at)
        if "NoNewPrivileges" in self.unit.switches:
            draft.setting("no_new_privs", *self.unit.switches["NoNewPrivileges"])
        named: dict[str, tuple[str, Position]] = {}
        calls = {call for one in filters for call in one.calls}
        unresolved = self._unresolved_multiplexers()
        behind = _BEHIND if unresolved else frozenset()
        for call in sorted(calls | behind):
            answer = severest(one.answer(call) for one in filters)
            if answer[0] != default or call in _MULTIPLEXERS | behind:
                named[call] = answer
        if self.release >= _HANDOFF_SINCE and self.unit.filter.allows is not None:
            self._handoff(filters, named)
        for call in self._restrict(draft, restrictions, filters):
            named.pop(call, None)
        self._entrances(draft, named, unresolved)
        unlisted = (_UNKNOWN, self.unit.filter.start) if self.unit.filter.allows else None
        _rules(draft, named, unlisted)
        draft.comments += self._comments(draft)
        return draft

    def _comments(self, draft: Draft) -> Iterator[SourceComment]:
        """Yield the unit's comments on assignments, and each assignment that made rules."""
        made = set(draft.groups.values())
        for one, later in pairwise([*self.unit.assigned, None]):
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
        if not self.unit.filter.allows:
            return frozenset()
        own = {call for abi in self._natives() for call in self.tables.tables[abi].numbers}
        return _MULTIPLEXERS - own - self.unit.filter.calls.keys()

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
        for key, calls in SIMPLE_SWITCHES.items():
            on, where = self.unit.switches.get(key, (False, start))
            if on:
                group = self.unit.groups[calls[1:]] if calls.startswith("@") else calls.split()
                answers = dict.fromkeys(group, ("errno(EPERM)", where))
                filters.append(_UnitFilter(("allow", where), answers, ("allow", where)))
        for listed, hit in ((self.unit.log, "log"), (self.unit.filter, self.unit.negative)):
            if listed.allows is None or listed.start is None:
                continue
            named, rest = ("allow", hit) if listed.allows else (hit, "allow")
            if listed is self.unit.log:
                # SystemCallLog= lists what is logged, and with ~ what is not.
                named, rest = rest, named
            answers = {c: (said or named, at) for c, (said, at) in listed.calls.items()}
            unknown = rest
            if listed is self.unit.filter and listed.allows:
                # Calls that systemd does not know fail as on a kernel that does not have them.
                unknown = _UNKNOWN
                # So do those that the kernel's own ABI lacks and another of its ABIs has.
                own = {c for abi in self._natives() for c in self.tables.tables[abi].numbers}
                for call in self.unit.names - (self.unit.groups["known"] & own) - answers.keys():
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
        self.unit.notes.append(Diagnostic(text, where, Problem.OTHER_FILTER))
        system_calls.calls["write"] = "allow", where
        named["write"] = severest(one.answer("write") for one in filters)

    def _natives(self) -> tuple[str, ...]:
        wide = tuple(one for one in self.unit.archs if ABIS[one].bits == 64)
        return self.unit.reading.abis or wide or ("x86_64",)

    def _abis(self, draft: Draft, start: Position, *, restricts: bool) -> None:
        natives = self._natives()
        where = self.unit.native or next(iter(self.unit.archs.values()), start)
        draft.setting("arches", list(natives), where)
        draft.setting("compat_arches", self._compat(restricts=restricts), where)
        draft.setting("bad_arch_action", "kill_thread" if restricts else "allow", where)

    def _served(self) -> list[str]:
        """Return all ABIs that the filters are for."""
        return [
            *self._natives(),
            *self._compat(restricts=bool(self.unit.archs or self.unit.native)),
        ]

    def _compat(self, *, restricts: bool) -> list[str]:
        """Return the other ABIs of the kernel that the filters are for."""
        natives = self._natives()
        compat = [
            other
            for abi in natives
            for other in ABIS[abi].siblings
            if (other in self.unit.archs or not restricts)
            and other in ARCHITECTURES.values()
            and other not in natives
        ]
        return list(dict.fromkeys(compat))

    def _is_on(self, key: str) -> Position | None:
        on, where = self.unit.switches.get(key, (False, None))
        return where if on else None

    def _restrictions(self) -> Iterator[Restriction]:
        """Yield what the filters that compare arguments refuse."""
        yield from self.unit.families.restrictions(self.release)
        if at := self._is_on("MemoryDenyWriteExecute"):
            if asks_kernel(self.release, self.unit.reading):
                text = "MemoryDenyWriteExecute= makes no filter: systemd asks the kernel itself to "
                text += "refuse such memory, from Linux 6.3 on; --kernel says an older one"
                self.unit.notes.append(Diagnostic(text, at, Problem.OTHER_FILTER))
            else:
                yield from written_code(at)
        if at := self._is_on("RestrictRealtime"):
            yield from realtime(at, self.release)
        if at := self._is_on("RestrictSUIDSGID") or self._is_on("DynamicUser"):
            yield from set_id_files(at)
        yield from self.unit.namespaces.restrictions()
        if at := self._is_on("LockPersonality"):
            said = (
                [word.text for word in self.unit.personality.words] if self.unit.personality else []
            )
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
            where = self.unit.families.position
            self.unit.notes.append(Diagnostic(text, where, Problem.OTHER_FILTER))
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
