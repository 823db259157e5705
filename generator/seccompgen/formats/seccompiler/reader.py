"""Filters of seccompiler, and of Firecracker, which are objects of JSON.

    file       {name: filter, ...}
    filter     {"mismatch_action": action, "match_action": action, "filter": [rule, ...]}
    rule       {"syscall": name, "args": [condition, ...]}, without args for every call
    condition  {"index": 0 to 5, "type": dword or qword, "op": operator, "val": number}
    operator   eq ne lt le gt ge, or {"masked_eq": mask}
    action     allow trap log kill_thread kill_process, {"errno": number}, {"trace": number}

A call gets ``match_action`` if all args of one of its rules hold, and ``mismatch_action`` if not.
``dword`` compares the low word alone. If a call has rules with args, its rules without are ignored.
Calls through other ABIs end the process; those of x32 are numbers without a rule.

Newer Firecrackers compile the same files with libseccomp (``--runtime libseccomp``). There all
comparisons have 64 bits except ``eq`` of a ``dword``; a rule without args decides its call alone;
calls that the machine lacks are skipped; other ABIs get kill_thread.

Sources: rust-vmm/seccompiler; Firecracker's src/seccompiler since its pull request 4926.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.foreign import Runtime
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U32, U64, Action, Comparison, Op
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft, chosen
from seccompgen.formats.numbered import NUMBERED_ABIS, NumberedCall, NumberedPolicy, NumberedRule
from seccompgen.formats.oci.form import ContainerProfile, EntryMatch, ProfileEntry
from seccompgen.formats.oci.reader import write_profile
from seccompgen.formats.source_comments import SourceComment
from seccompgen.policy.document import read_document
from seccompgen.policy.form import (
    ValueForm,
    key,
    keyed,
    keys_of,
    list_of,
    maybe,
    needed_keys,
    parsed,
    section,
    text,
    with_keys,
)
from seccompgen.policy.plain_json import require_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.policy.document import Document
    from seccompgen.policy.form import Fault

_PLAIN_ACTIONS = ("allow", "trap", "log", "kill_thread", "kill_process")
_DATA_ACTIONS = {"errno": ERRNO_MAX, "trace": RET_DATA_MAX}
_RELATIONS = {op.name.lower(): op for op in (Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE)}
_BITS = {"dword": 32, "qword": 64}


def _action(value: object) -> str:
    """Return an action in our words."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, data),) = value.items()
        if kind in _DATA_ACTIONS:
            if not _is_number(data, U32):
                raise ValueError(f"{kind} takes a number of 32 bits, not {data!r}")
            # seccompiler cuts it to 16 bits, and the kernel delivers errno up to 4095.
            return f"{kind}({min(data & RET_DATA_MAX, _DATA_ACTIONS[kind])})"
        value = kind if data is None else value
    if isinstance(value, str) and value in _PLAIN_ACTIONS:
        return value
    known = ", ".join((*_PLAIN_ACTIONS, '{"errno": 1}', '{"trace": 1}'))
    raise ValueError(f"{value!r} is no action of seccompiler: {known}")


def _operator(value: Any) -> tuple[Op, int | None]:
    """Return an operator, with its mask if it has one."""
    single = isinstance(value, dict) and len(value) == 1
    name, mask = next(iter(value.items())) if single else (value, None)
    if name == "masked_eq" and _is_number(mask, U64):
        return Op.MASKED_EQ, mask
    # serde also accepts a name without a value as a key of null.
    if mask is None and isinstance(name, str) and name in _RELATIONS:
        return _RELATIONS[name], None
    known = ", ".join((*_RELATIONS, '{"masked_eq": 1}'))
    raise ValueError(f"'op' must be one of {known}")


def _bits(value: object) -> int:
    if isinstance(value, str) and value in _BITS:
        return _BITS[value]
    raise ValueError("'type' must be dword or qword")


