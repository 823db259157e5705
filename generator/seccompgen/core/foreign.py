"""The choices of whoever reads a foreign policy: its format, and what its conditions ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Format(Enum):
    """A format of policy files; its value is its name on the command line."""

    SECCOMPGEN = "seccompgen"
    OCI = "oci"
    MINIJAIL = "minijail"
    SECCOMPILER = "seccompiler"
    KAFEL = "kafel"
    SYSTEMD = "systemd"
    ANDROID = "android"
    PFC = "pfc"
    STRACE = "strace"
    AUDIT = "audit"


class Runtime(Enum):
    """Whoever gives an OCI profile its meaning."""

    RUNC = "runc"
    CRUN = "crun"
    LIBSECCOMP = "libseccomp"


@dataclass(frozen=True, slots=True)
class Reading:
    """The choices of a command line for the foreign policies that it names.

    ``format`` is None where content decides. ``caps`` are the capabilities of an OCI container,
    such as CAP_SYS_ADMIN, and ``kernel`` its release, such as (6, 1); None where nothing was said.
    ``thread`` names one filter of a file that has several. ``abis`` are those that a file is for
    which does not say it itself, by our names; none for the format's own default. ``systemd`` is
    the release whose groups count, such as 257.
    """

    format: Format | None = None
    caps: frozenset[str] | None = None
    kernel: tuple[int, ...] | None = None
    runtime: Runtime = Runtime.RUNC
    thread: str | None = None
    abis: tuple[str, ...] = ()
    systemd: int | None = None


PLAIN_READING = Reading()
