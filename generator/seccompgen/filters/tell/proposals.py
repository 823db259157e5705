"""Propose the smallest change of a policy that permits a call, and lint it.

Changes are tried from the smallest on: a setting, a rule at the decisive position, a name taken out
of the rule that refuses. Each is an edit of the policy's text, which is read again like any other:
the first valid policy that lets the call through is proposed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import unified_diff
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import InputError
from seccompgen.core.foreign import PLAIN_READING
from seccompgen.core.model import ActionKind
from seccompgen.formats import load_policy
from seccompgen.io.reading import read_file
from seccompgen.lint import LintedFilter, lint
from seccompgen.policy.editing import PolicyText, scalar
from seccompgen.render.audit_report import ProposedChange
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy, Rule
    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding
    from seccompgen.verify.call import Call

_YAML = {".yml", ".yaml"}
_ONLY_YAML = "changes are proposed for policies of our own, in YAML: 'convert' makes one of others"


@dataclass(frozen=True)
class PermitRequest:
    """Calls to permit: those of ``nr`` through ``abi``, to the program for ``program``.

    ``condition`` restricts them to some arguments, in the language of ``when``; empty for all.
    ``examples`` are some of the calls.
    """

    program: Abi
    abi: Abi
    name: str
    nr: int
    condition: str
    examples: tuple[Call, ...]


class _Edit(NamedTuple):
    """Edited texts, by file, and a description of the edit."""

    texts: dict[str, PolicyText]
    words: str

    def then(self, text: PolicyText | None, words: str) -> _Edit | None:
        """Return the edit followed by another one; None if that cannot be made."""
        if text is None:
            return None
        both = f"{self.words}, and {words}" if self.words else words
        return _Edit({**self.texts, text.file: text}, both)


class Proposer:
    """Proposes changes of one policy."""

    def __init__(self, policy: ResolvedPolicy, tables: Tables) -> None:
        self._policy = policy
        self._tables = tables
        self._main = policy.file
        self._known = lru_cache(maxsize=64)(self._findings_before)

    def propose(self, request: PermitRequest) -> ProposedChange | str:
        """Return the change that permits the calls of a request, or why none is found."""
        policy = self._policy
        if policy.in_memory or policy.foreign or Path(self._main).suffix not in _YAML:
            return _ONLY_YAML
        why = ""
        try:
            for edit in self._edits(request):
                changed = self._read(edit)
                if isinstance(changed, InputError):
                    why = why or f": {edit.words}, and {changed.diagnostics[0]}"
                elif self._permits(changed, request):
                    return self._change(edit, changed, request)
        except (InputError, OSError):  # a file that changed meanwhile
            return "the policy's text cannot be read again"
        return f"no small change of the rules permits it{why}"

    # --- edits -----------------------------------------------------------------------------------

    def _edits(self, request: PermitRequest) -> Iterator[_Edit]:
        """Yield edits that may permit the calls, the smallest first."""
        start = _Edit({}, "")
        if request.abi not in {request.program, *self._policy.compat_of(request.program)}:
            compat = ", ".join(abi.name for abi in (*self._policy.compat_arches, request.abi))
            text = self._text(self._main).with_setting("compat_arches", f"[{compat}]")
            setting = start.then(text, "say that the program answers for this ABI, too")
            if setting is None:
                return
            start = setting
            yield start
        refusing = self._refusing(request)
        rule = _yaml(request)
        if not refusing:
            text = self._of(start, self._main).with_rule(rule, None)
            if found := start.then(text, "put this behind the last rule"):
                yield found
            return
        file, first = refusing[0].origin.position.file, refusing[0].origin
        text = self._of(start, file).with_rule(rule, first.position)
        if found := start.then(text, f"put this above {first.label}"):
            yield found
        out: _Edit | None = start
        # From the last one, so that earlier positions stay valid.
        for one in sorted(refusing, key=lambda one: one.position, reverse=True):
            if out is None:
                return
            words = f"take it out of {one.origin.label}"
            out = out.then(self._of(out, one.position.file).without_name(one.position), words)
        if out:
            yield out
            behind = self._of(out, self._main).with_rule(rule, None)
            if found := out.then(behind, "put a rule behind the last"):
                yield found

    def _of(self, edit: _Edit, file: str) -> PolicyText:
        return edit.texts.get(file) or self._text(file)

    def _text(self, file: str) -> PolicyText:
        return PolicyText(file, read_file(Path(file)).decode("utf-8-sig").splitlines())

    def _refusing(self, request: PermitRequest) -> list[Rule]:
        """Return the rules that refuse the call; none if no rule does by itself."""
        means = meaning(self._policy, request.program, self._tables)
        origins = {means.case(call).origin for call in request.examples}
        name = request.name or str(request.nr)
        found = [one for one in self._policy.rules if one.origin in origins and one.name == name]
        return list({one.position: one for one in found}.values())

    # --- the result of an edit -------------------------------------------------------------------

    def _read(self, edit: _Edit) -> ResolvedPolicy | InputError:
        instead = {file: text.content for file, text in edit.texts.items()}
        try:
            return load_policy(Path(self._main), self._tables, PLAIN_READING, instead)[0]
        except InputError as error:
            return error

    def _permits(self, policy: ResolvedPolicy, request: PermitRequest) -> bool:
        means = meaning(policy, request.program, self._tables)
        return all(means.answer(call) == ActionKind.ALLOW.value for call in request.examples)

    def _change(
        self, edit: _Edit, changed: ResolvedPolicy, request: PermitRequest
    ) -> ProposedChange:
        patch: list[str] = []
        for file, text in edit.texts.items():
            before = self._text(file).lines
            names = (file, file) if Path(file).is_absolute() else (f"a/{file}", f"b/{file}")
            patch += unified_diff(before, text.lines, *names, n=1, lineterm="")
        files = tuple(edit.texts)
        return ProposedChange(
            files,
            edit.words,
            tuple(patch),
            self._note(request),
            self._news(changed, request.program),
        )

    def _note(self, request: PermitRequest) -> str:
        prototype = self._tables.facts.prototype(request.name, request.abi)
        if request.condition or prototype is None or not prototype.parameters:
            return ""
        return "it permits all arguments, because records do not have them: restrict it by 'when'"

    def _news(self, changed: ResolvedPolicy, program: Abi) -> tuple[Finding, ...]:
        """Return what lint finds in the changed policy, but not in the original."""
        known = self._known(program)
        messages = {(one.kind, one.message) for one in known}
        found = self._lint(changed, program)
        # A finding may name another call than before, and still be the same.
        more = Counter(one.kind for one in found) - Counter(one.kind for one in known)
        return tuple(
            one for one in found if more[one.kind] and (one.kind, one.message) not in messages
        )

    def _findings_before(self, program: Abi) -> list[Finding]:
        return self._lint(self._policy, program)

    def _lint(self, policy: ResolvedPolicy, program: Abi) -> list[Finding]:
        sides = {program.name: meaning(policy, program, self._tables)}
        return list(lint(LintedFilter(self._main, sides, policy), self._tables))


def _yaml(request: PermitRequest) -> tuple[str, ...]:
    if request.condition:
        entry = f"  - {{name: {request.name}, when: {scalar(request.condition)}}}"
        return ("- action: allow", "  names_with_args:", entry)
    lines = ("- action: allow", f"  names: [{request.name or request.nr}]")
    return lines if request.name else (*lines, f"  arches: [{request.abi.name}]")