def _is_number(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _number(most: int, what: str) -> ValueForm:
    def parse(value: object) -> object:
        if _is_number(value, most):
            return value
        raise ValueError(f"a number {what} is needed, not {value!r}")

    return parsed(parse)


@with_keys
class _ArgumentTest:
    index: int = key(_number(5, "of 0 to 5"))
    type: int = key(parsed(_bits))
    op: tuple[Op, int | None] = key(parsed(_operator))
    val: int = key(_number(U64, "of 64 bits"))
    comment: str | None = key(maybe(text), default=None)

    def text(self) -> str:
        """Return the condition in our language, as seccompiler compares."""
        full, (op, mask) = (1 << self.type) - 1, self.op
        side, value = f"u{self.type}(arg{self.index})", self.val & full
        if mask is None:
            return f"{side} {op.value} {value:#x}"
        return f"{side} & {mask & full:#x} == {value & mask:#x}"

    @property
    def comparison(self) -> Comparison:
        """The condition as a value, as seccompiler compares."""
        full, (op, mask) = (1 << self.type) - 1, self.op
        mask = full if mask is None else mask & full
        return Comparison(self.index, op, self.val & mask, mask, self.type)

    def match(self, where: Position) -> EntryMatch:
        """Return the comparison that libseccomp makes."""
        op, mask = self.op
        mask = U32 if op is Op.EQ and self.type == 32 else mask
        if mask is None:
            return EntryMatch(self.index, op, self.val, 0, where)
        return EntryMatch(self.index, Op.MASKED_EQ, mask, self.val, where)

    @property
    def differs(self) -> bool:
        """True if libseccomp compares other bits than seccompiler."""
        op, mask = self.op
        return self.type == 32 and (op not in {Op.EQ, Op.MASKED_EQ} or (mask or 0) > U32)


@with_keys
class _RuleKeys:
    syscall: str = key(text)
    args: tuple[_ArgumentTest, ...] | None = key(
        maybe(list_of(section(_ArgumentTest), 1)), default=None
    )
    comment: str | None = key(maybe(text), default=None)


@with_keys
class _FilterKeys:
    mismatch_action: str | None = key(parsed(_action), default=None)
    default_action: str | None = key(parsed(_action), default=None)
    match_action: str | None = key(parsed(_action), default=None)
    filter_action: str | None = key(parsed(_action), default=None)
    filter: tuple[_RuleKeys, ...] = key(list_of(section(_RuleKeys)))


_check_filter = keyed(keys_of(_FilterKeys), needed_keys(_FilterKeys))


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the filter of the file that ``reading`` names, or the only one.

    Raises InputError with every error of that filter.
    """
    document = read_document(text.encode(), file)
    require_json(text, file)
    name = chosen([*_filters(document)], reading.thread, document.position(()))
    reader = _FilterReader(document, name)
    policy = reader.policy()
    draft = Draft(file, notes=reader.notes, comments=list(reader.comments()))
    abis = policy.abis(reading.abis, NUMBERED_ABIS, tables)
    if reading.runtime is Runtime.LIBSECCOMP:
        reader.require(policy.unknown_calls(_nowhere(policy, abis, tables), tables))
        draft.notes.clear()
        named = replace(reading, abis=tuple(abi.name for abi in abis))
        write_profile(reader.profile(), draft, named, tables)
        return draft
    reader.require(policy.unknown_calls(abis, tables))
    policy.say(draft, abis, tables)
    if where := reader.read_otherwise():
        text = "libseccomp, which newer Firecrackers have their filters from, reads this otherwise:"
        text += " say --runtime libseccomp for these"
        draft.note(text, where, Problem.TOOLS_DIFFER)
    return draft


def _nowhere(policy: NumberedPolicy, abis: list[Abi], tables: Tables) -> list[Abi]:
    """Return ``abis`` if a call is named that no ABI has, else none: libseccomp knows them all."""
    known = tables.calls
    strange = any(call.name not in known for rule in policy.rules for call in rule.calls)
    return abis if strange else []


class RuleTests(NamedTuple):
    """The call of a rule, and the comparisons that must all hold."""

    syscall: str
    tests: tuple[Comparison, ...]


def filter_rules(document: Document, name: str) -> list[RuleTests]:
    """Return the rules of a filter without errors."""
    said: Any = _check_filter(document.data[name], (name,), [])
    return [
        RuleTests(rule.syscall, tuple(one.comparison for one in rule.args or ()))
        for rule in said["filter"]
    ]


def filter_names(text: str, file: str) -> tuple[str, ...]:
    """Return the names of the filters in a file. Raises InputError if it holds none."""
    return tuple(_filters(read_document(text.encode(), file)))


def _filters(document: Document) -> dict[str, Any]:
    if not isinstance(document.data, dict) or not document.data:
        text = "a file of seccompiler is an object of filters by name"
        raise InputError(Diagnostic(text, document.position(()), Problem.WRONG_VALUE))
    strange = next((name for name in document.data if not isinstance(name, str)), None)
    if strange is not None:
        text = f"the name of a filter is text, not {strange!r}"
        raise InputError(Diagnostic(text, document.position((strange,)), Problem.WRONG_VALUE))
    return dict(document.data)


class _FilterReader:
    """Reads the filter ``name`` of a document; ``notes`` are about the content of the filter."""

    def __init__(self, document: Document, name: str) -> None:
        self._document, self._name = document, name
        self.notes: list[Diagnostic] = []
        faults: list[Fault] = []
        self._said: dict[str, Any] = _check_filter(document.data[name], (name,), faults) or {}
        self._problems = [
            Diagnostic(
                one.text,
                (document.key_position if one.of_key else document.position)(one.path),
                one.kind,
            )
            for one in faults
        ]
        self._mismatch, self._mismatch_at = self._one_of("mismatch_action", "default_action")
        self._match, _ = self._one_of("match_action", "filter_action")
        if self._match and self._match == self._mismatch:
            text = "both actions are the same, which seccompiler refuses"
            self._problems.append(Diagnostic(text, self._at(), Problem.WRONG_VALUE))
        self._rules: list[tuple[_RuleKeys, Position]] = [
            (rule, self._at("filter", i))
            for i, rule in enumerate(self._said.get("filter") or ())
            if rule
        ]

    def require(self, problems: list[Diagnostic]) -> None:
        """Raise InputError if the filter has errors, or if there are ``problems``."""
        if self._problems or problems:
            raise InputError(*self._problems, *problems)

    def _at(self, *path: str | int) -> Position:
        return self._document.position((self._name, *path))

    def _one_of(self, *names: str) -> tuple[str, Position]:
        """Return the action under one of two names, and its place."""
        data = self._document.data[self._name]
        there = [name for name in names if isinstance(data, dict) and name in data]
        if isinstance(data, dict) and len(there) != 1:
            text = f"must have one of {names[0]!r} and {names[1]!r}, which are the same"
            self._problems.append(Diagnostic(text, self._at(), Problem.MISSING_KEY))
        at = self._at(*there[:1])
        found: str = self._said.get(there[0], "") if there else ""
        said = data[there[0]] if found else None
        number = next(iter(said.values())) if isinstance(said, dict) else None
        if number is not None and not found.endswith(f"({number})"):
            text = f"the kernel delivers {found} for {number}"
            self.notes.append(Diagnostic(text, at, Problem.TOOLS_DIFFER))
        return found, at

    def comments(self) -> Iterator[SourceComment]:
        """Yield the comments of each rule, and those of its conditions."""
        for rule, where in self._rules:
            for comment in (rule.comment, *(one.comment for one in rule.args or ())):
                if comment:
                    yield SourceComment(where, " ".join(comment.split()), trailing=True)

    def policy(self) -> NumberedPolicy:
        """Return the filter as seccompiler understands it; incomplete if the filter has errors."""
        policy = NumberedPolicy(
            (self._mismatch or "kill_process", self._mismatch_at), "kill_process"
        )
        found: dict[str, list[tuple[_RuleKeys, Position]]] = {}
        for rule, where in self._rules:
            found.setdefault(rule.syscall, []).append((rule, where))
        for name, rules in found.items():
            policy.rules += self._rules_of(name, rules)
        return policy

    def _rules_of(
        self, name: str, rules: list[tuple[_RuleKeys, Position]]
    ) -> Iterator[NumberedRule]:
        conditional = [one for one in rules if one[0].args]
        for rule, where in rules:
            if conditional and not rule.args:
                text = f"says nothing: another rule of {name} has 'args', and seccompiler takes "
                text += "that alone"
                self.notes.append(Diagnostic(text, where, Problem.TOOLS_DIFFER))
        for rule, where in conditional or rules[:1]:
            when = " and ".join(one.text() for one in rule.args or ())
            action = self._match or "allow"
            yield NumberedRule(action, (NumberedCall(name, where),), where, when or None)

    # --- as libseccomp reads it --------------------------------------------------------------

    def profile(self) -> ContainerProfile:
        """Return the filter, which has no errors, as rules for libseccomp."""
        start, action = self._at(), Action.parse(self._match)
        entries = []
        for i, (rule, where) in enumerate(self._rules):
            tests = enumerate(rule.args or ())
            matches = tuple(one.match(self._at("filter", i, "args", n)) for n, one in tests)
            names = ((rule.syscall, self._at("filter", i, "syscall")),)
            entries.append(ProfileEntry(names, action, matches, where))
        return ContainerProfile(Action.parse(self._mismatch), tuple(entries), start, start, start)

    def read_otherwise(self) -> Position | None:
        """Return the first position that libseccomp and seccompiler read differently, or None."""
        tested = {rule.syscall for rule, _ in self._rules if rule.args}
        for i, (rule, where) in enumerate(self._rules):
            if not rule.args and rule.syscall in tested:
                return where
            for n, test in enumerate(rule.args or ()):
                if test.differs:
                    return self._at("filter", i, "args", n)
        return None
