"""All headers of constants as a program of one ABI sees them, and the values of their names.

Headers are read leniently: a condition without a value is false, a missing include is empty, and
the last definition of a name applies. The outcome of a name is a number, or the reason why it has
none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.kernel.parse.c_types import CType, Model
from seccompgen.kernel.parse.cpp import Header, Reader, Run, take_apart
from seccompgen.kernel.parse.declarations import (
    Declarations,
    Enumerator,
    Record,
    Typedef,
    declarations,
    enumerators,
)
from seccompgen.kernel.parse.expressions import (
    NUMBER,
    Expression,
    Macro,
    NoValueError,
    c_tokens_of,
    expand,
    resolve_defined,
)
from seccompgen.kernel.parse.headers import model_of, predefined
from seccompgen.kernel.parse.sources import VIEWS
from seccompgen.kernel.parse.typed import CInt, TypedExpression, literal, number, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from seccompgen.kernel.parse.tree import Tree

_MOST_TOKENS = 1 << 16
_MEASURES = tuple(one.name for one in fields(Model))
_NEEDS_OWN = {"linux/kvm.h": "asm/kvm.h", "linux/kvm_para.h": "asm/kvm_para.h"}
_EMPTY_HEADERS = frozenset({"asm/bitsperlong.h", "asm/byteorder.h", "asm/unistd.h"})

Outcome: TypeAlias = CInt | str
"""A value, or the reason why a name has none."""
_Made: TypeAlias = CInt | CType | str
_Definition: TypeAlias = Macro | Enumerator | Record | Typedef
_Kind: TypeAlias = Literal["macro", "enumerator", "record", "typedef"]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """An outcome that is valid for ABIs with the same definitions, and without certain names."""

    outcome: _Made
    present: frozenset[object]
    absent: tuple[tuple[_Kind, frozenset[str]], ...]


@dataclass(slots=True)
class _Needs:
    """The dependencies of an outcome so far: definitions, and names without a definition."""

    present: set[object] = field(default_factory=set)
    absent: dict[_Kind, set[str]] = field(default_factory=dict)

    def add(self, known: _Known) -> None:
        """Add the dependencies of another outcome."""
        self.present |= known.present
        for kind, names in known.absent:
            self.absent.setdefault(kind, set()).update(names)


@lru_cache(maxsize=1 << 16)
def _number(text: str) -> tuple[int, str, str] | None:
    """Return `number` of a text that is one number; None if it is not."""
    match = NUMBER.fullmatch(text)
    return number(match) if match else None


@lru_cache(maxsize=1 << 12)
def _measure(name: str, value: int) -> tuple[str, int]:
    """Return (name, value) of a field of `Model`, the same object each time."""
    return (name, value)


@dataclass
class Workshop:
    """A cache that the units of one tree share, so that no work is repeated for another ABI."""

    tree: Tree
    headers: dict[str, Header] = field(default_factory=dict)
    declared: dict[tuple[Run, ...], Declarations] = field(default_factory=dict)
    known: dict[object, list[_Known]] = field(default_factory=dict)

    def header(self, path: str) -> Header:
        """Return the header at ``path``, split by `take_apart`."""
        if path not in self.headers:
            self.headers[path] = take_apart(self.tree.source(path))
        return self.headers[path]

    def declarations(self, runs: tuple[Run, ...]) -> Declarations:
        """Return the declarations in the text of ``runs``."""
        if runs not in self.declared:
            self.declared[runs] = declarations("\n".join(run.text for run in runs))
        return self.declared[runs]


class Unit(Reader):
    """The headers that a program of one ABI reads, and the outcomes of their names."""

    def __init__(self, abi: str, workshop: Workshop) -> None:
        super().__init__(predefined(abi), self._resolve)
        self._model = model_of(ABIS[abi])
        self.used: set[str] = set()
        self.enumerators: dict[str, Enumerator] = {}
        self.records: dict[str, Record] = {}
        self.typedefs: dict[str, Typedef] = {}
        self._tables: dict[_Kind, Mapping[str, _Definition]] = {
            "macro": self.macros,
            "enumerator": self.enumerators,
            "record": self.records,
            "typedef": self.typedefs,
        }
        self._srcarch = VIEWS[abi].srcarch
        self._workshop = workshop
        self._runs: list[Run] = []
        self._needs = _Needs()
        self._open: set[object] = set()
        self._there: frozenset[object] = frozenset()

    # Reading

    def read_all(self, names: Iterable[str]) -> None:
        """Read headers by the names under which programs include them; skip missing ones.

        KVM's headers are not installed if the architecture has none of its own
        (include/uapi/Kbuild).
        """
        for name in names:
            if name in _NEEDS_OWN and not self._resolve(_NEEDS_OWN[name], Position("")):
                continue
            header = self._resolve(name, Position(""))
            if header:
                self.read(header, 0)

    def read_path(self, path: str) -> None:
        """Read a kernel-internal header, if the tree has it."""
        header = self._at(path)
        if header:
            self.read(header, 0)

    def read(self, header: Header, depth: int) -> None:
        """Read ``header``, then the declarations in the text between its directives."""
        outer, self._runs = self._runs, []
        super().read(header, depth)
        if self._runs:
            self._declare(self._workshop.declarations(tuple(self._runs)))
        self._runs = outer

    def _resolve(self, name: str, position: Position) -> Header | None:
        if name in _EMPTY_HEADERS:
            return None
        if name.startswith("asm/"):
            own = f"arch/{self._srcarch}/include/uapi/{name}"
            return self._at(own) or self._at(f"include/uapi/asm-generic/{name[4:]}")
        beside = position.file.rpartition("/")[0]
        return self._at(f"include/uapi/{name.removeprefix('uapi/')}") or self._at(
            f"{beside}/{name}"
        )

    def _at(self, path: str) -> Header | None:
        if path not in self._workshop.tree:
            return None
        self.used.add(path)
        return self._workshop.header(path)

    def _run(self, run: Run) -> None:
        self.macros.update(run.latest)
        if run.text:
            self._runs.append(run)

    def _declare(self, found: Declarations) -> None:
        self.enumerators.update((one.name, one) for one in found.enumerators)
        self.records.update(found.records)
        self.typedefs.update(found.typedefs)
        if found.macros_in_enums:
            calls = {name: one for name, one in self.macros.items() if one.parameters is not None}
            for body in found.macros_in_enums:
                try:
                    names = enumerators(expand(body, calls, c_tokens_of, _MOST_TOKENS))
                except NoValueError:
                    continue
                self.enumerators.update((one.name, one) for one in names)

    def _holds(self, word: str, rest: str, _position: Position) -> bool:
        if word != "if":
            return (rest.partition(" ")[0] in self.macros) == (word == "ifdef")
        try:
            tokens = resolve_defined(c_tokens_of(rest), self.macros)
            return _Condition(expand(tokens, self.macros, c_tokens_of)).value() != 0
        except NoValueError:
            return False

    def _directive(self, word: str, rest: str, position: Position, depth: int) -> None:
        if word in {"undef", "include"}:
            super()._directive(word, rest, position, depth)

    # Values

    def close(self) -> None:
        """Finish reading; only then do names have outcomes."""
        measures = (_measure(name, getattr(self._model, name)) for name in _MEASURES)
        definitions = (one for table in self._tables.values() for one in table.values())
        self._there = frozenset((*measures, *definitions))

    def outcome(self, name: str) -> Outcome | None:
        """Return the outcome of ``name``; None if it is no constant at all."""
        macro = self.macros.get(name)
        if macro is None or macro.body == name:
            one = self.enumerators.get(name)
            return self._counted(one) if one else None
        if macro.parameters is not None or not macro.body:
            return None
        written = _number(macro.body)
        if written:
            return literal(*written, self.measure)
        return self._evaluated(macro, c_tokens_of(macro.body))

    def _counted(self, one: Enumerator) -> Outcome:
        made = self._once(one, lambda: self._count(one))
        return made if isinstance(made, CInt) else str(made)

    def _count(self, one: Enumerator) -> Outcome:
        base = self._evaluated(one.base, one.base) if one.base else CInt(0)
        if isinstance(base, str):
            return base
        value = base.value + one.offset
        if -(1 << 31) <= value < 1 << 31:
            return CInt(value)
        return wrapped(value, 32 if 0 <= value < 1 << 32 else 64, signed=value < 0)

    def _evaluated(self, key: object, tokens: Sequence[str]) -> Outcome:
        made = self._once(key, lambda: TypedExpression(self.expanded(tokens), self).value())
        return made if isinstance(made, CInt) else str(made)

    def _once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """Return the cached outcome of another ABI with the same definitions, or compute it."""
        all_known = self._workshop.known.setdefault(key, [])
        for known in all_known:
            if known.present <= self._there and all(
                self._tables[kind].keys().isdisjoint(names) for kind, names in known.absent
            ):
                self._needs.add(known)
                return known.outcome
        if key in self._open:
            return "it stands for itself"
        outer, self._needs = self._needs, _Needs()
        self._open.add(key)
        try:
            made = make()
        except NoValueError as error:
            made = str(error)
        self._open.discard(key)
        absent = tuple((kind, frozenset(names)) for kind, names in self._needs.absent.items())
        known = _Known(made, frozenset(self._needs.present), absent)
        all_known.append(known)
        self._needs = outer
        outer.add(known)
        return made

    def _look(self, kind: _Kind, name: str) -> _Definition | None:
        found = self._tables[kind].get(name)
        if found is not None:
            self._needs.present.add(found)
        else:
            self._needs.absent.setdefault(kind, set()).add(name)
        return found

    def measure(self, name: str) -> int:
        """Return the field ``name`` of the ABI's `Model`."""
        value: int = getattr(self._model, name)
        self._needs.present.add(_measure(name, value))
        return value

    def record(self, name: str, make: Callable[[Record], CType]) -> CType | None:
        """Return the type of ``struct x`` or ``union x``, computed by ``make`` if not yet known."""
        return self._type(self._look("record", name), make)

    def typedef(self, name: str) -> bool:
        """Return True if ``name`` is a typedef."""
        return self._look("typedef", name) is not None

    def aliased(self, name: str, make: Callable[[Typedef], CType]) -> CType | None:
        """Return the type behind a typedef, computed by ``make`` if not yet known."""
        return self._type(self._look("typedef", name), make)

    def _type(self, found: Any, make: Callable[[Any], CType]) -> CType | None:
        if found is None:
            return None
        made = self._once(found, lambda: make(found))
        if isinstance(made, CType):
            return made
        raise NoValueError(str(made))

    def enumerator(self, name: str) -> CInt | None:
        """Return the value of an enumerator; None if ``name`` is none."""
        found = self._look("enumerator", name)
        if not isinstance(found, Enumerator):
            return None
        outcome = self._counted(found)
        if isinstance(outcome, str):
            raise NoValueError(outcome)
        return outcome

    def expanded(self, tokens: Sequence[str]) -> list[str]:
        """Return ``tokens`` with all macros expanded."""
        return expand(tokens, _Watched(self), c_tokens_of, _MOST_TOKENS)

    def integer(self, tokens: Sequence[str]) -> int:
        """Return the value of an expression."""
        if len(tokens) == 1 and tokens[0].isdecimal() and tokens[0][0] != "0":
            return int(tokens[0])
        return TypedExpression(self.expanded(tokens), self).value().value

    def macro(self, name: str) -> Macro | None:
        """Return the macro called ``name``; None if there is none."""
        if not (name[0].isalpha() or name[0] == "_"):
            return None
        found = self._look("macro", name)
        return found if isinstance(found, Macro) else None


class _Watched(dict[str, Macro]):
    """The macros of a unit; each access is recorded as a dependency."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._unit = unit

    def get(self, key: str, default: Macro | None = None) -> Macro | None:  # type: ignore[override]
        return self._unit.macro(key) or default


class _Condition(Expression):
    """An expression of ``#if`` by the rules of C: a name that is no macro is 0."""

    def _named(self, _word: str) -> int:
        return 0
