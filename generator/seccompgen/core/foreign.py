"""The choices for reading a foreign policy: its format, and facts that its conditions ask for."""

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
"""The name of our own format; the names of foreign ones are in `formats`."""


class Runtime(Enum):
    """The software whose interpretation of an OCI profile applies."""

    RUNC = "runc"
    CRUN = "crun"
    LIBSECCOMP = "libseccomp"


_PLACED = re.compile(r"([1-9][0-9]*):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """The choices of a command line for the foreign policies that it names.

    ``format`` is a name of `formats`; None to recognise the format by content. ``caps`` are the
    capabilities of an OCI container, such as CAP_SYS_ADMIN, and ``kernel`` is the release that it
    runs on, such as (6, 1); None if not given. ``thread`` names one filter of a file that has
    several. ``abis`` are the ABIs, by canonical name, to assume if the file names none; if empty,
    the format's own default applies. ``systemd`` is the release whose groups apply, such as 257.
    ``outside`` are additional directories whose files policies may name (`io.file_reach`); they do
    not change the meaning of a policy. ``losses`` name what a conversion may lose
    (`formats.losses`); no option of other commands does.
    """

    format: str | None = None
    caps: frozenset[str] | None = None
    kernel: tuple[int, ...] | None = None
    runtime: Runtime = Runtime.RUNC
    thread: str | None = None
    abis: tuple[str, ...] = ()
    systemd: int | None = None
    outside: tuple[Path, ...] = field(default=(), compare=False)
    losses: frozenset[str] = frozenset()

    def options(self, place: int = 0) -> tuple[str, ...]:
        """Return the command-line options for these choices.

        They apply to all FILTERs if ``place`` is 0, else to the FILTER at ``place``, counted from
        1.
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
        """Parse the options in ``words`` that `options` wrote for ``place``.

        Raises ValueError for a value that `options` does not write.
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
