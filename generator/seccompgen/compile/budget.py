"""The limit on the work of planning, counted so that programs are the same on every machine.

Every order of words is tried until a call has cost ``_TRIED_FOR_CALL`` functions, or the program
``_TRIED`` steps; from then on the first word in a fixed order is taken. Past ``_PLANNED_FOR_CALL``
functions of one call, or ``_PLANNED`` steps, planning is given up: some sets of rules have no
small diagram in any order. A step is about the time that one more rule adds to trying a word.
Tests of bits are searched for until these searches have visited ``_STATES`` states. Planning a call
is also given up after ``_WORK`` units of work on masks, and ``_WORK_OF_A_RULE`` for each of its
rules: so the work for masks grows with the rules, however they overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.compile.word_search import Care, TooManyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from seccompgen.compile.bittrees import BitSearch
    from seccompgen.core.word import Word

_TRIED_FOR_CALL = 100
_TRIED = 4_500
_PLANNED_FOR_CALL = 3000
_PLANNED = 20_000
_STATES = 20_000
_WORK, _WORK_OF_A_RULE, _MOST_WORK = 150_000, 15_000, 1_500_000
_STEPS = 4
"""The steps for each word of a function, and one more for each rule."""
_SEARCHED = 500
"""After so many intervals, lines are searched roughly."""


class Budget:
    """The work spent on one program, and on one call of it.

    A call is ``hasty`` if not everything was tried for it.
    """

    def __init__(self) -> None:
        self._stubborn = self.hasty = False
        self._functions = self._steps = self._intervals = self._states = 0
        self._work = self._most_work = 0
        self._bits: set[BitSearch] = set()

    def begin_call(self, rules: int, *, stubborn: bool = False) -> None:
        """Begin the account of a call of ``rules``; a stubborn one goes on where others give up."""
        self._stubborn = stubborn
        self.hasty = False
        self._functions = self._work = 0
        self._most_work = min(_WORK + _WORK_OF_A_RULE * rules, _MOST_WORK)

    @property
    def is_spent(self) -> bool:
        """True if nothing more may be planned for this call."""
        too_many = self._functions >= _PLANNED_FOR_CALL or self._steps > _PLANNED
        return too_many or (not self._stubborn and self._work > self._most_work)

    def words_to_try(self, words: tuple[Word, ...], rules: int) -> int:
        """Return how many of ``words`` to try for a function of so many ``rules``; charge for them.

        Raises TooManyError if the budget is spent.
        """
        if self.is_spent:
            raise TooManyError
        self._functions += 1
        if self._functions > _TRIED_FOR_CALL or self._steps > _TRIED:
            self.hasty = self.hasty or len(words) > 1
            words = words[:1]
        self._steps += len(words) * (_STEPS + rules)
        return len(words)

    def charge_work(self, work: int) -> None:
        """Charge for work on masks."""
        self._work += work

    def charge_search(self, intervals: int, bits: Collection[BitSearch]) -> None:
        """Charge for the search of a word: its intervals, and its ``bits`` searches, each once."""
        self._intervals += intervals
        new = set(bits) - self._bits
        self._states += sum(search.states for search in new)
        self._bits |= new

    def care(self, *, bits: bool) -> Care:
        """Return the effort for the next word; ``bits``: its bits are worth a search."""
        left = self._states <= _STATES
        self.hasty = self.hasty or (bits and not left)
        return Care(self._intervals > _SEARCHED, self._stubborn, bits and left)
