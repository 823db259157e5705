"""libseccomp's pseudo filter code, as ``seccomp_export_pfc`` writes it.

    if ($arch == N)                      one for each ABI, which a comment names
      if ($syscall > N) ... else ...     a search tree, where it was optimised
      if ($syscall == N)                 its calls
        if ($a0.hi32 & 0x00ff == 1)      tests of an argument, or of one of its halves
          action ALLOW;
        else ...
      action KILL;                       the default action
    action KILL;                         for other architectures

Depth is two blanks a level. What reaches no action goes on behind the test, as a program would.
Source: src/gen_pfc.c of seccomp/libseccomp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS, apart_by_kernel, find_abi
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import U32, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft
from seccompgen.formats.exact import ExactRules, is_other_abis

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_TEST = re.compile(
    r"if \(\$(?P<field>arch|syscall|a(?P<index>[0-5])(?P<half>\.hi32|\.lo32)?)"
    r"(?: & (?P<mask>0x[0-9a-fA-F]{1,8}))? (?P<op>==|!=|<=|>=|<|>)"
    r" (?P<value>-?(?:0|[1-9][0-9]{0,9})|0x[0-9a-fA-F]{1,8})\)"
)
_ACTION = re.compile(r"action (?P<name>[A-Z_]+|0x[0-9a-fA-F]{8})(?:\((?P<data>[0-9]{1,5})\))?;")
_ARCH = re.compile(r"# filter for arch (?P<name>\w+) \((?P<number>[0-9]{1,10})\)")
_ELSE = re.compile(r"else # \(.*\)")
_ACTIONS = {
    "ALLOW": "allow", "LOG": "log", "KILL": "kill_thread", "KILL_THREAD": "kill_thread",
    "KILL_PROCESS": "kill_process", "TRAP": "trap", "ERRNO": "errno", "TRACE": "trace",
    "NOTIFY": "user_notif", "USER_NOTIF": "user_notif",
}  # fmt: skip
_MOST_LEVELS = 64
_MOST_ERRORS = 200


class _Line(NamedTuple):
    level: int
    text: str
    at: Position


class _Path(NamedTuple):
    """An action and the tests on the way to it; each is what must hold."""

    tests: tuple[str, ...]
    action: str
    at: Position


@dataclass
class _Filter:
    """The part of one ABI; ``calls`` are its rules by number, in order."""

    abi: Abi
    at: Position
    calls: list[tuple[int, list[_Path]]] = field(default_factory=list)
    default: str = ""
    default_at: Position = field(default_factory=lambda: Position(""))


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the filter in ``text``, which is exact. Raises InputError with every error."""
    del reading
    parser = _Parser(text, file)
    parser.whole()
    draft = Draft(file)
    start = Position(file, 1, 1)
    filters, bad_arch = parser.filters, parser.bad_arch
    defaults = {one.default for one in filters}
    if not parser.errors and (not filters or bad_arch is None or len(defaults) > 1):
        what = "there is no filter for an ABI here" if not filters else (
            "the action for other architectures is missing at the end" if bad_arch is None
            else "the ABIs have different default actions, which a policy of ours cannot have"
        )  # fmt: skip
        parser.fail(what, filters[-1].at if filters else start)
    if parser.errors or bad_arch is None:
        raise InputError(*parser.errors)
    draft.setting("default_action", filters[0].default, filters[0].default_at)
    draft.setting("bad_arch_action", *bad_arch)
    arches, compat = apart_by_kernel([one.abi for one in filters])
    draft.setting("arches", [one.name for one in arches], start)
    if compat:
        draft.setting("compat_arches", [one.name for one in compat], start)
    actions = {path.action for one in filters for _, paths in one.calls for path in paths}
    if "user_notif" in {*actions, *defaults, bad_arch[0]}:
        draft.setting("flags", ["new_listener"], start)
    for one in filters:
        _add(one, draft, tables, scoped=len(filters) > 1)
    return draft


