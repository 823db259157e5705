"""Arguments that a filter compares, with their declarations in the kernel (`core.facts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.sets import ALL, NOTHING, Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.facts import Parameter, Prototype
    from seccompgen.core.sets import Sets
    from seccompgen.lint.answers import BoxedAnswer
    from seccompgen.lint.finding import Finding, Severity
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.view import FilterView

_STACKS = {"newsp", "child_stack", "stack"}
"""Names of arguments that are addresses, although their type is an integer."""


class ComparedArgument(NamedTuple):
    """An argument on which the answer to a call depends; ``n`` is its index."""

    view: FilterView
    name: str
    answer: BoxedAnswer
    prototype: Prototype
    n: int

    @property
    def parameter(self) -> Parameter | None:
        """The argument's declaration; None if the call has fewer arguments."""
        known = self.prototype.parameters
        return known[self.n] if self.n < len(known) else None

    @property
    def is_address(self) -> bool:
        """True for a pointer, or for an integer that is an address."""
        return bool(self.parameter and (self.parameter.pointer or self.parameter.name in _STACKS))

    @property
    def moved_to(self) -> int | None:
        """The index here of the argument that x86_64 has where this ABI has an address."""
        usual = self.view.facts.prototypes.get("x86_64", {}).get(self.name)
        if self.parameter is None or usual is None or self.n >= len(usual.parameters):
            return None
        there = usual.parameters[self.n]
        if not there.name or there.name == self.parameter.name or there.pointer:
            return None
        index = self.prototype.index(there.name) if self.is_address else None
        return index if index != self.n else None

    def __str__(self) -> str:
        """Return the argument as messages write it."""
        called = f" ({self.parameter.name})" if self.parameter and self.parameter.name else ""
        return f"argument {self.n} of {self.name}{called}"

    def opposed(self, among: int = ALL) -> tuple[Box, Box] | None:
        """Return permitted and refused arguments that differ in this one alone.

        Only its values ``among`` are considered. None if it never decides between permission and
        refusal.
        """
        sets, n = self.view.sets, self.n
        for permitted in self.answer.permitted:
            for refused in self.answer.refused:
                both = others_in_both(sets, permitted, refused, n)
                own = (sets.both(permitted[n], among), sets.both(refused[n], among))
                if NOTHING not in (*both, *own):
                    return with_argument(both, n, own[0]), with_argument(both, n, own[1])
        return None

    def finding(
        self, rule: LintRule, text: str, fix: str, severity: Severity, pair: tuple[Box, Box]
    ) -> Finding:
        """Return a finding with a permitted call and a refused one."""
        permitted, refused = (self.view.shown(self.name, box) for box in pair)
        return rule.finding(text, fix, severity, view=self.view, witness=permitted, beside=refused)


def compared_arguments(view: FilterView) -> Iterator[ComparedArgument]:
    """Yield the arguments on which answers depend, of calls that have a prototype."""
    for name, answer in view.conditional():
        prototype = view.prototype(name)
        for n in range(6 if prototype else 0):
            if prototype and any(box[n] != ALL for box, _ in answer.parts):
                yield ComparedArgument(view, name, answer, prototype, n)


def others_in_both(sets: Sets, a: Box, b: Box, n: int) -> Box:
    """Return the common part of two boxes, with any value for argument ``n``."""
    both = (ALL if m == n else sets.both(x, y) for m, (x, y) in enumerate(zip(a, b, strict=True)))
    return tuple(both)  # type: ignore[return-value] # six


def with_argument(box: Box, n: int, values: int) -> Box:
    """Return the box with other values for argument ``n``."""
    return (*box[:n], values, *box[n + 1 :])  # type: ignore[return-value] # six
