"""The limit on the work of planning, in units that are the same on every machine, as programs are.

Every order of words is tried until a call has cost ``_TRIED_FOR_CALL`` functions, or the program
``_TRIED`` steps; from then on the first word in a fixed order is taken. Past ``_PLANNED_FOR_CALL``
functions of one call, or ``_PLANNED`` steps, planning is given up: some sets of rules have no
small diagram in any order. A step is about what one rule adds to the time that a word takes.
Bits are searched for until the program has cost ``_STATES`` states of such searches.
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
_STEPS = 4
"""For each word of a function, and one more for each rule."""
_SEARCHED = 500
"""Lines are searched roughly once so many intervals have been searched."""


class Budget:
    """The work spent on one program, and on one call of it.

    A call is ``hasty`` if not everything was tried for it.
    """

    def __init__(self) -> None:
        self._stubborn = self.hasty = False
        self._functions = self._steps = self._intervals = self._states = 0
        self._bits: set[BitSearch] = set()

    def begin_call(self, *, stubborn: bool = False) -> None:
        """Note that what follows is spent on another call; a stubborn one is not given up."""
        self._stubborn = stubborn
        self.hasty = False
        self._functions = 0

    def words_to_try(self, words: tuple[Word, ...], rules: int) -> int:
        """Return with how many of ``words`` a function of so many ``rules`` is tried; charge it.

        Raises TooManyError where nothing is left to spend.
        """
        self._functions += 1
        if self._functions > _PLANNED_FOR_CALL or self._steps > _PLANNED:
            raise TooManyError
        if self._functions > _TRIED_FOR_CALL or self._steps > _TRIED:
            self.hasty = self.hasty or len(words) > 1
            words = words[:1]
        self._steps += len(words) * (_STEPS + rules)
        return len(words)

    def charge_search(self, intervals: int, bits: Collection[BitSearch]) -> None:
        """Note that a word of so many intervals was searched, and its ``bits``, each once."""
        self._intervals += intervals
        new = set(bits) - self._bits
        self._states += sum(search.states for search in new)
        self._bits |= new

    def care(self, *, bits: bool) -> Care:
        """Return how much to try for the next word; ``bits`` are worth a search for some."""
        left = self._states <= _STATES
        self.hasty = self.hasty or (bits and not left)
        return Care(self._intervals > _SEARCHED, self._stubborn, bits and left)
