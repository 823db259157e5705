"""Read the JSON of seccompiler, which Firecracker has its filters in.

A file holds filters by name, one of which is read. The rules of a call are alternatives: it gets
the filter's one action where all ``args`` of one of them hold, and the mismatch action elsewhere.
So a rule without ``args`` says nothing beside one of the same call that has them, as in
seccompiler, and there is a note. ``dword`` compares the low half of an argument, ``qword`` all of
it. Calls through other ABIs end the process, but for those of x32, whose numbers no rule has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError, did_you_mean
from seccompgen.core.foreign import Runtime
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U32, U64
from seccompgen.core.problems import Problem
from seccompgen.formats.by_number import Call, NumberedPolicy, NumberedRule
from seccompgen.formats.draft import Draft
from seccompgen.formats.oci.reader import write_profile
from seccompgen.formats.seccompiler.firecracker import profile_of, read_otherwise
from seccompgen.formats.several import chosen
from seccompgen.policy.document import read_document
from seccompgen.policy.json_text import require_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.policy.document import Document, Path

_USUAL = ("x86_64", "aarch64", "riscv64")
"""The ABIs that a filter is for if nobody says: those of these that have all its calls."""

_PLAIN_ACTIONS = ("allow", "trap", "log", "kill_thread", "kill_process")
_DATA_ACTIONS = {"errno": ERRNO_MAX, "trace": RET_DATA_MAX}
_RELATIONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_BITS = {"dword": 32, "qword": 64}
_MISMATCH = ("mismatch_action", "default_action")
_MATCH = ("match_action", "filter_action")


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the filter of the file that ``reading`` names, or the only one.

    Raises InputError with every error of that filter.
    """
    document = read_document(text.encode(), file)
    require_json(text, file)
    name = chosen([*_filters(document)], reading.thread, document.position(()))
    reader = _Reader(document)
    policy = reader.policy((name,))
    if policy is None:
        raise InputError(*reader.problems)
    draft = Draft(file, notes=reader.notes)
    abis = policy.abis(reading.abis, _USUAL, tables)
    if reading.runtime is Runtime.LIBSECCOMP:
        reader.problems += policy.unknown_calls(_nowhere(policy, abis, tables), tables)
        if reader.problems:
            raise InputError(*reader.problems)
        draft.notes.clear()
        named = replace(reading, abis=tuple(abi.name for abi in abis))
        profile = profile_of(document, name, policy.default[0], reader.match)
        write_profile(profile, draft, named, tables)
        return draft
    reader.problems += policy.unknown_calls(abis, tables)
    if reader.problems:
        raise InputError(*reader.problems)
    policy.say(draft, abis, tables)
    if where := read_otherwise(document, name):
        text = "libseccomp, which newer Firecrackers have their filters from, reads this otherwise:"
        text += " say --runtime libseccomp for these"
        draft.notes.append(Diagnostic(text, where, Problem.TOOLS_DIFFER))
    return draft


def _nowhere(policy: NumberedPolicy, abis: list[Abi], tables: Tables) -> list[Abi]:
    """Return ``abis`` if a call is named that no ABI has: libseccomp knows calls of them all."""
    known = tables.calls
    strange = any(call.name not in known for rule in policy.rules for call in rule.calls)
    return abis if strange else []


def filter_names(text: str, file: str) -> tuple[str, ...]:
    """Return the names of the filters in a file. Raises InputError where it holds none."""
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


