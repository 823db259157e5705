"""Policies in kafel's language, also those inside configurations of nsjail.

    program    any of: #define NAME number; POLICY name { statements }; statements; DEFAULT action
    statements a statement, or several with commas between them
    statement  USE name; action { calls }
    action     ALLOW LOG KILL KILL_THREAD DENY KILL_PROCESS USER_NOTIF
               ERRNO(n) TRAP(n) TRACE(n)
    call       (name | SYSCALL[number]) [(arguments)] [ON architectures] [{ condition, ... }]
    architectures  name | { name, ... }
    condition  comparisons with ! && || and brackets; alternatives with commas between them
    comparison side (== != < <= > >=) side, each numbers and arguments with & and |

Names of calls and of their arguments are kafel's own, not the kernel's (`kafel_calls`). The first
rule that matches a call decides it; the rules of a used policy apply at its USE. A call that
no rule matches gets DEFAULT, or KILL (of the thread) without one. Other architectures get KILL.

Source: src/{parser.y,kafel.c,policy.c,range_rules.c,codegen.c} of google/kafel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U32
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft
from seccompgen.formats.kafel.calls import ARCHITECTURES, kafel_calls
from seccompgen.formats.kafel.conditions import (
    Condition,
    ConditionReader,
    KafelSyntaxError,
    Side,
)
from seccompgen.formats.kafel.exact import ExactRules, is_other_abis
from seccompgen.formats.kafel.nsjail import policy_of_config
from seccompgen.formats.kafel.text import KafelCursor, KafelLexer, KafelSource, KafelWord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Table, Tables
    from seccompgen.formats.kafel.calls import KafelCall

_ACTIONS = {
    "ALLOW": "allow", "LOG": "log", "USER_NOTIF": "user_notif", "KILL_PROCESS": "kill_process",
    "KILL": "kill_thread", "KILL_THREAD": "kill_thread", "DENY": "kill_thread",
    "ERRNO": "errno", "TRAP": "trap", "TRACE": "trace",
}  # fmt: skip
_WITH_DATA = {"ERRNO", "TRAP", "TRACE"}
_KEYWORDS = {*_ACTIONS, "USE", "POLICY", "DEFAULT", "SYSCALL", "ON", "define"}
_MOST_EXPANDED = 100_000
_MOST_ERRORS = 200


@dataclass(frozen=True, slots=True)
class _CallPattern:
    """A call in a block, with its condition.

    ``declared`` are the names that the policy itself gives the arguments; None for those of kafel's
    table. ``condition`` is the condition as words, or None. ``on`` are the ABIs of the rule, None
    for all.
    """

    call: KafelWord
    number: int | None
    declared: tuple[str, ...] | None
    on: frozenset[str] | None
    condition: tuple[KafelWord, ...] | None


class _Block(NamedTuple):
    """``action { calls }``, and its position."""

    action: str
    calls: tuple[_CallPattern, ...]
    at: Position


class _Use(NamedTuple):
    """``USE name``."""

    name: str
    at: Position


_Statements = list[_Block | _Use]


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy in ``text``. Raises InputError with every error."""
    draft = Draft(file, outside=reading.outside)
    words = KafelLexer(draft, Path(file).parent)
    parser = _KafelParser(words.read(_source(text, file, draft)), words.errors)
    parser.program()
    if not parser.main and not parser.policies and not parser.default and not parser.errors:
        text = "there is no statement, which kafel refuses; write DEFAULT and an action"
        parser.fail(text, Position(file, 1, 1), Problem.MALFORMED_FILE)
    abis = draft.abis(reading, "kafel compiles a policy for the machine that it runs on")
    default = parser.default or ("kill_thread", Position(file, 1, 1))
    draft.setting("default_action", *default)
    draft.setting("bad_arch_action", "kill_thread", Position(file, 1, 1))
    draft.setting("arches", [one.name for one in abis], Position(file, 1, 1))
    # Kafel does not test the x32 bit, so x32 calls get the default action.
    x32 = default[0] != "kill_thread" and any(one.name == "x86_64" for one in abis)
    if x32:
        draft.setting("compat_arches", ["x32"], Position(file, 1, 1))
    used: set[str] = set()
    blocks = parser.expanded(parser.main, used)
    draft.notes += [
        Diagnostic(f"nothing uses the policy {name!r}", at, Problem.RULE_SKIPPED)
        for name, (at, _) in parser.policies.items()
        if name not in used
    ]
    actions = {default[0], *(block.action for block in blocks)}
    if "user_notif" in actions:
        draft.setting("flags", ["new_listener"], Position(file, 1, 1))
    for abi in abis:
        table = tables.tables.get(abi.name)
        if table is None:
            continue  # resolving the draft reports that the tables have no such ABI
        known = kafel_calls().get(abi.name)
        if known is None:
            some = ", ".join(sorted(kafel_calls()))
            parser.fail(
                f"kafel has no calls of {abi.name}: it compiles for {some}", Position(file, 1, 1)
            )
            continue
        rules = _Rules(draft, table, tables, known, parser.errors, scoped=x32 or len(abis) > 1)
        rules.add(blocks)
        # kafel also checks policies that nothing uses.
        for name, (_, statements) in parser.policies.items():
            if name not in used:
                rules.check(one for one in statements if isinstance(one, _Block))
    if parser.errors:
        raise InputError(*_sorted_errors(parser.errors, file))
    return draft


