"""Claims to prove: files into pairs of sides, each pair decided.

`compared` makes those of two filters.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import (
    Diagnostic,
    InputError,
    Position,
    SeccompgenError,
    UndecidedError,
)
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.model import Action, Settings
from seccompgen.core.problems import Problem
from seccompgen.core.program import (
    LD_W_ABS,
    actions_of,
    decode,
    programs_sha256,
)
from seccompgen.core.report_only import SUFFIX, logging_policy
from seccompgen.core.word import ARGS
from seccompgen.filters.combine.combined import (
    compat_of,
    docstring_of,
    parts_of,
    settings_of,
    stack_of,
)
from seccompgen.filters.compare.call_classes import CallClass, differing_calls
from seccompgen.filters.find.load import compile_filter, load_filter
from seccompgen.filters.find.locate import vendored_from
from seccompgen.filters.find.module import (
    filter_sha256,
    read_banner,
)
from seccompgen.filters.find.related_files import runtime_problems, strangers
from seccompgen.formats import load_policy_for
from seccompgen.io.file_reach import beyond
from seccompgen.languages.python import policy_docstrings
from seccompgen.pipeline.build import PLAIN_OPTIONS
from seccompgen.pipeline.packages import is_filter_package
from seccompgen.pipeline.pool import spread
from seccompgen.pipeline.project import find_project
from seccompgen.policy.stock import stock_policies
from seccompgen.render.call import difference_text
from seccompgen.verify import (
    SAME,
    Code,
    Difference,
    Meaning,
    Proof,
    Relation,
    Stack,
    meaning,
    prove,
)
from seccompgen.verify.call import word_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.load import LoadedFilter
    from seccompgen.filters.find.module import Banner, Module
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.verify import Method, Operation
    from seccompgen.verify.call import Call
    from seccompgen.verify.stack import FilterSemantics


@dataclass(frozen=True)
class Claim:
    """A claim that two sides are one for ``abi``; reports call them ``names``, at ``file``.

    With another ``relation`` that relation is claimed. ``policies`` are the files that say what the
    program should do, where ``file`` is none itself. If ``report_only``, the program logs what they
    refuse, and lets every call through.
    """

    file: str
    abi: Abi
    names: tuple[str, str]
    sides: tuple[FilterSemantics, FilterSemantics]
    policies: tuple[str, ...] = ()
    relation: Relation = SAME
    report_only: bool = False


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim; UndecidedError says why there is none."""

    claim: Claim
    result: Proof | Difference | UndecidedError

    @property
    def proved(self) -> bool:
        """True if the claim holds for every call."""
        return isinstance(self.result, Proof)

    def text(self, tables: Tables) -> str:
        """Return a difference, or why it was not decided, as one line."""
        assert not isinstance(self.result, Proof)
        if isinstance(self.result, UndecidedError):
            return "; ".join(map(str, self.result.diagnostics))
        shown = self.arguments_looked_at(self.result.call)
        return difference_text(self.result, self.claim.names, self.claim.abi, tables, shown)

    def arguments_looked_at(self, call: Call) -> int:
        """Return up to which argument the sides look to answer ``call``; 0 if at none."""
        return max(arguments_looked_at(side, call) for side in self.claim.sides)

    def classes(self, tables: Tables) -> tuple[CallClass, ...]:
        """Return all calls for which the claim is wrong, in classes; none if it is proved.

        Raises UndecidedError where they cannot be told, though one call is known.
        """
        if not isinstance(self.result, Difference):
            return ()
        return differing_calls(self.claim.sides, self.claim.abi, self.claim.relation, tables)

    def executed(
        self, side: int, call: Call | None = None
    ) -> tuple[tuple[Instruction, ...], tuple[int, ...]]:
        """Return the program of a side, if it is one, and which of it runs for ``call``.

        By default that is the call of the difference.
        """
        code = self.claim.sides[side]
        if not isinstance(code, Code) or not isinstance(self.result, Difference):
            return (), ()
        return code.instructions, code.run(call or self.result.call)[1]

    def origin(self, side: int) -> Origin | None:
        """Return the part of the policy of a side that decides where they differ, if it is one."""
        policy = self.claim.sides[side]
        if not isinstance(policy, Meaning) or not isinstance(self.result, Difference):
            return None
        return policy.case(self.result.call).origin


