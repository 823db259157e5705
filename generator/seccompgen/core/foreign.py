"""The choices of whoever reads a foreign policy: its format, and what its conditions ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


OURS = "seccompgen"
"""The name of our own format; those of others are in `formats`."""


class Runtime(Enum):
    """Whoever gives an OCI profile its meaning."""

    RUNC = "runc"
    CRUN = "crun"
    LIBSECCOMP = "libseccomp"


_PLACED = re.compile(r"([1-9][0-9]*):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """The choices of a command line for the foreign policies that it names.

    ``format`` is a name of `formats`, or None where content decides. ``caps`` are the capabilities
    of an OCI container, such as CAP_SYS_ADMIN, and ``kernel`` its release, such as (6, 1); None
    where nothing was said. ``thread`` names one filter of a file that has several. ``abis`` are the
    ABIs to assume where the file names none, by our names; without any, the format's own default.
    ``systemd`` is the release whose groups count, such as 257. ``outside`` are directories below
    which policies may name files as well (`io.file_reach`); they do not change what a policy means.
    """

    format: str | None = None
    caps: frozenset[str] | None = None
    kernel: tuple[int, ...] | None = None
    runtime: Runtime = Runtime.RUNC
    thread: str | None = None
    abis: tuple[str, ...] = ()
    systemd: int | None = None
    outside: tuple[Path, ...] = field(default=(), compare=False)

    def options(self, place: int = 0) -> tuple[str, ...]:
        """Return the words by which a command line makes these choices.

        They are for all FILTERs, or for the one at ``place``, from 1 on.
        """
        said = {
            "--from": self.format,
            "--caps": None if self.caps is None else ",".join(sorted(self.caps)),
            "--kernel": ".".join(map(str, self.kernel)) if self.kernel else None,
            "--runtime": None if self.runtime is Runtime.RUNC else self.runtime.value,
            "--filter": self.thread,
            "--systemd": None if self.systemd is None else str(self.systemd),
        }
        pairs = [(option, value) for option, value in said.items() if value is not None]
        pairs += [("--for", name) for name in self.abis]
        where = f"{place}:" if place else ""
        return tuple(word for option, value in pairs for word in (option, where + value))

    @classmethod
    def of_options(cls, words: Sequence[str], place: int = 0) -> Reading:
        """Return the choices that `options` wrote among ``words``, for the FILTER at ``place``.

        Raises ValueError for a value that it does not write.
        """
        said: dict[str, list[str]] = {}
        for option, word in pairwise(words):
            match = _PLACED.fullmatch(word)
            where, value = (int(match[1]), match[2]) if match else (0, word)
            if where == place:
                said.setdefault(option, []).append(value)
        last = {option: values[-1] for option, values in said.items()}
        return cls(
            last.get("--from"),
            frozenset(filter(None, last["--caps"].split(","))) if "--caps" in last else None,
            tuple(map(int, last["--kernel"].split("."))) if "--kernel" in last else None,
            Runtime(last.get("--runtime", Runtime.RUNC.value)),
            last.get("--filter"),
            tuple(said.get("--for", ())),
            int(last["--systemd"]) if "--systemd" in last else None,
        )


PLAIN_READING = Reading()
