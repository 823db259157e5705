"""Functions of the arguments of one call: ordered boxes, in a canonical form.

The first box that contains the arguments decides the answer. Adjacent rules with one answer
commute, so boxes among them that differ in one argument are united, and the rest is sorted; boxes
inside an earlier one are removed, as are rules at the end that answer like the default. Calls with
the same conditions in another order or spelling thus become the same function, and share code.
The form is not unique: two functions that are equal for a subtler reason may look different,
which costs instructions, never correctness.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.budget import Results
from seccompgen.compile.cofactors import Cofactors
from seccompgen.core.model import U32
from seccompgen.core.sets import ALL, BITS, EVERYTHING, NOTHING, Box, Sets
from seccompgen.core.word import argument_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.compile.budget import Steps
    from seccompgen.compile.words import WordDiagrams, WordId
    from seccompgen.core.word import Word

Sources: TypeAlias = tuple[int, ...]
"""The rules that a rule or a default was derived from, by their index in a list."""

ORIGINAL = -1
"""In Sources: the original default."""


_Rule: TypeAlias = tuple[Box, int, Sources]


class ArgumentFunction:
    """Boxes, each with an answer (a SECCOMP_RET value): the first match counts; and a default.

    The hash is cached: functions are looked up often, and may have hundreds of sets.
    """

    __slots__ = ("_hash", "default", "rules")

    def __init__(self, rules: tuple[tuple[Box, int], ...], default: int) -> None:
        self.rules = rules
        self.default = default
        self._hash = hash((rules, default))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, ArgumentFunction)
            and self._hash == other._hash
            and self.default == other.default
            and self.rules == other.rules
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"ArgumentFunction({self.rules!r}, {self.default!r})"


class Derived(NamedTuple):
    """A function derived from other rules, and the sources of its rules and its default."""

    function: ArgumentFunction
    rules: tuple[Sources, ...]
    default: Sources


class Functions:
    """All functions of some programs, their words, and what remains of them once one is known."""

    def __init__(self, sets: Sets, words: WordDiagrams) -> None:
        self.sets = sets
        self._order = sets.order.__getitem__
        self._words = words
        self._support: dict[int, int] = {ALL: 0, NOTHING: 0}
        self._same: dict[ArgumentFunction, ArgumentFunction] = {}
        self._looked_at: dict[ArgumentFunction, tuple[Word, ...]] = {}
        self._split: Results[tuple[ArgumentFunction, Word], tuple[WordId, tuple[Derived, ...]]] = (
            Results()
        )
        self._cofactors = Cofactors(sets, words)

    def derive(self, rules: Iterable[tuple[Box, int]], default: int) -> Derived:
        """Return the canonical function of ``rules``."""
        return self._derived([(box, ret, (i,)) for i, (box, ret) in enumerate(rules)], default)

    def _derived(self, rules: Iterable[_Rule], default: int) -> Derived:
        kept = [rule for rule in rules if NOTHING not in rule[0]]
        sources: Sources = (ORIGINAL,)
        while True:
            last = next((i for i, rule in enumerate(kept) if rule[0] == EVERYTHING), None)
            if last is not None:
                _, default, sources = kept[last]
                del kept[last:]
            while kept and kept[-1][1] == default:
                sources += kept.pop()[2]
            before = len(kept)
            kept = self._without_hidden(self._grouped(kept))
            if len(kept) == before:
                break
        function = ArgumentFunction(tuple([(box, ret) for box, ret, _ in kept]), default)
        function = self._same.setdefault(function, function)
        return Derived(function, tuple([places for _, _, places in kept]), sources)

    def _grouped(self, rules: Iterable[_Rule]) -> list[_Rule]:
        """Unite and sort the rules of each stretch with one answer."""
        result: list[_Rule] = []
        order = self.sets.order
        for _, stretch in groupby(rules, key=lambda rule: rule[1]):
            merged = self._merged(list(stretch))
            if len(merged) > 1:
                # By content: the numbers of sets depend on what was compiled before.
                merged.sort(key=lambda rule: ([order[part] for part in rule[0]], rule[2]))
            result += merged
        return result

    def _merged(self, group: list[_Rule]) -> list[_Rule]:
        """Unite boxes of one answer that differ in one argument only, as long as there are any."""
        if len(group) < 2:
            return group
        columns = zip(*(box for box, _, _ in group), strict=True)
        different = [n for n, sets in enumerate(columns) if len(set(sets)) > 1]
        changed = True
        while changed and len(group) > 1:
            changed = False
            for argument in different or [0]:
                alike: dict[tuple[int, ...], list[_Rule]] = {}
                for rule in group:
                    box = rule[0]
                    alike.setdefault((*box[:argument], *box[argument + 1 :]), []).append(rule)
                if len(alike) < len(group):
                    united = [
                        one for rules in alike.values() for one in self._united(rules, argument)
                    ]
                    changed |= len(united) < len(group)
                    group = united
        return group

    def _united(self, rules: list[_Rule], argument: int) -> list[_Rule]:
        """Return the union of rules that differ in ``argument`` only; ``rules`` if too large."""
        if len(rules) == 1:
            return rules
        box, ret, _ = rules[0]
        union = self.sets.united(sorted({rule[0][argument] for rule in rules}, key=self._order))
        if union is None:
            return rules
        sources = tuple(sorted({place for rule in rules for place in rule[2]}))
        return [((*box[:argument], union, *box[argument + 1 :]), ret, sources)]  # type: ignore[list-item] # six parts

    def _without_hidden(self, rules: list[_Rule]) -> list[_Rule]:
        """Return ``rules`` without those inside one earlier box; all, if they are many."""
        if len(rules) > 64:
            return rules
        kept: list[_Rule] = []
        for rule in rules:
            if not self._hidden(rule[0], kept):
                kept.append(rule)
        return kept

    def _hidden(self, box: Box, earlier: Iterable[_Rule]) -> bool:
        """Return True if ``box`` lies inside that of one ``earlier`` rule."""
        minus = self.sets.minus
        for other, _, _ in earlier:
            for a, b in zip(box, other):  # noqa: B905 - both have six
                if b not in (a, ALL) and minus(a, b) != NOTHING:
                    break
            else:
                return True
        return False

    def rank(self, function: ArgumentFunction) -> tuple[int, int, int, list[tuple[list[int], int]]]:
        """Return a key to sort functions by, the simplest first; the same in every process."""
        order = self.sets.order
        rules = [([order[part] for part in box], ret) for box, ret in function.rules]
        tested = sum(part != ALL for box, _ in function.rules for part in box)
        return len(rules), tested, function.default, rules

    # --- words ------------------------------------------------------------------------------

    def _bits(self, number: int) -> int:
        """Return the bits that the set depends on."""
        found = self._support.get(number)
        if found is None:
            level, zero, one = self.sets.nodes[number]
            found = 1 << (BITS - 1 - level) | self._bits(zero) | self._bits(one)
            self._support[number] = found
        return found

    def words(self, function: ArgumentFunction) -> tuple[Word, ...]:
        """Return the words that ``function`` depends on, in a fixed order."""
        found = self._looked_at.get(function)
        if found is None:
            result = []
            for argument in range(6):
                bits = 0
                for number in {box[argument] for box, _ in function.rules}:
                    bits |= self._bits(number)
                low, high = argument_words(argument)
                if bits & U32:
                    result.append(low)
                if bits >> 32:
                    result.append(high)
            found = self._looked_at[function] = tuple(result)
        return found

    def split(
        self, function: ArgumentFunction, word: Word, steps: Steps
    ) -> tuple[WordId, tuple[Derived, ...]]:
        """Return what remains of ``function`` for each value of ``word``.

        The first result maps each value to an index into the second, which is in order of the least
        value of each.
        """
        return self._split.of((function, word), steps, lambda own: self._parts(function, word, own))

    def _parts(
        self, function: ArgumentFunction, word: Word, steps: Steps
    ) -> tuple[WordId, tuple[Derived, ...]]:
        places: dict[int, list[int]] = {}
        for place, (box, _) in enumerate(function.rules):
            places.setdefault(box[word.argument], []).append(place)
        line, left = self._cofactors.of(tuple(sorted(places.keys() - {ALL})), word, steps)
        parts = [self._narrowed(function, word.argument, places, after) for after in left]
        united: dict[ArgumentFunction, Derived] = {}
        for part in parts:
            own = part.function
            united[own] = _both(united[own], part) if own in united else part
        if len(united) < len(parts):
            numbers = {own: number for number, own in enumerate(united)}
            line = self._words.map(line, lambda outcome: numbers[parts[outcome].function])
        return line, tuple(united.values())

    def _narrowed(
        self,
        function: ArgumentFunction,
        argument: int,
        places: Mapping[int, Sequence[int]],
        after: Mapping[int, int],
    ) -> Derived:
        """Return ``function`` with the sets of ``argument`` replaced by those in ``after``.

        ``places`` are the indices of the rules by their set. Rules with a set that ``after`` lacks
        are dropped, except ALL.
        """
        rules: list[_Rule] = []
        for root, left in (*after.items(), (ALL, ALL)):
            for place in places.get(root, ()):
                box, ret = function.rules[place]
                narrowed = (*box[:argument], left, *box[argument + 1 :])
                rules.append((narrowed, ret, (place,)))  # type: ignore[arg-type] # six parts
        rules.sort(key=lambda rule: rule[2])
        return self._derived(rules, function.default)


def _both(a: Derived, b: Derived) -> Derived:
    """Return one function that was derived in two ways, with the sources of both."""
    rules = tuple(x + y for x, y in zip(a.rules, b.rules, strict=True))
    return Derived(a.function, rules, a.default + b.default)
