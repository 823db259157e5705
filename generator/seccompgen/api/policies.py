"""Functions on policies: read, check, compile, build, vendor."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from seccompgen.api.values import Filter, document_of
from seccompgen.core.abis import require_abi
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.core.problems import Problem
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.policy.form import keys_of
from seccompgen.policy.keys import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables
    from seccompgen.policy.document import Source

PolicyLike: TypeAlias = "Policy | Filter | Path | str"
"""A policy: values, a path, or as text a file's path or the name of a stock policy."""


_JOINED = ("groups", "syscalls")
"""The keys whose values in all files of a policy add up; others are overridden."""


@lru_cache(maxsize=1)
def default_tables() -> Tables:
    """Return the tables of the pinned tag, which are part of seccompgen."""
    return shipped_tables()


def source_of(policy: PolicyLike) -> Source:
    """Return the file or document of a policy. Raises InputError if text names no policy."""
    if isinstance(policy, Policy | Filter):
        return document_of(policy)
    if isinstance(policy, Path):
        return policy
    from seccompgen.filters.find.locate import locate_policy  # noqa: PLC0415

    return locate_policy(policy, "this function").paths[0]


def read_filter(policy: Path | str) -> Filter:
    """Return a policy file and its includes as values.

    Raises InputError with every error in the form of the files; `validate` checks names and rules
    as well.
    """
    from seccompgen.formats import policy_files  # noqa: PLC0415 - takes what reads files
    from seccompgen.policy import layers  # noqa: PLC0415 - as above

    path = source_of(policy)
    assert isinstance(path, Path)
    read = layers.layers_of(path, [], policy_files(default_tables()))
    said: dict[str, Any] = {}
    for layer in read:
        joined = {key: said.get(key, ()) + layer.content.get(key, ()) for key in _JOINED}
        said |= {**layer.content, **joined}
    if "default_action" not in said:
        raise InputError(layers.no_default(read), kind=Problem.MISSING_KEY)
    return Filter(
        Policy(name=path.stem, **{key: said[key] for key in keys_of(Policy) if key in said}),
        **{key: said[key] for key in keys_of(Filter) if key in said},
    )


def validate(policy: PolicyLike, *, tables: Tables | None = None) -> tuple[Diagnostic, ...]:
    """Return the errors of a policy that `compile` would raise; () if there are none.

    ``position`` has line and column in a file; for values it has ``position.place``, such as
    ``syscalls[2].names[0]``. Raises InputError if text names no policy.
    """
    from seccompgen.formats import load_policy  # noqa: PLC0415 - takes what reads files

    try:
        source = source_of(policy)
    except InputError as error:
        if isinstance(policy, str):
            raise
        return error.diagnostics
    try:
        load_policy(source, tables or default_tables())
    except InputError as error:
        return error.diagnostics
    return ()


def notes(policy: PolicyLike, *, tables: Tables | None = None) -> tuple[Diagnostic, ...]:
    """Return remarks about a policy that are no errors, such as calls that some ABIs lack.

    Raises InputError with every error.
    """
    from seccompgen.formats import load_policy  # noqa: PLC0415 - takes what reads files

    return load_policy(source_of(policy), tables or default_tables())[1]


@overload
def compile(  # noqa: A001 - as it is called everywhere; nobody imports all names
    policy: PolicyLike,
    abi: str | Abi,
    *,
    objective: Objective = ...,
    tables: Tables | None = ...,
    workers: int = ...,
) -> CompiledProgram: ...
@overload
def compile(  # noqa: A001 - as it is called everywhere; nobody imports all names
    policy: PolicyLike,
    abi: None = ...,
    *,
    objective: Objective = ...,
    tables: Tables | None = ...,
    workers: int = ...,
) -> dict[str, CompiledProgram]: ...
def compile(  # noqa: A001 - see above
    policy: PolicyLike,
    abi: str | Abi | None = None,
    *,
    objective: Objective = DEFAULT_OBJECTIVE,
    tables: Tables | None = None,
    workers: int = 1,
) -> CompiledProgram | dict[str, CompiledProgram]:
    """Return the program of a policy for ``abi``, or the programs for all its ABIs, by name.

    Each program is proved equivalent to its policy, and meets the kernel's rules for programs. If
    ``workers`` is more than 1, as many processes compile; they import the main module, as
    `multiprocessing` does.

    Raises InputError with every error of the policy, and AnswerNo or UndecidedError if a proof
    fails.
    """
    from seccompgen.pipeline.build import BuildOptions, build_policy  # noqa: PLC0415 - numpy

    only = [require_abi(abi)] if abi is not None else []
    built = build_policy(
        source_of(policy), tables or default_tables(), only, objective, BuildOptions(workers)
    )
    programs = {one.abi.name: one for one in built.programs}
    return programs[only[0].name] if only else programs