def _add(one: _Filter, draft: Draft, tables: Tables, *, scoped: bool) -> None:
    table = tables.tables.get(one.abi.name)
    if table is None:
        return  # what reads the draft tells that the tables have no such ABI
    rules = ExactRules(draft, table, tables, scoped, quiet=True)
    block = "", one.at
    for number, paths in one.calls:
        if is_other_abis(number, table):
            text = f"no call of {one.abi.name} has the number {number}: left out"
            draft.notes.append(Diagnostic(text, paths[0].at, Problem.RULE_SKIPPED))
            continue
        for path in paths:
            # Neighbours with one action are one block.
            block = block if path.action == block[0] else (path.action, path.at)
            rules.add(number, " and ".join(path.tests) or None, path.at, block)
    rules.write()


class _Parser:
    """Reads lines by their depth; ``errors`` is what is wrong with them."""

    def __init__(self, text: str, file: str) -> None:
        self.errors: list[Diagnostic] = []
        self.filters: list[_Filter] = []
        self.bad_arch: tuple[str, Position] | None = None
        self._file = file
        self._next = 0
        self._names: dict[int, str] = {}
        """The name that a comment before a line gives the ABI there, by the index of the line."""
        self._lines = self._split(text)

    def fail(self, text: str, at: Position) -> None:
        """Note an error."""
        self.errors.append(Diagnostic(text, at, Problem.MALFORMED_FILE))

    def _split(self, text: str) -> list[_Line]:
        lines: list[_Line] = []
        for number, line in enumerate(text.split("\n"), 1):
            words = line.strip()
            words = "else" if _ELSE.fullmatch(words) else words
            if words.startswith("#") or not words:
                if found := _ARCH.fullmatch(words):
                    self._names[len(lines)] = found["name"]
                continue
            blanks = len(line) - len(line.lstrip())
            at = Position(self._file, number, blanks + 1)
            known = words == "else" or _TEST.fullmatch(words) or _ACTION.fullmatch(words)
            if not known or line[:blanks].strip(" ") or blanks % 2:
                self.fail(f"no line of libseccomp's pseudo filter code: {words[:60]!r}", at)
            elif blanks // 2 > _MOST_LEVELS:
                self.fail("nested too deeply", at)
            else:
                lines.append(_Line(blanks // 2, words, at))
            if len(self.errors) == _MOST_ERRORS:
                break
        return lines

    def _line(self, level: int) -> _Line | None:
        """Return the next line if it is of ``level``, and tell of one that is deeper."""
        while self._next < len(self._lines):
            line = self._lines[self._next]
            if line.level <= level:
                return line if line.level == level else None
            self.fail("this line belongs to no test above it", line.at)
            self._next += 1
        return None

    def whole(self) -> None:
        """Read everything."""
        while line := self._line(0):
            name = self._names.get(self._next)
            self._next += 1
            test = _TEST.fullmatch(line.text)
            if test and test["field"] == "arch" and test["op"] == "==":
                self._filter(line, int(test["value"], 0) & U32, name)
            elif _ACTION.fullmatch(line.text):
                if self.bad_arch:
                    self.fail("a second action for other architectures", line.at)
                self.bad_arch = self._action(line), line.at
            else:
                self.fail("a filter begins with a test of $arch", line.at)
                self._skip(0)

    def _skip(self, level: int) -> None:
        while self._next < len(self._lines) and self._lines[self._next].level > level:
            self._next += 1

    def _filter(self, head: _Line, number: int, name: str | None) -> None:
        """Read the filter of an ABI: tests of the number, and the default action."""
        abi = _abi(number, name)
        if abi is None or abi.audit_arch != number:
            self.fail(f"{number:#x} is no architecture {name or 'that is known'}", head.at)
            self._skip(0)
            return
        if abi in [one.abi for one in self.filters]:
            self.fail(f"a second filter for {abi.name}", head.at)
        found = _Filter(abi, head.at)
        self._calls(1, found, range(U32 + 1))
        if not found.default:
            self.fail(f"the default action of {abi.name} is missing", head.at)
        self.filters.append(found)

    def _calls(self, level: int, found: _Filter, numbers: range) -> None:
        """Read tests of the number, which is one of ``numbers`` here, and the default action."""
        rest: range | None = None
        while line := self._line(level):
            self._next += 1
            test = _TEST.fullmatch(line.text)
            if found.default:
                self.fail("nothing follows the default action of an ABI", line.at)
                self._skip(level)
            elif test and test["field"] == "syscall" and test["op"] in {"==", ">"}:
                number = int(test["value"], 0) & U32
                if test["op"] == ">":
                    self._calls(level + 1, found, range(number + 1, numbers.stop))
                    rest = range(numbers.start, number + 1)
                    continue
                if number not in numbers:
                    self.fail("this test never holds, by the tests around it", line.at)
                if paths := self._level(level + 1, ()):
                    found.calls.append((number, paths))
            elif line.text == "else" and rest is not None:
                self._calls(level + 1, found, rest)
            elif level == 1 and _ACTION.fullmatch(line.text):
                found.default, found.default_at = self._action(line) or "allow", line.at
            else:
                self.fail("a test of $syscall or the default action should stand here", line.at)
                self._skip(level)
            rest = None

    def _level(self, level: int, tests: tuple[str, ...]) -> list[_Path]:
        """Return the ways through lines of one level, below ``tests``, in their order."""
        paths: list[_Path] = []
        before: str | None = None
        while line := self._line(level):
            self._next += 1
            if line.text == "else":
                if before is None:
                    self.fail("'else' without a test", line.at)
                paths += self._level(level + 1, (*tests, f"not ({before})"))
                before = None
                continue
            test = _TEST.fullmatch(line.text)
            if test is None:
                if action := self._action(line):
                    paths.append(_Path(tests, action, line.at))
                before = None
                continue
            before = self._condition(test, line)
            paths += self._level(level + 1, (*tests, before))
        return paths

    def _condition(self, test: re.Match[str], line: _Line) -> str:
        """Return a test in our language."""
        if test["index"] is None:
            self.fail("only arguments are tested here", line.at)
            return ""
        argument, high = f"arg{test['index']}", test["half"] == ".hi32"
        mask = int(test["mask"], 16) if test["mask"] else U32
        value, op = int(test["value"], 0) & U32, test["op"]
        if high:
            return f"u64({argument}) & {mask << 32:#x} {op} {value << 32:#x}"
        masked = "" if mask == U32 else f" & {mask:#x}"
        return f"u32({argument}){masked} {op} {value:#x}"

    def _action(self, line: _Line) -> str:
        """Return an action in our language, "" with an error if it is none."""
        found = _ACTION.fullmatch(line.text)
        if found is None:
            self.fail("an action should stand here", line.at)
            return ""
        name, data = found["name"], found["data"]
        if name.startswith("0x"):
            value = int(name, 16)
            kinds = {one.value: one for one in ActionKind}
            kind = kinds.get(value & ~0xFFFF)
            word = kind.name.lower() if kind else ""
            data = str(value & 0xFFFF) if kind and kind.takes_data else None
        else:
            word = _ACTIONS.get(name, "")
        if not word or (data and word not in {"trap", "errno", "trace"}):
            self.fail(f"{line.text!r} is no action of seccomp", line.at)
            return ""
        data = data or ("0" if word == "errno" else None)
        return f"{word}({data})" if data else word


def _abi(number: int, name: str | None) -> Abi | None:
    """Return the ABI that libseccomp calls ``name``; without one, the first of that number."""
    if name:
        return find_abi(f"SCMP_ARCH_{name}")
    served = (one for one in ABIS.values() if one.audit_arch == number and one.filters_since)
    return next(served, None)
