"""Compile policies to proved programs."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.built import Built, is_device, is_module_name
from seccompgen.core.errors import (
    AnswerNo,
    Diagnostic,
    InputError,
    Position,
    SeccompgenError,
    UndecidedError,
)
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.objective import DEFAULT_OBJECTIVE, Objective
from seccompgen.core.problems import Problem
from seccompgen.core.program import CompiledProgram
from seccompgen.core.report_only import SUFFIX
from seccompgen.core.ring import Without, refusing_rings
from seccompgen.core.text import some
from seccompgen.io.reading import read_file
from seccompgen.kernel import shipped
from seccompgen.pipeline.pool import spread
from seccompgen.policy.document import name_of
from seccompgen.render.call_names import difference_text
from seccompgen.verify import kernel_objections, meaning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.objective import Optimize
    from seccompgen.core.ring import BuiltRings
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.cache import ProgramCache
    from seccompgen.policy.document import Source

LOCK_NAME, MATRIX_NAME, SHIPPED = shipped.LOCK_NAME, shipped.MATRIX_NAME, shipped.SHIPPED
load_tables, shipped_tables = shipped.load_tables, shipped.shipped_tables
"""Builds need these, too; importing only `shipped` is faster, for looking up numbers."""


class BuildOptions(NamedTuple):
    """Build options that do not affect the output: worker processes and the cache.

    Up to ``workers`` processes compile. Programs in the directory ``cache`` are not compiled again;
    with None, every program is compiled.
    """

    workers: int = 1
    cache: Path | None = None


PLAIN_OPTIONS = BuildOptions()


def read_objective(optimize: Optimize, *, bitmap: bool, profile: Path | None) -> Objective:
    """Return the objective of these choices; ``profile`` is the path of a profile, or None.

    Raises InputError with every error of the profile.
    """
    if profile is None:
        return Objective(optimize, bitmap)
    from seccompgen.policy.profile import read_profile  # noqa: PLC0415 - few builds have one

    return Objective(optimize, bitmap, read_profile(profile))


def build_policy(
    source: Source,
    tables: Tables,
    only: Sequence[Abi] = (),
    objective: Objective = DEFAULT_OBJECTIVE,
    options: BuildOptions = PLAIN_OPTIONS,
    reading: Reading = PLAIN_READING,
) -> Built:
    """Read and compile the policy of ``source``, for the ABIs ``only`` or all that it names."""
    built, problems = _build([source], tables, only, objective, options, None, reading)
    if problems:
        raise InputError(*problems)
    return built[0]


def build_policies(
    sources: Sequence[Source],
    tables: Tables,
    only: Sequence[Abi] = (),
    progress: Callable[[int, int], None] | None = None,
    objective: Objective = DEFAULT_OBJECTIVE,
    options: BuildOptions = PLAIN_OPTIONS,
    reading: Reading = PLAIN_READING,
) -> list[Built]:
    """Build and lint every policy; raise one InputError with the errors of all of them.

    Findings that break a promise of a filter are errors. ``progress`` gets the number of finished
    programs, and of all.
    """
    built, problems = _build(sources, tables, only, objective, options, progress, reading)
    built = [_linted(one, tables, problems) for one in built]
    names: dict[str, str] = {}
    for one in built:
        name, file = one.module_name, one.policy.file
        if is_device(one.policy.name):
            text = f"{one.policy.name!r} is a device on Windows, where no file can have that name"
            problems.append(Diagnostic(f"{text}; rename the policy", Position(file)))
        elif name.endswith(SUFFIX):
            text = f"{name!r} would be taken for a filter that refuses nothing; rename the file"
            problems.append(Diagnostic(text, Position(file), Problem.NOT_REPORT_ONLY))
        elif not is_module_name(name):
            problems.append(
                Diagnostic(
                    f"{name!r} cannot be the name of a Python module; rename the file",
                    Position(file),
                )
            )
        elif name in names:
            problems.append(
                Diagnostic(
                    f"would be module {name!r}, like {names[name]}; rename one of the files",
                    Position(file),
                )
            )
        names[name] = file
    if problems:
        raise InputError(*problems)
    return built


def _linted(one: Built, tables: Tables, problems: list[Diagnostic]) -> Built:
    """Return ``one`` with its warnings; add errors to ``problems``.

    Errors of a foreign policy become warnings: its author decides what it means.
    """
    from seccompgen.lint import Severity, lint_policy  # noqa: PLC0415 - `build_policy` needs it not
    from seccompgen.render.findings import finding_diagnostic  # noqa: PLC0415

    abis = [program.abi for program in one.programs]
    report = lint_policy(one.policy, tables, abis, one.notes)
    found: dict[Severity, list[Diagnostic]] = {severity: [] for severity in Severity}
    for finding in report.findings:
        found[finding.severity].append(finding_diagnostic(finding))
    warnings = found[Severity.WARNING]
    if one.policy.foreign:
        warnings = found[Severity.ERROR] + warnings
    else:
        problems += found[Severity.ERROR]
    return one._replace(notes=report.notes, warnings=tuple(warnings))


class _Read(NamedTuple):
    """A policy as it was read, and the ABIs to compile it for."""

    policy: ResolvedPolicy
    notes: tuple[Diagnostic, ...]
    arches: tuple[Abi, ...]


_Job: TypeAlias = tuple[int, "Abi"]
"""A program to compile: the index of its policy in a list, and its ABI."""
_Task: TypeAlias = "tuple[tuple[ResolvedPolicy, ...], Tables, Objective]"
"""The inputs that all jobs share."""


def _build(
    sources: Sequence[Source],
    tables: Tables,
    only: Sequence[Abi],
    objective: Objective,
    options: BuildOptions,
    progress: Callable[[int, int], None] | None,
    reading: Reading,
) -> tuple[list[Built], list[Diagnostic]]:
    """Return what could be built, and the problems of the rest, in the order of ``sources``."""
    read = [_read(source, tables, only, reading) for source in sources]
    good = [item for item in read if isinstance(item, _Read)]
    # Kernels that cannot filter rings get another program for system calls.
    others = [_without_rings(item) for item in good if _refuses_rings(item.policy)]
    every = _compile([*good, *others], tables, objective, options, progress)
    compiled, refusing = iter(every[: len(good)]), iter(every[len(good) :])
    about_profile = _about_profile(objective, tables)
    built: list[Built] = []
    problems: list[Diagnostic] = []
    for source, item in zip(sources, read, strict=True):
        try:
            if isinstance(item, InputError):
                raise item
            other = next(refusing) if _refuses_rings(item.policy) else ()
            name = name_of(source)
            programs, without = (
                tuple(_accepted(name, result) for result in results)
                for results in (next(compiled), other)
            )
            rings = _rings(item, tables, without)
        except InputError as error:
            problems.extend(error.diagnostics)
        else:
            notes = (*about_profile, *item.notes, *_in_order(programs))
            built.append(Built(item.policy, programs, notes, objective, rings=rings))
    return built, problems


def _refuses_rings(policy: ResolvedPolicy) -> bool:
    return policy.io_uring is not None and policy.io_uring.without is Without.REFUSE_RINGS


def _without_rings(item: _Read) -> _Read:
    return item._replace(policy=refusing_rings(item.policy))


def _rings(
    item: _Read, tables: Tables, without: Sequence[CompiledProgram]
) -> tuple[BuiltRings, ...]:
    """Return what belongs to the section ``io_uring``, for each ABI; nothing if there is none."""
    if item.policy.io_uring is None:
        return ()
    from seccompgen.pipeline.rings import built_rings  # noqa: PLC0415 - the compiler; few have one

    others: Sequence[CompiledProgram | None] = without or [None] * len(item.arches)
    return tuple(
        built_rings(item.policy, abi, tables.facts, other)
        for abi, other in zip(item.arches, others, strict=True)
    )


def _in_order(programs: Iterable[CompiledProgram]) -> Iterator[Diagnostic]:
    """Yield a note for each call whose rules are tested in the policy's order, with its ABIs."""
    abis: dict[Origin, list[str]] = {}
    for program in programs:
        for origin in program.in_order:
            abis.setdefault(origin, []).append(program.abi.name)
    for origin, names in abis.items():
        text = (
            f"from here on the rules of a call are tested one after the other on {some(names)}: "
            "the search for a shorter program took too long; fewer masks make it shorter"
        )
        yield Diagnostic(text, origin.position, Problem.RULES_IN_ORDER)


