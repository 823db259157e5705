"""Drop-ins for systemd, each proved to mean what the program of its ABI does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.formats.systemd import reader as systemd
from seccompgen.formats.systemd.writer import in_units, unit_settings
from seccompgen.policy import resolve_policy
from seccompgen.render.call import difference_text
from seccompgen.verify import Code, Difference, meaning, prove

if TYPE_CHECKING:
    from seccompgen.core.built import Built
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables


def unit_files(one: Built, tables: Tables, release: int | None) -> dict[str, bytes]:
    """Return a drop-in for each ABI of a policy; a single one if all ABIs agree.

    Raises InputError with all that settings of a unit cannot say.
    """
    from seccompgen.formats.systemd.text import render_drop_in  # noqa: PLC0415 - as its neighbours

    made: dict[str, bytes] = {}
    problems: dict[Diagnostic, None] = {}
    for program in one.programs:
        if not in_units(program.abi):
            continue
        try:
            content = render_drop_in(unit_settings(one.policy, program.abi, tables, release))
        except InputError as error:
            problems |= dict.fromkeys(error.diagnostics)
        else:
            _require_proof(content, one, program, tables, release)
            more = "".join(f"{line}\n" for line in one.unit_lines)
            made[f"{one.policy.name}.{program.abi.name}.conf"] = content + more.encode()
    if problems:
        raise InputError(*problems)
    if not made:
        abis = ", ".join(program.abi.name for program in one.programs)
        text = f"systemd has no name for any ABI of these: {abis}"
        raise InputError(Diagnostic(text, one.policy.arches_origin.position))
    contents = set(made.values())
    return {f"{one.policy.name}.conf": contents.pop()} if len(contents) == 1 else made


def _require_proof(
    content: bytes, one: Built, program: Program, tables: Tables, release: int | None
) -> None:
    """Raise InputError if the drop-in, read back, says anything else than the program.

    Settings can say less than `unit_settings` looks for: systemd answers socketcall and ipc of an
    ABI whose kernel's own has none as it does the calls behind them, and else with ENOSYS.
    """
    abi = program.abi
    reading = Reading(abis=(abi.name,), systemd=release)
    draft = systemd.read(content.decode(), f"{one.policy.name}.conf", reading, tables)
    again, _ = resolve_policy(draft.document(), tables)
    if one.policy.enforced:
        # Of what is only logged, calls through other ABIs go by the same names.
        again = replace(again, compat_arches=(), bad_arch_action=one.policy.bad_arch_action)
    code = Code(program.instructions, abi.byte_order)
    found = prove(meaning(again, abi, tables), code)
    if isinstance(found, Difference):
        text = difference_text(found, ("drop-in", "program"), abi, tables)
        text = f"settings of a unit cannot say this policy: {text}"
        where = one.policy.default_origin.position
        raise InputError(Diagnostic(text, where, Problem.NOT_IN_UNIT))
