"""Threads that run already when a filter is installed, which it leaves as they are without TSYNC.

seccomp(2) confines the thread that calls it, and what this starts from then on. Whether others run
at that time nobody can see in a policy, so this is a note, for a policy that has no ``flags`` at
all: with ``flags: []`` its author has decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.model import ResolvedPolicy


def unsynchronised(policy: ResolvedPolicy | None) -> Iterator[Finding]:
    """Yield a finding on a policy that says nothing of flags, if that is known."""
    if policy and policy.without_flags:
        yield Finding(
            Problem.NO_TSYNC,
            Severity.NOTE,
            "no flags are written: install() confines the thread that calls it, and threads that "
            "run already stay unconfined",
            "write flags: [tsync] to confine all threads, or flags: [] if there is only one",
            position=policy.without_flags,
        )
