"""Translate LXC's profiles into our language, as liblxc and libseccomp understand them.

A profile names no machine. LXC installs a filter for the machine's own ABI and, with version 2, for
ABIs that its kernel also serves; calls through other ABIs end the thread. A section limits its
rules to machines that can run its ABI, and since LXC 3.0.1 not to that ABI. A name without a number
on an ABI has no rule there: libseccomp counts ``socket`` and the like among these where
``socketcall`` and ``ipc`` can make them.

Source: src/lxc/seccomp.c of lxc/lxc; tests compare with liblxc's own programs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import U32, Action, ActionKind, Comparison, Op
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.core.text import listed, some
from seccompgen.formats.draft import Draft, Entry
from seccompgen.formats.kafel.exact import is_other_abis
from seccompgen.formats.lxc.grammar import (
    LxcProfile,
    LxcRule,
    after_number,
    parse_head,
    parse_number,
    parse_rule,
    require_errno,
)
from seccompgen.formats.oci.calls import AbiRules, CallRule, rule_pieces
from seccompgen.formats.source_comments import line_comments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Table, Tables
    from seccompgen.formats.lxc.grammar import LxcLine

MACHINES: dict[str, tuple[str, ...]] = {
    "x86_64": ("i386", "x32"), "i386": (), "aarch64": ("arm",), "arm": (), "ppc64le": (),
    "ppc64": ("ppc",), "ppc": (), "mips64": ("mips", "mips64n32"), "mips": (),
    "mips64el": ("mipsel", "mips64n32el"), "mipsel": (), "s390x": (), "s390": (),
    "loongarch64": (), "riscv64": (),
}  # fmt: skip
"""The machines that LXC is built for, and the other ABIs of a filter there."""
_UNKNOWN = "riscv64"
"""A machine that LXC does not know by name: only rules below [all] are for it."""
_SECTIONS = {
    "x86": "i386", "x32": "x32", "x86_64": "x86_64", "arm": "arm", "arm64": "aarch64",
    "ppc": "ppc", "ppc64": "ppc64", "ppc64le": "ppc64le", "mips": "mips", "mips64": "mips64",
    "mips64n32": "mips64n32", "mipsel": "mipsel", "mipsel64": "mips64el",
    "mipsel64n32": "mips64n32el", "s390": "s390", "s390x": "s390x", "loongarch64": "loongarch64",
}  # fmt: skip
_FORCE = "reject_force_umount"
_MNT_FORCE = 1
_FORCED = Action(ActionKind.ERRNO, 13)


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy in ``text``. Raises InputError with every error."""
    profile = parse_head(text, file)
    draft = Draft(file)
    machines = draft.machines(reading, MACHINES, "LXC")
    draft.setting("arches", [one.name for one in machines], profile.default_at)
    draft.setting("default_action", str(profile.default), profile.default_at)
    draft.setting("bad_arch_action", "kill_thread", Position(file, 1, 1))
    for remark, at in profile.ignored:
        draft.note(remark, at, Problem.IGNORED_TEXT)
    if profile.version == 1:
        _write_numbers(profile, draft, machines, tables)
        return draft
    compat = [other for one in machines for other in MACHINES[one.name]]
    if compat:
        draft.setting("compat_arches", list(dict.fromkeys(compat)), Position(file, 1, 1))
    draft.comments += line_comments(text, file, trailing=True)
    _Translation(profile, draft, tables, machines).write()
    return draft


# --- version 1 ---------------------------------------------------------------------------------


