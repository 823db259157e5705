"""The settings with which a filter is installed: its flags, and what else an installer reads."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

from seccompgen.core.errors import known_name


class FilterFlag(IntFlag):
    """SECCOMP_FILTER_FLAG_* of seccomp(2) (include/uapi/linux/seccomp.h)."""

    TSYNC = 1
    LOG = 2
    SPEC_ALLOW = 4
    NEW_LISTENER = 8
    TSYNC_ESRCH = 16
    WAIT_KILLABLE_RECV = 32

    @classmethod
    def parse(cls, text: str) -> FilterFlag:
        """Read flags such as ``tsync`` or ``tsync|log``; an empty text means none.

        Raises ValueError for an unknown flag.
        """
        flags = cls(0)
        for word in text.split("|") if text.strip() else ():
            flags |= cls.one(word)
        return flags

    @classmethod
    def one(cls, text: object) -> FilterFlag:
        """Read one flag, such as ``tsync``; return a FilterFlag unchanged. Raises ValueError."""
        if isinstance(text, FilterFlag):
            return text
        return cls[known_name("flag", text, (str(flag.name).lower() for flag in cls)).upper()]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the flags that are set, as a policy file spells them."""
        return tuple(str(flag.name).lower() for flag in self)

    def __str__(self) -> str:
        """Render as text that `parse` reads: ``tsync|log``, nothing for no flags."""
        return "|".join(self.names)

    def __repr__(self) -> str:
        """Render as Python: ``FilterFlag.TSYNC | FilterFlag.LOG``, ``FilterFlag(0)``."""
        rest = self & ~sum(FilterFlag)
        parts = [f"FilterFlag.{flag.name}" for flag in self]
        parts += [f"FilterFlag({int(rest)})"] if rest or not parts else []
        return " | ".join(parts)


class Settings(NamedTuple):
    """The settings with which a filter is installed.

    ``without`` is what happens where a kernel cannot filter rings (`ring.Without`); it is empty if
    the policy has no section for them.
    """

    flags: FilterFlag = FilterFlag(0)
    no_new_privs: bool = True
    install_on_import: bool = False
    report_only: bool = False
    without: str = ""
