"""Change the statements of a minijail policy in its own text.

What a change leaves of a statement is the statement with a further condition. The language compares
64 bits on 64-bit ABIs; where the kernel reads 32, a condition has an upper limit as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32, U64, All, Comparison, Op
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING
from seccompgen.core.value_conditions import alternatives
from seccompgen.formats.amending import Counts, Editor, implied, refuses, without
from seccompgen.formats.minijail.grammar import CallStatement, Setting, statements
from seccompgen.formats.minijail.writer import Test, action_text, masked_tests, test_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.sets import Box
    from seccompgen.formats.amending import Change
    from seccompgen.formats.minijail.grammar import Atom

_MOST_ALTERNATIVES = 8
"""The most alternatives of a condition: nobody could read more."""
_BODY = re.compile(r"(?P<head>[^:]*:\s*)(?P<filter>[^#]*?)(?P<rest>\s*(?:#[^\n]*)?)", re.DOTALL)


def _edits(text: str, policy: ResolvedPolicy, change: Change) -> Iterator[str]:
    """Yield the changed text. Raises UndecidedError if a policy cannot say the change."""
    yield _ChangedPolicy(text, policy, change).text()


EDITOR = Editor(_edits, unnamed=lambda _: frozenset({"x32"}))


class _Piece(NamedTuple):
    """The lines of a statement, from ``first`` to before ``end``, counted from 0."""

    statement: CallStatement
    first: int
    end: int


@dataclass
class _ChangedPolicy:
    original: str
    policy: ResolvedPolicy
    change: Change
    _lines: list[str] = field(default_factory=list)

    def text(self) -> str:
        self._lines = self.original.split("\n")
        found = list(statements(self.original, self.policy.file, [], {}))
        pieces = [self._piece(one) for one in found if isinstance(one, CallStatement)]
        denies = any(isinstance(one, Setting) and one.keyword == "@denylist" for one in found)
        for name in self.change.names:
            boxes = self.change.boxes_on(name, self.policy.arches)
            if not boxes:
                continue
            own = [one for one in pieces if any(call.name == name for call in one.statement.calls)]
            self._require_here(name, own)
            if self.change.allows == denies:
                for one in own:
                    self._cut(one, name, boxes)
            elif own:
                self._widen(own, name, boxes)
            else:
                self._append(name, boxes, denies=denies)
        return "\n".join(line for line in self._lines if line is not _GONE)

    def _piece(self, one: CallStatement) -> _Piece:
        first = end = one.position.line - 1
        while self._lines[end].rstrip("\r").endswith("\\") and end + 1 < len(self._lines):
            end += 1
        return _Piece(one, first, end + 1)

    def _require_here(self, name: str, own: Sequence[_Piece]) -> None:
        """Raise UndecidedError if another file has a statement of the call."""
        for rule in self.policy.own_rules:
            if rule.name == name and rule.position.file != self.policy.file and not own:
                text = f"{name} has its statement at {rule.position}: amend that file"
                raise UndecidedError(text, kind=Problem.INCLUDE_ELSEWHERE)

    # --- edits -------------------------------------------------------------------------------

    def _cut(self, piece: _Piece, name: str, boxes: Sequence[Box]) -> None:
        """Take the calls in ``boxes`` out of a statement."""
        whole = not without(self.change.sets, [EVERYTHING], boxes)
        old = self._filter(piece)
        body = "" if whole else self._less(old, piece, name, boxes)
        if body == old:
            return
        if len(piece.statement.calls) > 1:
            self._take_out(piece, name, f"{name}: {body}" if body else "")
        elif not body:
            self._replace(piece, [])
        else:
            self._rewrite(piece, body)

    def _less(self, body: str, piece: _Piece, name: str, boxes: Sequence[Box]) -> str:
        """Return a filter without the arguments in ``boxes``; empty if nothing is left."""
        (case, *others) = piece.statement.cases
        if piece.statement.braced or others or (case.condition and case.condition.negated):
            return self._excepted(body, piece, name, boxes)
        sets = self.change.sets
        rest = without(sets, [EVERYTHING], boxes)
        if not case.condition:
            action = f"; {body}" if case.action and case.action.errno else ""
            return f"{' || '.join(self._said(name, rest))}{action}"
        condition, semicolon, action = body.partition(";")
        parts: list[str] = []
        for part, atoms in zip(condition.split("||"), case.condition.alternatives, strict=True):
            own = self._box(atoms)
            if without(sets, [own], boxes) == [own]:
                parts.append(part)
            else:
                more = self._said(name, implied(sets, rest, own))
                parts += [f"{part.rstrip()} && {one}" if one else part for one in more]
        if parts == condition.split("||"):
            return body
        joined = "||".join(f"{part.rstrip(' ')} " for part in parts).rstrip()
        return f"{joined}{semicolon}{action}" if parts else ""

    def _excepted(self, body: str, piece: _Piece, name: str, boxes: Sequence[Box]) -> str:
        """Return a filter with a case before its own."""
        last = piece.statement.cases[-1]
        if last.condition is None and last.action and last.action.name == "allow":
            text = f"compile_seccomp_policy.py forgets cases before the plain allow of {name}"
            raise UndecidedError(text, kind=Problem.TOOLS_DIFFER)
        default = self.policy.default_action
        refusal = action_text(default.ret(self.policy.arches[0]))
        answer = (
            "allow" if self.change.allows else refusal if refuses(default.kind) else "return EPERM"
        )
        inner = body[1:].lstrip() if piece.statement.braced else f"{body}}}"
        said = " || ".join(self._said(name, boxes, exact=not self.change.allows))
        return f"{{{said}; {answer}, {inner}"

    def _widen(self, own: Sequence[_Piece], name: str, boxes: Sequence[Box]) -> None:
        """Add the calls in ``boxes`` to a statement."""
        (piece, *others) = own
        (case, *more) = piece.statement.cases
        if others:
            text = f"{name} has several statements"
            raise UndecidedError(text, kind=Problem.WRONG_STATEMENT)
        condition, semicolon, action = self._filter(piece).partition(";")
        if not without(self.change.sets, [EVERYTHING], boxes):
            body = "1"
        elif piece.statement.braced or more or not case.condition or case.condition.negated:
            body = self._excepted(self._filter(piece), piece, name, boxes)
        else:
            said = " || ".join((condition.rstrip(), *self._said(name, boxes, exact=False)))
            body = f"{said}{semicolon}{action}"
        if len(piece.statement.calls) > 1:
            self._take_out(piece, name, f"{name}: {body}")
        else:
            self._rewrite(piece, body)

    def _append(self, name: str, boxes: Sequence[Box], *, denies: bool) -> None:
        """Add a statement at the end."""
        whole = not without(self.change.sets, [EVERYTHING], boxes)
        said = "" if whole else " || ".join(self._said(name, boxes, exact=denies))
        plain = "return EPERM" if denies else "1"
        if denies and said:
            said = f"{said}; {plain}"
        end = len(self._lines)
        while end and not self._lines[end - 1].strip():
            end -= 1
        self._lines.insert(end, f"{name}: {said or plain}")

    # --- text --------------------------------------------------------------------------------

    def _filter(self, piece: _Piece) -> str:
        return self._parts(piece)["filter"]

    def _parts(self, piece: _Piece) -> re.Match[str]:
        if found := _BODY.fullmatch(self._source(piece)):
            return found
        text = f"line {piece.first + 1} has comments between its parts"
        raise UndecidedError(text, kind=Problem.WRONG_STATEMENT)

    def _source(self, piece: _Piece) -> str:
        return "\n".join(self._lines[piece.first : piece.end])

    def _rewrite(self, piece: _Piece, body: str) -> None:
        found = self._parts(piece)
        self._replace(piece, f"{found['head']}{body}{found['rest']}".split("\n"))

    def _take_out(self, piece: _Piece, name: str, instead: str) -> None:
        """Take a call out of a list, and put a line behind the statement."""
        source = self._source(piece)
        listed = rf"(?<![\w-]){re.escape(name)}(?:\[[^\]]*\])?(?![\w-])"
        for pattern in (rf"{listed}\s*,\s*", rf"\s*,\s*{listed}"):
            text, count = re.subn(pattern, "", source, count=1)
            if count:
                text = re.sub(r"^\{\s*([\w-]+(?:\[[^\]]*\])?)\s*\}", r"\1", text)
                self._replace(piece, [*text.split("\n"), *([instead] if instead else [])])
                return

    def _replace(self, piece: _Piece, lines: list[str]) -> None:
        """Replace the lines of a statement; the number of lines stays, for the others."""
        count = piece.end - piece.first
        kept = ["\n".join(lines), *[_GONE] * (count - 1)] if lines else [_GONE] * count
        self._lines[piece.first : piece.end] = kept

    def _box(self, atoms: Iterable[Atom]) -> Box:
        """Return the arguments for which all of ``atoms`` hold."""
        find = partial(self.change.tables.facts.value, abi=self.policy.arches[0])
        tests = []
        for atom in atoms:
            value = (atom.value.number(find) or 0) & U64
            op = {"&": Op.ANY_BITS, "in": Op.NO_BITS}.get(atom.op) or Op(atom.op)
            tests.append(Comparison(atom.argument, op, ~value & U64 if atom.op == "in" else value))
        return self.change.sets.box(All(tuple(tests)))

    def _said(self, name: str, boxes: Iterable[Box], *, exact: bool = True) -> list[str]:
        """Return conditions, one of which holds for exactly the arguments in ``boxes``."""
        exact = exact and self.change.counts is Counts.ALL_BITS
        found: dict[str, None] = {}
        for box in boxes:
            for tests in alternatives(self.change.sets, box):
                groups = [""]
                for test in tests:
                    own = [
                        " && ".join(self._named(name, one) for one in tests_of)
                        for tests_of in _spelled(test, exact=exact)
                    ]
                    groups = [f"{a} && {b}" if a else b for a in groups for b in own]
                found |= dict.fromkeys(groups)
        if len(found) > _MOST_ALTERNATIVES:
            text = f"a condition on {name} takes {len(found)} alternatives"
            raise UndecidedError(text, kind=Problem.TOO_MANY_CASES)
        return list(found)

    def _named(self, name: str, test: Test) -> str:
        """Return a test, with the name of its value in a policy that has names."""
        if test.op not in {"==", "!="} or not _NAME.search(self.original):
            return test_text(test)
        args = [test.value if n == test.argument else 0 for n in range(6)]
        naming = self.change.tables.naming
        value = naming.value(name, test.argument, args, self.policy.arches[0])
        return (
            f"arg{test.argument} {test.op} {value}" if _NAME.fullmatch(value) else test_text(test)
        )


_GONE = "\0"
_NAME = re.compile(r"\b[A-Z][A-Z0-9]+_[A-Z0-9_]+\b")


def _spelled(test: Comparison, *, exact: bool) -> list[tuple[Test, ...]]:
    """Return a comparison as alternatives; unless ``exact``, for values of 32 bits alone."""
    argument, most = test.argument, Test(test.argument, "<=", U32)
    plain = test.width == 64 or not exact
    match test.op:
        case Op.ANY_BITS:
            return [(Test(argument, "&", test.value),)]
        case Op.NO_BITS:
            return [masked_tests(argument, test.value, 0)]
        case Op.MASKED_EQ:
            return [masked_tests(argument, test.mask, test.value)]
        case Op.EQ if plain:
            return [(Test(argument, "==", test.value),)]
        case Op.EQ:
            return [masked_tests(argument, U32, test.value)]
        case Op.NE if test.mask not in {U32, (1 << 64) - 1}:
            bits = [1 << n for n in range(64) if test.mask >> n & 1]
            return [masked_tests(argument, bit, bit & ~test.value) for bit in bits]
        case _ if test.width == 64:
            return [(Test(argument, test.op.value, test.value),)]
        case Op.LT | Op.LE if plain:
            return [(Test(argument, test.op.value, test.value),)]
        case _ if plain:
            return [(Test(argument, test.op.value, test.value), most)]
    raise UndecidedError("it compares 64 bits by order", kind=Problem.VALUE_TOO_WIDE)
