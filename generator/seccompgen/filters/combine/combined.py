"""Several filters made into one program: as the kernel would stack them, or otherwise.

The parts may be any FILTER of a command line. Their common answers are the meaning of the
combination; it is lifted, compiled, and proved like a policy's.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.abis import ABIS
from seccompgen.core.built import Built, module_name
from seccompgen.core.errors import (
    AnswerNo,
    Diagnostic,
    InputError,
    Position,
    SeccompgenError,
    UndecidedError,
    for_each,
)
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.model import ActionKind, Origin
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.core.problems import Problem
from seccompgen.core.program import BPF_MAXINSNS
from seccompgen.core.report_only import REFUSES_NOTHING
from seccompgen.core.settings import FilterFlag, Settings
from seccompgen.filters.find.loaded_filter import load_filter, require_no_rings
from seccompgen.formats import WRITABLE
from seccompgen.languages.python import combined_docstring, render_combined
from seccompgen.pipeline.build import are_unchanged
from seccompgen.pipeline.files import filter_files, fits, support_files
from seccompgen.pipeline.pool import spread
from seccompgen.policy.stock import stock_policies
from seccompgen.render.call_names import difference_text
from seccompgen.verify import (
    Code,
    Difference,
    Operation,
    Stack,
    kernel_objections,
    prove,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action, ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.verify.stack import FilterSemantics


class Combined(NamedTuple):
    """``parts`` under ``operation``, the oldest first, with a program for each common ABI.

    ``refusal`` is the minimum that SUBTRACT answers to calls that it takes away.
    """

    name: str
    operation: Operation
    refusal: Action | None
    parts: tuple[LoadedFilter, ...]
    programs: tuple[CompiledProgram, ...]
    notes: tuple[Diagnostic, ...]

    def is_current(self) -> bool:
        """Return whether the files of the parts are unchanged since they were read."""
        read = {(str(part.path), part.sha256) for part in self.parts}
        read |= {pair for part in self.parts if part.policy for pair in part.policy.sources}
        packages = [part for part in self.parts if part.path.is_dir()]
        return are_unchanged(read) and all(map(_is_unchanged, packages))

    @property
    def settings(self) -> Settings:
        """The settings of the parts; all parts that have any agree."""
        return settings_of(self.parts)


def _is_unchanged(package: LoadedFilter) -> bool:
    from seccompgen.filters.find.module import filter_sha256  # noqa: PLC0415 - few parts are packages

    return filter_sha256(package.path) == package.sha256


def parts_of(
    paths: Sequence[Path],
    tables: Tables,
    only: Abi | None,
    readings: Sequence[Reading] = (),
) -> tuple[LoadedFilter, ...]:
    """Return the FILTERs in the files ``paths``, each read by the corresponding reading.

    Raises InputError with everything that is wrong with any of them.
    """

    def part(named: tuple[Path, Reading]) -> LoadedFilter:
        path, reading = named
        if not str(path).isprintable():
            # The name goes into comments of the module that is made.
            text = f"unprintable characters in {str(path)!r}: rename the file"
            raise InputError(text, kind=Problem.UNPRINTABLE_NAME)
        found = load_filter(path, tables, only, reading)
        instead = "include both policies in one that has a section of its own"
        require_no_rings([found], "combined", instead)
        if found.settings and found.settings.report_only:
            text = f"{REFUSES_NOTHING}; combine the filter that refuses"
            raise InputError(Diagnostic(text, Position(str(path)), Problem.REPORT_ONLY))
        return found

    plain = (PLAIN_READING,) * len(paths)
    parts = tuple(for_each(part, zip(paths, readings or plain, strict=True)))
    if len(parts) < 2:
        found = "".join(f"there is only {one.path}: " for one in parts)
        text = f"{found}name at least two filters, or a directory that has them"
        raise InputError(text, kind=Problem.FEW_FILTERS)
    return parts


def combine(
    name: str,
    operation: Operation,
    refusal: Action | None,
    parts: tuple[LoadedFilter, ...],
    tables: Tables,
    options: BuildOptions,
) -> Combined:
    """Compile and prove ``parts`` as one, for each ABI that all of them have.

    Raises InputError if they have none in common, or disagree on how to be installed. SUBTRACT
    without ``refusal`` uses the default action of the first part, which must be a refusal.
    """
    _require_agreement(parts)
    if operation is Operation.SUBTRACT and refusal is None:
        refusal = _refusal_of(parts[0])
    everywhere = [n for n in ABIS if any(n in part.sides for part in parts)]
    common = [n for n in everywhere if all(n in part.sides for part in parts)]
    if not common:
        raise InputError(
            "there is no ABI that all of these filters have a program for",
            *(Diagnostic(f"is for {', '.join(p.sides)}", Position(str(p.path))) for p in parts),
            kind=Problem.NO_COMMON_ABI,
        )
    missing = [(part.path, [n for n in everywhere if n not in part.sides]) for part in parts]
    notes = [
        Diagnostic(
            f"has no program for {', '.join(abis)}; left out",
            Position(str(path)),
            Problem.ABI_LEFT_OUT,
        )
        for path, abis in missing
        if abis
    ]
    flags = settings_of(parts).flags
    notes += [
        Diagnostic(
            f"its flags {lost} are not those of the other filters, and are left out",
            Position(str(part.path)),
            Problem.CONFLICTING_SETTINGS,
        )
        for part in parts
        if part.settings and (lost := ", ".join((part.settings.flags & ~flags).names))
    ]
    jobs = [
        (ABIS[n], compat_of(parts, ABIS[n]), stack_of(operation, refusal, parts, ABIS[n]))
        for n in common
    ]
    task = name, tuple(part.path for part in parts), tables
    results = list(spread(_combine_one, task, jobs, options.workers))
    programs = []
    for result in results:
        if isinstance(result, SeccompgenError):
            raise result
        programs.append(result)
    return Combined(name, operation, refusal, parts, tuple(programs), tuple(notes))


def stack_of(
    operation: Operation, refusal: Action | None, parts: Sequence[LoadedFilter], abi: Abi
) -> Stack:
    """Return the combination of ``parts`` for ``abi``, which all of them support."""
    sides = tuple(part.sides[abi.name] for part in parts)
    return Stack(operation, sides, refusal.ret(abi)) if refusal else Stack(operation, sides)


def settings_of(parts: Sequence[LoadedFilter]) -> Settings:
    """Return the settings of ``parts``; our own policies and modules must agree on them.

    Policies in other formats leave settings to whoever runs them: alone, they get the flags that
    all of them have, and a listener if one of them needs it.
    """
    ours = next((part.settings for part in parts if part.settings and not _is_foreign(part)), None)
    flags = [part.settings.flags for part in parts if part.settings]
    if ours or not flags:
        return ours or Settings()
    common, some = flags[0], FilterFlag(0)
    for one in flags:
        common, some = common & one, some | one
    return Settings(common | some & FilterFlag.NEW_LISTENER)


def _is_foreign(part: LoadedFilter) -> bool:
    return part.policy is not None and part.policy.foreign


def compat_of(parts: Sequence[LoadedFilter], abi: Abi) -> tuple[Abi, ...]:
    """Return the further ABIs that some policy among ``parts`` answers for on ``abi``."""
    return tuple(
        dict.fromkeys(
            other for part in parts if part.policy for other in part.policy.compat_of(abi)
        )
    )


def _refusal_of(part: LoadedFilter) -> Action:
    default = part.policy.default_action if part.policy else None
    if default is None or default.kind in {ActionKind.ALLOW, ActionKind.LOG}:
        text = (
            "choose the answer to the calls that are taken away with --action, for "
            "example --action 'errno(EPERM)'"
        )
        raise InputError(Diagnostic(text, Position(str(part.path)), Problem.ACTION_NEEDED))
    return default


_Task: TypeAlias = "tuple[str, tuple[Path, ...], Tables]"
"""The inputs that all jobs share: first the name of the combination, and the files of its parts."""


def _combine_one(task: _Task, job: tuple[Abi, tuple[Abi, ...], Stack]) -> CompiledProgram:
    """Do one job; at the top of the module, so that a worker finds it."""
    from seccompgen.compile import ProgramBuilder, TooManyError  # noqa: PLC0415 - numpy
    from seccompgen.filters.find.lift import lift  # noqa: PLC0415

    name, paths, tables = task
    abi, compat, stack = job
    builder = ProgramBuilder(abi, compat, DEFAULT_OBJECTIVE)
    origin = Origin(stack.operation.value, Position(name))
    stacks = stack.operation is Operation.INTERSECT
    instead = "stack the filters, or combine fewer" if stacks else "combine fewer"
    try:
        lifted = lift(stack, (abi, *compat), builder.functions, tables, origin)
        otherwise = lifted.otherwise, origin
        program = builder.compilation(lifted.lines, otherwise, origin, lifted.constants).program
    except TooManyError:
        message = f"{name}: {abi.name}: their conditions are too many for one program; {instead}"
        raise InputError(message, kind=Problem.NOT_COMBINED) from None
    except UndecidedError as error:
        leave = f"{'stack this filter, or ' if stacks else ''}leave it out"
        own = [_why_not(side, abi, compat, tables) for side in stack.parts]
        guilty = [
            Diagnostic(f"{abi.name}: cannot be combined: {why}; {leave}", Position(str(path)))
            for path, why in zip(paths, own, strict=True)
            if why and why.kind is error.diagnostics[0].kind
        ]
        problems = dict.fromkeys(guilty) or [
            f"{name}: {abi.name}: cannot be combined: {error}; {instead}"
        ]
        raise InputError(*problems, kind=Problem.NOT_COMBINED) from None
    length = len(program.instructions)
    if length > BPF_MAXINSNS:
        message = (
            f"{name}: the program for {abi.name} has {length} instructions, the kernel takes "
            f"{BPF_MAXINSNS}; {instead}"
        )
        raise InputError(message, kind=Problem.LONG_PROGRAM)
    objections = kernel_objections(program.instructions)
    assert not objections, objections
    found = prove(stack, Code(program.instructions, abi.byte_order))
    if isinstance(found, Difference):
        text = difference_text(found, ("the stack", "program"), abi, tables)
        message = f"{name}: seccompgen made a wrong program, and does not write it: {text}"
        raise AnswerNo(message, kind=Problem.WRONG_PROGRAM)
    return program


def _why_not(
    side: FilterSemantics, abi: Abi, compat: tuple[Abi, ...], tables: Tables
) -> Diagnostic | None:
    """Return why ``side`` alone cannot be lifted, None if it can."""
    from seccompgen.compile import ProgramBuilder  # noqa: PLC0415 - numpy
    from seccompgen.filters.find.lift import lift  # noqa: PLC0415

    builder = ProgramBuilder(abi, compat, DEFAULT_OBJECTIVE)
    try:
        lift(side, (abi, *compat), builder.functions, tables, Origin("", Position("")))
    except UndecidedError as error:
        return error.diagnostics[0]
    return None


def _require_agreement(parts: Sequence[LoadedFilter]) -> None:
    """Raise InputError if parts are installed differently: one program cannot be."""
    ours = [part for part in parts if not _is_foreign(part)]
    first = next((part for part in ours if part.settings), None)
    problems = []
    for part in ours:
        if first and first.settings and part.settings:
            both = zip(Settings._fields, part.settings, first.settings, strict=True)
            different = [name for name, own, its in both if own != its]
            if different:
                text = f"{' and '.join(different)} differ from those of {first.path}"
                advice = "one program is installed in one way, so let them be the same"
                problems.append(Diagnostic(f"{text}; {advice}", Position(str(part.path))))
    if problems:
        raise InputError(*problems, kind=Problem.CONFLICTING_SETTINGS)


def _require_listener(combined: Combined) -> None:
    """Raise InputError if a program notifies a listener that does not exist."""
    asks = any(ActionKind.USER_NOTIF.value in program.actions for program in combined.programs)
    if asks and not combined.settings.flags & FilterFlag.NEW_LISTENER:
        text = (
            f"{combined.name}: it answers user_notif, and then needs the flag new_listener, which "
            "its parts do not have; write flags: [new_listener] in their policies"
        )
        raise InputError(text, kind=Problem.NO_LISTENER)


FORMS = ("python", "bpf", *WRITABLE)
"""The forms in which combined filters can be written."""


_TITLES = {
    Operation.INTERSECT: "What {names} answer as a stack: the strictest of their answers.",
    Operation.UNION: "What any of {names} lets through: the laxest of their answers.",
    Operation.SUBTRACT: "What {first} answers, without what {rest} let through: that is {refusal}.",
}


def combined_files(
    combined: Combined, tables: Tables, directory: Path, form: str, systemd: int | None = None
) -> dict[Path, bytes]:
    """Return the files that hold ``combined`` under ``directory``; ``form`` is one of `FORMS`.

    ``systemd`` is the release that reads units. Raises InputError if a part would be replaced, if a
    module notifies a listener that does not exist, or with all that the form cannot express.
    """
    files = _files(combined, tables, directory, form, systemd)
    parts = {part.path.resolve() for part in combined.parts}
    places = dict.fromkeys(place for path in files for place in (path, path.parent))
    replaced = [place for place in places if place.resolve() in parts]
    if replaced:
        text = "is one of the filters, and would be replaced: choose another --name, or directory"
        problems = (Diagnostic(text, Position(str(path))) for path in replaced)
        raise InputError(*problems, kind=Problem.REPLACED_FILTER)
    return files


def _files(
    combined: Combined, tables: Tables, directory: Path, form: str, systemd: int | None
) -> dict[Path, bytes]:
    if form in WRITABLE:
        return _files_by_rules(combined, tables, directory, form, systemd)
    if form == "bpf":
        return {
            directory / f"{combined.name}.{program.abi.name}.bpf": program.to_bytes()
            for program in combined.programs
        }
    _require_listener(combined)
    stock = {path: name for name, path in stock_policies().items()}
    words = [stock.get(part.path, part.path.name) for part in combined.parts]
    only = combined.programs[0].abi.name if len(combined.programs) == 1 else ""
    refusal = str(combined.refusal) if combined.refusal else ""
    made = combined.operation.value
    options = f" --action {shlex.quote(refusal)}" if refusal else ""
    options += f" --arch {only}" if only else ""
    for number, part in enumerate(combined.parts, 1):
        said = part.policy.reading.options(number) if part.policy else ()
        options += "".join(f" {shlex.quote(word)}" for word in said)
    package = render_combined(
        f"{made}  {refusal}".rstrip(),
        *_description(combined.operation, combined.refusal, combined.parts),
        combined.programs,
        tables,
        combined.settings,
        f"seccompgen {made} {shlex.join(words)}{options} --name {combined.name} -o DIR",
    )
    place = directory / module_name(combined.name)
    return {
        **{place / name: source for name, source in package.items()},
        **support_files(directory, [combined.settings]),
    }


def _files_by_rules(
    combined: Combined, tables: Tables, directory: Path, form: str, systemd: int | None
) -> dict[Path, bytes]:
    """Return the files that `build` writes in ``form`` for policies equal to the combination.

    Raises one InputError with all that ``form`` cannot express, on any ABI.
    """
    from seccompgen.filters.combine.combined_policy import combined_policy  # noqa: PLC0415 - few want it

    parts, name = combined.parts, combined.name
    programs = [one for one in combined.programs if fits(one.abi, form)]

    def of_one(program: CompiledProgram) -> list[tuple[str, Path, bytes]]:
        abi = program.abi
        stack = stack_of(combined.operation, combined.refusal, parts, abi)
        policy = combined_policy(name, stack, parts, combined.settings, abi, tables)
        _require_names(policy, form)
        built = Built(policy, (program,), ())
        files = filter_files([built], tables, directory, form, systemd=systemd)
        return [(abi.name, path, content) for path, content in files.items()]

    files = [file for made in for_each(of_one, programs or combined.programs[:1]) for file in made]
    if len({content for _, _, content in files}) == 1:
        return {path: content for _, path, content in files[:1]}
    # A drop-in has no ABI in its name if the drop-ins of all ABIs are equal.
    return {
        path if f".{abi}." in path.name else path.with_suffix(f".{abi}{path.suffix}"): content
        for abi, path, content in files
    }


def _require_names(policy: ResolvedPolicy, form: str) -> None:
    """Raise InputError, once for each answer, if a policy has rules for numbers without a call."""
    found: dict[tuple[Action, Origin], list[str]] = {}
    for rule in policy.rules:
        if rule.name.isdecimal():
            found.setdefault((rule.action, rule.origin), []).append(rule.name)
    problems = [
        Diagnostic(
            f"{form} names calls, and numbers that none has get {action} here (such as "
            f"{numbers[0]}), others {policy.unknown_action}; if that is runc's ENOSYS, read the "
            "profiles with --runtime libseccomp: runc adds it again to what is written",
            origin.position,
        )
        for (action, origin), numbers in found.items()
    ]
    if problems:
        raise InputError(*problems, kind=Problem.NOT_COMBINED)


def docstring_of(
    operation: Operation, refusal: Action | None, parts: Sequence[LoadedFilter], abis: Sequence[Abi]
) -> str:
    """Return the docstring of the module that combines ``parts``, for ``abis``."""
    about = _description(operation, refusal, parts)
    return combined_docstring(*about, settings_of(parts), abis)


def _description(
    operation: Operation, refusal: Action | None, parts: Sequence[LoadedFilter]
) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the title of the module of ``parts``, and (name, sha256, description) of each."""
    names = [part.path.name for part in parts]
    title = _TITLES[operation].format(
        names=_listed(names), first=names[0], rest=_listed(names[1:]), refusal=refusal or ""
    )
    return title, [(part.path.name, part.sha256, _first_line(part.policy)) for part in parts]


def _first_line(policy: ResolvedPolicy | None) -> str:
    return policy.description.partition("\n")[0] if policy else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