def _about_profile(objective: Objective, tables: Tables) -> tuple[Diagnostic, ...]:
    if objective.profile is None:
        return ()
    from seccompgen.policy.profile import unknown_calls  # noqa: PLC0415 - few builds have one

    return unknown_calls(objective.profile, tables)


def are_current(built: Iterable[Built]) -> bool:
    """Return True if the files that filters were built from are unchanged."""
    read = {pair for one in built if not one.policy.in_memory for pair in one.policy.sources}
    read |= {(p.file, p.sha256) for one in built if (p := one.objective.profile)}
    return are_unchanged(read)


def are_unchanged(read: Iterable[tuple[str, str]]) -> bool:
    """Return True if files still have the sha256 with which they were ``read``.

    Anything but a regular file, such as a pipe, cannot be read again and counts as unchanged.
    """
    try:
        return all(
            hashlib.sha256(read_file(Path(file))).hexdigest() == digest
            for file, digest in read
            if Path(file).is_file() or not Path(file).exists()
        )
    except OSError:
        return False


def _read(
    source: Source, tables: Tables, only: Sequence[Abi], reading: Reading
) -> _Read | InputError:
    from seccompgen.formats import load_policy_for  # noqa: PLC0415 - takes what reads files

    try:
        policy, notes = load_policy_for(source, only, tables, reading)
    except InputError as error:
        return error
    strange = [abi for abi in only if abi not in policy.arches]
    if strange:
        return not_for(name_of(source), policy, strange)
    return _Read(policy, notes, tuple(abi for abi in policy.arches if not only or abi in only))


