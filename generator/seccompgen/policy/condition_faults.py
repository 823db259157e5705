"""Errors and oddities of a condition, each reported once, with its ABIs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.core.text import some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.facts import Facts
    from seccompgen.policy.conditions import Lack, Lookup, Oddity

_FIX = "limit the group with 'arches', or say 'optional: true' to skip these"
_NAMES = {Problem.UNKNOWN_ARGUMENT, Problem.UNKNOWN_CONSTANT}


class Lacking:
    """The errors and oddities of one rule for ``call``, which all of ``abis`` have.

    Missing names at the position ``skipped`` are no error.
    """

    def __init__(
        self, call: str, facts: Facts, abis: Sequence[Abi], skipped: Position | None = None
    ) -> None:
        self._skipped_at = skipped
        self._call = call
        self._facts = facts
        self._abis = abis
        self._lacks: dict[Lack, list[Abi]] = {}
        self._oddities: dict[Oddity, list[Abi]] = {}

    def add(self, lookup: Lookup, abi: Abi) -> None:
        """Add the findings of ``lookup`` on ``abi``."""
        for lack in dict.fromkeys(lookup.lacks):
            if lack.kind not in _NAMES or lack.at != self._skipped_at:
                self._lacks.setdefault(lack, []).append(abi)
        for oddity in dict.fromkeys(lookup.oddities):
            self._oddities.setdefault(oddity, []).append(abi)

    def notes(self, *, optional: bool) -> Iterator[Diagnostic]:
        """Yield the notes: ABIs on which an optional rule is skipped, and oddities."""
        if optional:
            yield from self._skipped()
        yield from self._odd()

    def _skipped(self) -> Iterator[Diagnostic]:
        for lack, abis in self._lacks.items():
            if lack.kind not in _NAMES or self._is_nowhere(lack):
                continue
            names = some([abi.name for abi in abis])
            constant = lack.kind is Problem.UNKNOWN_CONSTANT
            what = lack.name if constant else f"an argument {lack.name!r} of {self._call!r}"
            kind = Problem.CONSTANT_SKIPPED if constant else Problem.ARGUMENT_SKIPPED
            text = f"{names} lack{'s' * (len(abis) == 1)} {what}: the rule is skipped there"
            yield Diagnostic(text, lack.at, kind)

    def problems(self, *, optional: bool, hints: bool) -> Iterator[Diagnostic]:
        """Yield the errors, with suggestions if ``hints``.

        An ``optional`` rule may use names that only some ABIs have.
        """
        for lack, abis in self._lacks.items():
            if lack.kind in _NAMES:
                if self._is_nowhere(lack):
                    yield self._unknown(lack, abis, hints=hints)
                elif not optional:
                    yield self._missing(lack, abis)
            elif lack.kind is Problem.NEGATIVE_ORDER:
                text = (
                    f"{lack.name}: an argument counts as unsigned, so it is never below 0; "
                    "write i32() around it"
                )
                yield Diagnostic(text, lack.at, lack.kind)
            else:
                text = f"{lack.name} takes more than 64 bits"
                yield Diagnostic(text, lack.at, lack.kind)

    def _odd(self) -> Iterator[Diagnostic]:
        for oddity, abis in self._oddities.items():
            test = oddity.test
            where = "" if len(abis) == len(self._abis) else f" on {some([a.name for a in abis])}"
            match oddity.kind:
                case Problem.NO_SUCH_ARGUMENT:
                    text = f"{self._call!r} has no argument {test.argument}{where}: the kernel "
                    text += "looks at nothing there"
                case Problem.MASK_NEVER_MATCHES:
                    never = "always holds" if str(test.op) == "NotEqual" else "never holds"
                    text = f"{test} {never}{where}: the mask lacks bits of the value"
                case Problem.ALWAYS_TRUE:
                    text = f"{test} is true of every value{where}"
                case _:
                    text = f"{test}: the kernel reads {oddity.bits} bits of this argument of "
                    text += f"{self._call!r}{where}, which the value does not fit into"
            yield Diagnostic(text, test.value_at, oddity.kind)

    def _is_nowhere(self, lack: Lack) -> bool:
        """Return True if no ABI that has the call has the name, which is probably misspelt."""
        if lack.kind is Problem.UNKNOWN_CONSTANT:
            constant = self._facts.constants.get(lack.name)
            return constant is None or bool(constant.reason)
        return len(self._lacks[lack]) == len(self._abis)

    def _unknown(self, lack: Lack, abis: Sequence[Abi], *, hints: bool) -> Diagnostic:
        name = lack.name
        if lack.kind is Problem.UNKNOWN_CONSTANT:
            constant = self._facts.constants.get(name)
            if constant is not None:
                text = f"{name} has no value that is known: {constant.reason}; write the number"
            else:
                hint = near_constant(name, self._facts.constants) if hints else ""
                text = f"unknown constant {name!r}{hint}"
            return Diagnostic(text, lack.at, lack.kind)
        known = self._parameters(abis)
        if not known:
            text = f"the arguments of {self._call!r} have no known names: write arg0 to arg5"
        elif name.upper() in self._facts.constants:
            text = f"{self._call!r} has no argument {name!r}; the constant is {name.upper()}"
        else:
            hint = did_you_mean(name, known) if hints else ""
            text = f"{self._call!r} has no argument {name!r}{hint}; it has {', '.join(known)}"
        return Diagnostic(text, lack.at, lack.kind)

    def _missing(self, lack: Lack, abis: Sequence[Abi]) -> Diagnostic:
        names = some([abi.name for abi in abis])
        if lack.kind is Problem.UNKNOWN_CONSTANT:
            text = f"{lack.name} has no value on {names}: {_FIX}"
            return Diagnostic(text, lack.at, Problem.CONSTANT_MISSING)
        has = self._parameters(abis)
        instead = f", where it takes {', '.join(has)}" if has else ""
        text = f"{self._call!r} has no argument {lack.name!r} on {names}{instead}: {_FIX}"
        return Diagnostic(text, lack.at, Problem.ARGUMENT_MISSING)

    def _parameters(self, abis: Sequence[Abi]) -> list[str]:
        """Return the names of the arguments on the first of ``abis`` for which they are known."""
        for abi in abis:
            prototype = self._facts.prototype(self._call, abi)
            if prototype is not None:
                return [one.name for one in prototype.parameters if one.name]
        return []


def near_constant(name: str, constants: Mapping[str, object]) -> str:
    """Return a suggestion from ``constants``, or an empty string.

    Because there are thousands, only constants of similar length with the same beginning or end are
    compared.
    """
    first, last = name[:3], name[-4:]
    near = [
        one
        for one in constants
        if (one.startswith(first) or one.endswith(last)) and abs(len(one) - len(name)) <= 3
    ]
    return did_you_mean(name, near)
