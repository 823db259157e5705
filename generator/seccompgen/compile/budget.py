"""The work on a program, counted in steps so that programs are the same on every machine.

The straightforward program is linear in the rules: it tests those of a call one after the other.
Searches for a better one may take ``_STEPS`` steps, and ``_STEPS_OF_AN_INSTRUCTION`` more for each
instruction of the straightforward one, up to ``_MOST_INSTRUCTIONS`` of all calls together: a longer
program is refused anyway. A call adds its own and may take what earlier calls left, most of it
thoroughly: every order of words is tried, and bits are searched for. From then on the first word in
a fixed order is taken, until no steps are left. So work grows with the policy, and no call takes
all of it. A step is a node of a diagram looked at, about a microsecond.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

_Key = TypeVar("_Key", bound="Hashable")
_Value = TypeVar("_Value")

_STEPS = 1_000_000
_STEPS_OF_AN_INSTRUCTION = 2_000
_MOST_INSTRUCTIONS = 2 * 4096
"""The instructions of straightforward programs that give steps, over all calls."""
_STUBBORN_STEPS = 40_000_000
"""The steps for a call that has no straightforward program."""
_ATTEMPTS = 4
"""An attempt may take one of so many parts of what is left."""
_STEPS_OF_A_WORD, _STEPS_OF_A_RULE = 800, 200
"""The steps for each word tried for a function, and for each of its rules then."""


class TooManyError(Exception):
    """The steps do not suffice, or the tests of a word would be too many."""


class Steps:
    """Steps that may be taken: ``left`` of them, ``spent`` so far."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.spent = 0

    def spend(self, steps: int) -> None:
        """Take ``steps``; raise TooManyError if fewer were left."""
        self.spent += steps
        self.left -= steps
        if self.left < 0:
            raise TooManyError


class Results(Generic[_Key, _Value]):
    """Results that are cached, each with the steps that it took.

    A cached result costs as much as a new one, so no program depends on what was compiled before.
    """

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[_Value, int]] = {}
        self._too_few: dict[_Key, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: _Key, steps: Steps, make: Callable[[Steps], _Value]) -> _Value:
        """Return the result for ``key``, from ``make`` if it is not known; spend its ``steps``.

        Raises TooManyError if they do not suffice.
        """
        found = self._known.get(key)
        if found is None:
            if steps.left > self._too_few.get(key, -1):
                own = Steps(steps.left)
                try:
                    found = self._known[key] = make(own), own.spent
                except TooManyError:
                    self._too_few[key] = steps.left
            if found is None:
                steps.spend(steps.left + 1)
                raise TooManyError
        steps.spend(found[1])
        return found[0]


class Budget:
    """The steps of one program, for one of its calls after the other.

    Unless ``thorough``, each call has its own steps only.
    """

    def __init__(self, *, thorough: bool = True) -> None:
        self._thorough = thorough
        self._left = _STEPS
        self._of_all = _MOST_INSTRUCTIONS
        self._share = 0
        self._enough = 0
        self._stubborn = False

    def begin_call(self, instructions: int, *, stubborn: bool = False) -> None:
        """Begin a call whose straightforward program has so many ``instructions``.

        A ``stubborn`` one goes on where others give up.
        """
        self._stubborn = stubborn
        left = max(self._left, 0) if self._thorough else 0
        left = _STUBBORN_STEPS if stubborn else left
        counted = min(instructions, self._of_all)
        self._of_all -= counted
        self._share = share = _STEPS_OF_AN_INSTRUCTION * counted
        self._left = left + share
        self._enough = left // 4 + share

    @property
    def is_spent(self) -> bool:
        """True if nothing more may be planned for this call."""
        return self._left <= 0

    @property
    def is_thorough(self) -> bool:
        """True while everything is tried."""
        return self._left > self._enough

    @property
    def is_stubborn(self) -> bool:
        """True if searches are to go on where others give up."""
        return self._stubborn

    def words_to_try(self, words: int, rules: int) -> int:
        """Return how many of so many ``words`` to try for a function of so many ``rules``.

        Charges for them. Raises TooManyError if the budget is spent.
        """
        if self.is_spent:
            raise TooManyError
        tried = words if self.is_thorough else 1
        self._left -= tried * (_STEPS_OF_A_WORD + _STEPS_OF_A_RULE * rules)
        return tried

    @contextmanager
    def attempt(self) -> Iterator[Steps]:
        """Charge for the steps of the block: a part of those left, as other attempts may follow.

        A small call may take all its own, since its part of what large ones left is too little.
        """
        own = min(self._left, self._share, _STEPS // _ATTEMPTS)
        steps = Steps(max(self._left // _ATTEMPTS, own))
        try:
            yield steps
        finally:
            self._left -= steps.spent