def not_for(name: str, policy: ResolvedPolicy, abis: Sequence[Abi]) -> InputError:
    """Return the error for a policy that is not for ``abis``, with advice on what to write."""
    names = ", ".join(abi.name for abi in abis)
    text = f"{name}: not for {names}: its arches leave that out"
    siblings = [
        abi.name for abi in policy.arches if len(abis) == 1 and abi.name in abis[0].siblings
    ]
    if siblings:
        programs = ", ".join(siblings)
        text += (
            f"; for programs of {programs} that one of {names} starts, write "
            f"arches: [{names}] and compat_arches: [{programs}]"
        )
    return InputError(text)


def _compile(
    read: Sequence[_Read],
    tables: Tables,
    objective: Objective,
    options: BuildOptions,
    progress: Callable[[int, int], None] | None,
) -> list[list[CompiledProgram | SeccompgenError]]:
    """Return, for each policy and each of its ABIs, the program or the error."""
    cache = _cache(options, tables, objective)
    results: dict[_Job, CompiledProgram | SeccompgenError] = {}
    for i, item in enumerate(read):
        cached = cache.load(item.policy, item.arches) if cache else {}
        for abi, program in cached.items():
            if not kernel_objections(program.instructions):
                results[i, abi] = program
    jobs = [(i, abi) for i, item in enumerate(read) for abi in item.arches]
    missing = [job for job in jobs if job not in results]
    task = (tuple(item.policy for item in read), tables, objective)
    made: list[list[CompiledProgram]] = [[] for _ in read]
    try:
        with contextlib.closing(spread(_compile_one, task, missing, options.workers)) as news:
            for job, result in zip(missing, news, strict=True):
                results[job] = result
                if isinstance(result, CompiledProgram):
                    made[job[0]].append(result)
                if progress:
                    progress(len(results), len(jobs))
    finally:
        # After a Ctrl-C, the programs compiled so far are kept.
        if cache and any(made):
            cache.save(zip((item.policy for item in read), made, strict=True))
    return [[results[i, abi] for abi in item.arches] for i, item in enumerate(read)]


def one_program(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, options: BuildOptions
) -> CompiledProgram:
    """Return the program of ``policy`` for ``abi``, one of its arches, cached or compiled now."""
    read = _Read(policy, (), (abi,))
    ((result,),) = _compile([read], tables, DEFAULT_OBJECTIVE, options, None)
    return _accepted(policy.name, result)


def _cache(options: BuildOptions, tables: Tables, objective: Objective) -> ProgramCache | None:
    if options.cache is None:
        return None
    from seccompgen.pipeline.cache import ProgramCache  # noqa: PLC0415 - hashes, random names, JSON

    return ProgramCache(options.cache, tables, objective)


def _compile_one(task: _Task, job: _Job) -> CompiledProgram:
    """Compile a program and prove it; at module level, so that a worker can import it.

    Programs in the cache have been through here too, with the same source.
    """
    policies, tables, objective = task
    i, abi = job
    return proved_program(policies[i], abi, tables, objective)


def proved_program(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, objective: Objective = DEFAULT_OBJECTIVE
) -> CompiledProgram:
    """Return the program of a policy for ``abi``, proved.

    Raises AnswerNo if it differs from the policy's meaning, UndecidedError if that is unknown.
    """
    from seccompgen.pipeline.proved import compile_proved  # noqa: PLC0415 - numpy takes 100 ms to import

    try:
        program, found = compile_proved(policy, abi, tables, objective)
    except UndecidedError as error:
        text = f"the program for {abi.name} is not written, since what it does {error}"
        raise UndecidedError(Diagnostic(text, Position(policy.file))) from None
    if found:
        text = difference_text(found, ("policy", "program"), abi, tables)
        raise AnswerNo(
            Diagnostic(
                f"seccompgen compiled a wrong program for {abi.name}, and does not write it: "
                f"{text}; please report this, with the policy",
                meaning(policy, abi, tables).case(found.call).origin.position,
            )
        )
    return program


def _accepted(name: str, result: CompiledProgram | SeccompgenError) -> CompiledProgram:
    """Return the program; raise its error, or an error if the kernel would refuse the program."""
    if isinstance(result, SeccompgenError):
        raise result
    objections = kernel_objections(result.instructions)
    if objections:
        # A user cannot prevent this; but a filter that the kernel refuses must never be written.
        raise InputError(*(f"{name}: {result.abi.name}: {text}" for text in objections))
    return result
