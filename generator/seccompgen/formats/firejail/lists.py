"""Lists of calls in firejail's profiles, and the programs that it makes of them.

A list has names, ``@groups`` and ``$NUMBER``; ``name:ERRNO`` and ``name:kill`` have an answer of
their own, ``!name`` takes a call out. fseccomp makes a sequence of comparisons of the number; the
first that holds decides. fsec-optimize shortens the sequence: refusals become jumps to one common
end, in eight bits, so a refusal that is farther from the end than 255 instructions jumps to a
comparison in between.

Sources: fseccomp, fsec-optimize and lib/syscall.c of firejail 0.9.74.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.ages import Ages
from seccompgen.core.errnos import ERRNO_NAMES, errno_number
from seccompgen.core.errors import MOST_HINTS, Diagnostic, Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.core.releases import Release
from seccompgen.formats.firejail.words import groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.tables import Tables
    from seccompgen.formats.firejail.profile import FirejailLine
    from seccompgen.formats.stacked import Answer

_RELEASE = "firejail 0.9.74"
_KERNEL = Release(5, 10)
"""The release whose calls firejail 0.9.74 knows."""
_UNLISTED = {"i386": frozenset({"restart_syscall"}), "x86_64": frozenset[str]()}
KEPT = "default-keep"
"""The group of the calls that firejail itself makes once its filters are there."""
_ERRNOS = {
    **{name: name for name in ERRNO_NAMES - {"EFSBADCRC", "EFSCORRUPTED", "EFTYPE"}},
    "ENOTSUP": "EOPNOTSUPP", "ENOATTR": "ENODATA",
}  # fmt: skip
_FEWEST_SHARED = 5
"""The fewest refusals that get one common end."""
_FARTHEST = 255
"""The farthest that a jump of classic BPF reaches."""
_LETTERS = re.compile(r"[A-Za-z0-9_,:@$!-]*")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]{1,8}|0[0-7]{0,10}|[1-9][0-9]{0,9}")
_MOST = (1 << 31) - 2


class ListWord(NamedTuple):
    """A word of a list: a call or a group, what its colon and its ``!`` say, and its position."""

    name: str
    answer: str | None
    excluded: bool
    position: Position


class FirejailStep(NamedTuple):
    """A comparison of a program: the number of a call, and the answer to it."""

    number: int
    answer: str
    position: Position


class CallNames(NamedTuple):
    """The calls of one ABI that firejail knows, by name and by number."""

    numbers: Mapping[str, int]
    names: Mapping[int, str]

    @classmethod
    def of(cls, abi: str, tables: Tables) -> CallNames:
        """Return the calls of ``abi``; firejail's own tables agree with the kernel's."""
        ages = Ages(tables, _KERNEL)
        numbers = {
            name: number
            for name, number in tables.tables[abi].numbers.items()
            if name not in _UNLISTED[abi] and not ages.is_newer(abi, name)
        }
        return cls(numbers, {number: name for name, number in numbers.items()})


def errno_answer(name: str) -> str | None:
    """Return the answer for an errno by its name, in any case of letters; None if unknown."""
    known = _ERRNOS.get(name.upper())
    if known is None:
        return None
    number = errno_number(known, ABIS["x86_64"])
    first = min(n for n in _ERRNOS.values() if errno_number(n, ABIS["x86_64"]) == number)
    return f"errno({first})"


def list_words(
    one: FirejailLine, faults: list[Diagnostic], notes: list[Diagnostic]
) -> list[ListWord]:
    """Return the words of a directive's list; add errors for those that firejail refuses."""
    at = one.value_position
    fine = _LETTERS.match(one.value)
    if fine and fine.end() < len(one.value):
        text = f"{one.value[fine.end()]!r} cannot be in a list of calls: write names with commas "
        where = Position(at.file, at.line, at.column + fine.end())
        faults.append(Diagnostic(f"{text}between them", where, Problem.MALFORMED_FILE))
        return []
    words: list[ListWord] = []
    for match in re.finditer(r"[^,]+", one.value):
        where = Position(at.file, at.line, at.column + match.start())
        if word := _word(match[0], where, faults, notes):
            words.append(word)
    if not one.value.strip(","):
        text = "an empty list of calls, which firejail refuses"
        faults.append(Diagnostic(text, at, Problem.MALFORMED_FILE))
    return words


