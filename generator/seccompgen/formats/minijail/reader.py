"""Read minijail's policies.

A policy means what compile_seccomp_policy.py compiles it to. The statements of a call apply in
order, and the first whose condition holds decides; a call that none decides gets the default
action. No statement may follow an unconditional one. libminijail reads the same files and differs
in a few cases, where we add a note: it accepts one statement per call. A statement that is just
``condition; return EPERM`` means what minijail0(5) and libminijail say: allow if the condition
holds, and else EPERM.

Arguments are compared whole, 64 bits on 64-bit ABIs. ``kill`` is kill_thread, as are a missing
default and the answer to other ABIs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errnos import ERRNO_NAMES
from seccompgen.core.errors import Diagnostic, InputError, Position, cannot, did_you_mean
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U32, U64
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft
from seccompgen.formats.minijail.grammar import (
    ACTIONS,
    CallStatement,
    frequencies,
    statements,
)
from seccompgen.formats.numbered import NumberedCall, NumberedPolicy, NumberedRule
from seccompgen.formats.source_comments import line_comments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.formats.minijail.grammar import (
        ActionText,
        Atom,
        MinijailCondition,
        Setting,
    )

_USUAL = ("x86_64", "aarch64")
"""The ABIs of a policy that names none: those of the two that have all its calls."""
_MOST_INCLUDES = 10
_MOST_FILES = 200
_ORDERS = {"<", "<=", ">", ">="}


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy in ``text``. Raises InputError with every error of all its files."""
    reader = _PolicyReader(Draft(file, outside=reading.outside), tables)
    reader.read_file(text, file)
    policy = NumberedPolicy(reader.default(), "kill_thread")
    filters = reader.filters
    policy.rules += [NumberedRule("", one.calls, one.position) for one in filters]
    abis = policy.abis(reading.abis, _USUAL, tables)
    reader.problems += policy.unknown_calls(abis, tables)
    policy.rules = list(reader.rules(abis))
    if reader.problems:
        raise InputError(*sorted(reader.problems, key=lambda one: one.position or Position("")))
    policy.say(reader.draft, abis, tables)
    notifying = [rule for rule in policy.rules if rule.action == "user_notif"]
    if notifying or policy.default[0] == "user_notif":
        where = notifying[0].position if notifying else policy.default[1]
        reader.draft.setting("flags", ["new_listener"], where)
    return reader.draft