def _write_numbers(profile: LxcProfile, draft: Draft, machines: list[Abi], tables: Tables) -> None:
    """Add rules for the numbers of a profile of version 1, which are those of each machine."""
    faults: list[Diagnostic] = []
    found: dict[int, Position] = {}
    for line in profile.lines:
        try:
            number = parse_number(line, profile.file)
        except InputError as error:
            faults += error.diagnostics
            continue
        at = Position(profile.file, line.number, 1)
        found.setdefault(number, at)
        if more := after_number(line.text):
            text = f"LXC reads {number} here, and ignores {more[:40]!r} after it"
            draft.note(text, at, Problem.IGNORED_TEXT)
    if faults:
        raise InputError(*faults)
    for abi in machines:
        table = tables.tables.get(abi.name)
        if table is None:
            continue  # resolving the draft reports that the tables have no such ABI
        own = {number: at for number, at in found.items() if not is_other_abis(number, table)}
        for number in found.keys() - own.keys():
            text = f"{number:#x} is no number of {abi.name}: LXC's filter never gets to it"
            draft.note(text, found[number], Problem.IGNORED_TEXT)
        if own:
            entries = [Entry(table.names.get(number, number), at) for number, at in own.items()]
            draft.rule(str(profile.action), entries, entries[0].position, arches=[abi.name])


# --- version 2 ---------------------------------------------------------------------------------


class _Section(NamedTuple):
    """A section: its line, and its ABI; None for [all] and for what is above all sections."""

    at: Position
    abi: str | None


@dataclass(frozen=True, slots=True)
class _Placed:
    """A rule in its section, and the machines that it is for."""

    rule: LxcRule
    section: _Section
    machines: tuple[Abi, ...]


