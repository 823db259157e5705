"""Profiles of firejail as policies: the combined effect of the filters that it installs.

A profile makes up to eight filters, which `filters` describes; here is which of them its lines ask
for. A later list replaces an earlier one of its kind. ``seccomp.keep`` counts before
``seccomp.drop``, and that before ``seccomp LIST``. ``seccomp.32`` and its kin are read as firejail
reads them, which is seldom what their names say.

Sources: main.c, profile.c, seccomp.c and sandbox.c of firejail 0.9.74. Tests compare with the
filters that it makes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft
from seccompgen.formats.firejail import filters
from seccompgen.formats.firejail.combining import say
from seccompgen.formats.firejail.filters import EPERM, FAMILIES, InstalledFilter
from seccompgen.formats.firejail.lists import (
    CallNames,
    ListCompiler,
    ListProgram,
    ListWord,
    errno_answer,
    list_words,
)
from seccompgen.formats.firejail.profile import FirejailLine, ProfileFiles
from seccompgen.formats.stacked import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_LISTS = {
    "seccomp": "seccomp", "seccomp.drop": "seccomp", "seccomp.keep": "seccomp",
    "seccomp.32": "seccomp.32", "seccomp.32.drop": "seccomp.32", "seccomp.32.keep": "seccomp.32",
}  # fmt: skip
"""The directives that take a list, and the switch that each turns on."""
_LONGEST = 4096 - 9
"""The most instructions for a list, next to those that every program has."""
_EFFECTIVE = ("seccomp.keep", "seccomp.drop", "seccomp")
"""The lists that exclude each other: the first that is there counts."""


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy of a profile. Raises InputError with every fault of all its files."""
    draft = Draft(file, outside=reading.outside)
    files = ProfileFiles(draft)
    profile = _Profile(files.faults, draft.notes)
    for one in files.directives(text, file):
        profile.apply(one)
    start = Position(file, 1, 1)
    if reading.abis not in {(), ("x86_64",)}:
        what = "--for: firejail's groups and filters are known for x86_64 alone"
        files.fault(what, start, Problem.UNKNOWN_ABI)
    if not profile.on and not files.faults:
        what = "the profile has no line that becomes a filter, such as seccomp or protocol"
        files.fault(what, start, Problem.NO_RULES)
    for word, named in (
        ("protocol", profile.families),
        ("restrict-namespaces", profile.namespaces),
    ):
        if word in profile.on and not named and not files.faults:
            files.fault(f"{word}: its list is empty at last", profile.on[word])
    if files.faults:
        raise InputError(*files.faults)
    files.note_missing()
    installed = _Installation(profile, tables).filters()
    if files.faults:
        raise InputError(*files.faults)
    say(draft, installed, files.remarks, tables)
    return draft


