"""Read a YAML, JSON or TOML file as plain data with positions."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.core.problems import Problem
from seccompgen.io.reading import decode_text, parse_toml

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator, Mapping

Path: TypeAlias = tuple[str | int, ...]
"""The path to a value from the top of a document: keys and list indices."""

Source: TypeAlias = "pathlib.Path | Document"
"""The source of a policy: a file, or a document in memory, named by its ``file``."""

POLICY_SUFFIXES = frozenset({".yml", ".yaml", ".json", ".toml"})
"""The suffixes of policy files."""
MAX_POLICY = 4 << 20
"""The limit for a policy file, in bytes; the longest that we know has 60 KiB."""
LARGER = f"larger than {MAX_POLICY >> 20} MiB, which no policy is"
_MAX_NODES = 200_000
"""The most values, keys among them: 40 for each of 5,000 rules, which no program can hold."""
_MAX_DEPTH = 50
_MAX_DIGITS = 30
_MAX_BITS = 100
"""The bits that the permitted decimal digits of a number can need."""


class Document(NamedTuple):
    """A file's data (dicts, lists, str, int, float, bool, None) and its positions.

    ``text`` is the text of the file, empty for a document in memory.
    """

    file: str
    data: Any
    keys: Mapping[Path, Position]
    values: Mapping[Path, Position]
    text: str = ""

    def position(self, path: Path) -> Position:
        """Return the position of the value at ``path``, or of the nearest known one around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Position(self.file, 1, 1))

    def key_position(self, path: Path) -> Position:
        """Return the position of the last key of ``path``."""
        return self.keys.get(path) or self.position(path)

    def places(self, path: Path, value: str) -> Callable[[int], Position]:
        """Return a function that maps an index in the text ``value`` at ``path`` to its position.

        If the position is unknown, as in escaped text, the function returns that of the beginning
        of the text.
        """
        where = self.position(path)
        if where.path:
            return lambda index: replace(where, column=index + 1)
        found: list[tuple[int, ...]] = []  # empty until asked for the first time

        def place(index: int) -> Position:
            if not found:
                found.append(_aligned(self.text, where, value))
            if index >= len(found[0]):
                return where
            starts = _line_starts(self.text)
            line = bisect_right(starts, found[0][index])
            return Position(self.file, line, found[0][index] - starts[line - 1] + 1)

        return place


@lru_cache(maxsize=8)
def _line_starts(text: str) -> tuple[int, ...]:
    return (0, *(found.end() for found in re.finditer("\n", text)))


def _aligned(source: str, where: Position, value: str) -> tuple[int, ...]:
    """Return the index in ``source`` of each character of ``value``, which starts at ``where``.

    The last index is that of the character after it. The result is empty if ``source`` does not
    contain ``value`` literally; differences in blanks, which YAML and TOML change between lines,
    are ignored.
    """
    starts = _line_starts(source)
    if not 0 < where.line <= len(starts):
        return ()
    at = starts[where.line - 1] + where.column - 1
    if source.startswith(('"""', "'''"), at):
        at += 3
    elif source[at : at + 1] in {'"', "'"}:
        at += 1
    elif source[at : at + 1] in {"|", ">"}:
        at = source.find("\n", at) + 1
    found = []
    for character in value:
        while not character.isspace() and source[at : at + 1].isspace():
            at += 1
        found.append(at)
        if not character.isspace():
            if source[at : at + 1] != character:
                return ()
            at += 1
    return (*found, at)


def name_of(source: Source) -> str:
    """Return the name of a policy for messages: its file, or the name of the document."""
    return source.file if isinstance(source, Document) else str(source)


def read_document(content: bytes, file: str) -> Document:
    """Read ``content`` by the suffix of ``file``: TOML for ``.toml``, else YAML, including JSON.

    Raises InputError, with a position, for malformed content, a duplicate key, a tag, nesting
    deeper than 50, more than 200,000 values, and a number of more than 30 digits or one that YAML
    1.1 and 1.2 read differently.
    """
    if len(content) > MAX_POLICY:
        raise _too_large(LARGER, Position(file))
    text = decode_text(content, file)
    if file.endswith(".toml"):
        return _read_toml(text, file)
    return _read_yaml(text, file)


def _too_large(what: str, where: Position) -> InputError:
    return InputError(Diagnostic(what, where, Problem.TOO_LARGE))


def _malformed(what: str, where: Position) -> InputError:
    return InputError(Diagnostic(what, where, Problem.MALFORMED_FILE))