class _Reader:
    """One filter of a document; ``problems`` and ``notes`` are what was found in it.

    ``match`` is the action of its rules.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self.match = "allow"
        self.problems: list[Diagnostic] = []
        self.notes: list[Diagnostic] = []

    def policy(self, path: Path) -> NumberedPolicy | None:
        """Return what the filter at ``path`` says, None if it is too wrong to say anything."""
        content = self._object(path, {*_MISMATCH, *_MATCH, "filter"})
        if content is None:
            return None
        mismatch = self._said(content, path, _MISMATCH)
        match = self._said(content, path, _MATCH)
        self.match = match or self.match
        rules = content.get("filter")
        if not isinstance(rules, list):
            self._wrong("'filter' must be a list of rules", (*path, "filter"))
            rules = []
        if mismatch and mismatch == match:
            self._wrong("both actions are the same, which seccompiler refuses", path)
        where = self._document.position((*path, next((k for k in _MISMATCH if k in content), "")))
        policy = NumberedPolicy((mismatch or "kill_process", where), "kill_process")
        found: dict[str, list[tuple[Position, Callable[[int], str] | None]]] = {}
        for i in range(len(rules)):
            at = (*path, "filter", i)
            one = self._rule(at)
            if one:
                found.setdefault(one[0], []).append((self._document.position(at), one[1]))
        for name, alternatives in found.items():
            policy.rules += self._rules(name, alternatives, match or "allow")
        return policy

    def _rules(
        self,
        name: str,
        alternatives: list[tuple[Position, Callable[[int], str] | None]],
        action: str,
    ) -> Iterator[NumberedRule]:
        conditional = [one for one in alternatives if one[1]]
        for where, when in alternatives:
            if when is None and conditional:
                text = f"says nothing: another rule of {name} has 'args', and seccompiler takes "
                text += "that alone"
                self.notes.append(Diagnostic(text, where, Problem.TOOLS_DIFFER))
        for where, when in conditional or alternatives[:1]:
            yield NumberedRule(action, (Call(name, where),), where, when)

    # --- parts -------------------------------------------------------------------------------

    def _wrong(self, text: str, path: Path, kind: Problem = Problem.WRONG_VALUE) -> None:
        self.problems.append(Diagnostic(text, self._document.position(path), kind))

    def _note(self, text: str, path: Path) -> None:
        self.notes.append(Diagnostic(text, self._document.position(path), Problem.TOOLS_DIFFER))

    def _at(self, path: Path) -> Any:
        value = self._document.data
        for part in path:
            value = value[part]
        return value

    def _object(self, path: Path, keys: set[str]) -> dict[str, Any] | None:
        content = self._at(path)
        if not isinstance(content, dict):
            self._wrong("must be an object", path)
            return None
        for key in content:
            if key not in keys:
                text = f"unknown key {key!r}{did_you_mean(str(key), keys)}"
                where = self._document.key_position((*path, key))
                self.problems.append(Diagnostic(text, where, Problem.UNKNOWN_KEY))
        return content

    def _said(self, content: dict[str, Any], path: Path, names: tuple[str, str]) -> str | None:
        there = [name for name in names if name in content]
        if len(there) != 1:
            text = f"must have one of {names[0]!r} and {names[1]!r}, which are the same"
            self._wrong(text, path, Problem.MISSING_KEY)
            return None
        at, action = (*path, there[0]), content[there[0]]
        if isinstance(action, str) and action in _PLAIN_ACTIONS:
            return action
        if isinstance(action, dict) and len(action) == 1:
            ((kind, data),) = action.items()
            if kind in _PLAIN_ACTIONS and data is None:
                return str(kind)
            if kind in _DATA_ACTIONS:
                if not _is_number(data, U32):
                    self._wrong(f"{kind} takes a number of 32 bits, not {data!r}", at)
                    return None
                # seccompiler cuts it to 16 bits, and the kernel delivers errno up to 4095.
                delivered = min(data & RET_DATA_MAX, _DATA_ACTIONS[kind])
                if delivered != data:
                    self._note(f"the kernel delivers {kind} {delivered} for {data}", at)
                return f"{kind}({delivered})"
        known = ", ".join((*_PLAIN_ACTIONS, '{"errno": 1}', '{"trace": 1}'))
        self._wrong(f"{action!r} is no action of seccompiler: {known}", at)
        return None

    def _comment(self, content: dict[str, Any], path: Path) -> None:
        if not isinstance(content.get("comment", ""), str | None):
            self._wrong("'comment' must be text", (*path, "comment"))

    def _rule(self, path: Path) -> tuple[str, Callable[[int], str] | None] | None:
        """Return the call of a rule and its condition, None if there is no call."""
        content = self._object(path, {"syscall", "args", "comment"})
        if content is None:
            return None
        self._comment(content, path)
        name, args = content.get("syscall"), content.get("args")
        if not isinstance(name, str):
            self._wrong("'syscall' must name a call", path)
            return None
        if args is None:
            return name, None
        if not isinstance(args, list) or not args:
            self._wrong("'args' must be a list of conditions; leave it out for none", path)
            return name, None
        found = [self._condition((*path, "args", i)) for i in range(len(args))]
        when = " and ".join(one for one in found if one)
        return name, lambda _: when

    def _condition(self, path: Path) -> str | None:
        content = self._object(path, {"index", "type", "op", "val", "comment"})
        if content is None:
            return None
        self._comment(content, path)
        index, length, op, value = (content.get(key) for key in ("index", "type", "op", "val"))
        before = len(self.problems)
        if not _is_number(index, 5):
            self._wrong("'index' must be 0 to 5", (*path, "index"))
        if length not in _BITS:
            self._wrong("'type' must be dword or qword", (*path, "type"))
        if not _is_number(value, U64):
            self._wrong("'val' must be a number of 64 bits", (*path, "val"))
        if isinstance(op, dict) and len(op) == 1 and None in op.values():
            (op,) = op  # as serde has it of a name that takes nothing
        mask = op.get("masked_eq") if isinstance(op, dict) and len(op) == 1 else None
        if not (isinstance(op, str) and op in _RELATIONS) and not _is_number(mask, U64):
            known = ", ".join((*_RELATIONS, '{"masked_eq": 1}'))
            self._wrong(f"'op' must be one of {known}", (*path, "op"))
        if len(self.problems) > before:
            return None
        bits = _BITS[str(length)]
        full, side = (1 << bits) - 1, f"u{bits}(arg{index})"
        number = int(str(value)) & full
        if isinstance(op, str):
            return f"{side} {_RELATIONS[op]} {number:#x}"
        mask = int(str(mask)) & full
        return f"{side} & {mask:#x} == {number & mask:#x}"


def _is_number(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