def _word(
    text: str, where: Position, faults: list[Diagnostic], notes: list[Diagnostic]
) -> ListWord | None:
    """Return a word of a list; None for one that firejail ignores, with a note, or refuses."""
    excluded = text.startswith("!")
    name, colon, said = text.removeprefix("!").partition(":")
    problem = ""
    if name.startswith("@") and not excluded:
        if colon or name[1:] not in groups():
            some = not colon and len(faults) < MOST_HINTS
            hint = did_you_mean(name, [f"@{one}" for one in groups()]) if some else ""
            problem = f"{_RELEASE} has no group {text!r}{hint}"
            faults.append(Diagnostic(problem, where, Problem.UNKNOWN_GROUP))
            return None
    elif not name or (name.startswith("$") and not _is_number(name[1:])):
        problem = f"{text!r} names no call: write a name or $NUMBER"
        faults.append(Diagnostic(problem, where, Problem.MALFORMED_FILE))
        return None
    answer = "kill_thread" if said == "kill" else errno_answer(said) if colon else None
    if name.startswith("@") and excluded:
        problem = f"firejail ignores {text!r}: it takes no groups out, only calls"
    elif colon and answer is None:
        problem = f"firejail ignores {text!r}: {said!r} is no errno that it knows by name"
    if problem:
        notes.append(Diagnostic(problem, where, Problem.IGNORED_TEXT))
        return None
    return ListWord(name, answer, excluded, where)


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and _number(text) <= _MOST


def _number(text: str) -> int:
    octal = text.startswith("0") and text[1:2] not in {"x", "X"}
    return int(text, 8 if octal else 0)


# --- programs ----------------------------------------------------------------------------------


class ListProgram(NamedTuple):
    """The comparisons that a list becomes, and the answer after them.

    ``shared`` is the refusal whose comparisons jump to a common end, or "". ``later`` are calls
    that another filter refuses, once the program runs, with their positions.
    """

    steps: tuple[FirejailStep, ...]
    rest: str
    shared: str = ""
    later: tuple[tuple[str, Position], ...] = ()

    @property
    def length(self) -> int:
        """The number of instructions that compare numbers."""
        return self._places()[-1]

    def answers(self) -> dict[int, Answer]:
        """Return the answer to each number that is compared, unless it is that of the rest."""
        first = {step.number: step.position for step in reversed(self.steps)}
        said = {number: (self._answer(number), first[number]) for number in first}
        return {number: one for number, one in said.items() if one[0] != self.rest}

    def missed(self) -> dict[Position, list[int]]:
        """Return, by words of the list, the refused numbers that get another answer."""
        found: dict[Position, list[int]] = {}
        seen: set[int] = set()
        for step in self.steps:
            if step.number not in seen and self._answer(step.number) != step.answer:
                found.setdefault(step.position, []).append(step.number)
            seen.add(step.number)
        return found

    def _answer(self, number: int) -> str:
        """Follow the program for a call, over jumps that are too far."""
        at, places = 0, self._places()
        while at < len(self.steps):
            step = self.steps[at]
            if step.number != number:
                at += 1
                continue
            jump = places[-1] - places[at]
            if step.answer != self.shared or jump <= _FARTHEST:
                return step.answer
            landing = places[at] + 1 + jump % (_FARTHEST + 1)
            at = next(i for i, place in enumerate(places) if place >= landing)
            if places[at] > landing:  # the second instruction of the step before
                return self.steps[at - 1].answer
        return self.rest

    def _places(self) -> list[int]:
        """Return the place of each step's first instruction, and that of the two that end it."""
        sizes = (1 if step.answer == self.shared else 2 for step in self.steps)
        return list(itertools.accumulate(sizes, initial=0))