def _sorted_errors(errors: list[Diagnostic], file: str) -> list[Diagnostic]:
    """Return the errors sorted by position; one error counts those beyond a limit."""
    found = sorted(
        dict.fromkeys(errors), key=lambda one: (one.position or Position(""), one.message)
    )
    if len(found) > _MOST_ERRORS:
        text = f"{len(found) - _MOST_ERRORS} more errors"
        found[_MOST_ERRORS:] = [Diagnostic(text, Position(file), Problem.TOO_MANY_ERRORS)]
    return found


def _source(text: str, file: str, draft: Draft) -> KafelSource:
    """Return the policy: ``text`` itself or, if that is a configuration of nsjail, its policy."""
    config = policy_of_config(text, file)
    if config is None:
        return KafelSource(file, text)
    if isinstance(config, KafelSource):
        return config
    path = Path(file).parent / config.path
    try:
        return KafelSource(str(path), draft.read(path))
    except OSError as error:
        what = f"cannot read {path}: {error.strerror}"
        raise InputError(Diagnostic(what, config.at, Problem.UNREADABLE_FILE)) from None


class _KafelParser(KafelCursor):
    """Parses a program; ``errors`` collects its errors."""

    def __init__(self, words: list[KafelWord], errors: list[Diagnostic]) -> None:
        super().__init__(words)
        self.errors = errors
        self.policies: dict[str, tuple[Position, _Statements]] = {}
        self.main: _Statements = []
        self.default: tuple[str, Position] | None = None
        self.constants: dict[str, int] = {}

    # --- words -------------------------------------------------------------------------------

    def _need(self, *texts: str) -> KafelWord:
        word = self._take(*texts)
        if word is None:
            raise self._unexpected(" or ".join(map(repr, texts)))
        return word

    def _kind(self, kind: str, what: str) -> KafelWord:
        word = self._word
        if word.kind != kind or (kind == "name" and word.text in _KEYWORDS):
            raise self._unexpected(what)
        self._next += 1
        return word

    def _unexpected(self, wanted: str) -> KafelSyntaxError:
        word = self._word
        found = repr(word.text[:40]) if word.text else "the end of the policy"
        text = f"expected {wanted} here, not {found}"
        self.fail(text, word.at, Problem.MALFORMED_FILE)
        return KafelSyntaxError(text)

    def fail(self, text: str, at: Position, kind: Problem = Problem.WRONG_VALUE) -> None:
        """Add an error."""
        self.errors.append(Diagnostic(text, at, kind))

    # --- the program -------------------------------------------------------------------------

    def program(self) -> None:
        """Parse the whole program; after an error, continue where the next part can begin."""
        while self._word.kind != "end":
            before = self._next
            try:
                self._part()
            except KafelSyntaxError:
                self._next = max(self._next, before + 1)
                self._recover()

    def _recover(self) -> None:
        """Skip to the next word that can begin a part."""
        while self._word.kind != "end":
            word, after = self._word, self._words[min(self._next + 1, len(self._words) - 1)].text
            action = word.text in _ACTIONS and after in {"{", "("}
            if word.text in {"POLICY", "DEFAULT", "USE", "#"} or action:
                return
            self._next += 1

    def _part(self) -> None:
        if self._take("#"):
            self._need("define")
            name = self._kind("name", "the name of a constant")
            number = self._kind("number", "a number").number
            if self.constants.setdefault(name.text, number) != number:
                text = f"{name.text!r} is defined again, as another number"
                self.fail(text, name.at)
        elif self._take("POLICY"):
            name = self._kind("name", "the name of a policy")
            self._need("{")
            statements = [] if self._take("}") else self._statements("}")
            if name.text in self.policies:
                self.fail(f"the policy {name.text!r} is defined again", name.at)
            else:
                self.policies[name.text] = name.at, statements
        elif word := self._take("DEFAULT"):
            action = self._action()
            if self.default:
                self.fail("a second default action", word.at)
            self.default = self.default or (action, word.at)
        else:
            self.main += self._statements("")

    def _statements(self, end: str) -> _Statements:
        """Read statements up to ``end``."""
        found: _Statements = [self._statement()]
        while self._take(","):
            found.append(self._statement())
        if end and not self._take(end):
            raise self._unexpected(f"',' or {end!r}")
        return found

    def _statement(self) -> _Block | _Use:
        if self._take("USE"):
            name = self._kind("name", "the name of a policy")
            if name.text not in self.policies:
                hint = did_you_mean(name.text, self.policies)
                text = f"there is no policy {name.text!r} above{hint}"
                self.fail(text, name.at)
            return _Use(name.text, name.at)
        at = self._word.at
        action = self._action()
        self._need("{")
        calls: list[_CallPattern] = []
        if not self._take("}"):
            calls.append(self._call())
            while self._take(","):
                calls.append(self._call())
            if not self._take("}"):
                raise self._unexpected("',' or '}'")
        return _Block(action, tuple(calls), at)

    def _action(self) -> str:
        word = self._take(*_ACTIONS)
        if word is None:
            raise self._unexpected("an action such as ALLOW")
        action = _ACTIONS[word.text]
        if word.text not in _WITH_DATA:
            return action
        self._need("(")
        number = self._kind("number", "a number")
        self._need(")")
        most = ERRNO_MAX if word.text == "ERRNO" else RET_DATA_MAX
        if number.number > most:
            self.fail(f"{word.text}({number.text}): the kernel delivers 0 to {most}", number.at)
            return f"{action}(0)"
        return f"{action}({number.number})"

    def _call(self) -> _CallPattern:
        number: int | None = None
        if word := self._take("SYSCALL"):
            self._need("[")
            number = self._kind("number", "a number").number
            self._need("]")
        else:
            word = self._kind("name", "a system call")
            number = self.constants.get(word.text)
        if number is not None and number > U32 and number >> 31 != (1 << 33) - 1:
            self.fail(f"{number:#x} is not the number of a system call", word.at)
            number = None
        number = None if number is None else number & U32
        return _CallPattern(word, number, self._declared(), self._on(), self._condition())

    def _declared(self) -> tuple[str, ...] | None:
        if not self._take("("):
            return None
        names: list[str] = []
        while not self._take(")"):
            if names:
                self._need(",")
            name = self._kind("name", "the name of an argument")
            if name.text in names:
                self.fail(f"a second argument {name.text!r}", name.at)
            if len(names) == 6:
                self.fail("a system call has at most six arguments", name.at)
            names.append(name.text)
        return tuple(names)

    def _on(self) -> frozenset[str] | None:
        """Return the ABIs that a rule is for, None for all."""
        if not self._take("ON"):
            return None
        several = self._take("{")
        found = [self._architecture()]
        while several and not self._take("}"):
            self._need(",")
            at = self._word.at
            found.append(self._architecture())
            if found[-1] in found[:-1]:
                self.fail("the architecture is named twice", at)
        return frozenset(found)

    def _architecture(self) -> str:
        word = self._kind("name", "the name of an architecture")
        if word.text.lower() not in ARCHITECTURES:
            hint = did_you_mean(word.text.lower(), ARCHITECTURES)
            self.fail(f"kafel knows no architecture {word.text!r}{hint}", word.at)
        return ARCHITECTURES.get(word.text.lower(), "")

    def _condition(self) -> tuple[KafelWord, ...] | None:
        """Return the words of a condition; what they mean depends on the ABI."""
        if not self._take("{"):
            return None
        start = self._next
        while self._word.kind != "end" and self._word.text not in {"{", "}"}:
            self._next += 1
        words = tuple(self._words[start : self._next])
        end = self._need("}")
        constants = (self._with_value(one) for one in words)
        return (*constants, KafelWord("end", "", end.at)) if words else None

    def _with_value(self, word: KafelWord) -> KafelWord:
        """Return ``word``, or its number if it names a constant that is defined above."""
        if word.kind != "name" or word.text not in self.constants:
            return word
        return KafelWord("number", word.text, word.at, self.constants[word.text])

    def expanded(self, statements: _Statements, used: set[str]) -> list[_Block]:
        """Return the blocks of ``statements``; those of a used policy replace its USE."""
        blocks: list[_Block] = []
        waiting = list(reversed(statements))
        calls = 0
        while waiting:
            one = waiting.pop()
            if isinstance(one, _Block):
                blocks.append(one)
                calls += len(one.calls) + 1
            elif one.name in self.policies:
                used.add(one.name)
                waiting += reversed(self.policies[one.name][1])
                calls += 1
            if calls > _MOST_EXPANDED:
                text = f"more than {_MOST_EXPANDED:,} rules, which no policy has"
                raise InputError(Diagnostic(text, one.at, Problem.TOO_LARGE))
        return blocks