@dataclass
class _Profile:
    """The lines of a profile that have a part in its filters; ``on`` has their positions."""

    faults: list[Diagnostic]
    notes: list[Diagnostic]
    on: dict[str, Position] = field(default_factory=dict)
    lists: dict[str, list[ListWord]] = field(default_factory=dict)
    families: dict[str, Position] = field(default_factory=dict)
    namespaces: dict[str, Position] = field(default_factory=dict)
    refusal: str = EPERM

    def apply(self, one: FirejailLine) -> None:
        """Apply a line as firejail does."""
        match one.word:
            case "protocol":
                self._add(self.families, one, FAMILIES, "socket family")
            case "restrict-namespaces" if one.value:
                self._add(self.namespaces, one, NAMESPACES, "namespace")
            case "restrict-namespaces":
                self.namespaces = {**dict.fromkeys(NAMESPACES, one.position), **self.namespaces}
                self.on["every namespace"] = one.position
            case "seccomp-error-action":
                self._error_action(one)
                return
            case word if word in _LISTS and one.value:
                self._list(one)
                self.on[_LISTS[word]] = one.position
            case "seccomp.block-secondary":
                self.on.setdefault("seccomp", one.position)
        self.on[one.word] = one.position

    def _list(self, one: FirejailLine) -> None:
        if one.word in self.lists:
            text = f"firejail ignores this list: that of {one.position} replaces it"
            self.notes.append(Diagnostic(text, self.on[f"{one.word} LIST"], Problem.IGNORED_TEXT))
        self.lists[one.word] = list_words(one, self.faults, self.notes)
        self.on[f"{one.word} LIST"] = one.position

    def _add(
        self, named: dict[str, Position], one: FirejailLine, known: Iterable[str], what: str
    ) -> None:
        """Add the words of a list that accumulates: ``-x`` takes one out, ``=x`` begins anew."""
        at = one.value_position
        for match in re.finditer(r"[^,]+", one.value):
            word, where = match[0], Position(at.file, at.line, at.column + match.start())
            name = word[1:] if word[0] in "-+=" else word
            if name and name not in known:
                hint = did_you_mean(name, known) if len(self.faults) < MOST_HINTS else ""
                text = f"{name!r} is no {what} of firejail{hint}"
                self.faults.append(Diagnostic(text, where, Problem.WRONG_VALUE))
            if word[0] == "=":
                named.clear()
            if word[0] == "-":
                named.pop(name, None)
            elif name:
                named.setdefault(name, where)

    def _error_action(self, one: FirejailLine) -> None:
        known = {"kill": "kill_thread", "log": "log"}.get(one.value) or errno_answer(one.value)
        if known is None:
            text = f"{one.value!r} is no answer: kill, log or the name of an errno"
            self.faults.append(Diagnostic(text, one.value_position, Problem.WRONG_VALUE))
        self.refusal = known or EPERM