def build(
    policies: PolicyLike | Sequence[PolicyLike],
    directory: Path | str,
    *,
    form: str = "python",
    arches: Iterable[str | Abi] = (),
    objective: Objective = DEFAULT_OBJECTIVE,
    tables: Tables | None = None,
    workers: int = 1,
) -> tuple[Path, ...]:
    """Write policies as filters to ``directory``; return the files that changed.

    This is ``seccompgen build``: ``form`` is one of its formats, ``arches`` limits the ABIs of the
    policies. A module names the file of its policy, so that ``seccompgen verify`` can find it; for
    values, it names ``NAME.yml``, which should contain the text of `Filter.to_yaml`.

    Raises InputError with the errors of all policies, and OutsideError if a file cannot be written.
    Either all files are written, in one step, or none.
    """
    from seccompgen.pipeline.build import BuildOptions, build_policies  # noqa: PLC0415
    from seccompgen.pipeline.files import (  # noqa: PLC0415
        FORMATS,
        Compiled,
        filter_files,
        put,
        require_writable,
    )

    if form not in FORMATS:
        text = f"unknown format {form!r}; known: {', '.join(FORMATS)}"
        raise InputError(text, kind=Problem.WRONG_VALUE)
    place, known, options = Path(directory), tables or default_tables(), BuildOptions(workers)
    sources = [source_of(one) for one in _several(policies)]
    only = [require_abi(one) for one in arches]
    require_writable(place)

    def compile_all() -> Compiled:
        built = build_policies(sources, known, only, None, objective, options)
        return Compiled(built, filter_files(built, known, place, form, options), place)

    return tuple(put(compile_all, place.absolute().parent)[1])


def vendor(
    policies: Path | str | Sequence[Path | str],
    destination: Path | str,
    *,
    single_file: bool = False,
    arches: Iterable[str | Abi] = (),
    objective: Objective = DEFAULT_OBJECTIVE,
    force: bool = False,
    tables: Tables | None = None,
    workers: int = 1,
) -> tuple[Path, ...]:
    """Put filters and their runtime into an application; return the files that changed.

    This is ``seccompgen vendor``. ``destination`` is a package, or with ``single_file`` a module.
    Its manifest names the policies' files, so values must be written to files first. With
    ``force``, edited files are overwritten.

    Raises InputError with the errors of all policies, and for edited files that would be lost.
    """
    from seccompgen.distribute import vendoring  # noqa: PLC0415
    from seccompgen.pipeline.build import BuildOptions  # noqa: PLC0415
    from seccompgen.pipeline.files import put  # noqa: PLC0415

    place = Path(destination)
    vendoring.check_dest(place, single_file=single_file)
    sources = [source_of(one) for one in _several(policies)]
    paths = tuple(one for one in sources if isinstance(one, Path))
    if len(paths) < len(sources):
        text = "a manifest names files: write values to one first, by Filter.to_yaml()"
        raise InputError(text, kind=Problem.POLICY_NEEDED)
    only = tuple(require_abi(one) for one in arches)
    request = vendoring.Request(place, single_file, paths, only, objective)
    known, options = tables or default_tables(), BuildOptions(workers)

    def make() -> vendoring.Vendoring:
        return vendoring.compile_request(lambda: request, known, options, force=force)

    return tuple(put(make, place.absolute().parent)[1])


def _several(policies: object) -> list[PolicyLike]:
    return list(policies) if isinstance(policies, list | tuple) else [policies]  # type: ignore[list-item] # one
