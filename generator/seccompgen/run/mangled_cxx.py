"""Paths of C++ names. Source: the Itanium C++ ABI, 5.1 "External Names (a.k.a. Mangling)".

A path comes first in a name, and what it is made of is spelled out. So what templates and functions
are given is read only to find its end, and what refers back to it needs no table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.run.mangled import NotUnderstoodError, Reader, names_by_code

if TYPE_CHECKING:
    from collections.abc import Callable

_BUILTIN = names_by_code("""
    v=void w=wchar_t b=bool c=char a=signed+char h=unsigned+char s=short t=unsigned+short i=int
    j=unsigned+int l=long m=unsigned+long x=long+long y=unsigned+long+long n=__int128
    o=unsigned+__int128 f=float d=double e=long+double g=__float128 z=...
""")
_BUILTIN_OF_D = names_by_code("""
    d=_Decimal64 e=_Decimal128 f=_Decimal32 h=half i=char32_t s=char16_t u=char8_t a=auto
    c=decltype(auto) n=decltype(nullptr)
""")
_STANDARD = names_by_code("""
    t=std a=std::allocator b=std::basic_string s=std::basic_string i=std::basic_istream
    o=std::basic_ostream d=std::basic_iostream
""")
_OPERATORS = names_by_code("""
    nw=new na=new[] dl=delete da=delete[] aw=co_await ps=+ ng=- ad=& de=* co=~ pl=+ mi=- ml=* dv=/
    rm=% an=& or=| eo=^ aS== pL=+= mI=-= mL=*= dV=/= rM=%= aN=&= oR=|= eO=^= ls=<< rs=>> lS=<<=
    rS=>>= eq=== ne=!= lt=< gt=> le=<= ge=>= ss=<=> nt=! aa=&& oo=|| pp=++ mm=-- cm=, pm=->* pt=->
    cl=() ix=[] qu=?
""")
_UNARY = frozenset(
    {"ps", "ng", "ad", "de", "co", "nt", "pp", "mm", "dl", "da", "te", "sz", "az", "nx", "sp"}
    | {"tw", "aw"}
)
_OF_TYPE = frozenset({"ti", "st", "at"})
_CASTS = frozenset({"dc", "sc", "cc", "rc"})
_SPECIAL = names_by_code("""
    TV=vtable+for TT=VTT+for TI=typeinfo+for TS=typeinfo+name+for GV=guard+variable+for
    TH=TLS+init+function+for TW=TLS+wrapper+function+for GR=reference+temporary+for
