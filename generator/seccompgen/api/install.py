"""Install a filter in the running process, by the runtime of generated modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccomp_filters import _runtime

from seccompgen.api.policies import compile, default_tables  # noqa: A004 - the library's own
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from seccompgen.api.values import Filter


def install(wanted: Filter) -> int:
    """Compile ``wanted`` for the running interpreter, and install it: see `Filter.install`."""
    if wanted.policy.io_uring:
        text = "io_uring is not put in force from here: build the filter, and import it"
        kind = Problem.RINGS_NOT_SUPPORTED
        raise InputError(Diagnostic(text, Position(wanted.policy.name), kind))
    abi = _runtime.running_abi()
    program = compile(wanted, abi)
    number = default_tables().tables[abi].numbers["seccomp"]
    return _runtime.install(
        wanted.policy.name,
        {abi: (number, program.to_bytes())},
        flags=int(wanted.flags),
        no_new_privs=wanted.no_new_privs,
        actions=program.actions,
    )