@dataclass
class _Rules:
    """Adds the rules of blocks for the ABI of ``table`` to ``draft``."""

    draft: Draft
    table: Table
    tables: Tables
    calls: Mapping[str, KafelCall]
    errors: list[Diagnostic]
    scoped: bool
    _known: dict[int, Condition | None] = field(default_factory=dict)

    def add(self, blocks: list[_Block]) -> None:
        """Add all of ``blocks``, in their order."""
        rules = ExactRules(self.draft, self.table, self.tables, self.scoped)
        for block in blocks:
            for call in self._here(block):
                self._add(call, (block.action, block.at), rules)
        if not self.errors:
            rules.write()

    def check(self, blocks: Iterable[_Block]) -> None:
        """Add the errors of rules that are not used."""
        for block in blocks:
            for call in self._here(block):
                number = self._number(call)
                if number is not None and call.condition is not None:
                    self._meaning(call)

    def _here(self, block: _Block) -> Iterator[_CallPattern]:
        """Yield the rules that are for this ABI."""
        name = self.table.abi.name
        return (call for call in block.calls if call.on is None or name in call.on)

    def _number(self, call: _CallPattern) -> int | None:
        """Return the number of a call; None, and add an error, if kafel does not know its name."""
        if call.number is not None:
            return call.number
        name = call.call.text
        known = self.calls.get(name)
        if known is None:
            hint = self._hint(name) if len(self.errors) < MOST_HINTS else ""
            text = f"kafel knows no system call {name!r} on {self.table.abi.name}{hint}"
            self._fail(text, call.call.at, Problem.UNKNOWN_CALL)
            return None
        return known.nr

    def _hint(self, name: str) -> str:
        """Return what to write in place of a name that kafel does not know."""
        nr = self.table.numbers.get(name)
        if nr is None:
            return did_you_mean(name, self.calls)
        theirs = next((repr(own) for own, call in self.calls.items() if call.nr == nr), "")
        return f": write {theirs or f'SYSCALL[{nr}]'}, which is the kernel's {name}"

    def _add(self, call: _CallPattern, block: tuple[str, Position], rules: ExactRules) -> None:
        at, name = call.call.at, call.call.text
        number = self._number(call)
        if number is None:
            return
        condition: Condition | None = True
        if call.condition is not None:
            if id(call) not in self._known:
                self._known[id(call)] = self._meaning(call)
            condition = self._known[id(call)]
        if condition is False:
            text = f"this rule for {name} never matches: its condition never holds"
            self.draft.note(text, at, Problem.RULE_SKIPPED)
        elif is_other_abis(number, self.table):
            text = f"{number:#x} is a call of another ABI than {self.table.abi.name}, where "
            self._fail(f"{text}policies have rules of their own", at, Problem.FOREIGN_NUMBER)
        elif condition is not None:
            rules.add(number, condition if isinstance(condition, str) else None, at, block)

    def _meaning(self, call: _CallPattern) -> Condition | None:
        """Return the meaning of a condition; None, with an error, if it is malformed."""
        reader = ConditionReader(call.condition or (), self._arguments(call), self.errors)
        try:
            return reader.whole()
        except KafelSyntaxError:
            return None

    def _arguments(self, call: _CallPattern) -> dict[str, Side]:
        """Return a call's arguments by name.

        Arguments that the policy declares are 64 bits wide; others are as wide as in kafel's table.
        """
        if call.declared is not None:
            return {
                name: Side.of_argument(i, wide=True) for i, name in enumerate(call.declared[:6])
            }
        if call.number is not None:
            return {}
        return {
            one.name: Side.of_argument(i, wide=one.size == 8)
            for i, one in enumerate(self.calls[call.call.text].arguments)
        }

    def _fail(self, text: str, at: Position, kind: Problem) -> None:
        self.errors.append(Diagnostic(text, at, kind))
