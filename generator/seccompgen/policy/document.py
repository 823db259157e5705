"""Read a YAML, JSON or TOML file as plain data, and remember where everything stood."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.errors import Diagnostic, InputError, Position

if TYPE_CHECKING:
    from collections.abc import Mapping

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value from the top of a document: keys and list indices."""

_MAX_BYTES = 8 << 20
_MAX_NODES = 500_000
_MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Document:
    """A file's data (dicts, lists, str, int, float, bool, None) and its positions."""

    file: str
    data: Any
    keys: Mapping[Path, Position]
    values: Mapping[Path, Position]

    def position(self, path: Path) -> Position:
        """Return where the value at ``path`` stands, or the nearest thing around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Position(self.file, 1, 1))

    def key_position(self, path: Path) -> Position:
        """Return where the key that ends ``path`` stands."""
        return self.keys.get(path) or self.position(path)


def read_document(content: bytes, file: str) -> Document:
    """Read ``content`` by the ending of ``file``: ``.toml``, else YAML, of which JSON is a part.

    Raises InputError, with a position, for what is not well-formed: a duplicate key, a tag,
    nesting deeper than 50, a number that YAML 1.1 and 1.2 read differently.
    """
    if len(content) > _MAX_BYTES:
        raise InputError(Diagnostic("larger than 8 MiB, which no policy is", Position(file)))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(Diagnostic("not UTF-8 text", Position(file, line, 1))) from None
    return _read_toml(text, file) if file.endswith(".toml") else _read_yaml(text, file)


def _read_yaml(text: str, file: str) -> Document:
    from ruamel.yaml import YAML  # noqa: PLC0415 - 40 ms that only policy files should cost
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
        message = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise InputError(Diagnostic(f"not YAML: {message}", where)) from None
    except RecursionError:
        raise InputError(Diagnostic("nested too deeply", Position(file))) from None
    except (YAMLError, ValueError) as error:
        # ruamel's reader refuses control characters with an unmarked error.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(Diagnostic(f"not YAML: {reason}", Position(file))) from None
    if node is None:
        raise InputError(Diagnostic("the file is empty", Position(file, 1, 1)))
    return _YamlBuilder(file).build(node)


_CORE = "tag:yaml.org,2002:"
_TAGS = {
    "sequence": {f"{_CORE}seq"},
    "mapping": {f"{_CORE}map"},
    "scalar": {f"{_CORE}{kind}" for kind in ("str", "int", "float", "bool", "null")},
}


class _YamlBuilder:
    """Turns ruamel's node tree into data; an own walk, since it must keep every position."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._keys: dict[Path, Position] = {}
        self._values: dict[Path, Position] = {}
        self._errors: list[Diagnostic] = []

    def build(self, node: Any) -> Document:
        data = self._value(node, ())
        if self._errors:
            raise InputError(*self._errors)
        return Document(self._file, data, self._keys, self._values)

    def _at(self, node: Any) -> Position:
        return Position(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _value(self, node: Any, path: Path) -> Any:
        self._values[path] = self._at(node)
        # Aliases make the tree a graph, in which the two limits stop a bomb and a cycle.
        if len(self._values) > _MAX_NODES or len(path) > _MAX_DEPTH:
            what = "nested too deeply" if len(path) > _MAX_DEPTH else "too many values"
            raise InputError(Diagnostic(what, self._at(node)))
        if str(node.tag) not in _TAGS[node.id]:
            self._errors.append(Diagnostic(f"tag {node.tag} is not allowed", self._at(node)))
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
            key = self._text(key_node)
            if key in result:
                first = self._keys[*path, key]
                message = f"duplicate key {key!r}, first on line {first.line}"
                self._errors.append(Diagnostic(message, self._at(key_node)))
                continue
            self._keys[*path, key] = self._at(key_node)
            result[key] = self._value(value_node, (*path, key))
        return result

    def _text(self, node: Any) -> str:
        """Return the node's text; JSON writes characters beyond U+FFFF as two surrogates."""
        try:
            whole: str = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._errors.append(Diagnostic("half of a surrogate pair", self._at(node)))
            return ""
        return whole

    def _scalar(self, node: Any) -> Any:
        kind, text = str(node.tag).rsplit(":", 1)[-1], self._text(node)
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


def _yaml_int(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.lower().startswith(prefix):
            return sign * int(digits[2:], base)
    if len(digits) > 1 and digits.startswith("0"):
        plain = digits.lstrip("0") or "0"
        raise ValueError(f"{text} is octal to some YAML readers: write 0o{plain} or {plain}")
    if len(digits) > 30:
        raise ValueError("a number of more than 30 digits")
    return sign * int(digits, 10)


_TOML_ASSIGNMENT = re.compile(r"""^\s*(?P<key>[A-Za-z0-9_-]+|"[^"]*")\s*=\s*""")
_TOML_HEADER = re.compile(r"^\s*(?P<open>\[\[?)\s*(?P<name>[A-Za-z0-9_.-]+)\s*\]")


def _read_toml(text: str, file: str) -> Document:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        position = Position(file, int(where[1]), int(where[2])) if where else Position(file)
        reason = re.sub(r" \(at [^)]*\)$", "", str(error)) or "nested too deeply"
        raise InputError(Diagnostic(f"not TOML: {reason}", position)) from None
    keys, values = _toml_positions(text, file)
    return Document(file, data, keys, values)


def _toml_positions(text: str, file: str) -> tuple[dict[Path, Position], dict[Path, Position]]:
    """Find the lines of headers and assignments.

    The standard library's reader gives no positions. What stands inside an inline array or
    table, or behind a dotted key, is reported at the assignment that holds it.
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
