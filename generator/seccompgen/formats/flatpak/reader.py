"""The filter of a Flatpak application, chosen by the features that its metadata or manifest allows.

Flatpak refuses a fixed list of calls. ``devel``, ``multiarch``, ``bluetooth`` and ``canbus`` take
some away. It filters socket families by rules that libseccomp refuses where a filter is for two
ABIs, and ignores that: with ``multiarch`` there is no such filter.

Sources: flatpak-run.c and flatpak-context.c of flatpak 1.16.6. Tests compare with the filters that
it hands to bubblewrap.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft, Entry
from seccompgen.policy.document import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_FEATURES = ("devel", "multiarch", "bluetooth", "canbus", "per-app-dev-shm")
_COMPAT = {"x86_64": "i386", "aarch64": "arm", "riscv64": None, "loongarch64": None}
"""The ABIs that are known here, and the further one of ``multiarch``."""
_USUAL = ("x86_64", "aarch64")
_REFUSED = (
    "syslog uselib acct quotactl add_key keyctl request_key move_pages mbind get_mempolicy "
    "set_mempolicy migrate_pages unshare setns mount umount umount2 pivot_root chroot"
)
_MISSING = "clone3 open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr"
"""Calls that fail as on a kernel without them."""
_FAMILIES = ("AF_UNSPEC", "AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK")
_FURTHER = {"canbus": "AF_CAN", "bluetooth": "AF_BLUETOOTH"}
_EPERM = "errno(EPERM)"


class _Feature(NamedTuple):
    """A feature that a file allows or, if not ``allowed``, takes away again."""

    name: str
    allowed: bool
    position: Position


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy of the application that a file describes. Raises InputError."""
    del tables
    draft = Draft(file)
    faults: list[Diagnostic] = []
    key_file = re.search(r"(?m)^\[[^\]\n]+\][ \t]*\r?$", text) is not None
    said = list(_metadata(text, draft, faults) if key_file else _manifest(text, draft))
    known = [one for one in said if one.name in _FEATURES]
    unknown = [one for one in said if one.name not in _FEATURES]
    (draft.notes if key_file else faults).extend(map(_unknown, unknown, range(len(unknown))))
    abis = reading.abis or _USUAL
    start = Position(file, 1, 1)
    if strange := [abi for abi in abis if abi not in _COMPAT]:
        what = f"--for: Flatpak's filter is not known for {strange[0]}; known: "
        faults.append(Diagnostic(what + ", ".join(_COMPAT), start, Problem.UNKNOWN_ABI))
    if faults:
        raise InputError(*faults)
    features = {one.name: one.position for one in known if one.allowed}
    for one in known:
        if not one.allowed and features.get(one.name, one.position) <= one.position:
            features.pop(one.name, None)
    _say(draft, features, list(abis), start)
    return draft


# --- what a file allows -------------------------------------------------------------------------


def _metadata(text: str, draft: Draft, faults: list[Diagnostic]) -> Iterator[_Feature]:
    """Yield the features of metadata: those of the last such key of its group Context."""
    group, found = "", list[_Feature]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.fullmatch(r"\[([^\]]+)\][ \t]*", line):
            group = header[1]
        elif not line.strip() or line.startswith("#"):
            continue
        elif "=" not in line:
            what = "neither a [Group] nor a Key=value"
            faults.append(Diagnostic(what, Position(draft.file, number, 1), Problem.MALFORMED_FILE))
        elif group == "Context" and line.partition("=")[0].strip() == "features":
            words = re.compile(r"(!?)([^;\s]+)").finditer(line, line.index("=") + 1)
            found = [
                _Feature(one[2], not one[1], Position(draft.file, number, one.start() + 1))
                for one in words
            ]
    yield from found


def _manifest(text: str, draft: Draft) -> Iterator[_Feature]:
    """Yield the features of a manifest's ``finish-args``, in their order. Raises InputError."""
    document = read_document(text.encode(), f"{draft.file}")
    data = document.data if isinstance(document.data, dict) else {}
    listed = data.get("finish-args", [])
    if not isinstance(listed, list) or not data.keys() & {"finish-args", "runtime", "sdk"}:
        what = "no manifest of Flatpak: `finish-args` is a list of options"
        where = document.position(("finish-args",))
        raise InputError(Diagnostic(what, where, Problem.MALFORMED_FILE))
    for i, option in enumerate(listed):
        path = ("finish-args", i)
        if not isinstance(option, str):
            what = "an option is a text, such as --allow=devel"
            raise InputError(Diagnostic(what, document.position(path), Problem.WRONG_VALUE))
        match = re.fullmatch(r"--(dis)?allow=(.*)", option.strip())
        if match:
            yield _Feature(match[2], not match[1], document.places(path, option)(0))


def _unknown(one: _Feature, before: int) -> Diagnostic:
    """Return the remark on a feature that Flatpak does not know, after so many ``before``."""
    hint = did_you_mean(one.name, _FEATURES) if before < MOST_HINTS else ""
    hint = hint or f"; known: {', '.join(_FEATURES)}"
    text = f"Flatpak knows no feature {one.name!r}{hint}"
    return Diagnostic(text, one.position, Problem.IGNORED_TEXT)


# --- the filter ---------------------------------------------------------------------------------


def _say(draft: Draft, features: dict[str, Position], abis: list[str], start: Position) -> None:
    """Add the policy of an application with ``features``, each with its position."""
    multiarch = features.get("multiarch")
    compat = [other for abi in abis if multiarch and (other := _COMPAT[abi])]
    draft.setting("arches", abis, start)
    draft.setting("compat_arches", compat, multiarch or start)
    draft.setting("default_action", "allow", start)
    draft.setting("bad_arch_action", "kill_thread", start)

    def rule(action: str, calls: str, when: str | None = None, **more: object) -> None:
        entries = [Entry(call, start, when) for call in calls.split()]
        draft.rule(action, entries, start, optional=True, **more)

    rule(_EPERM, _REFUSED)
    rule(_EPERM, "clone", "u32(arg0) & CLONE_NEWUSER")
    rule(_EPERM, "ioctl", "u32(arg1) in {TIOCSTI, TIOCLINUX}")
    rule("errno(ENOSYS)", _MISSING)
    if not multiarch:
        rule(_EPERM, "modify_ldt")
    if "devel" not in features:
        rule(_EPERM, "perf_event_open ptrace")
        for bits in sorted({ABIS[abi].bits for abi in (*abis, *compat)}, reverse=True):
            alike = [abi for abi in (*abis, *compat) if ABIS[abi].bits == bits]
            rule(_EPERM, "personality", f"u{bits}(arg0) != 0", arches=alike)
    if alone := [abi for abi in abis if not (multiarch and _COMPAT[abi])]:
        families = [*_FAMILIES, *(name for one, name in _FURTHER.items() if one in features)]
        when = f"u64(arg0) not in {{{', '.join(families)}}}"
        rule("errno(EAFNOSUPPORT)", "socket", when, arches=alone)
    if multiarch and compat:
        listed = ", ".join(abi for abi in abis if _COMPAT[abi])
        text = f"with multiarch Flatpak restricts no socket families on {listed}, for programs of "
        text += "either ABI: its rules fail where a filter is for two"
        draft.note(text, multiarch, Problem.MISSING_PART)
