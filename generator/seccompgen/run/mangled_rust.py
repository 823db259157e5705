"""Paths of Rust's v0 names. Source: "v0 Symbol Format" in the rustc book."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from seccompgen.run.mangled import NotUnderstoodError, Reader, names_by_code

if TYPE_CHECKING:
    from collections.abc import Callable

_BASE_62 = string.digits + string.ascii_lowercase + string.ascii_uppercase
_BASIC = names_by_code("""
    a=i8 b=bool c=char d=f64 e=str f=f32 h=u8 i=isize j=usize l=i32 m=u32 n=i128 o=u128 p=_ s=i16
    t=u16 u=() v=... x=i64 y=u64 z=!
""")
_LONGEST = 4096


def rust_path(mangled: str) -> str | None:
    """Return the path of a name that begins with ``_R``; None if it is not understood."""
    try:
        return _Name(mangled.removeprefix("_R")).whole()
    except (NotUnderstoodError, UnicodeError, ValueError, OverflowError):
        return None


class _Name(Reader):
    def whole(self) -> str:
        """Read a name to its end, which may be the crate that it was made in."""
        path = self.path()
        if self.peek():
            self.path()
        if self.peek():
            raise NotUnderstoodError
        return path

    def path(self) -> str:
        """Read a path; what is generic about it is left out."""
        with self:
            kind = self.take()
            match kind:
                case "C":
                    return self._identifier()[0]
                case "M":
                    self._impl_path()
                    return f"<{self._type()}>"
                case "X" | "Y":
                    if kind == "X":
                        self._impl_path()
                    itself = self._type()
                    return self._short(f"<{itself} as {self.path()}>")
                case "N":
                    return self._nested()
                case "I":
                    path = self.path()
                    self._to_end(self._generic_argument)
                    return path
                case "B":
                    return self._elsewhere(self.path)
            raise NotUnderstoodError

    def _nested(self) -> str:
        space = self.take()
        outer = self.path()
        name, index = self._identifier()
        if space.islower():
            return self._short(f"{outer}::{name}" if name else outer)
        kind = {"C": "closure", "S": "shim"}.get(space, space)
        return self._short(f"{outer}::{{{kind}{name and ':'}{name}#{index}}}")

    def _short(self, text: str) -> str:
        """Return ``text``, which references to what was before could make very long."""
        if len(text) > _LONGEST:
            raise NotUnderstoodError
        return text

    def _impl_path(self) -> None:
        self._index("s")
        self.path()

    def _to_end(self, read: Callable[[], object]) -> list[object]:
        found = []
        while not self.skip("E"):
            found.append(read())
        return found

    def _elsewhere(self, read: Callable[[], str]) -> str:
        """Read what an earlier part of the name has."""
        behind = self.at - 1
        place = self._base_62()
        if place >= behind:
            raise NotUnderstoodError
        at, self.at = self.at, place
        found = read()
        self.at = at
        return found

    def _base_62(self) -> int:
        digits = self.digits(_BASE_62)
        self.require("_")
        value = 0
        for digit in digits[:12]:
            value = value * 62 + _BASE_62.index(digit)
        return value + 1 if digits else 0

    def _index(self, tag: str) -> int:
        return self._base_62() + 1 if self.skip(tag) else 0

    def _identifier(self) -> tuple[str, int]:
        index = self._index("s")
        coded = self.skip("u")
        size = self.number()
        self.skip("_")
        text = self.take(size)
        if coded:
            head, _, tail = text.rpartition("_")
            text = (f"{head}-{tail}" if head else tail).encode("ascii").decode("punycode")
        return text, index

    def _generic_argument(self) -> None:
        if self.skip("L"):
            self._base_62()
        elif self.skip("K"):
            self._const()
        else:
            self._type()

    def _type(self) -> str:
        with self:
            kind = self.peek()
            if kind in _BASIC:
                return _BASIC[self.take()]
            if kind in "CMXYNI" and kind:
                return self.path()
            return self._short(self._composed(self.take()))

    def _composed(self, kind: str) -> str:
        match kind:
            case "A":
                element = self._type()
                return f"[{element}; {self._const()}]"
            case "S":
                return f"[{self._type()}]"
            case "T":
                return f"({', '.join(str(one) for one in self._to_end(self._type))})"
            case "R" | "Q":
                if self.skip("L"):
                    self._base_62()
                return f"&{'mut ' if kind == 'Q' else ''}{self._type()}"
            case "P" | "O":
                return f"*{'const' if kind == 'P' else 'mut'} {self._type()}"
            case "F":
                return self._function()
            case "D":
                self._index("G")
                bounds = " + ".join(str(one) for one in self._to_end(self._bound))
                self.require("L")
                self._base_62()
                return f"dyn {bounds}"
            case "B":
                return self._elsewhere(self._type)
        raise NotUnderstoodError

    def _function(self) -> str:
        self._index("G")
        self.skip("U")
        if self.skip("K") and not self.skip("C"):
            self._identifier()
        arguments = ", ".join(str(one) for one in self._to_end(self._type))
        result = self._type()
        return f"fn({arguments})" + ("" if result == "()" else f" -> {result}")

    def _bound(self) -> str:
        path = self.path()
        while self.skip("p"):
            self._identifier()
            self._type()
        return path

    def _const(self) -> str:
        with self:
            kind = self.take()
            if kind == "B":
                return self._elsewhere(self._const)
            if kind == "p":
                return "_"
            if kind not in "abcehijlmnostxy":
                raise NotUnderstoodError
            sign = "-" if self.skip("n") else ""
            digits = self.digits("0123456789abcdef")
            self.require("_")
            return f"{sign}{int(digits or '0', 16)}" if len(digits) <= 16 else f"0x{digits}"
