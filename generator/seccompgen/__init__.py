"""seccompgen: pinned kernel tables and policy files in, finished seccomp filters out.

The library has policies as values (`Policy`, `SyscallGroup`, `Condition`, `Action`, `Filter`),
functions on them (`validate`, `compile`, `build`, `vendor`) and on programs (`verify`, `equiv`,
`subset`, `lint`, `dump`, `assemble`, `disassemble`), and an `Assembler`. docs/library.md shows it
in use.

A name is imported when it is first asked for, so that ``import seccompgen`` costs next to nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccomp_filters._runtime import SeccompError, set_no_new_privs, supported

    from seccompgen.api.policies import (
        build,
        compile,  # noqa: A004 - the library's own
        notes,
        read_filter,
        validate,
        vendor,
    )
    from seccompgen.api.programs import (
        assemble,
        disassemble,
        dump,
        equiv,
        lint,
        subset,
        verify,
    )
    from seccompgen.api.values import Filter
    from seccompgen.core.abis import ABIS, Abi, find_abi
    from seccompgen.core.errors import (
        AnswerNo,
        Diagnostic,
        InputError,
        OutsideError,
        Position,
        SeccompgenError,
        UndecidedError,
    )
    from seccompgen.core.model import Action, ActionKind, Op
    from seccompgen.core.objective import Objective, Optimize, Profile
    from seccompgen.core.problems import Problem, RuleCode
    from seccompgen.core.program import CompiledProgram, Instruction, Program
    from seccompgen.core.ring import Without
    from seccompgen.core.settings import FilterFlag
    from seccompgen.core.tables import Table, Tables
    from seccompgen.filters.compare.call_classes import CallClass
    from seccompgen.filters.compare.claims import Verdict
    from seccompgen.filters.find.assembler import Assembler
    from seccompgen.kernel.shipped import load_tables, shipped_tables
    from seccompgen.lint import Finding, Severity, Witness
    from seccompgen.policy.keys import (
        Condition,
        NamedGroup,
        NameWithConditions,
        Policy,
        SyscallGroup,
    )
    from seccompgen.policy.ring_keys import IoUring, OperationGroup
    from seccompgen.verify import Difference, Method, Proof

__version__ = "0.1.0"

__all__ = [
    "ABIS",
    "Abi",
    "Action",
    "ActionKind",
    "AnswerNo",
    "Assembler",
    "CallClass",
    "CompiledProgram",
    "Condition",
    "Diagnostic",
    "Difference",
    "Filter",
    "FilterFlag",
    "Finding",
    "InputError",
    "Instruction",
    "IoUring",
    "Method",
    "NameWithConditions",
    "NamedGroup",
    "Objective",
    "Op",
    "OperationGroup",
    "Optimize",
    "OutsideError",
    "Policy",
    "Position",
    "Problem",
    "Profile",
    "Program",
    "Proof",
    "RuleCode",
    "SeccompError",
    "SeccompgenError",
    "Severity",
    "SyscallGroup",
    "Table",
    "Tables",
    "UndecidedError",
    "Verdict",
    "Without",
    "Witness",
    "assemble",
    "build",
    "compile",
    "disassemble",
    "dump",
    "equiv",
    "find_abi",
    "lint",
    "load_tables",
    "notes",
    "read_filter",
    "set_no_new_privs",
    "shipped_tables",
    "subset",
    "supported",
    "validate",
    "vendor",
    "verify",
]

_HOMES = {
    "seccomp_filters._runtime": "SeccompError set_no_new_privs supported",
    "seccompgen.api.policies": "build compile notes read_filter validate vendor",
    "seccompgen.api.programs": "assemble disassemble dump equiv lint subset verify",
    "seccompgen.api.values": "Filter",
    "seccompgen.core.abis": "ABIS Abi find_abi",
    "seccompgen.core.errors": "AnswerNo Diagnostic InputError OutsideError Position "
    "SeccompgenError UndecidedError",
    "seccompgen.core.model": "Action ActionKind Op",
    "seccompgen.core.objective": "Objective Optimize Profile",
    "seccompgen.core.problems": "Problem RuleCode",
    "seccompgen.core.program": "CompiledProgram Instruction Program",
    "seccompgen.core.ring": "Without",
    "seccompgen.core.settings": "FilterFlag",
    "seccompgen.core.tables": "Table Tables",
    "seccompgen.filters.find.assembler": "Assembler",
    "seccompgen.filters.compare.claims": "Verdict",
    "seccompgen.filters.compare.call_classes": "CallClass",
    "seccompgen.kernel.shipped": "load_tables shipped_tables",
    "seccompgen.lint": "Finding Severity Witness",
    "seccompgen.policy.keys": "Condition NamedGroup NameWithConditions Policy SyscallGroup",
    "seccompgen.policy.ring_keys": "IoUring OperationGroup",
    "seccompgen.verify": "Difference Method Proof",
}
"""The modules that define what is exported. The imports above say the same to type checkers."""


def __getattr__(name: str) -> object:
    """Import what is exported when it is first asked for."""
    from importlib import import_module  # noqa: PLC0415 - kept off the import of the package

    for home, names in _HOMES.items():
        if name in names.split():
            found: object = getattr(import_module(home), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package, in which an exported name stays what it is.

    Python sets a package's attribute to each module that is imported from it, and three functions
    have the names of such modules: ``compile``, ``lint`` and ``verify``.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