def _read_yaml(text: str, file: str) -> Document:
    import yaml  # noqa: PLC0415 - only policy files should cost it

    if odd := _OTHER_BREAKS.search(text):
        what = "a character that ends a line to some readers of YAML: write an escape in quotes"
        raise _malformed(what, Position.after(file, text[: odd.start()]))
    text = _SURROGATES.sub(_joined, text)
    try:
        node = _loader()(text, file).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(text, file, error) from None
    except yaml.reader.ReaderError as error:
        where = Position.after(file, text[: error.position])
        raise _malformed(f"not YAML: {error.reason}", where) from None
    except RecursionError:
        raise _too_large(_TOO_DEEP, Position(file)) from None
    if node is None:
        raise _malformed("the file is empty", Position(file, 1, 1))
    return _YamlBuilder(file).build(node)._replace(text=text)


@lru_cache(maxsize=1)
def _loader() -> Any:
    """Return a loader of YAML 1.2.

    PyYAML's own parser is no substitute: it reads some texts differently from libyaml.
    """
    try:
        from yaml import AliasEvent, CBaseLoader  # noqa: PLC0415 - as above
        from yaml.composer import Composer  # noqa: PLC0415
    except ImportError:
        text = "PyYAML was built without libyaml, which reads policies: install its wheel"
        raise OutsideError(text, kind=Problem.UNREADABLE_FILE) from None

    class Loader(Composer, CBaseLoader):  # type: ignore[misc] # it has no types
        """A loader that stops as soon as a document has too many values or levels."""

        def __init__(self, text: str, file: str) -> None:
            CBaseLoader.__init__(self, text)
            Composer.__init__(self)
            self.file = file
            self.nodes = self.level = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.nodes += 1
            self.level += 1
            if self.nodes > _MAX_NODES or self.level > _MAX_DEPTH + 1:
                mark = self.peek_event().start_mark
                what = _TOO_DEEP if self.level > _MAX_DEPTH + 1 else _TOO_MANY
                raise _too_large(what, Position(self.file, mark.line + 1, mark.column + 1))
            if not self.check_event(AliasEvent):  # YAML 1.2 lets the later of two anchors count
                self.anchors.pop(self.peek_event().anchor, None)
            node = super().compose_node(parent, index)
            self.level -= 1
            return node

    for kind, pattern, first in _CORE_SCHEMA:
        Loader.add_implicit_resolver(f"{_CORE}{kind}", re.compile(pattern), list(first))
    return Loader


def _joined(found: re.Match[str]) -> str:
    """Return two surrogate halves, as JSON escapes a character, as one escape of YAML."""
    high, low = (int(half, 16) for half in found.groups())
    return f"\\U{0x10000 + (high - 0xD800 << 10) + low - 0xDC00:08x}"


def _not_yaml(text: str, file: str, error: Any) -> InputError:
    """Return the error with advice on a common mistake, or else with the parser's message."""
    from seccompgen.policy.yaml_mistakes import Place, mistake  # noqa: PLC0415 - few have one

    mark, since = (
        Place(mark.line, mark.column) if mark else None
        for mark in (error.problem_mark or error.context_mark, error.context_mark)
    )
    if mark and error.problem == "exceeded maximum nesting depth":  # libyaml has no other sign
        return _too_large(_TOO_DEEP, Position(file, mark.line + 1, mark.column + 1))
    if mark and (found := mistake(text, mark, since)):
        message, mark = found
    else:
        message = " ".join(str(part) for part in (error.context, error.problem) if part)
    where = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
    return _malformed(f"not YAML: {message}", where)


