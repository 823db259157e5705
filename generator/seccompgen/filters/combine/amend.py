"""Refuse or allow some calls in a policy file, in its own text and format, and prove the result."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position, UndecidedError
from seccompgen.core.foreign import OURS, PLAIN_READING, Reading
from seccompgen.core.model import kind_of_ret
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.filters.combine.change_proof import changes_nothing, other_filter, unproved
from seccompgen.filters.combine.own_editor import OWN_EDITOR
from seccompgen.filters.find.locate import locate_policy
from seccompgen.formats import AMENDABLE, filter_names, load_policy
from seccompgen.formats.amending import Change, Counts, editor
from seccompgen.formats.detect import detect
from seccompgen.formats.losses import OTHER_ERRNO, UNNAMED_VALUES
from seccompgen.io.reading import decode_text, read_file
from seccompgen.lint import lint_policy
from seccompgen.policy.document import MAX_POLICY
from seccompgen.policy.stock import stock_policies
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.amending import ChangedRule, Editor, Variant
    from seccompgen.lint import Finding


@dataclass(frozen=True)
class Amended:
    """A file's text before and after a change, which is proved for ``readings`` ways to read it.

    ``notes`` say what the format cannot express, and in which way calls can still be made;
    ``findings`` are those of lint that the file did not have. If nothing had to change,
    the texts are equal.
    """

    path: Path
    before: str
    after: str
    abis: tuple[str, ...]
    readings: int
    notes: tuple[Diagnostic, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def diff(self) -> tuple[str, ...]:
        """The change as a unified diff."""
        name = str(self.path)
        names = (name, name) if self.path.is_absolute() else (f"a/{name}", f"b/{name}")
        before, after = self.before.splitlines(), self.after.splitlines()
        return tuple(difflib.unified_diff(before, after, *names, lineterm=""))


def amend(
    word: str,
    rules: Sequence[ChangedRule],
    tables: Tables,
    reading: Reading = PLAIN_READING,
    *,
    allows: bool = False,
    accepts: frozenset[str] = frozenset(),
) -> Amended:
    """Return the policy that ``word`` means with the calls of ``rules`` refused, or allowed.

    Of the changes that the format can express the first is taken that is proved to change these
    calls alone. Raises InputError if a rule or the file is wrong, AnswerNo if no change is found.
    """
    (path,) = locate_policy(word, "amend").paths
    if path in stock_policies().values():
        text = "is a stock policy, which is not yours to change: include it in one of your own"
        raise InputError(Diagnostic(text, Position(word), Problem.STOCK_POLICY_MEANT))
    content = read_file(path, MAX_POLICY)
    text = before = decode_text(content, str(path))
    each: list[Amended] = []
    # A file may have several filters: all of them change, unless one is named.
    for name in _threads(content, path, reading):
        own = replace(reading, thread=name)
        each.append(_Amendment(path, text, tuple(rules), tables, own, allows, accepts).made())
        text = each[-1].after
    return Amended(
        path,
        before,
        text,
        tuple(dict.fromkeys(abi for one in each for abi in one.abis)),
        sum(one.readings for one in each),
        tuple(dict.fromkeys(note for one in each for note in one.notes)),
        tuple(dict.fromkeys(finding for one in each for finding in one.findings)),
    )


def _threads(content: bytes, path: Path, reading: Reading) -> tuple[str | None, ...]:
    """Return the names of the filters to change; None for a file's only one."""
    if reading.thread:
        return (reading.thread,)
    return filter_names(content, str(path), reading) or (None,)


