"""The settings of a unit that make filters, as systemd applies assignment after assignment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.errnos import ERRNO_NAMES
from seccompgen.core.errors import MOST_HINTS, Diagnostic, Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.formats.systemd.groups import DEFAULT_RELEASE, systemd_groups
from seccompgen.formats.systemd.restrictions import Families, Namespaces
from seccompgen.formats.systemd.unit_file import Assignment, UnitWord

if TYPE_CHECKING:
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
SIMPLE_SWITCHES: dict[str, str] = {
    "ProtectHostname": "sethostname setdomainname", "ProtectKernelTunables": "_sysctl",
    "ProtectKernelModules": "@module", "ProtectKernelLogs": "syslog", "ProtectClock": "@clock",
    "PrivateDevices": "@raw-io",
}
"""Settings whose filter answers some calls with EPERM, in the order of their installation."""
_SWITCHES = frozenset({
    *SIMPLE_SWITCHES, "NoNewPrivileges", "RestrictRealtime", "RestrictSUIDSGID",
    "MemoryDenyWriteExecute", "LockPersonality", "DynamicUser",
})
"""Settings that take yes or no."""
# fmt: on


@dataclass
class CallList:
    """A list of calls as its assignments build it: systemd's SystemCallFilter or SystemCallLog.

    ``calls`` maps each call that a list names to its own answer, or to None for the list's.
    """

    allows: bool | None = None
    start: Position | None = None
    calls: dict[str, tuple[str | None, Position]] = field(default_factory=dict)


class UnitSettings:
    """The settings of a unit, and what is wrong with its assignments."""

    def __init__(
        self, file: str, reading: Reading, tables: Tables, faults: list[Diagnostic]
    ) -> None:
        self.file, self.reading, self.faults = file, reading, faults
        self.tables = tables
        self.release = reading.systemd or DEFAULT_RELEASE
        self.groups = systemd_groups(reading.systemd)
        self.names = tables.calls
        self.notes: list[Diagnostic] = []
        self.filter, self.log = CallList(), CallList()
        self.negative = "kill_process"
        self.archs: dict[str, Position] = {}
        self.native: Position | None = None
        self.switches: dict[str, tuple[bool, Position]] = {}
        self.families, self.namespaces = Families(), Namespaces(self.release)
        self.personality: Assignment | None = None
        self.seen: Position | None = None
        self.assigned: list[Assignment] = []

    def fault(self, text: str, where: Position, kind: Problem = Problem.WRONG_VALUE) -> None:
        """Note an error; the reader raises all of them at once."""
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

    def _list(self, listed: CallList, one: Assignment) -> None:
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

    def _item(self, listed: CallList, word: UnitWord, *, takes: bool) -> None:
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