@dataclass
class _Translation:
    """Adds the rules of a profile of version 2 to ``draft``."""

    profile: LxcProfile
    draft: Draft
    tables: Tables
    machines: list[Abi]
    faults: list[Diagnostic] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.served = {
            abi: [AbiRules(table) for name in (abi.name, *MACHINES[abi.name])
                  if (table := self.tables.tables.get(name)) is not None]
            for abi in self.machines
        }  # fmt: skip
        self.known = self.tables.calls.union(*(one.split() for one in MULTIPLEXED.values()))

    def write(self) -> None:
        placed = [*self._placed()]
        self._note_unknown(placed)
        for one in placed:
            self._add(one)
        self._note_sections(placed)
        rules = [one for found in self.served.values() for one in found]
        self._check(rules)
        if self.faults:
            raise InputError(*sorted(dict.fromkeys(self.faults), key=_where))
        self.draft.notes.sort(key=_where)
        kinds = {rule.action.kind for one in rules for rule in one.rules()}
        if ActionKind.USER_NOTIF in {*kinds, self.profile.default.kind}:
            self.draft.setting("flags", ["new_listener"], Position(self.profile.file, 1, 1))
        own = [(one, rule) for one in rules for rule in one.rules()]
        for piece, entries in rule_pieces(own, rules, exact=True):
            lacks = any(one.name not in each.table.numbers for one in entries for each in rules)
            more: dict[str, object] = {"optional": True} if lacks else {}
            if piece.arches is not None:
                more = {"arches": [*piece.arches]}
            self.draft.rule(str(piece.action), entries, entries[0].position, **more)

    # --- lines -------------------------------------------------------------------------------

    def _placed(self) -> Iterator[_Placed]:
        """Yield the rules that LXC looks at, and collect their errors."""
        file = self.profile.file
        section = _Section(self.profile.default_at, None)
        machines = tuple(one for one in self.machines if one.name != _UNKNOWN)
        for line in self.profile.lines:
            text, at = line.text, Position(file, line.number, 1)
            if text.startswith("#"):
                continue
            if text.startswith("["):
                section = _Section(at, self._section(line, at))
                machines = tuple(one for one in self.machines if _has(one, section.abi))
                if not machines:
                    text = f"{text} is for other machines than {self._names()}: say --for for these"
                    self.draft.note(text, at, Problem.RULE_SKIPPED)
            elif machines and text.strip(" "):
                try:
                    yield _Placed(self._rule(line), section, machines)
                except InputError as error:
                    self.faults += error.diagnostics
            elif text.strip(" ") and section.abi is None:
                text = "LXC does not know this machine by name, so it skips all lines above [all]"
                self.draft.note(text, at, Problem.IGNORED_TEXT)

    def _section(self, line: LxcLine, at: Position) -> str | None:
        """Return the ABI of a section, None for [all]; collect the error of an unknown one."""
        word = line.text[1:-1]
        name = word.lower() if word.isupper() else word
        if line.text[-1:] != "]" or name not in {*_SECTIONS, "all"}:
            hint = did_you_mean(name, [*_SECTIONS, "all"])
            text = f"LXC has no section {line.text!r}{hint}: nothing else may be in its line"
            self.faults.append(Diagnostic(text, at, Problem.MALFORMED_FILE))
        return _SECTIONS.get(name)

    def _names(self) -> str:
        return listed([one.name for one in self.machines])

    def _rule(self, line: LxcLine) -> LxcRule:
        """Return the rule of a line; ``reject_force_umount`` is one for umount2."""
        rule = parse_rule(line, self.profile.file)
        if not rule.name.startswith(_FORCE):
            return rule
        said = [("LXC ignores all after this word: it gives errno 13, EACCES", rule.at)]
        more = said if rule.action else []
        tests = ((Comparison(1, Op.MASKED_EQ, _MNT_FORCE, _MNT_FORCE), rule.at),)
        return replace(rule, name="umount2", action=_FORCED, tests=tests, ignored=(*more,))

    # --- rules -------------------------------------------------------------------------------

    def _add(self, one: _Placed) -> None:
        """Add a rule to each ABI on which its name has a number."""
        rule = one.rule
        action = rule.action or self.profile.action
        for remark, at in rule.ignored:
            self.draft.note(remark, at, Problem.IGNORED_TEXT)
        tests = tuple(test for test, _ in rule.tests)
        made = CallRule(rule.name, tests, action, rule.at, rule.at.line)
        abis = [each for machine in one.machines for each in self.served[machine]]
        with_number = [each for each in abis if _has_number(rule.name, each.table)]
        if with_number:
            self._refuse(rule, action)
        for each in with_number:
            each.add(made)
        self._note_tests(rule, with_number)
        self._note_multiplexed(rule, action, [each for each in abis if each not in with_number])

    def _refuse(self, rule: LxcRule, action: Action) -> None:
        """Collect the errors of libseccomp on a rule that has a number on some ABI."""
        try:
            require_errno(action, rule.at)
        except InputError as error:
            self.faults += error.diagnostics
        if action == self.profile.default:
            text = f"libseccomp refuses a rule with the default action, {action}"
            self.faults.append(Diagnostic(text, rule.at, Problem.WRONG_VALUE))
        seen: set[int] = set()
        for test, at in rule.tests:
            if test.argument in seen:
                text = "libseccomp refuses a second test of one argument: write two lines"
                self.faults.append(Diagnostic(text, at, Problem.WRONG_VALUE))
            seen.add(test.argument)

    def _check(self, rules: list[AbiRules]) -> None:
        """Collect the errors of rules that meet each other, and add notes on rules without use."""
        for each in rules:
            for one in each.never:
                self._note(f"this rule for {one.name} never matches", one, Problem.RULE_SKIPPED)
            for one, by in each.hidden:
                text = f"this line says nothing: {by.position} decides {one.name} alone"
                self._note(text, one, Problem.IGNORED_TEXT)
            for one in each.doubtful():
                text = f"libseccomp up to 2.6 can answer {one.name} otherwise than its lines say: "
                text += "several compare by order or by !="
                self._note(text, one, Problem.CONFLICTING_SETTINGS)
            for before, one in each.clashes():
                text = f"some calls of {one.name} match this line, {one.action}, and that at "
                text += f"{before.position}, {before.action}: libseccomp refuses that, or nothing "
                text += "says what it answers"
                self.faults.append(Diagnostic(text, one.position, Problem.CONFLICTING_SETTINGS))

    def _note(self, text: str, rule: CallRule, kind: Problem) -> None:
        found = Diagnostic(text, rule.position, kind)
        if found not in self.draft.notes:
            self.draft.notes.append(found)

    # --- remarks -----------------------------------------------------------------------------

    def _note_unknown(self, placed: list[_Placed]) -> None:
        """Add a note on lines whose name LXC skips; adjacent ones get one note."""
        unknown = [one.rule for one in placed
                   if one.rule.name not in self.known
                   and one.rule.name and not one.rule.name.strip().startswith("#")]  # fmt: skip
        runs = groupby(
            enumerate(unknown), lambda item: (item[1].at.line - item[0], _odd(item[1].name))
        )
        for count, ((_, odd), run) in enumerate(runs):
            names = [rule.name for _, rule in run]
            first = next(rule for rule in unknown if rule.name == names[0])
            hint = did_you_mean(names[0], self.known) if count < MOST_HINTS and not odd else ""
            said = f"no call is named {some([repr(one) for one in names])}{hint}"
            text = f"LXC skips {'this line' if len(names) == 1 else 'these lines'}: {said}{odd}"
            self.draft.note(text, first.at, Problem.IGNORED_TEXT)

    def _note_tests(self, rule: LxcRule, abis: list[AbiRules]) -> None:
        narrow = [each.table.abi.name for each in abis if each.table.abi.bits == 32]
        for test, at in rule.tests:
            if test.op is Op.MASKED_EQ and not test.mask:
                text = "without a mask, or with 0, this test always holds"
                self.draft.note(text, at, Problem.ALWAYS_TRUE)
            elif test.value > U32 and narrow:
                text = f"on {listed(narrow)} this compares with {test.value & U32:#x}, the low half"
                self.draft.note(text, at, Problem.VALUE_TOO_WIDE)

    def _note_multiplexed(self, rule: LxcRule, action: Action, without: list[AbiRules]) -> None:
        """Add a note if calls of a rule can be made through ABIs on which it has no effect."""
        through = entrance(rule.name)
        names = [one.table.abi.name for one in without
                 if through and through[0] in one.table.numbers]  # fmt: skip
        if not names or not through:
            if rule.name in self.known and not any(
                _has_number(rule.name, one.table) for each in self.served.values() for one in each
            ):
                text = f"no ABI here has {rule.name}, so this line says nothing"
                self.draft.note(text, rule.at, Problem.CALL_SKIPPED)
            return
        opens = self.profile.default.kind.lets_through and not action.kind.lets_through
        text = f"on {listed(names)} this line has no effect, since libseccomp counts {rule.name} "
        text += f"as a part of {through[0]} there: the call "
        text += "stays open" if opens else f"gets the default, {self.profile.default}"
        self.draft.note(text, rule.at, Problem.CALL_SKIPPED)

    def _note_sections(self, placed: list[_Placed]) -> None:
        """Add a note on each section whose rules also apply to other ABIs than its own."""
        for section, found in groupby(placed, lambda one: one.section):
            if section.abi is None:
                continue
            others: dict[str, None] = {}
            for one in found:
                name = one.rule.name
                for each in (rules for abi in one.machines for rules in self.served[abi]):
                    if each.table.abi.name != section.abi and _has_number(name, each.table):
                        others[each.table.abi.name] = None
            if others:
                text = "this section limits nothing: since LXC 3.0.1 its rules are also for "
                self.draft.note(text + listed([*others]), section.at, Problem.INEFFECTIVE_LIMIT)


def _has(machine: Abi, section: str | None) -> bool:
    """Return True if LXC looks at the rules of a section on a machine."""
    return section is None or section in {machine.name, *MACHINES[machine.name]}


def _has_number(name: str, table: Table) -> bool:
    """Return True if libseccomp resolves a name to a number on an ABI."""
    through = entrance(name)
    return name in table.numbers and not (through and through[0] in table.numbers)


def _odd(name: str) -> str:
    """Return what is wrong with the form of a name, to be added to a message; or ""."""
    if "\t" in name:
        return "; blanks separate words, a tab is a part of the name"
    if name.endswith("\r"):
        return "; the line ends with a carriage return, which is a part of the name"
    return "; a comment needs a blank before its #" if "#" in name else ""


def _where(one: Diagnostic) -> tuple[Position, str]:
    return one.position or Position(""), one.message
