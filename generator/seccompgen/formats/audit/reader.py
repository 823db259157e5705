"""The kernel's seccomp records as observations: calls that were refused or logged.

Reads the audit daemon's file, the output of ausearch (also with -i), dmesg and the journal, and
lines of the Security Profiles Operator's log enricher. Other lines are skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.formats.audit.records import parse_record, record_in
from seccompgen.formats.draft import Draft
from seccompgen.formats.observed import Observed

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.formats.audit.records import SeccompRecord

_ENRICHED = re.compile(r'"?syscallName"?[=:]\s*"(?P<name>[a-z_][a-z0-9_]*)"')
_MOST_ERRORS = 50


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return a policy that allows the recorded calls. Raises InputError with every error."""
    draft, observed = Draft(file), Observed()
    errors: list[Diagnostic] = []
    enriched: Abi | None = None
    for number, line in enumerate(text.split("\n"), 1):
        where = Position(file, number, 1)
        try:
            if fields := record_in(line):
                _add(parse_record(fields, where, tables), observed)
            elif name := _ENRICHED.search(line):
                if enriched is None:
                    why = "the operator's lines do not say their architecture"
                    enriched = draft.abis(reading, why)[0]
                _add_name(name["name"], enriched, observed, where, tables)
        except InputError as error:
            errors += error.diagnostics
    if not errors and not observed.calls:
        what = "there is no record of seccomp here, such as type=SECCOMP ... arch= syscall="
        errors.append(Diagnostic(what, Position(file, 1, 1), Problem.EMPTY_POLICY))
    if errors:
        raise InputError(*errors[:_MOST_ERRORS])
    observed.write(draft, tables)
    return draft


def _add(record: SeccompRecord, observed: Observed) -> None:
    """Add the call of a record to the group of calls with the same answer."""
    group = f"answered {record.answer or 'otherwise'} when the log was written"
    observed.add(record.abi, record.name or record.nr, group, record.position)


def _add_name(name: str, abi: Abi, observed: Observed, where: Position, tables: Tables) -> None:
    table = tables.tables.get(abi.name)
    if table and name not in table.numbers:
        text = f"no call of {abi.name} is {name!r}"
        raise InputError(Diagnostic(text, where, Problem.UNKNOWN_CALL))
    observed.add(abi, name, "recorded", where)