@dataclass
class _PolicyReader:
    """Collects the statements of a policy and its includes."""

    draft: Draft
    tables: Tables
    filters: list[CallStatement] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    _default: tuple[str, Position] | None = None
    _denylist: bool | None = None
    _including: tuple[str, ...] = ()
    _files: int = 0

    def read_file(self, text: str, file: str) -> None:
        """Read the statements of a file; those of an included file replace its ``@include``."""
        denies = False
        self._including = (*self._including, os.path.realpath(file))
        first = Position(file, 1, 1)
        elsewhere: dict[str, Position] = {}
        self.draft.comments += line_comments(text, file, trailing=True)
        for one in statements(text, file, self.problems, elsewhere):
            if isinstance(one, CallStatement):
                self.filters.append(one)
            elif one.keyword == "@denylist":
                denies = True
                self._denylist = True
            elif one.keyword == "@default" and one.value:
                self._set_default(one)
            elif one.keyword == "@include":
                self._include(one)
            else:
                self._count(one)
        self.draft.notes += [
            Diagnostic(
                f"{name!r} is no architecture here: as minijail's compiler does, calls that are "
                "for it alone are left out",
                at,
                Problem.RULE_SKIPPED,
            )
            for name, at in elsewhere.items()
        ]
        if self._denylist is None:
            self._denylist = denies
        if self._denylist and not denies:
            self._wrong("a denylist is one in all its files: add @denylist to this one", first)
        self._including = self._including[:-1]

    def default(self) -> tuple[str, Position]:
        """Return the default action and its position."""
        if self._default:
            return self._default
        return "allow" if self._denylist else "kill_thread", Position(self.draft.file, 1, 1)

    def rules(self, abis: Sequence[Abi]) -> Iterator[NumberedRule]:
        """Yield the rules of the filters; the first that matches wins."""
        always: dict[tuple[str, str], Position] = {}
        said: dict[str, set[str]] = {}
        noted: set[str] = set()
        seen: dict[str, Position] = {}
        for one in self.filters:
            cases = list(self._cases(one, abis))
            for call in one.calls:
                self._require_open(call, one, abis, always)
                if call.name in seen and call.name not in noted:
                    noted.add(call.name)
                    text = f"{call.name} has a statement at {seen[call.name]} already: "
                    text += "libminijail refuses a second one, or lets the first decide alone"
                    self.draft.note(text, call.position, Problem.TOOLS_DIFFER)
                seen.setdefault(call.name, call.position)
            if any(case.when is None for case in cases):
                if any(case.when is None for case in cases[:-1]):
                    self._wrong("what follows an action without a condition decides nothing", one)
                always |= {
                    (call.name, abi): call.position
                    for call in one.calls
                    for abi in ([abi.name for abi in abis] if call.abis is None else call.abis)
                }
            self._note_dropped(one, cases, said)
            yield from cases

    def _note_dropped(
        self,
        one: CallStatement,
        cases: Sequence[NumberedRule],
        said: dict[str, set[str]],
    ) -> None:
        """Add a note if a plain allow follows other actions of a call, which ``said`` collects."""
        for call in one.calls:
            actions = said.setdefault(call.name, set())
            for case in cases:
                if case.when is None and case.action == "allow" and actions - {"allow"}:
                    text = f"{call.name} ends with a plain allow, for which "
                    text += "compile_seccomp_policy.py forgets the conditions before it, and lets "
                    text += "the call through always; it keeps them before `arg0 >= 0; allow`"
                    self.draft.note(text, case.position, Problem.TOOLS_DIFFER)
                actions.add(case.action)

    # --- settings ----------------------------------------------------------------------------

    def _wrong(self, text: str, where: Position | CallStatement) -> None:
        position = where.position if isinstance(where, CallStatement) else where
        self.problems.append(Diagnostic(text, position, Problem.WRONG_STATEMENT))

    def _set_default(self, one: Setting) -> None:
        assert one.value
        action = ACTIONS[one.value.text]
        if action in {"allow", "trace", "log"}:
            text = f"a default of {one.value.text} lets through what nobody named; minijail has "
            self._wrong(f"{text}@denylist for that", one.value.position)
        self._default = action, one.value.position

    def _include(self, one: Setting) -> None:
        content, file = self._content(one)
        if content is None:
            return
        if len(self._including) > _MOST_INCLUDES:
            self._wrong("included files include others too deeply", one.position)
        elif os.path.realpath(file) in self._including:
            text = f"{file} includes itself"
            self.problems.append(Diagnostic(text, one.position, Problem.CIRCULAR_INCLUDE))
        else:
            if len(self._including) == 1:
                self.draft.includes.append(file)
            self.read_file(content, file)

    def _count(self, one: Setting) -> None:
        content, file = self._content(one)
        if content is not None:
            for name, count in frequencies(content, file, self.problems):
                self.draft.profile[name] = self.draft.profile.get(name, 0) + count

    def _content(self, one: Setting) -> tuple[str | None, str]:
        """Return the text of the file that a statement names, None if unreadable, and its path.

        An absolute path may be meant for the machine that the policy is installed on. If it does
        not exist here, the file's name is looked up next to the including file.
        """
        assert one.value
        named, directory = one.value.text, Path(one.position.file).parent
        path = directory / named
        if named.startswith("/") and not os.path.exists(path):  # noqa: PTH110 - false for too long a name
            path = directory / Path(named).name
            if os.path.exists(path):  # noqa: PTH110
                text = f"{named} is not there: {path} is read instead"
                self.draft.note(text, one.value.position, Problem.INCLUDE_ELSEWHERE)
        self._files += 1
        if self._files > _MOST_FILES:
            self._wrong(f"more than {_MOST_FILES} files are included", one.position)
            return None, str(path)
        try:
            return self.draft.read(path), str(path)
        except OSError as error:
            text = cannot("read", path, error)
            self.problems.append(Diagnostic(text, one.value.position, Problem.UNREADABLE_FILE))
        except InputError as error:
            self.problems += error.diagnostics
        return None, str(path)

    # --- filters -----------------------------------------------------------------------------

    def _require_open(
        self,
        call: NumberedCall,
        one: CallStatement,
        abis: Sequence[Abi],
        always: dict[tuple[str, str], Position],
    ) -> None:
        """Report a statement for a call that an earlier statement decides unconditionally."""
        for abi in abis:
            before = always.get((call.name, abi.name))
            if before and (call.abis is None or abi.name in call.abis):
                text = f"{call.name} is decided always at {before} already"
                self._wrong(text, call.position or one.position)
                return

    def _cases(self, one: CallStatement, abis: Sequence[Abi]) -> Iterator[NumberedRule]:
        """Yield the rules of each case."""
        for case in one.cases:
            action, condition = case.action, case.condition
            if self._denylist and (action is None or action.name != "errno"):
                self._wrong("a denylist says of each call what it returns: return EPERM", one)
            alone = not one.braced and condition and not condition.negated
            if alone and condition and action and action.errno and not self._denylist:
                text = "allowed where the condition holds, as minijail0(5) has it; "
                text += "compile_seccomp_policy.py returns the errno there"
                self.draft.note(text, action.position, Problem.TOOLS_DIFFER)
                allowed = self._when(condition, one, abis)
                yield NumberedRule("allow", one.calls, case.position, allowed)
                yield NumberedRule(self._action(action, abis), one.calls, action.position)
            else:
                when = self._when(condition, one, abis) if condition else None
                answer = self._action(action, abis) if action else "allow"
                yield NumberedRule(answer, one.calls, case.position, when)

    def _action(self, action: ActionText, abis: Sequence[Abi]) -> str:
        if action.errno is None:
            return action.name
        number = action.errno.number
        if number is None and action.errno.text not in ERRNO_NAMES:
            # minijail's compiler accepts any constant, such as return SIGSYS.
            values = {self.tables.facts.value(action.errno.text, abi) for abi in abis}
            number = values.pop() if len(values) == 1 else None
        if number is None and action.errno.text not in ERRNO_NAMES:
            hint = did_you_mean(action.errno.text, ERRNO_NAMES)
            self._wrong(f"{action.errno.text!r} is no errno{hint}", action.errno.position)
            return "errno(EPERM)"
        if number is None:
            return f"errno({action.errno.text})"
        delivered = min(number & RET_DATA_MAX, ERRNO_MAX)
        if number != delivered:
            text = f"the kernel delivers errno {delivered} for {action.errno.text}"
            self.draft.note(text, action.position, Problem.TOOLS_DIFFER)
        return f"errno({delivered})"

    def _when(
        self, condition: MinijailCondition, one: CallStatement, abis: Sequence[Abi]
    ) -> Callable[[int], str]:
        concerned = [
            abi for abi in abis if any(c.abis is None or abi.name in c.abis for c in one.calls)
        ]
        texts: dict[int, str] = {
            bits: _condition_text(self, condition, [a for a in concerned if a.bits == bits])
            for bits in {abi.bits for abi in concerned}
        }
        return lambda bits: texts[bits]

    def atom_text(self, atom: Atom, abis: Sequence[Abi]) -> str:
        """Return an atom in our language, for ABIs of one word size."""
        bits = abis[0].bits if abis else 64
        side, value = f"u{bits}(arg{atom.argument})", atom.value.text
        self._require_fit(atom, abis)
        if atom.op == "in":
            return f"not {side} & ~{value}"
        if atom.op == "&":
            return f"{side} & {value}"
        if atom.op in _ORDERS:
            of = self.tables.facts.value
            numbers = [atom.value.number(partial(of, abi=abi)) for abi in abis]
            if any(number is not None and number < 0 for number in numbers):
                value = f"({value} & {U64 if bits == 64 else U32:#x})"
        return f"{side} {atom.op} {value}"

    def _require_fit(self, atom: Atom, abis: Sequence[Abi]) -> None:
        for constant in atom.value.constants:
            number = constant.number
            if number is None and constant.text not in self.tables.facts.constants:
                hint = did_you_mean(constant.text, self.tables.facts.constant_names)
                text = f"{constant.text!r} is no constant of Linux {self.tables.tag}{hint}"
                self.problems.append(Diagnostic(text, constant.position, Problem.UNKNOWN_CONSTANT))
            elif number is not None and any(
                not -(1 << abi.bits - 1) <= number < 1 << abi.bits for abi in abis
            ):
                self._wrong(f"{constant.text} does not fit into a word", constant.position)


def _condition_text(
    reader: _PolicyReader, condition: MinijailCondition, abis: Sequence[Abi]
) -> str:
    parts = [
        " and ".join(reader.atom_text(atom, abis) for atom in atoms)
        for atoms in condition.alternatives
    ]
    text = " or ".join(parts)
    return f"not ({text})" if condition.negated else text
