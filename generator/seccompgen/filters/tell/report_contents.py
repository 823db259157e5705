"""The contents of a report on a filter: answers, programs, proofs, findings, hashes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.program import CompiledProgram, Program, programs_sha256
from seccompgen.filters.compare.claims import decide
from seccompgen.filters.compare.meaning_diff import diff_filters
from seccompgen.filters.compare.module_claims import claims_against, claims_of_programs
from seccompgen.filters.find.loaded_filter import filter_of, load_filter
from seccompgen.filters.find.locate import FilterForm, kind_of
from seccompgen.filters.tell.abilities import abilities
from seccompgen.filters.tell.linting import lint_loaded
from seccompgen.filters.tell.summary import summarize
from seccompgen.pipeline.build import build_policy
from seccompgen.render.about import ring_tables, settings_text
from seccompgen.render.decision_tree import decision_tree
from seccompgen.render.report_page import Report, ReportedProgram
from seccompgen.render.ring_source import ring_programs, ring_value
from seccompgen.verify import Method, Proof

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.filters.compare.claims import Verdict
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.pipeline.build import BuildOptions

_FORMS = {
    FilterForm.POLICY: "policy",
    FilterForm.MODULE: "generated module",
    FilterForm.RAW: "raw instructions",
}


def report_on(
    path: Path,
    tables: Tables,
    only: Abi | None,
    options: BuildOptions,
    reading: Reading = PLAIN_READING,
    against: LoadedFilter | None = None,
) -> Report:
    """Return the report on the filter at ``path``, for ABI ``only`` or all that it has.

    A policy is compiled. With ``against``, the differences from that filter are included.
    """
    programs: Sequence[Program]
    rings: dict[str, object]
    if kind_of(path) is FilterForm.POLICY:
        built = build_policy(path, tables, [only] if only else [], options=options, reading=reading)
        loaded, programs = filter_of(path, built), built.programs
        pairs = zip(programs, built.rings, strict=False)
        rings = {one.abi.name: ring_value(own, tables.tables[one.abi.name]) for one, own in pairs}
    else:
        loaded = load_filter(path, tables, only, reading)
        programs = [
            Program(ABIS[name], code.instructions) for name, code in loaded.programs.items()
        ]
        rings = dict(loaded.module.rings) if loaded.module else {}
    policy, module = loaded.policy, loaded.module
    linted = lint_loaded(loaded, tables)
    verdicts, why_not = _verdicts(loaded, tables, reading, options)
    summary = summarize(loaded, tables)
    served = [ABIS[way.abi] for way in summary.ways]
    proved = {one.abi.name: one.to_bytes() for one in programs}
    for abi, value in rings.items():
        proved |= ring_programs(abi, value)
    return Report(
        policy.name if policy else path.name,
        _FORMS[kind_of(path)],
        policy.description if policy else module.docstring if module else "",
        policy.sources if policy else ((str(path), loaded.sha256),),
        settings_text(loaded.settings) if loaded.settings else "",
        summary,
        abilities(loaded, tables),
        tuple(_reported(one, verdicts, why_not, tables) for one in programs),
        linted.findings,
        len(linted.silenced),
        tables.digest_for(served),
        programs_sha256(proved),
        diff_filters(against, loaded, tables) if against else None,
        tuple(ring_tables(policy, tables.facts)) if policy else (),
    )


def _reported(
    program: Program, verdicts: Mapping[str, Verdict], why_not: str, tables: Tables
) -> ReportedProgram:
    verdict = verdicts.get(program.abi.name)
    compiled = program if isinstance(program, CompiledProgram) else None
    return ReportedProgram(
        program,
        decision_tree(program, tables),
        hashlib.sha256(program.to_bytes()).hexdigest(),
        compiled.cost if compiled else None,
        compiled.bound if compiled else None,
        verdict.proved if verdict else None,
        _proof_text(verdict, tables) if verdict else why_not,
    )


def _proof_text(verdict: Verdict, tables: Tables) -> str:
    """Return how a program was proved to equal its policy, or why it was not."""
    if not isinstance(verdict.result, Proof):
        return verdict.text(tables)
    by = " and ".join(method.value for method in verdict.result.methods)
    assuming = ", ".join(verdict.result.assuming)
    given = f", for calls whose arguments have 32 bits on {assuming}" if assuming else ""
    return f"proved by {by}{given}"


def _verdicts(
    loaded: LoadedFilter, tables: Tables, reading: Reading, options: BuildOptions
) -> tuple[dict[str, Verdict], str]:
    """Return the verdicts by ABI, and one reason for all ABIs that have no verdict.

    The method is always the same, so that a page does not depend on the machine.
    """
    policy = loaded.policy
    if policy:
        claims = claims_against(policy, loaded, tables)
    else:
        if loaded.module is None:
            return {}, "not compared: of raw instructions no policy is known"
        try:
            claims, _ = claims_of_programs(loaded.path, None, tables, None, reading)
        except InputError:
            return {}, "not compared: its policy is not there, or was not read"
    found = {one.claim.abi.name: one for one in decide(claims, (Method.CLASSES,), options)}
    return found, "its policy is not for this ABI"
