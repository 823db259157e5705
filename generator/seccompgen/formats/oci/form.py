"""Parse an OCI profile, in JSON or YAML, into values; report all errors at once.

Also parses Docker's form of it, with ``archMap``, ``includes`` and ``excludes``, the
``config.json`` of a bundle, and Security Profiles Operator's ``kind: SeccompProfile``. An unknown
field is ignored with a note, since runtimes ignore it. Go's runtimes ignore the case of a field's
name, others do not. Podman and CRI-O also read errors by name, as ``errno``.

Sources: runtime-spec's config-linux.md; moby's profiles/seccomp; the operator's API; for ``errno``
the output of Podman 5.4, which a test compares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from seccompgen.core.abis import ABIS
from seccompgen.core.errnos import ERRNO_NAMES, errno_number
from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.foreign import Runtime
from seccompgen.core.model import ERRNO_MAX, RET_DATA_MAX, U64, Action, ActionKind, Op
from seccompgen.core.problems import Problem
from seccompgen.core.settings import FilterFlag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.policy.document import Document, Path

_T = TypeVar("_T")

ARCHITECTURES = {
    alias: abi for abi in ABIS.values() for alias in abi.aliases if alias.startswith("SCMP_ARCH_")
}
GO_ARCHITECTURES = {
    "x86": "i386", "386": "i386", "amd64": "x86_64", "x32": "x32", "arm": "arm", "arm64": "aarch64",
    "ppc": "ppc", "ppc64": "ppc64", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390": "s390",
    "s390x": "s390x", "loong64": "loongarch64", "mips": "mips", "mipsle": "mipsel",
    "mips64": "mips64", "mips64le": "mips64el", "mips64p32": "mips64n32",
    "mips64p32le": "mips64n32el", "mips64n32": "mips64n32", "mipsel": "mipsel",
    "mipsel64": "mips64el", "mipsel64n32": "mips64n32el",
}  # fmt: skip
"""Names of machines in ``includes`` and ``excludes``: moby's and Go's."""
_ACTIONS = {
    "SCMP_ACT_KILL": ActionKind.KILL_THREAD,
    "SCMP_ACT_NOTIFY": ActionKind.USER_NOTIF,
    **{f"SCMP_ACT_{kind.name}": kind for kind in ActionKind if kind is not ActionKind.USER_NOTIF},
}
_OPERATORS = {
    f"SCMP_CMP_{op.name}": op for op in (Op.NE, Op.LT, Op.LE, Op.EQ, Op.GE, Op.GT, Op.MASKED_EQ)
}
_FLAGS = {
    f"SECCOMP_FILTER_FLAG_{flag.name}": flag
    for flag in (
        *(FilterFlag.TSYNC, FilterFlag.LOG, FilterFlag.SPEC_ALLOW),
        FilterFlag.WAIT_KILLABLE_RECV,
    )
}
_TOP = (
    *("defaultAction", "defaultErrnoRet", "defaultErrno", "architectures", "archMap", "flags"),
    *("syscalls", "listenerPath", "listenerMetadata", "baseProfileName", "disabled"),
)
_RULE = ("name", "names", "action", "errnoRet", "errno", "args", "comment", "includes", "excludes")
_ENGINES = {"name", "errno", "defaultErrno", "archMap", "includes", "excludes"}
"""Fields that only container engines read; the config.json of a bundle does not have them."""
_ERRNO_MOST = 4094
"""libseccomp refuses the last errno that the kernel delivers, 4095, and all above."""
_ARGUMENT = ("index", "value", "valueTwo", "op")
_FILTER = ("caps", "arches", "minKernel")
_RELEASE = re.compile(r"([0-9]+)\.([0-9]+)")
_EPERM = 1


@dataclass(frozen=True, slots=True)
class EntryMatch:
    """One comparison; for MASKED_EQ, ``value`` is the mask and ``value_two`` the masked value."""

    index: int
    op: Op
    value: int
    value_two: int
    position: Position


@dataclass(frozen=True, slots=True)
class Where:
    """The containers that a rule is for: with these capabilities, on these machines and kernels."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    kernel: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """One entry of ``syscalls``."""

    names: tuple[tuple[str, Position], ...]
    action: Action
    matches: tuple[EntryMatch, ...]
    position: Position
    includes: Where = Where()
    excludes: Where = Where()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ContainerProfile:
    """A profile as it is written.

    ``machines`` is its ``archMap``: architectures, each with its subarchitectures.
    ``architectures`` and ``flags`` are None if the profile has no such field.
    """

    default: Action
    entries: tuple[ProfileEntry, ...]
    position: Position
    default_position: Position
    flags_position: Position
    architectures: tuple[tuple[Abi, Position], ...] | None = None
    machines: tuple[tuple[Abi, tuple[Abi, ...], Position], ...] = ()
    flags: FilterFlag | None = None
    listener: Position | None = None


def parse_profile(
    document: Document, runtime: Runtime, notes: list[Diagnostic]
) -> ContainerProfile:
    """Return the profile that ``document`` holds; raise InputError with every error of it."""
    form = _ProfileForm(document, runtime, notes)
    profile = form.profile()
    if form.problems:
        raise InputError(*sorted(form.problems, key=lambda one: one.position or Position("")))
    assert profile is not None
    return profile


class _ProfileForm:
    def __init__(self, document: Document, runtime: Runtime, notes: list[Diagnostic]) -> None:
        self._document = document
        self._runtime = runtime
        self._notes = notes
        self._bundle = False
        self.problems: list[Diagnostic] = []

    def profile(self) -> ContainerProfile | None:
        base, data = self._base()
        if data is None:
            return None
        self._bundle = base[:1] == ("linux",)
        top = self._fields(data, base, _TOP)
        if "baseProfileName" in top:
            text = "another profile is its base, whose rules are not here: put them in"
            self._problem(text, top["baseProfileName"])
        if top.get("disabled") and self._value(top["disabled"]) is True:
            text = "the profile is disabled, so that no filter would be installed"
            self._problem(text, top["disabled"])
        architectures = self._items(top, "architectures")
        if architectures and "archMap" in top:
            text = "both 'architectures' and 'archMap', which Docker refuses: leave one out"
            self._problem(text, top["architectures"])
        default = self._action(top, "defaultAction", "defaultErrnoRet", base)
        flags: FilterFlag | None = None
        if "flags" in top and self._value(top["flags"]) is not None:
            flags = FilterFlag(0)
            for path in self._items(top, "flags"):
                flag: FilterFlag | None = self._one(path, _FLAGS, "flag")
                flags |= flag or FilterFlag(0)
        named = tuple((abi, self._at(p)) for p in architectures if (abi := self._abi(p)))
        machines = tuple(self._machines(self._items(top, "archMap")))
        entries = tuple(e for path in self._items(top, "syscalls") if (e := self._entry(path)))
        listening = [top[key] for key in ("listenerPath", "listenerMetadata") if key in top]
        listener = next(filter(self._value, listening), None)
        if default is None:
            return None
        return ContainerProfile(
            default,
            entries,
            self._at(base),
            self._at(top["defaultAction"]),
            self._at(top["flags"]) if "flags" in top else self._at(base),
            named or None,
            machines,
            flags,
            self._at(listener) if listener else None,
        )

    def _base(self) -> tuple[Path, dict[str, Any] | None]:
        """Return the path of the profile in the document, and the profile."""
        data = self._document.data
        base: Path = ()
        if isinstance(data, dict) and isinstance(data.get("linux"), dict):
            base = ("linux", "seccomp")
        elif isinstance(data, dict) and data.get("kind") == "SeccompProfile":
            base = ("spec",)
        for key in base:
            data = data.get(str(key)) if isinstance(data, dict) else None
        if isinstance(data, dict):
            return base, data
        place = ".".join(map(str, base)) or "the file"
        self._problem(f"{place} is no seccomp profile, which is a mapping with defaultAction", base)
        return base, None

    # --- parts -------------------------------------------------------------------------------

    def _entry(self, path: Path) -> ProfileEntry | None:
        known = len(self.problems)
        if not isinstance(self._value(path), dict):
            text = f"a rule is a mapping with names and action, not {self._shown(path)}"
            self._problem(text, path)
            return None
        fields = self._fields(self._value(path), path, _RULE)
        names = [fields["name"]] if "name" in fields and self._value(fields["name"]) else []
        if listed := self._items(fields, "names"):
            if names:
                text = "both 'name' and 'names', which Docker refuses: leave one out"
                self._problem(text, names[0])
            names = listed
        if not names:
            self._problem("the rule names no system call: fill names", path)
        named = [
            (name, self._at(p)) for p in names if (name := self._text(p, "the name of a call"))
        ]
        action = self._action(fields, "action", "errnoRet", path)
        matches = tuple(m for at in self._items(fields, "args") if (m := self._match(at)))
        includes, excludes = (
            self._where(fields[key]) if key in fields else Where()
            for key in ("includes", "excludes")
        )
        if action is None or len(self.problems) > known:
            return None
        said = self._value(fields["comment"]) if "comment" in fields else None
        comment = said if isinstance(said, str) else ""
        where = self._at(path)
        return ProfileEntry(tuple(named), action, matches, where, includes, excludes, comment)

    def _match(self, path: Path) -> EntryMatch | None:
        if not isinstance(self._value(path), dict):
            self._problem(
                f"a comparison is a mapping with index, value and op, not {self._shown(path)}", path
            )
            return None
        fields = self._fields(self._value(path), path, _ARGUMENT)
        for key in ("index", "op"):
            if key not in fields:
                self._problem(f"'{key}' is missing", path)
        op = self._one(fields["op"], _OPERATORS, "operator") if "op" in fields else None
        index = self._number(fields, "index", 5)
        value, two = (self._number(fields, key, U64) for key in ("value", "valueTwo"))
        if op is None:
            return None
        if two and op is not Op.MASKED_EQ:
            self._note(
                "only SCMP_CMP_MASKED_EQ looks at valueTwo: it says nothing here",
                fields["valueTwo"],
            )
        return EntryMatch(index, op, value, two, self._at(path))

    def _where(self, path: Path) -> Where:
        if self._value(path) is None:
            return Where()
        if not isinstance(self._value(path), dict):
            self._problem(
                f"a mapping with caps, arches or minKernel is needed, not {self._shown(path)}", path
            )
            return Where()
        fields = self._fields(self._value(path), path, _FILTER)
        caps = [self._text(p, "a capability") for p in self._items(fields, "caps")]
        arches = []
        for at in self._items(fields, "arches"):
            name = self._text(at, "an architecture")
            if name and name not in GO_ARCHITECTURES:
                self._note(
                    f"no runtime is of architecture {name!r}{did_you_mean(name, GO_ARCHITECTURES)}",
                    at,
                )
            arches.append(GO_ARCHITECTURES.get(name, name))
        kernel = None
        if "minKernel" in fields and self._value(fields["minKernel"]) not in {None, ""}:
            text = str(self._value(fields["minKernel"]))
            found = _RELEASE.fullmatch(text)
            if found:
                kernel = (int(found[1]), int(found[2]))
            else:
                self._problem(
                    f'minKernel must be a release such as "4.8", not {text!r}', fields["minKernel"]
                )
        return Where(tuple(caps), tuple(arches), kernel)

    def _machines(self, paths: list[Path]) -> Iterator[tuple[Abi, tuple[Abi, ...], Position]]:
        for at in paths:
            if not isinstance(self._value(at), dict):
                self._problem(f"a mapping with architecture is needed, not {self._shown(at)}", at)
                continue
            fields = self._fields(self._value(at), at, ("architecture", "subArchitectures"))
            if "architecture" not in fields:
                self._problem("'architecture' is missing", at)
                continue
            main = self._abi(fields["architecture"])
            subs = self._items(fields, "subArchitectures")
            others = [abi for sub in subs if (abi := self._abi(sub))]
            if main:
                yield main, tuple(others), self._at(fields["architecture"])

    def _abi(self, path: Path) -> Abi | None:
        return self._one(path, ARCHITECTURES, "architecture")

    def _action(
        self, fields: dict[str, Path], key: str, errno_key: str, parent: Path
    ) -> Action | None:
        if key not in fields:
            self._problem(f"'{key}' is missing, such as SCMP_ACT_ERRNO", parent)
            return None
        kind = self._one(fields[key], _ACTIONS, "action")
        number, place = self._errno(fields, errno_key)
        if kind not in {ActionKind.ERRNO, ActionKind.TRACE}:
            if place and kind and self._runtime is Runtime.CRUN:
                self._problem(f"crun refuses {errno_key} for an action without a number", place)
            elif place and kind:
                self._note(f"the action has no number: {errno_key} says nothing", place)
            return Action(kind) if kind else None
        if kind is ActionKind.ERRNO and place and number > _ERRNO_MOST:
            text = (
                f"libseccomp takes no errno above {_ERRNO_MOST}, so no container starts with this: "
            )
            self._note(f"{text}the kernel would deliver {ERRNO_MAX}", place)
            number = ERRNO_MAX
        return Action(kind, number)

    def _errno(self, fields: dict[str, Path], key: str) -> tuple[int, Path | None]:
        """Return an errno, and the path of the field that states it, None for the default.

        Podman and CRI-O prefer a name, or a number as text, to the number that all runtimes read.
        """
        place = fields.get(key)
        if place and self._value(place) is None:
            place = None
        number = self._number(fields, key, RET_DATA_MAX) if place else _EPERM
        by_name = fields.get(key.removesuffix("Ret"))
        if by_name and self._value(by_name) not in {None, ""}:
            named = self._named_errno(by_name)
            if named not in {None, number}:
                text = f"Podman and CRI-O take errno {named} from here, as this does; Docker takes "
                self._note(f"{text}{number}: say the same as {key}", by_name)
            return (number if named is None else named), by_name
        return number, place

    def _named_errno(self, path: Path) -> int | None:
        text = str(self._value(path))
        if text in ERRNO_NAMES:
            return errno_number(text, ABIS["x86_64"])
        if text.isascii() and text.isdigit() and int(text) <= RET_DATA_MAX:
            return int(text)
        self._problem(f"unknown errno {text!r}{did_you_mean(text.upper(), ERRNO_NAMES)}", path)
        return None

    # --- values ------------------------------------------------------------------------------

    def _fields(self, data: dict[str, Any], base: Path, known: Collection[str]) -> dict[str, Path]:
        """Return the path of each field that is present, by its name in the specification."""
        found: dict[str, Path] = {}
        known = [name for name in known if not self._bundle or name not in _ENGINES]
        folded = {name.lower(): name for name in known}
        for key in data:
            path = (*base, key)
            name = key if key in known else folded.get(key.lower())
            if name is None:
                hint = did_you_mean(key, known)
                self._note(
                    f"unknown field {key!r}{hint}: runtimes ignore it", path, Problem.UNKNOWN_KEY
                )
            elif name in found:
                text = f"{key!r} and {found[name][-1]!r} are one field: leave one out"
                self._problem(text, path, Problem.UNKNOWN_KEY)
            else:
                found[name] = path
                if name != key and self._runtime is not Runtime.RUNC:
                    text = f"{self._runtime.value} ignores {key!r}: write {name!r}"
                    self._problem(text, path, Problem.UNKNOWN_KEY)
        return found

    def _one(self, path: Path, known: Mapping[str, _T], what: str) -> _T | None:
        value = self._value(path)
        if isinstance(value, str) and value in known:
            return known[value]
        hint = did_you_mean(str(value).upper(), known) or f"; known: {', '.join(known)}"
        self._problem(f"unknown {what} {value!r}{hint}", path)
        return None

    def _number(self, fields: dict[str, Path], key: str, most: int) -> int:
        value = self._value(fields[key]) if key in fields else 0
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        if key in fields:
            self._problem(
                f"'{key}' must be a whole number of 0 to {most}, not {value!r}", fields[key]
            )
        return 0

    def _text(self, path: Path, what: str) -> str:
        value = self._value(path)
        if isinstance(value, str) and value:
            return value
        self._problem(f"{what} must be text, not {self._shown(path)}", path)
        return ""

    def _items(self, fields: dict[str, Path], key: str) -> list[Path]:
        """Return the paths of the items of a list; none if it is absent or null."""
        if key not in fields:
            return []
        path, value = fields[key], self._value(fields[key])
        if isinstance(value, list):
            return [(*path, i) for i in range(len(value))]
        if value is not None:
            self._problem(f"'{path[-1]}' must be a list, not {self._shown(path)}", path)
        return []

    def _value(self, path: Path) -> Any:
        value = self._document.data
        for part in path:
            value = value[part]
        return value

    def _shown(self, path: Path) -> str:
        value = self._value(path)
        text = "nothing" if value is None else repr(value)
        return text if len(text) <= 40 else f"{text[:37]}..."

    def _at(self, path: Path) -> Position:
        return self._document.position(path)

    def _problem(self, text: str, path: Path, kind: Problem = Problem.WRONG_VALUE) -> None:
        self.problems.append(Diagnostic(text, self._place(path, kind), kind))

    def _note(self, text: str, path: Path, kind: Problem = Problem.WRONG_VALUE) -> None:
        self._notes.append(Diagnostic(text, self._place(path, kind), kind))

    def _place(self, path: Path, kind: Problem) -> Position:
        return self._document.key_position(path) if kind is Problem.UNKNOWN_KEY else self._at(path)
