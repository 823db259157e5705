"""Edits of a JSON text: values replaced, items of lists removed and inserted; the rest stays."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from seccompgen.policy.document import Document, Path


class Splice(NamedTuple):
    """A part of a text, from ``start`` to before ``end``, and what replaces it."""

    start: int
    end: int
    text: str


class JsonText:
    """A JSON text, and the places of its values as ``document`` has them."""

    def __init__(self, text: str, document: Document) -> None:
        self.text = text
        self.document = document
        self._starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]

    def span(self, path: Path) -> tuple[int, int]:
        """Return where the value at ``path`` begins and ends."""
        where = self.document.position(path)
        start = self._starts[where.line - 1] + where.column - 1
        return start, json.JSONDecoder().raw_decode(self.text, start)[1]

    def source(self, path: Path) -> str:
        """Return the text of the value at ``path``."""
        start, end = self.span(path)
        return self.text[start:end]

    def is_flat(self, path: Path) -> bool:
        """Return True if the value at ``path`` is on one line."""
        return "\n" not in self.source(path)

    def indent(self, path: Path) -> str:
        """Return the blanks at the beginning of the line of the value at ``path``."""
        line = self.text[self._starts[self.document.position(path).line - 1] :]
        return line[: len(line) - len(line.lstrip())]

    def unit(self, objects: Sequence[Path]) -> str:
        """Return the blanks of one level, as the first object on several lines has them."""
        for path in objects:
            if not self.is_flat(path):
                start, _ = self.span(path)
                line = self.text[self.text.index("\n", start) + 1 :]
                inner = line[: len(line) - len(line.lstrip())]
                return inner.removeprefix(self.indent(path))
        return "  "

    def objects(
        self,
        values: Iterable[Mapping[str, object]],
        like: Path | None,
        indent: str,
        unit: str,
        *,
        flat: bool = False,
    ) -> str:
        """Return a list of objects, laid out like the list at ``like``, or ``flat`` or not."""
        flats = (self.is_flat(like), self.is_flat((*like, 0))) if like else (flat, flat)
        parts = [_object(value, f"{indent}{unit}", unit, flat=flats[1]) for value in values]
        return laid_out(parts, "[]", indent, unit, flat=flats[0])

    def object(self, value: Mapping[str, object], like: Path, indent: str, unit: str) -> str:
        """Return an object, laid out like the one at ``like``."""
        return _object(value, indent, unit, flat=self.is_flat(like))

    def without_items(self, path: Path, count: int, gone: Collection[int]) -> list[Splice]:
        """Return the splices that remove items of a list of ``count``, but not all."""
        spans = [self.span((*path, n)) for n in range(count)]
        last = max(n for n in range(count) if n not in gone)
        found = [Splice(spans[n][0], spans[n + 1][0], "") for n in gone if n < last]
        if last < count - 1:
            found.append(Splice(spans[last][1], spans[-1][1], ""))
        return found

    def behind(self, path: Path, values: Iterable[str]) -> Splice:
        """Return the splice that inserts texts behind an item of a list, laid out as it is."""
        start, end = self.span(path)
        before = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        between = ", " if before.strip() else f",\n{before}"
        return Splice(end, end, "".join(f"{between}{value}" for value in values))


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """Return ``text`` with disjoint parts replaced."""
    for start, end, new in sorted(splices, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def laid_out(parts: Sequence[str], brackets: str, indent: str, unit: str, *, flat: bool) -> str:
    """Return the text of a list or an object: each part on a line of its own, unless ``flat``.

    ``indent`` precedes the last line, and the parts are one ``unit`` further in.
    """
    if flat:
        return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"
    lines = f",\n{indent}{unit}".join(parts)
    return f"{brackets[0]}\n{indent}{unit}{lines}\n{indent}{brackets[1]}"


def _object(value: Mapping[str, object], indent: str, unit: str, *, flat: bool) -> str:
    parts = [f"{json.dumps(key)}: {json.dumps(one)}" for key, one in value.items()]
    return laid_out(parts, "{}", indent, unit, flat=flat)