""")


def cxx_path(mangled: str) -> str | None:
    """Return the path of a name that begins with ``_Z``; None if it is not understood."""
    try:
        return _Name(mangled.removeprefix("_Z")).whole()
    except NotUnderstoodError:
        return None


class _Name(Reader):
    def whole(self) -> str:
        """Read a name to its end."""
        path = self.encoding()
        while self.peek():
            self._type()
        return path

    def encoding(self) -> str:
        """Read what a name is for, without the types of what it takes."""
        with self:
            kind = self.peek(2)
            if kind in {"Th", "Tv", "Tc"}:
                self.take()
                for _ in range(2 if kind == "Tc" else 1):
                    self._offset()
                what = {"Th": "non-virtual", "Tv": "virtual", "Tc": "covariant return"}[kind]
                return f"{what} thunk to {self.encoding()}"
            if kind == "GT":
                self.take(3)
                return f"transaction clone for {self.encoding()}"
            if kind in _SPECIAL:
                self.take(2)
                is_type = kind in {"TV", "TT", "TI", "TS"}
                return f"{_SPECIAL[kind]} {self._type() if is_type else self._name()}"
            return self._name()

    def _offset(self) -> None:
        kind = self.take()
        for _ in range(2 if kind == "v" else 1):
            self.skip("n")
            self.digits()
            self.require("_")

    # Names

    def _name(self) -> str:
        with self:
            if self.skip("N"):
                return self._nested()
            if self.skip("Z"):
                return self._local()
            path = ""
            if self.peek() == "S" and self.peek(2) != "St":
                path = self._substitution()
            else:
                if self.skip("St"):
                    path = "std::"
                path += self._unqualified(path)
            if self.peek() == "I":
                self._arguments()
            return path

    def _nested(self) -> str:
        while self.peek() and self.peek() in "rVK":
            self.take()
        if self.peek() and self.peek() in "RO":
            self.take()
        self.skip("H")  # an explicit object
        parts: list[str] = []
        while not self.skip("E"):
            with self:
                kind = self.peek()
                if kind == "I":
                    self._arguments()
                elif kind == "M":
                    self.take()
                elif kind == "S":
                    parts += [self._substitution()]
                elif kind == "T":
                    self._parameter()
                    parts += ["T"]
                elif self.peek(2) in {"Dt", "DT"}:
                    parts += [self._type()]
                else:
                    parts += [self._unqualified(parts[-1] if parts else "")]
        if not parts:
            raise NotUnderstoodError
        return "::".join(parts)

    def _local(self) -> str:
        outer = self.encoding()
        while not self.skip("E"):
            self._type()
        if self.skip("s"):
            inner = "string literal"
        else:
            if self.skip("d"):
                self._index()
            inner = self._name()
        self._discriminator()
        return f"{outer}::{inner}"

    def _discriminator(self) -> None:
        if self.skip("__"):
            self.digits()
            self.require("_")
        elif self.skip("_"):
            self.digits()

    def _unqualified(self, outer: str) -> str:
        """Read the name of a member of ``outer``, with its tags."""
        with self:
            while self.skip("W"):  # a module, or a partition of one
                self.skip("P")
                self._source()
            self.skip("F")
            self.skip("L")
            text = self._bare(outer)
            while self.skip("B"):
                self._source()
            return text

    def _bare(self, outer: str) -> str:
        kind = self.peek()
        own = outer.removesuffix("::").rpartition("::")[2]
        if kind.isdigit():
            return self._source()
        if kind == "C":
            self.take()
            inherited = self.skip("I")
            self.take()
            if inherited:
                self._type()
            return own
        if self.skip("DC"):
            return f"[{', '.join(self._to_end(self._source))}]"
        if kind == "D":
            self.take(2)
            return f"~{own}"
        if self.skip("Ut"):
            return f"{{unnamed type#{self._index()}}}"
        if self.skip("Ul"):
            while not self.skip("E"):
                if self.peek() == "T" and self.peek(2)[1:] in {*"yntpk"}:
                    self._declared()
                else:
                    self._type()
            return f"{{lambda#{self._index()}}}"
        return self._operator()

    def _index(self) -> int:
        digits = self.digits()
        self.require("_")
        return int(digits[:6]) + 2 if digits else 1

    def _source(self) -> str:
        text = self.take(self.number())
        return "(anonymous namespace)" if text.startswith("_GLOBAL__N") else text

    def _operator(self) -> str:
        code = self.take(2)
        if code == "cv":
            return f"operator {self._type()}"
        if code == "li":
            return f'operator""{self._source()}'
        if code[0] == "v" and code[1].isdigit():
            return f"operator {self._source()}"
        if code not in _OPERATORS:
            raise NotUnderstoodError
        word = _OPERATORS[code]
        return f"operator {word}" if word[0].isalpha() else f"operator{word}"

    def _substitution(self) -> str:
        self.require("S")
        code = self.take()
        if code in _STANDARD:
            while self.skip("B"):
                self._source()
            return _STANDARD[code]
        if code != "_":
            self.digits("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            self.require("_")
        return "?"

    def _parameter(self) -> None:
        self.require("T")
        if self.skip("L"):
            self.digits()
            self.require("_")
        self.digits()
        self.require("_")

    # Types

    def _to_end(self, read: Callable[[], str]) -> list[str]:
        found = []
        while not self.skip("E"):
            found.append(read())
        return found

    def _arguments(self) -> None:
        self.require("I")
        self._to_end(self._argument)

    def _argument(self) -> str:
        with self:
            if self.skip("X"):
                self._expression()
                self.require("E")
            elif self.peek() == "L":
                self._literal()
            elif self.skip("J"):
                self._to_end(self._argument)
            elif self.peek() == "T" and self.peek(2)[1:] in {*"yntpk"}:
                self._declared()
                self._argument()
            elif self.skip("Q"):
                self._expression()
            else:
                self._type()
            return ""

    def _declared(self) -> None:
        """Read the declaration of a template's parameter."""
        with self:
            self.require("T")
            match self.take():
                case "n":
                    self._type()
                case "p":
                    self._declared()
                case "k":
                    self._name()
                case "t":
                    while not self.skip("E"):
                        self._declared()

    def _type(self) -> str:
        """Read a type; return what people call it, without its own arguments."""
        with self:
            kind = self.peek()
            if kind in _BUILTIN and kind:
                return _BUILTIN[self.take()]
            if kind.isdigit() or (kind and kind in "NZW") or self.peek(2) == "St":
                return self._name()
            if kind == "S":
                text = self._substitution()
                if self.peek() == "I":
                    self._arguments()
                return text
            if kind == "T":
                return self._of_parameter()
            if kind == "D":
                return self._of_d()
            return self._composed(self.take())

    def _of_parameter(self) -> str:
        if self.peek(2) in {"Ts", "Tu", "Te"}:
            self.take(2)
            return self._name()
        self._parameter()
        if self.peek() == "I":
            self._arguments()
        return "T"

    def _composed(self, kind: str) -> str:
        match kind:
            case "r" | "V" | "K":
                return self._type() + {"r": " restrict", "V": " volatile", "K": " const"}[kind]
            case "P" | "R" | "O":
                return self._type() + {"P": "*", "R": "&", "O": "&&"}[kind]
            case "C" | "G":
                return self._type()
            case "U":
                self._source()
                if self.peek() == "I":
                    self._arguments()
                return self._type()
            case "u":
                text = self._source()
                if self.peek() == "I":
                    self._arguments()
                return text
            case "F":
                self.skip("Y")
                while not self.skip("E"):
                    if self.peek(2) in {"RE", "OE"}:
                        self.take()
                    else:
                        self._type()
                return "(function)"
            case "A":
                if self.peek() != "_" and not self.digits():
                    self._expression()
                self.require("_")
                return f"{self._type()} []"
            case "M":
                self._type()
                return f"{self._type()} (member)"
        raise NotUnderstoodError

    def _of_d(self) -> str:
        self.require("D")
        kind = self.take()
        if kind in _BUILTIN_OF_D:
            return _BUILTIN_OF_D[kind]
        match kind:
            case "F" | "B" | "U":
                size = self.digits()
                if not size:
                    self._expression()
                if not self.skip("_") and self.take() == "b" and kind == "F":
                    return "std::bfloat16_t"
                return f"{'_Float' if kind == 'F' else '_BitInt'}{size}"
            case "p":
                return f"{self._type()}..."
            case "t" | "T":
                self._expression()
                self.require("E")
                return "decltype(...)"
            case "v":
                if self.skip("_"):
                    self._expression()
                else:
                    self.number()
                self.require("_")
                return f"{self._type()} (vector)"
            case "o" | "x":
                return self._type()
            case "O":
                self._expression()
                self.require("E")
                return self._type()
            case "w":
                self._to_end(self._type)
                return self._type()
        raise NotUnderstoodError

    # Expressions

    def _literal(self) -> None:
        self.require("L")
        if self.skip("_Z") or self.skip("Z"):
            self.encoding()
            while not self.skip("E"):
                self._type()
            return
        self._type()
        while not self.skip("E"):
            self.take()

    def _expressions_to(self, end: str) -> None:
        while not self.skip(end):
            self._expression()

    def _expression(self) -> str:
        with self:
            self.skip("gs")
            kind, code = self.peek(), self.peek(2)
            if kind == "L":
                self._literal()
            elif kind == "T":
                self._of_parameter()
            elif kind.isdigit():
                self._simple()
            elif code == "fp" or (code == "fL" and self.peek(3)[2:].isdigit()):
                self._function_parameter()
            else:
                self._operation(self.take(2))
            return ""

    def _function_parameter(self) -> None:
        if self.take(2) == "fL":
            self.digits()
            self.require("p")
        if self.skip("T"):
            return
        self.digits("rVK")
        self.digits()
        self.require("_")

    def _operation(self, code: str) -> None:
        match code:
            case "cl" | "il" | "sP":
                if code == "sP":
                    self._to_end(self._argument)
                else:
                    self._expressions_to("E")
            case "tl":
                self._type()
                self._expressions_to("E")
            case "cv":
                self._type()
                if self.skip("_"):
                    self._expressions_to("E")
                else:
                    self._expression()
            case "nw" | "na":
                self._expressions_to("_")
                self._type()
                if self.skip("pi"):
                    self._expressions_to("E")
                else:
                    self.require("E")
            case "dt" | "pt":
                self._expression()
                self._expression()
            case "sr":
                self._resolved()
            case "on":
                self._operator()
                if self.peek() == "I":
                    self._arguments()
            case "dn":
                if self.peek().isdigit():
                    self._simple()
                else:
                    self._type()
            case "sZ":
                self._expression()
            case "fl" | "fr":
                self.take(2)
                self._expression()
            case "fL" | "fR":
                self.take(2)
                self._expression()
                self._expression()
            case "tr":
                pass
            case "rq" | "rQ":
                self._requirements(code)
            case "di" | "dx" | "dX" | "ds":
                for _ in range(3 if code == "dX" else 2):
                    self._expression()
            case "qu":
                for _ in range(3):
                    self._expression()
            case _ if code in _OF_TYPE:
                self._type()
            case _ if code in _CASTS:
                self._type()
                self._expression()
            case _ if code in _UNARY:
                if code in {"pp", "mm"}:
                    self.skip("_")
                self._expression()
            case _ if code in _OPERATORS:
                self._expression()
                self._expression()
            case _ if code[0] == "u":
                self.at -= 1
                self._source()
                self._to_end(self._argument)
            case _:
                raise NotUnderstoodError

    def _simple(self) -> None:
        self._source()
        if self.peek() == "I":
            self._arguments()

    def _resolved(self) -> None:
        """Read a qualified name that depends on a template's parameter."""
        several = self.skip("N")
        if self.peek().isdigit():
            self._simple()
            if not several and self.peek().isdigit():
                at = self.at
                while self.peek().isdigit():
                    self._simple()
                if not self.skip("E"):  # as older compilers have it: a type, and its member
                    self.at = at
            else:
                self.skip("E")
        else:
            self._type()
        if several:
            while not self.skip("E"):
                self._simple()
        if self.peek().isdigit():
            self._simple()
        else:
            self._expression()

    def _requirements(self, code: str) -> None:
        if code == "rQ":
            while not self.skip("_"):
                self._type()
        while not self.skip("E"):
            if self.skip("X"):
                self._expression()
                self.skip("N")
                if self.skip("R"):
                    self._name()
            elif self.skip("T"):
                self._type()
            else:
                self.require("Q")
                self._expression()