_TOO_DEEP = "nested too deeply"
_LONGEST_TAG = 100
"""Characters of a tag that are printed."""
_TOO_MANY = f"too many values: more than {_MAX_NODES:,}, which no policy has"
_OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")
_SURROGATES = re.compile(r"(?<!\\)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_CORE = "tag:yaml.org,2002:"
_CORE_SCHEMA = (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (
        "int",
        r"(?:[-+]?0b[0-1_]+|[-+]?0o[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$",
        "-+0123456789",
    ),
    ("float", r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ("float", r"[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$", "-+."),
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
)
"""The plain scalars of YAML 1.2 that are not text, each with its possible first characters."""
_TAGS = {
    "sequence": {f"{_CORE}seq"},
    "mapping": {f"{_CORE}map"},
    "scalar": {f"{_CORE}{kind}" for kind in ("str", "int", "float", "bool", "null")},
}


class _YamlBuilder:
    """A converter of a tree of nodes to data; it records every position."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._keys: dict[Path, Position] = {}
        self._values: dict[Path, Position] = {}
        self._errors: list[Diagnostic] = []

    def build(self, node: Any) -> Document:
        data = self._value(node, ())
        if self._errors:
            raise InputError(*self._errors, kind=Problem.MALFORMED_FILE)
        return Document(self._file, data, self._keys, self._values)

    def _at(self, node: Any) -> Position:
        return Position(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _value(self, node: Any, path: Path) -> Any:
        self._values[path] = self._at(node)
        # Aliases make the tree a graph; the two limits stop exponential growth and cycles.
        if len(self._values) > _MAX_NODES or len(path) > _MAX_DEPTH:
            what = _TOO_DEEP if len(path) > _MAX_DEPTH else _TOO_MANY
            raise _too_large(what, self._at(node))
        if str(node.tag) not in _TAGS[node.id]:
            self._errors.append(
                Diagnostic(f"tag {str(node.tag)[:_LONGEST_TAG]} is not allowed", self._at(node))
            )
        if node.id == "sequence":
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        if node.id == "mapping":
            return self._mapping(node, path)
        return self._scalar(node)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self._errors.append(Diagnostic("a key must be plain text", self._at(key_node)))
                continue
            key = key_node.value
            if key in result:
                first = self._keys[*path, key]
                message = f"duplicate key {key!r}, first on line {first.line}"
                self._errors.append(Diagnostic(message, self._at(key_node)))
                continue
            self._keys[*path, key] = self._at(key_node)
            result[key] = self._value(value_node, (*path, key))
        return result

    def _scalar(self, node: Any) -> Any:
        kind, text = str(node.tag).rsplit(":", 1)[-1], node.value
        if kind == "int":
            try:
                return _yaml_int(text)
            except ValueError as error:
                self._errors.append(Diagnostic(str(error), self._at(node)))
        elif kind == "bool":
            return text.lower() == "true"
        elif kind == "null":
            return None
        elif kind == "float":
            # No value of a policy is a float; the schema refuses it by its text.
            return text
        return text


_TOO_LONG = f"a number of more than {_MAX_DIGITS} digits"


def _yaml_int(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > _MAX_DIGITS:
        raise ValueError(_TOO_LONG)
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.lower().startswith(prefix):
            return sign * int(digits[2:], base)
    if len(digits) > 1 and digits.startswith("0"):
        plain = digits.lstrip("0") or "0"
        raise ValueError(f"{text} is octal to some YAML readers: write 0o{plain} or {plain}")
    return sign * int(digits, 10)


_TOML_ASSIGNMENT = re.compile(r"""^\s*(?P<key>[A-Za-z0-9_-]+|"[^"]*")\s*=\s*""")
_TOML_HEADER = re.compile(r"^\s*(?P<open>\[\[?)\s*(?P<name>[A-Za-z0-9_.-]+)\s*\]")


def _read_toml(text: str, file: str) -> Document:
    data = parse_toml(text, file)
    keys, values = _toml_positions(text, file)
    document = Document(file, data, keys, values)
    errors: list[Diagnostic] = []
    plain = _plain(data, (), document, itertools.count(), errors)
    if errors:
        raise InputError(*errors)
    return document._replace(data=plain, text=text)


def _plain(
    value: Any, path: Path, document: Document, count: Iterator[int], errors: list[Diagnostic]
) -> Any:
    """Return a TOML value as YAML would have it, within the same limits: a float as text."""
    if len(path) > _MAX_DEPTH:
        raise _too_large(_TOO_DEEP, document.position(path))
    if next(count) >= _MAX_NODES:
        raise _too_large(_TOO_MANY, document.position(path))
    match value:
        case dict():
            return {
                key: _plain(one, (*path, key), document, count, errors)
                for key, one in value.items()
            }
        case list():
            return [_plain(one, (*path, i), document, count, errors) for i, one in enumerate(value)]
        case bool() | str():
            return value
        case int():
            if value.bit_length() <= _MAX_BITS:
                return value
            errors.append(Diagnostic(_TOO_LONG, document.position(path), Problem.TOO_LARGE))
            return 0
    return str(value)


def _toml_positions(text: str, file: str) -> tuple[dict[Path, Position], dict[Path, Position]]:
    """Return the positions of keys and of values, by the lines of headers and assignments.

    The standard library's parser reports no positions. A value in an inline array or table, or
    after a dotted key, has the position of its assignment.
    """
    keys: dict[Path, Position] = {}
    values: dict[Path, Position] = {(): Position(file, 1, 1)}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TOML_HEADER.match(line):
            table = ()
            parts = header["name"].split(".")
            for i, part in enumerate(parts):
                table = (*table, part)
                last = i == len(parts) - 1
                if last and header["open"] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                if table in counts:
                    table = (*table, counts[table])
            values[table] = Position(file, number, header.start("open") + 1)
        elif assignment := _TOML_ASSIGNMENT.match(line):
            path = (*table, assignment["key"].strip('"'))
            keys.setdefault(path, Position(file, number, assignment.start("key") + 1))
            values.setdefault(path, Position(file, number, assignment.end() + 1))
    return keys, values
