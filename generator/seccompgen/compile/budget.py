"""The limit on the work of planning, in units that are the same on every machine, as programs are.

Every order of words is tried until a call has cost ``_TRIED_FOR_CALL`` functions, or the program
``_TRIED`` steps; from then on the first word in a fixed order is taken. Past ``_PLANNED_FOR_CALL``
functions of one call, or ``_PLANNED`` steps, planning is given up: some sets of rules have no
small diagram in any order. A step is about what one rule adds to the time that a word takes, or
a state to that of a search for bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.compile.word_search import TooManyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from seccompgen.compile.bittrees import BitSearch
    from seccompgen.core.word import Word

_TRIED_FOR_CALL = 100
_TRIED = 4_500
_PLANNED_FOR_CALL = 3000
_PLANNED = 20_000
_STEPS = 4
"""For each word of a function, and one more for each rule."""
_SEARCHED = 500
"""Lines are searched roughly once so many intervals have been searched."""


class Budget:
    """The work spent on one program, and on one call of it.

    A ``stubborn`` call may not be given up by a search; it has no rules to be tested in order.
    """

    def __init__(self) -> None:
        self.stubborn = False
        self._functions = self._steps = self._intervals = self._states = 0
        self._bits: set[BitSearch] = set()

    def begin_call(self, *, stubborn: bool = False) -> None:
        """Note that what follows is spent on another call."""
        self.stubborn = stubborn
        self._functions = 0

    def words_to_try(self, words: tuple[Word, ...], rules: int) -> int:
        """Return with how many of ``words`` a function of so many ``rules`` is tried; charge it.

        Raises TooManyError where nothing is left to spend.
        """
        self._functions += 1
        if self._functions > _PLANNED_FOR_CALL or self._steps + self._states > _PLANNED:
            raise TooManyError
        if self._functions > _TRIED_FOR_CALL or self._steps > _TRIED:
            words = words[:1]
        self._steps += len(words) * (_STEPS + rules)
        return len(words)

    def charge_search(self, intervals: int, bits: Collection[BitSearch]) -> None:
        """Note that a word of so many intervals was searched, and its ``bits``, each once."""
        self._intervals += intervals
        new = set(bits) - self._bits
        self._states += sum(search.states for search in new)
        self._bits |= new

    @property
    def is_rough(self) -> bool:
        """True once words are to be searched roughly."""
        return self._intervals > _SEARCHED
