"""Claims that programs equal their policies, for `verify`, and other faults of a module."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import (
    Diagnostic,
    InputError,
    Position,
)
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.model import Action
from seccompgen.core.problems import Problem
from seccompgen.core.program import (
    INSTRUCTION_SIZE,
    actions_of,
    decode,
    programs_sha256,
)
from seccompgen.core.report_only import SUFFIX, logging_policy
from seccompgen.core.settings import Settings
from seccompgen.filters.combine.combined import (
    compat_of,
    docstring_of,
    parts_of,
    settings_of,
    stack_of,
)
from seccompgen.filters.compare.claims import Claim
from seccompgen.filters.compare.ring_faults import ring_faults
from seccompgen.filters.find.loaded_filter import compile_filter, load_filter
from seccompgen.filters.find.locate import vendored_from
from seccompgen.filters.find.module import (
    filter_sha256,
    read_banner,
)
from seccompgen.filters.find.related_files import runtime_problems, strangers
from seccompgen.formats import load_policy_for
from seccompgen.io.file_reach import beyond
from seccompgen.languages.python import policy_docstrings
from seccompgen.pipeline.packages import is_filter_package
from seccompgen.pipeline.project import find_project
from seccompgen.policy.stock import stock_policies
from seccompgen.render.ring_source import ring_programs
from seccompgen.verify import (
    meaning,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.filters.find.module import Banner, Module
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.verify import Operation


def claims_of_policy(
    path: Path,
    tables: Tables,
    only: Abi | None,
    options: BuildOptions,
    reading: Reading = PLAIN_READING,
) -> list[Claim]:
    """Return the claims that the programs compiled from the policy at ``path`` equal it."""
    loaded = compile_filter(path, tables, only, options, reading)
    assert loaded.policy
    return claims_against(loaded.policy, loaded, tables)


def claims_of_programs(
    path: Path,
    policy_path: Path | None,
    tables: Tables,
    only: Abi | None,
    reading: Reading = PLAIN_READING,
    *,
    with_runtime: bool = True,
) -> tuple[list[Claim], list[Diagnostic]]:
    """Return the claims that the programs in ``path`` equal their policy, and its other faults.

    ``path`` is a generated module or raw instructions. Without ``policy_path`` it must be a module
    whose policy is next to it, or where the project keeps policies; the policy is read as the
    module's banner says, unless ``reading`` says otherwise. With ``with_runtime`` the files that a
    module imports from its directory are checked as well.
    """
    loaded = load_filter(path, tables, only)
    claims, problems = _claims_of_programs(loaded, policy_path, tables, reading)
    if loaded.module:
        problems += strangers(path, loaded.module)
        problems += runtime_problems(path, loaded.module) if with_runtime else []
    return claims, problems


def _claims_of_programs(
    loaded: LoadedFilter, policy_path: Path | None, tables: Tables, reading: Reading
) -> tuple[list[Claim], list[Diagnostic]]:
    path, module = loaded.path, loaded.module
    banner = None
    if module and (policy_path is None or _has_banner(path)):
        banner = read_banner(path)
    if policy_path is None:
        if module is None or banner is None:
            message = f"{path}: name the policy of these instructions with --policy"
            raise InputError(message, kind=Problem.POLICY_NEEDED)
        if banner.made:
            return _claims_of_combined(loaded, module, banner, banner.made, tables, reading.outside)
        advice = "name its policy with --policy"
        policy_path = _find(path, *banner.policies[-1], advice, reading.outside)
        if reading == PLAIN_READING:
            reading = replace(banner.reading(), outside=reading.outside)
    made_for = [ABIS[name] for name in loaded.programs]
    policy, _ = load_policy_for(policy_path, made_for, tables, reading)
    if _reports_only(loaded):
        policy = logging_policy(policy)
    stale: list[Diagnostic] = []
    if module:
        expected = _Expected(
            policy.sources,
            policy.compat_of,
            policy.settings,
            lambda abis: policy_docstrings(policy, abis, tables),
        )
        stale = _faults(path, module, banner, expected, tables)
        stale += (
            Diagnostic(text, Position(str(path)), Problem.STALE_MODULE)
            for text in ring_faults(policy, module.rings, tables)
        )
    strange = [name for name in loaded.programs if ABIS[name] not in policy.arches]
    if strange:
        text = f"{policy_path} is not for {', '.join(strange)}: its arches leave that out"
        if not stale:
            raise InputError(Diagnostic(text, Position(str(path)), Problem.ABI_MISSING))
        stale.append(Diagnostic(text, Position(str(path)), Problem.ABI_MISSING))
    return claims_against(policy, loaded, tables, str(policy_path)), stale


def _reports_only(loaded: LoadedFilter) -> bool:
    """Return whether a filter is report-only; raw files show it in their names."""
    if loaded.module:
        return loaded.module.settings.report_only
    name = loaded.path.name.removesuffix(".bpf")
    return name.endswith(SUFFIX) or name.rpartition(".")[0].endswith(SUFFIX)


def _claims_of_combined(
    loaded: LoadedFilter,
    module: Module,
    banner: Banner,
    made: tuple[Operation, str],
    tables: Tables,
    outside: Sequence[Path],
) -> tuple[list[Claim], list[Diagnostic]]:
    """Return the claims that programs answer like the combination of several filters."""
    path, programs = loaded.path, loaded.programs
    advice = "put a copy next to the module"
    files = [_find(path, *part, advice, outside) for part in banner.parts]
    only = ABIS[next(iter(programs))] if len(programs) == 1 else None
    readings = [banner.reading(place) for place in range(1, len(files) + 1)]
    parts = parts_of(files, tables, only, readings)
    operation, refusal = made[0], Action.parse(made[1]) if made[1] else None
    claims = [
        Claim(
            str(path),
            ABIS[name],
            ("the stack", "program"),
            (stack_of(operation, refusal, parts, ABIS[name]), code),
            tuple(map(str, files)),
        )
        for name, code in programs.items()
    ]
    sources = [(str(part.path), part.sha256) for part in parts]
    expected = _Expected(
        sources,
        partial(compat_of, parts),
        settings_of(parts),
        lambda abis: (docstring_of(operation, refusal, parts, abis),),
    )
    return claims, _faults(path, module, banner, expected, tables)


def claims_against(
    policy: ResolvedPolicy, loaded: LoadedFilter, tables: Tables, *policies: str
) -> list[Claim]:
    """Return the claims that programs equal ``policy``, for each ABI of both."""
    programs = ((ABIS[name], code) for name, code in loaded.programs.items())
    return [
        Claim(
            str(loaded.path),
            abi,
            ("policy", "program"),
            (meaning(policy, abi, tables), code),
            policies,
            report_only=policy.enforced is not None,
        )
        for abi, code in programs
        if abi in policy.arches
    ]


# --- the policy of a module ----------------------------------------------------------------------


def _has_banner(path: Path) -> bool:
    try:
        read_banner(path)
    except InputError:
        return False
    return True


def _find(path: Path, name: str, sha256: str, advice: str, outside: Sequence[Path]) -> Path:
    """Return the file that a banner names, at the path in the manifest or the module's project.

    Without such a path it is next to the module, in the project or the current directory, or the
    stock policy of that name; of several, an unchanged one is preferred. A file that has the name
    of a stock policy and another content must be named by the user: it may be there by accident.
    ``advice`` says what to do if nothing is found.
    """
    stock = [file for file in stock_policies().values() if file.name == name]
    said = _said_to_be(path, name)
    named = [said] if said else _places_of(path, name)
    there, problems = [], []
    for namer, one in named:
        if one in stock:
            continue
        if one.is_file() or is_filter_package(one):
            if reason := beyond(one, namer, outside):
                problems.append(f"cannot read {one}: {reason}")
            else:
                there.append(one)
    if problems and not there:
        raise InputError(*problems, kind=Problem.UNREADABLE_FILE)
    found = next(
        (one for one in (*there, *stock) if filter_sha256(one) == sha256),
        next(iter((*there, *stock)), None),
    )
    if found is None:
        looked = ", ".join(str(one.parent) for _, one in named)
        text = f"what it was made from, {name}, was not found in {looked}; {advice}"
        raise InputError(Diagnostic(text, Position(str(path)), Problem.SOURCE_MISSING))
    if stock and not said and filter_sha256(found) != filter_sha256(stock[0]):
        text = f"{found} is not the stock policy of that name: if it is meant, {advice}"
        raise InputError(Diagnostic(text, Position(str(path)), Problem.POLICY_NEEDED))
    return found


def _said_to_be(path: Path, name: str) -> tuple[Path, Path] | None:
    """Return (naming file, file) if a manifest or the project names the file ``name``."""
    recorded = vendored_from(path)
    if recorded and recorded.name == name:
        # A manifest is in the package, and names files next to that.
        return path.parent, recorded
    project = find_project(path.absolute().parent)
    if project and path.absolute().parent == project.output:
        policy = project.policies / name
        return (project.pyproject, policy) if os.path.lexists(policy) else None
    return None


def _places_of(path: Path, name: str) -> list[tuple[Path, Path]]:
    """Return where to look for the file ``name``, each after a file that may name it."""
    projects = (find_project(one) for one in (path.absolute().parent, Path.cwd()))
    places = dict.fromkeys([path.parent, *(one.policies for one in projects if one), Path()])
    return [(place / path.name, place / name) for place in places]


# --- what a module says --------------------------------------------------------------------------


class _Expected(NamedTuple):
    """The right content of a module: its sources with their sha256, and its settings.

    ``compat`` returns the further ABIs that a program answers for, ``docstrings`` the docstrings
    that a module with programs for some ABIs may have.
    """

    sources: Sequence[tuple[str, str]]
    compat: Callable[[Abi], tuple[Abi, ...]]
    settings: Settings
    docstrings: Callable[[list[Abi]], tuple[str, ...]]


def _faults(
    path: Path, module: Module, banner: Banner | None, expected: _Expected, tables: Tables
) -> list[Diagnostic]:
    """Return the faults of a module, except those of its programs."""
    problems = _stale(module, banner, expected, path, tables) if banner else []
    if wrong := _installed_otherwise(module, expected.settings, tables):
        problems.append(f"its install() is not as it should be ({', '.join(wrong)})")
    if banner and not problems:
        # Compared as displayed: formatters strip trailing blanks, and change the indentation.
        docstrings = expected.docstrings([ABIS[name] for name in module.programs])
        said, *known = (inspect.cleandoc(one).rstrip() for one in (module.docstring, *docstrings))
        if said not in known:
            problems.append("its docstring is not what seccompgen says of this policy")
    return [
        Diagnostic(f"{text}; generate it again", Position(str(path)), Problem.STALE_MODULE)
        for text in problems
    ]


def _stale(
    module: Module, banner: Banner, expected: _Expected, path: Path, tables: Tables
) -> list[str]:
    """Return the statements of the module's banner that are no longer true."""
    if banner.tag != tables.tag:
        what = f"made from the tables of Linux {banner.tag}, not {tables.tag}"
        advice = "say with --tables DIR where those are, or generate it again"
        raise InputError(Diagnostic(f"{what}; {advice}", Position(str(path)), Problem.OTHER_TABLES))
    programs = module.programs
    abis = [ABIS[name] for name in programs]
    answered = [other for abi in abis for other in (abi, *expected.compat(abi))]
    problems = []
    made_from = [sha256 for _, sha256 in banner.policies or banner.parts]
    if made_from != [sha256 for _, sha256 in expected.sources]:
        changed = [file for file, sha256 in expected.sources if sha256 not in made_from]
        files = " and ".join(changed or [expected.sources[-1][0]])
        problems.append(f"stale: not made from {files} as it is now")
    proved = {**programs}
    for name, value in module.rings.items():
        proved |= ring_programs(name, value)
    if banner.programs_sha256 != programs_sha256(proved):
        problems.append("its programs are not those that were proved when it was generated")
    elif banner.tables_sha256 != tables.digest_for(answered):
        problems.append("stale: the tables are no longer those that it was made from")
    return problems


def _without_rings(module: Module) -> Iterator[tuple[str, bytes]]:
    """Yield the programs for kernels that cannot filter rings, with their ABIs."""
    for name, value in module.rings.items():
        match value:
            case (*_, bytes(other)) if len(other) % INSTRUCTION_SIZE == 0:
                yield name, other


def _installed_otherwise(module: Module, settings: Settings, tables: Tables) -> list[str]:
    """Return the settings of a module's install() that are wrong."""
    abis = {name: ABIS[name] for name in module.programs}
    answers = {
        action
        for name, data in [*module.programs.items(), *_without_rings(module)]
        for action in actions_of(decode(data, abis[name]))
    }
    own = {name: table.numbers["seccomp"] for name, table in tables.tables.items() if name in abis}
    pairs = zip(Settings._fields, module.settings, settings, strict=True)
    wrong = [name for name, is_so, should_be in pairs if is_so != should_be]
    wrong += ["actions"] if module.actions != answers else []
    wrong += ["the number of seccomp(2)"] if module.numbers != own else []
    return wrong