@dataclass
class _Amendment:
    path: Path
    text: str
    rules: tuple[ChangedRule, ...]
    tables: Tables
    reading: Reading
    allows: bool
    accepts: frozenset[str]
    doubts: tuple[Diagnostic, ...] = ()
    differing: list[Diagnostic] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.editor = self._editor(self.reading.format or detect(self.text.encode()))
        self.policy, self.doubts = self._read(self.text, self.reading)
        self.change = self._change(self.policy, Counts.ALL_BITS)

    def made(self) -> Amended:
        variants = self._variants()
        if all(
            changes_nothing(policy, self._change(policy, Counts.ALL_BITS), self.tables)
            for _, policy in variants
        ):
            return self._amended(self.text, self.policy, variants, Counts.ALL_BITS)
        levels = [Counts.ALL_BITS, Counts.BITS_READ]
        if UNNAMED_VALUES in self.accepts:
            levels.insert(0, Counts.NAMED_VALUES)
        for counts in levels:
            for text in self._texts(counts):
                if self._proved(text, variants, counts):
                    after, said = self._read(text, self.reading)
                    self.differing = [one for one in said if one.kind is Problem.TOOLS_DIFFER]
                    return self._amended(text, after, variants, counts)
        raise self._no_change()

    def _editor(self, name: str) -> Editor:
        if name == OURS:
            return OWN_EDITOR
        if name in AMENDABLE:
            return editor(name)
        text = f"files of {name} cannot be changed in place, only those of "
        text += f"{', '.join((OURS, *AMENDABLE))}: convert it, and amend the result"
        raise InputError(Diagnostic(text, Position(str(self.path)), Problem.WRONG_VALUE))

    def _variants(self) -> list[tuple[Variant, ResolvedPolicy]]:
        found = []
        for one in self.editor.variants(self.text, self.policy, self.change):
            try:
                found.append((one, self._read(self.text, one.reading)[0]))
            except InputError:
                if not one.optional:
                    raise
        return found

    def _texts(self, counts: Counts) -> Iterator[str]:
        """Yield the texts that the format's editor proposes, each once."""
        change = replace(self.change, counts=counts)
        seen = {self.text}
        try:
            for text in self.editor.edits(self.text, self.policy, change):
                if text not in seen:
                    seen.add(text)
                    yield text
        except UndecidedError as error:
            self.reasons += map(str, error.diagnostics)

    def _proved(
        self, text: str, variants: Sequence[tuple[Variant, ResolvedPolicy]], counts: Counts
    ) -> bool:
        for variant, before in variants:
            try:
                after, doubts = self._read(text, variant.reading)
                change = self._change(before, counts)
                lax = OTHER_ERRNO in self.accepts
                why = _new_doubt(self.doubts, doubts) or unproved(
                    before, after, change, self.tables, any_refusal=lax
                )
            except (InputError, UndecidedError) as error:
                why = str(error.diagnostics[0])
            if why:
                self.reasons.append(why)
                return False
        texts = self.text.encode(), text.encode()
        if other := other_filter(texts, str(self.path), self.reading, self.tables):
            self.reasons.append(f"it changes the filter {other}")
        return not other

    def _read(self, text: str, reading: Reading) -> tuple[ResolvedPolicy, tuple[Diagnostic, ...]]:
        instead = {str(self.path): text.encode()}
        return load_policy(self.path, self.tables, reading, instead)

    def _change(self, policy: ResolvedPolicy, counts: Counts) -> Change:
        unnamed = self.editor.unnamed(self.rules)
        change = Change.of(self.rules, policy, self.tables, allows=self.allows, unnamed=unnamed)
        return replace(change, counts=counts)

    def _no_change(self) -> AnswerNo:
        text = f"no change of {self.reading.thread or 'this file'} says it"
        if self.reasons:
            text += f": {some([*dict.fromkeys(self.reasons)], 3, '; or: ')}"
        return AnswerNo(Diagnostic(text, Position(str(self.path)), Problem.WRONG_PROGRAM))

    def _amended(
        self,
        text: str,
        after: ResolvedPolicy,
        variants: Sequence[tuple[Variant, ResolvedPolicy]],
        counts: Counts,
    ) -> Amended:
        notes = [
            *self._uncounted(counts),
            *self._remaining(after),
            *self._unnamed(after),
            *(one for one in self.differing if one.message not in map(_message, self.doubts)),
        ]
        findings = self._new_findings(after) if text != self.text else ()
        abis = tuple(abi.name for abi in self.policy.arches)
        return Amended(self.path, self.text, text, abis, len(variants), tuple(notes), findings)

    # --- what remains ------------------------------------------------------------------------

    def _uncounted(self, counts: Counts) -> Iterator[Diagnostic]:
        """Yield what a changed file refuses more than it was asked for."""
        change = replace(self.change, counts=counts)
        limits = {
            (name, self.tables.naming.argument(name, n, abi)): most
            for abi in self.policy.arches
            for name in {name for rule in self.rules for name in rule.names}
            for n, most in change.most(name, abi).items()
        }
        for (name, argument), most in limits.items():
            text = f"the format compares 64 bits of {argument}, and the kernel reads 32: {name} "
            text += f"with {argument} above {most:#x} may be refused as well"
            yield Diagnostic(text, Position(str(self.path)), Problem.VALUE_TOO_WIDE)

    def _remaining(self, after: ResolvedPolicy) -> Iterator[Diagnostic]:
        """Yield the other calls by which refused calls can still be made."""
        if self.allows:
            return
        open_: dict[tuple[str, str, int], list[str]] = {}
        for name in self.change.names:
            through = entrance(name)
            for abi in dict.fromkeys((*after.arches, *after.compat_arches)) if through else ():
                host = next(
                    (h for h in after.arches if abi == h or abi in after.compat_of(h)), None
                )
                numbers = self.tables.tables[abi.name].numbers
                if through and host and through[0] in numbers:
                    call = Call(numbers[through[0]], abi.audit_arch, (through[1], 0, 0, 0, 0, 0))
                    answer = meaning(after, host, self.tables).answer(call)
                    if kind_of_ret(answer).lets_through:
                        open_.setdefault((name, through[0], through[1]), []).append(abi.name)
        for (name, through_name, number), abis in open_.items():
            text = f"{name} can still be made through {through_name} on {', '.join(abis)}, which "
            text += "has its arguments in memory, where no filter sees them; "
            if self.editor.divides:
                text += f"to refuse that too, add --refuse '{through_name} when call == {number}'"
            else:
                text += f"this format refuses that only with all of {name}"
            yield Diagnostic(text, Position(str(self.path)), Problem.MULTIPLEXED_UNSAID)

    def _unnamed(self, after: ResolvedPolicy) -> Iterator[Diagnostic]:
        """Yield the ABIs on which the calls stay permitted, since the format cannot name them."""
        abis = {abi.name for abi in after.compat_arches} & self.editor.unnamed(self.rules)
        if abis and not self.allows:
            everywhere = Change.of(self.rules, after, self.tables, allows=False)
            if not changes_nothing(after, everywhere, self.tables):
                text = f"calls of {', '.join(sorted(abis))} stay permitted: the format has no "
                text += "names for them"
                yield Diagnostic(text, Position(str(self.path)), Problem.ABI_LEFT_OUT)

    def _new_findings(self, after: ResolvedPolicy) -> tuple[Finding, ...]:
        old, new = (
            lint_policy(one, self.tables, list(one.arches)).findings for one in (self.policy, after)
        )
        more = Counter(one.kind for one in new) - Counter(one.kind for one in old)
        known = {(one.kind, one.message) for one in old}
        return tuple(one for one in new if more[one.kind] and (one.kind, one.message) not in known)


def _message(one: Diagnostic) -> str:
    return one.message


def _new_doubt(before: Iterable[Diagnostic], after: Iterable[Diagnostic]) -> str | None:
    """Return why a changed file may not mean what it says, if the file did before."""
    known = {one.message for one in before}
    doubts = (one for one in after if one.kind is Problem.CONFLICTING_SETTINGS)
    return next((one.message for one in doubts if one.message not in known), None)
