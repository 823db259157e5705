"""Linux releases, in order, and the first release that has a system call."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEASE = re.compile(
    r"v?(?P<major>[0-9]{1,3})\.(?P<minor>[0-9]{1,3})(?:\.(?P<sublevel>[0-9]{1,5}))?"
    r"(?:-rc[0-9]{1,3})?",
    re.ASCII,
)
_WITH_SUBLEVEL = 3
"""Before this major version the third number identified the release: 3.0 followed 2.6.39."""
_LAST = {(2, 6, 39), (3, 19, 0), (4, 20, 0)}
_LAST_MINOR = 19
"""The last minor version of each major version from 5 on."""


@dataclass(frozen=True, order=True, slots=True)
class Release:
    """A mainline release of Linux, such as 6.1 or 2.6.32.

    ``sublevel`` is the third number, 0 since 3.0: from then on it only numbers the stable releases
    of one mainline release.
    """

    major: int
    minor: int
    sublevel: int = 0

    @classmethod
    def parse(cls, text: str) -> Release:
        """Return the release that ``v6.1``, ``6.1``, ``v6.1.176`` or ``v6.1-rc3`` belongs to.

        Raises InputError for any other text.
        """
        match = _RELEASE.fullmatch(text)
        if not match:
            raise InputError(f"{text!r} is not a Linux release; write it like v6.1")
        major, minor = int(match["major"]), int(match["minor"])
        return cls(major, minor, int(match["sublevel"] or 0) if major < _WITH_SUBLEVEL else 0)

    def __str__(self) -> str:
        """Return ``6.1`` or ``2.6.32``."""
        text = f"{self.major}.{self.minor}"
        return f"{text}.{self.sublevel}" if self.sublevel else text

    @property
    def next(self) -> Release:
        """The mainline release that follows this one."""
        this = (self.major, self.minor, self.sublevel)
        if this in _LAST or (this >= (5, 0, 0) and self.minor == _LAST_MINOR):
            return Release(self.major + 1, 0)
        if self.major < _WITH_SUBLEVEL:
            return Release(self.major, self.minor, self.sublevel + 1)
        return Release(self.major, self.minor + 1)


@dataclass(frozen=True, slots=True)
class Introduced:
    """A range that contains the first release with a system call on an ABI.

    The first release is one of ``earliest`` to ``latest``; the two are equal if it is known
    exactly. An ``earliest`` of None means that the call may be as old as Linux.
    """

    earliest: Release | None
    latest: Release

    @classmethod
    def parse(cls, text: str) -> Introduced:
        """Parse ``5.11``, ``5.3-5.4`` or ``<=4.9``; raise InputError for any other text."""
        if text.startswith("<="):
            return cls(None, Release.parse(text[2:]))
        first, _, last = text.partition("-")
        return cls(Release.parse(first), Release.parse(last or first))

    def __post_init__(self) -> None:
        """Refuse a range that ends before it begins."""
        if self.earliest is not None and self.earliest > self.latest:
            raise InputError(f"{self.earliest}-{self.latest} ends before it begins")

    def __str__(self) -> str:
        """Return ``5.11``, ``5.3-5.4`` or ``<=4.9``."""
        if self.earliest is None:
            return f"<={self.latest}"
        exact = self.earliest == self.latest
        return str(self.latest) if exact else f"{self.earliest}-{self.latest}"

    def surely_after(self, release: Release) -> bool:
        """Return True if ``release`` certainly does not have the call yet."""
        return self.earliest is not None and self.earliest > release

    def surely_by(self, release: Release) -> bool:
        """Return True if ``release`` certainly has the call."""
        return self.latest <= release


@dataclass(frozen=True, slots=True)
class Since:
    """The first release of each call, by canonical ABI name and call."""

    calls: Mapping[str, Mapping[str, Introduced]] = field(repr=False)

    def of(self, abi: str, call: str) -> Introduced | None:
        """Return the first release that has ``call`` on ``abi``; None if that is not known."""
        return self.calls.get(abi, {}).get(call)