@dataclass(frozen=True)
class ListCompiler:
    """Makes programs of lists for one ABI; ``notes`` collects what a list says in vain."""

    calls: CallNames
    refusal: str
    notes: list[Diagnostic]

    def drop(self, words: Sequence[ListWord], default: tuple[str, Position] | None) -> ListProgram:
        """Return the program that refuses ``words``; ``default`` names a group refused as well."""
        steps = list(self._first(words, "allow"))
        if default:
            steps += self._group(default[0], self.refusal, default[1])
        kept = {self.calls.numbers[name] for name in groups()[KEPT]}
        later = []
        for word, number in self._listed(words):
            if number not in self.calls.names:
                text = f"firejail ignores {word.name}: no call that it knows has this number"
                self._note(text, word)
            elif number in kept:
                later.append((self.calls.names[number], word.position))
            else:
                steps.append(FirejailStep(number, self._own(word), word.position))
        refused = sum(step.answer == self.refusal for step in steps)
        shared = self.refusal if refused >= _FEWEST_SHARED else ""
        return ListProgram(tuple(steps), "allow", shared, tuple(later))

    def keep(self, words: Sequence[ListWord], at: Position) -> ListProgram:
        """Return the program that permits ``words``, and what firejail itself needs, alone."""
        steps = [*self._first(words, self.refusal), *self._group(KEPT, "allow", at)]
        steps += [
            FirejailStep(number, word.answer or "allow", word.position)
            for word, number in self._listed(words)
        ]
        return ListProgram(tuple(steps), self.refusal)

    def default(self, group: str, at: Position) -> ListProgram:
        """Return the program of firejail's own list."""
        return ListProgram(tuple(self._group(group, self.refusal, at)), "allow")

    def _first(self, words: Sequence[ListWord], excluded: str) -> Iterator[FirejailStep]:
        """Yield the comparisons that come first: words with an answer, and those taken out."""
        for word in words:
            number = self._number(word)
            if number is None or (word.excluded and word.answer and number):
                self._vain(word, number)
            elif word.answer:
                yield FirejailStep(number, word.answer, word.position)
            elif word.excluded and number:
                yield FirejailStep(number, excluded, word.position)

    def _vain(self, word: ListWord, number: int | None) -> None:
        """Add a note about a word that says nothing."""
        if number is not None:
            self._note(f"firejail ignores !{word.name}: with an answer it takes nothing out", word)
        elif not word.name.startswith("@"):
            few = len(self.notes) < MOST_HINTS
            hint = did_you_mean(word.name, self.calls.numbers) if few else ""
            self._note(f"{_RELEASE} knows no call {word.name!r}, and ignores it{hint}", word)

    def _listed(self, words: Sequence[ListWord]) -> Iterator[tuple[ListWord, int]]:
        """Yield the calls of a list that are not taken out; 0 never is, as it has no negative."""
        for word in words:
            if word.name.startswith("@"):
                named = (self.calls.numbers.get(name) for name in groups()[word.name[1:]])
                yield from ((word, number) for number in named if number is not None)
                continue
            number = self._number(word)
            if number is not None and not (word.excluded and number):
                if word.excluded:
                    self._note(f"!{word.name} does what {word.name} would: firejail marks what "
                               "is taken out by a negative number, and this call's is 0",
                               word, Problem.OPPOSITE_EFFECT)  # fmt: skip
                yield word, number

    def _group(self, group: str, answer: str, at: Position) -> Iterator[FirejailStep]:
        numbers = (self.calls.numbers.get(name) for name in groups()[group])
        return (FirejailStep(number, answer, at) for number in numbers if number is not None)

    def _number(self, word: ListWord) -> int | None:
        if word.name.startswith("$"):
            return _number(word.name[1:])
        return self.calls.numbers.get(word.name)

    def _own(self, word: ListWord) -> str:
        return word.answer if word.answer and word.answer != "kill_thread" else self.refusal

    def _note(self, text: str, word: ListWord, kind: Problem = Problem.IGNORED_TEXT) -> None:
        self.notes.append(Diagnostic(text, word.position, kind))