class _Installation:
    """The filters that firejail loads, by the files that it keeps them in.

    A file that is loaded twice counts once, with its last content.
    """

    def __init__(self, profile: _Profile, tables: Tables) -> None:
        self.profile, self.on, self.refusal = profile, profile.on, profile.refusal
        self.native = ListCompiler(CallNames.of("x86_64", tables), profile.refusal, profile.notes)
        self.other = ListCompiler(CallNames.of("i386", tables), profile.refusal, profile.notes)
        self.loaded: dict[str, InstalledFilter] = {}

    def filters(self) -> list[InstalledFilter]:
        """Return the filters in the order of loading: the first is the newest in the kernel."""
        on, refusal = self.on, self.refusal
        if at := on.get("protocol"):
            self.loaded["protocol"] = filters.protocols(self.profile.families, refusal, at)
        if at := on.get("seccomp"):
            self._native(at)
        if at := on.get("seccomp.32"):
            self._secondary(at)
        if at := on.get("memory-deny-write-execute"):
            for abi in ("x86_64", "i386"):
                self.loaded[f"mdwx {abi}"] = filters.written_code(abi, refusal, at)
        if at := on.get("restrict-namespaces"):
            self._namespaces(at)
        return list(self.loaded.values())

    def _native(self, at: Position) -> None:
        lists = self.profile.lists
        kind = next((one for one in _EFFECTIVE if one in lists), None)
        for other in _EFFECTIVE if kind else ():
            if other in lists and other != kind:
                self._vain(other, f"{kind} counts instead")
        self._before(at, plain=kind in {None, "seccomp"})
        if kind == "seccomp.keep":
            program = self.native.keep(lists[kind], self._at(kind))
        elif kind == "seccomp.drop":
            program = self.native.drop(lists[kind], None)
        elif kind or self.refusal != EPERM:
            program = self.native.drop(lists.get("seccomp", ()), (self._default(), at))
        else:
            program = self.native.default(self._default(), at)
        self._load("native", program, "x86_64", at)

    def _secondary(self, at: Position) -> None:
        """Load the filters of ``seccomp.32`` and its kin, which look at the native lists."""
        lists, compiler, kind = self.profile.lists, self.other, None
        if "seccomp.32.keep" in lists:
            kind, compiler = "seccomp.32.keep", self.native
            text = "firejail makes a filter for x86_64 of this list, and none for i386"
            self._note(text, self._at(kind), Problem.OPPOSITE_EFFECT)
            program = compiler.keep(lists[kind], self._at(kind))
        elif "seccomp.drop" in lists and "seccomp.32.drop" not in lists:
            text = "firejail refuses this next to seccomp.drop: write seccomp.32.drop"
            self.profile.faults.append(Diagnostic(text, at, Problem.WRONG_STATEMENT))
            return
        elif "seccomp.drop" in lists:
            kind = "seccomp.32.drop"
            program = compiler.drop(lists[kind], None)
        elif "seccomp" in lists or self.refusal != EPERM:
            kind = "seccomp.32"
            program = compiler.drop(lists.get(kind, ()), (self._default(), at))
        elif "seccomp.block-secondary" in self.on:
            text = "firejail fails with this next to seccomp.block-secondary"
            self.profile.faults.append(Diagnostic(text, at, Problem.WRONG_STATEMENT))
            return
        else:
            program = None
        for other in ("seccomp.32", "seccomp.32.drop"):
            if other in lists and other != kind:
                self._vain(other, f"{kind or 'its own list for i386'} counts instead")
        self._before(at, plain="seccomp.drop" not in lists and kind != "seccomp.32.keep")
        if program is None:
            self.loaded["secondary"] = filters.secondary(EPERM, at)
        else:
            abi = "x86_64" if compiler is self.native else "i386"
            self._load("secondary", program, abi, at)

    def _namespaces(self, at: Position) -> None:
        """Load the filters of namespaces.

        For all of them and EPERM, firejail has filters ready, which no later line changes. The one
        for i386 is that for x86_64 once more.
        """
        named, abis = self.profile.namespaces, ["x86_64", "i386"]
        if "every namespace" in self.on and self.refusal == EPERM:
            at = self.on["every namespace"]
            named, abis = dict.fromkeys(NAMESPACES, at), ["x86_64"]
            if "seccomp.block-secondary" not in self.on:
                text = "firejail restricts no namespaces through i386: its filter for that is one "
                text += "for x86_64; list them all, restrict-namespaces "
                self._note(text + ",".join(NAMESPACES), at, Problem.MISSING_PART)
        for abi in abis:
            self.loaded[f"namespaces {abi}"] = filters.namespaces(abi, named, self.refusal, at)

    def _before(self, at: Position, *, plain: bool) -> None:
        """Load the filter for i386 that comes before that of a list, if there is one.

        ``plain`` lists are those without drop and keep.
        """
        refusal = self.refusal if plain else EPERM
        if where := self.on.get("seccomp.block-secondary"):
            self.loaded["block"] = filters.block_secondary(refusal, where)
        elif plain:
            self.loaded["secondary"] = filters.secondary(refusal, at)

    def _load(self, file: str, program: ListProgram, abi: str, at: Position) -> None:
        if program.length > _LONGEST:
            text = (
                f"{program.length} instructions for its lists, over {_LONGEST}: the kernel refuses "
            )
            text += "such a filter, and firejail runs the program without it"
            self.profile.faults.append(Diagnostic(text, at, Problem.LONG_PROGRAM))
            return
        for where, later in groupby(program.later, key=itemgetter(1)):
            text = f"{', '.join(call for call, _ in later)}: refused once the program runs, by a "
            self._note(
                f"{text}filter that firejail's library installs", where, Problem.OTHER_FILTER
            )
        names = self.native if abi == "x86_64" else self.other
        for where, numbers in program.missed().items():
            text = f"firejail lets {len(numbers)} of these calls pass, such as "
            text += f"{names.calls.names.get(numbers[0], numbers[0])}: its jumps reach over at "
            self._note(f"{text}most 255 refusals", where, Problem.MISSING_PART)
        self.loaded[file] = filters.of_list(program, abi, self.refusal, at)

    def _default(self) -> str:
        """Return the group that firejail refuses by default."""
        return "default" if "allow-debuggers" in self.on else "default-nodebuggers"

    def _at(self, kind: str) -> Position:
        return self.on[f"{kind} LIST"]

    def _vain(self, kind: str, why: str) -> None:
        self._note(f"firejail ignores this list: {why}", self._at(kind), Problem.IGNORED_TEXT)

    def _note(self, text: str, at: Position, kind: Problem) -> None:
        self.profile.notes.append(Diagnostic(text, at, kind))
