"""Upgrades of libraries and the kernel, from ``--from`` and ``--to``, that lint examines.

An option names a base such as ``debian:12``, for which the table of companions has a release of
each library and of the kernel; or a release of one library, such as ``glibc:2.36``; or ``newest``,
the newest release of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.core.releases import Release
from seccompgen.lint.companions import Companions, shipped_companions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEWEST = "newest"
KERNEL = "linux"
"""The table's name for the kernel; it has no functions."""


@dataclass(frozen=True)
class Upgrade:
    """An upgrade of libraries: ``before`` and ``after`` have a release of each.

    Without ``before`` the filter may have been made for any older release, and must work with each
    release up to ``after``. Unless the upgrade was ``asked`` for, only certain findings are
    reported.
    """

    companions: Companions
    before: Mapping[str, str] | None
    after: Mapping[str, str]
    from_name: str = ""
    to_name: str = NEWEST
    asked: bool = True

    @property
    def label(self) -> str:
        """The upgrade as messages name it."""
        names = ", ".join(library for library in self.after if library != KERNEL)
        to = f"the newest of {names}" if self.to_name == NEWEST else self.to_name
        return f"from {self.from_name} to {to}" if self.from_name else f"up to {to}"

    def pairs(self, library: str) -> Iterator[tuple[str, str]]:
        """Yield the releases of a library to compare, the older and the newer one."""
        if library not in self.after or library == KERNEL:
            return
        known = self.companions.libraries[library]
        last = known.index(self.after[library])
        if self.before is not None:
            if library in self.before and known.index(self.before[library]) < last:
                yield self.before[library], self.after[library]
            return
        for newer in range(1, last + 1):
            for older in reversed(range(newer)):
                yield known[older], known[newer]

    @property
    def kernels(self) -> tuple[Release, Release | None] | None:
        """The releases of Linux to compare; the newer is None for the newest of all.

        None if no upgrade was asked for, or if neither release is newer.
        """
        known = self.companions.libraries.get(KERNEL, ())
        before = known[:1] if self.before is None else [*filter(None, [self.before.get(KERNEL)])]
        if not (self.asked and before and KERNEL in self.after):
            return None
        older = Release.parse(before[0])
        if self.to_name == NEWEST:
            return older, None
        newer = Release.parse(self.after[KERNEL])
        return (older, newer) if older < newer else None


def any_upgrade() -> Upgrade:
    """Return the upgrade that lint examines by default: from any release to each newer one."""
    companions = shipped_companions()
    return Upgrade(companions, None, _newest(companions), asked=False)


def upgrade_of(from_base: str | None, to_base: str) -> Upgrade:
    """Return the upgrade between two bases. Raises InputError if there is none."""
    companions = shipped_companions()
    before = _releases(companions, from_base, "--from", older=True) if from_base else None
    after = _releases(companions, to_base, "--to", older=False)
    upgrade = Upgrade(companions, before, after, from_base or "", to_base)
    if before is not None and from_base:
        both = [library for library in after if library in before]
        if not both:
            text = f"{from_base} and {to_base} have no library in common: {', '.join(before)} here"
            raise InputError(f"{text}, {', '.join(after)} there", kind=Problem.WRONG_VALUE)
    if not upgrade.kernels and not any(True for name in after for _ in upgrade.pairs(name)):
        what = f"in {from_base}" if from_base else "what the table of companions begins with"
        text = f"nothing in {to_base} is newer than {what}"
        raise InputError(text, kind=Problem.WRONG_VALUE)
    return upgrade


def _newest(companions: Companions) -> Mapping[str, str]:
    return {library: known[-1] for library, known in companions.libraries.items()}


def _releases(companions: Companions, name: str, option: str, *, older: bool) -> Mapping[str, str]:
    """Return the release of each library that a base has.

    A release that the table lacks is replaced by its ``older`` or newer neighbour, so that too much
    is reported rather than too little.
    """
    if name == NEWEST:
        return _newest(companions)
    found = companions.base(name)
    library, _, release = name.partition(":")
    known = companions.libraries.get(library)
    if found:
        return found
    if library == KERNEL and release:
        return {KERNEL: _mainline(release, option)}
    if known is None or not release:
        names = (*companions.bases, *(f"{one}:{r[-1]}" for one, r in companions.libraries.items()))
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        raise InputError(f"{option}: unknown base {name!r}{hint}", kind=Problem.WRONG_VALUE)
    if release in known:
        return {library: release}
    near = [one for one in known if (_key(one) < _key(release)) == older]
    if not near:
        span = f"{known[0]} to {known[-1]}"
        text = f"{option}: the table has {library} {span}, which does not cover {release}"
        raise InputError(text, kind=Problem.WRONG_VALUE)
    return {library: near[-1] if older else near[0]}


def _mainline(release: str, option: str) -> str:
    """Return a release of the kernel; the history of calls covers all releases."""
    try:
        return str(Release.parse(release))
    except InputError as error:
        text = f"{option}: {error.diagnostics[0].message}"
        raise InputError(text, kind=Problem.WRONG_VALUE) from None


def _key(release: str) -> tuple[tuple[int, str], ...]:
    """Return a release's sort key: ``1.1.1d`` comes before ``1.1.1w`` and ``3.0``."""
    parts = re.findall(r"\d+|[a-z]+", release)
    return tuple((int(one), "") if one.isdigit() else (-1, one) for one in parts)