def arguments_looked_at(side: FilterSemantics, call: Call) -> int:
    """Return up to which argument ``side`` looks to answer ``call``; 0 if at none."""
    match side:
        case Meaning():
            fields = [test.field for test in side.case(call).tests]
        case Code():
            loads = (side.instructions[at] for at in side.run(call)[1])
            fields = [
                word_at(one.k, side.byte_order).field for one in loads if one.code == LD_W_ABS
            ]
        case Stack():
            return max(arguments_looked_at(part, call) for part in side.parts)
    return max(0, max(fields, default=0) - ARGS + 1)


def claims_of_policy(
    path: Path,
    tables: Tables,
    only: Abi | None,
    means: BuildOptions,
    reading: Reading = PLAIN_READING,
) -> list[Claim]:
    """Return the claims that the programs compiled from the policy at ``path`` are that policy."""
    loaded = compile_filter(path, tables, only, means, reading)
    assert loaded.policy
    return _claims_against(loaded.policy, loaded, tables)


def claims_of_programs(
    path: Path,
    policy_path: Path | None,
    tables: Tables,
    only: Abi | None,
    reading: Reading = PLAIN_READING,
    *,
    with_runtime: bool = True,
) -> tuple[list[Claim], list[Diagnostic]]:
    """Return the claims that the programs in ``path`` are their policy, and what is not so besides.

    ``path`` is a generated module or raw instructions. Without ``policy_path`` it must be a
    module whose policy lies beside it, or where the project keeps policies; that is read as the
    module says, unless ``reading`` says otherwise. ``with_runtime``, what a module imports from
    beside it counts as well.
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
            message = f"{path}: say with --policy which policy these instructions are for"
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
    if module and banner:
        stale = _stale(path, module, banner, policy.sources, policy.compat_of, tables)
    if module:
        stale += _installed_otherwise(path, module, policy.settings, tables)
    if module and banner and not stale:
        abis = [ABIS[name] for name in module.programs]
        stale += _said_otherwise(path, module, *policy_docstrings(policy, abis, tables))
    strange = [name for name in loaded.programs if ABIS[name] not in policy.arches]
    if strange:
        text = f"{policy_path} is not for {', '.join(strange)}: its arches leave that out"
        if not stale:
            raise InputError(Diagnostic(text, Position(str(path)), Problem.ABI_MISSING))
        stale.append(Diagnostic(text, Position(str(path)), Problem.ABI_MISSING))
    return _claims_against(policy, loaded, tables, str(policy_path)), stale


def _reports_only(loaded: LoadedFilter) -> bool:
    """Return whether a filter says that it is report-only; raw files say so by their names."""
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
    """Return the claims that programs made of several filters answer as these do together."""
    path, programs = loaded.path, loaded.programs
    advice = "put a copy beside the module"
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
    stale = _stale(path, module, banner, sources, partial(compat_of, parts), tables)
    stale += _installed_otherwise(path, module, settings_of(parts), tables)
    if not stale:
        abis = [ABIS[name] for name in module.programs]
        stale += _said_otherwise(path, module, docstring_of(operation, refusal, parts, abis))
    return claims, stale


def _claims_against(
    policy: ResolvedPolicy, loaded: LoadedFilter, tables: Tables, *policies: str
) -> list[Claim]:
    """Return the claims that programs are ``policy``, for each ABI of both."""
    file, names, reports = str(loaded.path), ("policy", "program"), policy.enforced is not None
    return [
        Claim(
            file,
            abi,
            names,
            (meaning(policy, abi, tables), code),
            policies,
            report_only=reports,
        )
        for abi, code in ((ABIS[name], code) for name, code in loaded.programs.items())
        if abi in policy.arches
    ]


def decide(
    claims: Sequence[Claim], methods: tuple[Method, ...], means: BuildOptions = PLAIN_OPTIONS
) -> Iterator[Verdict]:
    """Yield the verdict on each claim, by all of ``methods``; see `verify.prove`."""
    with contextlib.closing(spread(_decide_one, methods, claims, means.workers)) as results:
        for claim, result in zip(claims, results, strict=True):
            if isinstance(result, SeccompgenError) and not isinstance(result, UndecidedError):
                place = Position(claim.file)
                raise type(result)(
                    *(
                        Diagnostic(f"{claim.abi.name}: {one}", place, one.kind)
                        for one in result.diagnostics
                    )
                )
            yield Verdict(claim, result)


def _decide_one(methods: tuple[Method, ...], claim: Claim) -> Proof | Difference:
    """Do one job; named at the top of a module, so that a worker finds it."""
    return prove(*claim.sides, methods, claim.relation)


# --- the policy of a module ----------------------------------------------------------------------


def _has_banner(path: Path) -> bool:
    try:
        read_banner(path)
    except InputError:
        return False
    return True


def _find(path: Path, name: str, sha256: str, advice: str, outside: Sequence[Path]) -> Path:
    """Return the file that a banner names, by the manifest, or the project that the module is of.

    Where neither says, it is beside the module, in the project or the current directory, or the
    stock policy of that name: of several one that has not changed, if there is one. A file that is
    called as a stock policy is, and is another, has to be named: it may have come along.
    ``advice`` is what to do if there is none at all.
    """
    recorded = vendored_from(path)
    stock = [file for file in stock_policies().values() if file.name == name]
    project = find_project(path.absolute().parent)
    said = recorded is not None and recorded.name == name
    if recorded and said:
        # A manifest lies in the package, and names what lies beside that.
        named = [(path.parent, recorded)]
    elif (
        project
        and path.absolute().parent == project.output
        and os.path.lexists(project.policies / name)
    ):
        named, said = [(project.pyproject, project.policies / name)], True
    else:
        here = find_project(Path.cwd())
        projects = (one.policies for one in (project, here) if one)
        places = dict.fromkeys([path.parent, *projects, Path()])
        named = [(place / path.name, place / name) for place in places]
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
        text = f"what it was made from, {name}, is not to be found in {looked}; {advice}"
        raise InputError(Diagnostic(text, Position(str(path)), Problem.SOURCE_MISSING))
    if stock and not said and filter_sha256(found) != filter_sha256(stock[0]):
        text = f"{found} is not the stock policy of that name: if it is meant, {advice}"
        raise InputError(Diagnostic(text, Position(str(path)), Problem.POLICY_NEEDED))
    return found


def _stale(
    path: Path,
    module: Module,
    banner: Banner,
    sources: Sequence[tuple[str, str]],
    compat: Callable[[Abi], tuple[Abi, ...]],
    tables: Tables,
) -> list[Diagnostic]:
    """Return what of the module's banner is not so.

    ``sources`` are the files that it should be made from, with their sha256; ``compat`` tells for
    which further ABIs a program answers.
    """
    if banner.tag != tables.tag:
        what = f"made from the tables of Linux {banner.tag}, not {tables.tag}"
        advice = "say with --tables DIR where those are, or generate it again"
        raise InputError(Diagnostic(f"{what}; {advice}", Position(str(path)), Problem.OTHER_TABLES))
    programs = module.programs
    abis = [ABIS[name] for name in programs]
    answered = [other for abi in abis for other in (abi, *compat(abi))]
    problems = []
    made_from = [sha256 for _, sha256 in banner.policies or banner.parts]
    if made_from != [sha256 for _, sha256 in sources]:
        changed = [file for file, sha256 in sources if sha256 not in made_from]
        files = " and ".join(changed or [sources[-1][0]])
        problems.append(f"stale: not made from {files} as it is now")
    if banner.programs_sha256 != programs_sha256(programs):
        problems.append("its programs are not those that were proved when it was generated")
    elif banner.tables_sha256 != tables.digest_for(answered):
        problems.append("stale: the tables are no longer those that it was made from")
    return [
        Diagnostic(f"{text}; generate it again", Position(str(path)), Problem.STALE_MODULE)
        for text in problems
    ]


def _installed_otherwise(
    path: Path, module: Module, settings: Settings, tables: Tables
) -> list[Diagnostic]:
    """Return what of a module's install() is not as it has to be."""
    abis = {name: ABIS[name] for name in module.programs}
    answers = {
        action
        for name, data in module.programs.items()
        for action in actions_of(decode(data, abis[name]))
    }
    own = {name: table.numbers["seccomp"] for name, table in tables.tables.items() if name in abis}
    pairs = zip(Settings._fields, module.settings, settings, strict=True)
    wrong = [name for name, is_so, should_be in pairs if is_so != should_be]
    wrong += ["actions"] if module.actions != answers else []
    wrong += ["the number of seccomp(2)"] if module.numbers != own else []
    text = f"its install() is not as it should be ({', '.join(wrong)}); generate it again"
    return [Diagnostic(text, Position(str(path)), Problem.STALE_MODULE)] if wrong else []


def _said_otherwise(path: Path, module: Module, *docstrings: str) -> list[Diagnostic]:
    """Return that a module's docstring, by which people know it, is none of ``docstrings``."""
    # As it is shown: formatters take blanks from the ends of lines, and indent it anew.
    said = [inspect.cleandoc(one).rstrip() for one in (module.docstring, *docstrings)]
    if said[0] in said[1:]:
        return []
    text = "its docstring is not what seccompgen says of this policy; generate it again"
    return [Diagnostic(text, Position(str(path)), Problem.STALE_MODULE)]
