"""Functions on programs: assemble, disassemble, prove, compare and lint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.api.policies import default_tables
from seccompgen.api.values import Filter, document_of
from seccompgen.core.abis import ABIS, require_abi
from seccompgen.core.errors import AnswerNo, InputError
from seccompgen.core.foreign import PLAIN_READING
from seccompgen.core.model import ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.program import Program
from seccompgen.filters.compare.claims import (
    Claim,
    Verdict,
    decide,
    equal_claims,
    subset_claims,
)
from seccompgen.filters.compare.module_claims import claims_of_policy, claims_of_programs
from seccompgen.filters.find import assembly
from seccompgen.filters.find.loaded_filter import (
    LoadedFilter,
    compile_filter,
    load_filter,
)
from seccompgen.filters.find.locate import FilterForm, kind_of, locate_one
from seccompgen.filters.tell.linting import lint_filter, lint_programs
from seccompgen.formats import load_policy
from seccompgen.lint import Finding, lint_policy
from seccompgen.pipeline.build import PLAIN_OPTIONS, build_policy, not_for
from seccompgen.policy.keys import Policy
from seccompgen.render.disassembly import disassembly
from seccompgen.verify import Code, available_methods, kernel_objections, meaning

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.policy.document import Source
    from seccompgen.verify import Method
    from seccompgen.verify.stack import FilterSemantics

_EVERYTHING_PERMITS = "up_to=KILL_PROCESS: then every answer permits; name a laxer action"
FilterLike: TypeAlias = "Policy | Filter | Program | Path | str"
"""A filter: values, a program, a path, or as text a FILTER as on the command line."""


def assemble(
    text: str, abi: str | Abi | None = None, *, tables: Tables | None = None
) -> tuple[Program, ...]:
    """Return the programs in the assembly ``text``, or that for ``abi``: ``seccompgen asm``.

    Raises InputError with every error, by line and column.
    """
    only = require_abi(abi) if abi is not None else None
    return assembly.assemble(text, "assembly", tables or default_tables(), only)


def disassemble(program: Program, *, tables: Tables | None = None) -> str:
    """Return a program as assembly; `assemble` turns it into the same bytes.

    Raises InputError if the kernel would refuse the program.
    """
    if objections := kernel_objections(program.instructions):
        raise InputError(*map(str, objections), kind=Problem.REFUSED_PROGRAM)
    return disassembly([program], tables or default_tables())


def dump(source: FilterLike, abi: str | Abi | None = None, *, tables: Tables | None = None) -> str:
    """Return a filter as assembly, for ``abi`` or all its ABIs: ``seccompgen disasm``.

    For a policy, each line names the part of the policy that it comes from. Raises InputError if
    ``source`` is no filter.
    """
    only = require_abi(abi) if abi is not None else None
    known = tables or default_tables()
    return disassembly(programs_of(source, known, only), known)


def programs_of(source: FilterLike, tables: Tables, only: Abi | None) -> tuple[Program, ...]:
    """Return the programs of a filter, for ABI ``only`` or all its ABIs; compile a policy."""
    if isinstance(source, Program):
        return (source,)
    if isinstance(source, Policy | Filter):
        only_these = [only] if only else []
        return build_policy(document_of(source), tables, only_these).programs
    return compile_filter(_path(source), tables, only, PLAIN_OPTIONS, PLAIN_READING).listed


def verify(
    source: FilterLike,
    policy: Policy | Filter | Path | str | None = None,
    *,
    abi: str | Abi | None = None,
    methods: tuple[Method, ...] | None = None,
    tables: Tables | None = None,
) -> tuple[Verdict, ...]:
    """Prove for each ABI that programs implement their policy: ``seccompgen verify``.

    If ``source`` is a policy, it is compiled; a generated module names its own policy; any other
    program needs ``policy``. Each of ``methods``, by default all that are installed, must prove it.
    A verdict that is not ``proved`` contains a call that differs, or why the proof is undecided.

    Raises InputError if an argument is no filter, and AnswerNo for a stale generated module.
    """
    known, only = tables or default_tables(), require_abi(abi) if abi is not None else None
    asked = methods or available_methods()
    if policy is None and not isinstance(source, Program):
        return tuple(decide(_own_claims(source, known, only), asked))
    if policy is None:
        raise InputError("say which policy this program is for", kind=Problem.POLICY_NEEDED)
    meant, _ = load_policy(_source(policy), known)
    claims = []
    for program in programs_of(source, known, only):
        if program.abi not in meant.arches:
            raise not_for(meant.name, meant, [program.abi])
        claims.append(_claim(str(meant.name), program, meaning(meant, program.abi, known)))
    return tuple(decide(claims, asked))


def equiv(
    left: FilterLike,
    right: FilterLike,
    *,
    abi: str | Abi | None = None,
    methods: tuple[Method, ...] | None = None,
    tables: Tables | None = None,
) -> tuple[Verdict, ...]:
    """Prove for each ABI that two filters answer every call alike: ``seccompgen equiv``.

    Policies are compared by their meaning, without compilation. ``methods`` and the verdicts are
    those of `verify`. Raises InputError if an argument is no filter, and AnswerNo if only one of
    the two has an ABI.
    """
    known, only = tables or default_tables(), require_abi(abi) if abi is not None else None
    ours, its = (_sides(one, known, only) for one in (left, right))
    if lonely := [name for name in ABIS if (name in ours.sides) != (name in its.sides)]:
        text = f"only one of the two has a program for {', '.join(lonely)}"
        raise AnswerNo(text, kind=Problem.ABI_MISSING)
    claims = equal_claims(("left", "right"), ours, its, known)
    return tuple(decide(claims, methods or available_methods()))


def lint(
    source: FilterLike, *, abi: str | Abi | None = None, tables: Tables | None = None
) -> tuple[Finding, ...]:
    """Return probable mistakes in a filter: ``seccompgen lint``.

    For a policy its rules are checked, and comments in it can silence findings; otherwise the
    program itself is checked. Raises InputError if ``source`` is no filter, or has no program for
    ``abi``.
    """
    known, only = tables or default_tables(), require_abi(abi) if abi is not None else None
    if isinstance(source, Path | str):
        return lint_filter(_path(source), known, only).findings
    if isinstance(source, Program):
        return lint_programs("program", _sides(source, known, only).sides, known).findings
    policy, notes = load_policy(document_of(source), known)
    return lint_policy(policy, known, _abis(policy, only), notes).findings


def subset(
    left: FilterLike,
    right: FilterLike,
    *,
    up_to: ActionKind = ActionKind.LOG,
    abi: str | Abi | None = None,
    methods: tuple[Method, ...] | None = None,
    tables: Tables | None = None,
) -> tuple[Verdict, ...]:
    """Prove for each ABI that ``right`` permits all that ``left`` permits: ``seccompgen subset``.

    The actions from ALLOW down to ``up_to`` permit a call. On an ABI without a program in
    ``right``, it permits nothing. `Verdict.classes` has the calls that only ``left`` permits. The
    rest is as in `equiv`.
    """
    if up_to is ActionKind.KILL_PROCESS:
        raise InputError(_EVERYTHING_PERMITS, kind=Problem.WRONG_VALUE)
    known, only = tables or default_tables(), require_abi(abi) if abi is not None else None
    its = _sides(right, known, only if isinstance(right, Program) else None)
    ours = _sides(left, known, only)
    claims = subset_claims(("left", "right"), ours, its, up_to, known)
    return tuple(decide(claims, methods or available_methods()))


def _own_claims(source: FilterLike, tables: Tables, only: Abi | None) -> list[Claim]:
    """Return the claims to prove about a policy, or about a module that names its policy."""
    if isinstance(source, Policy | Filter):
        meant, _ = load_policy(document_of(source), tables)
        made = programs_of(source, tables, only)
        return [_claim(meant.name, one, meaning(meant, one.abi, tables)) for one in made]
    assert not isinstance(source, Program)
    path = _path(source)
    if kind_of(path) is FilterForm.POLICY:
        return claims_of_policy(path, tables, only, PLAIN_OPTIONS)
    claims, stale = claims_of_programs(path, None, tables, only)
    if stale:
        raise AnswerNo(*stale)
    return claims


def _claim(name: str, program: Program, meant: FilterSemantics) -> Claim:
    code = Code(program.instructions, program.abi.byte_order)
    return Claim(name, program.abi, ("policy", "program"), (meant, code))


def _sides(source: FilterLike, tables: Tables, only: Abi | None) -> LoadedFilter:
    """Return a filter with its meaning or code by the names of its ABIs."""
    if isinstance(source, Program):
        code = Code(source.instructions, source.abi.byte_order)
        return LoadedFilter(Path("program"), "", {source.abi.name: code})
    if isinstance(source, Path | str):
        return load_filter(_path(source), tables, only)
    policy, _ = load_policy(document_of(source), tables)
    sides = {abi.name: meaning(policy, abi, tables) for abi in _abis(policy, only)}
    return LoadedFilter(Path(policy.file), "", sides, policy.settings, policy)


def _abis(policy: ResolvedPolicy, only: Abi | None) -> list[Abi]:
    """Return the ABIs of a policy, or just ``only``. Raises InputError if the policy lacks it."""
    abis = [abi for abi in policy.arches if only in {None, abi}]
    if only and not abis:
        raise not_for(policy.name, policy, [only])
    return abis


def _path(source: Path | str) -> Path:
    return source if isinstance(source, Path) else locate_one(source).paths[0]


def _source(policy: Policy | Filter | Path | str) -> Source:
    return document_of(policy) if isinstance(policy, Policy | Filter) else _path(policy)
