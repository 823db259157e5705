"""A FILTER of a command line as one value, whatever form its file has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position, for_each
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.problems import Problem
from seccompgen.core.program import Program, decode
from seccompgen.core.report_only import REFUSES_NOTHING
from seccompgen.filters.find.locate import FilterForm, kind_of
from seccompgen.filters.find.raw_abis import abis_of
from seccompgen.formats import load_policy_for
from seccompgen.io.reading import MAX_FILTER, read_input
from seccompgen.pipeline.build import build_policy
from seccompgen.render.ring_source import ring_value
from seccompgen.verify import Code, kernel_objections, meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.model import Origin, ResolvedPolicy
    from seccompgen.core.settings import Settings
    from seccompgen.core.tables import Table, Tables
    from seccompgen.filters.find.module import Module
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.render.ring_source import RingValue
    from seccompgen.verify import Meaning


@dataclass(frozen=True)
class LoadedFilter:
    """The filter in the file at ``path``, whose hash is ``sha256``.

    ``sides`` are its answers, by the names of the ABIs: the meaning of a policy, or the program.
    For a compiled policy, ``origins`` are those of each instruction. ``settings`` is None for raw
    instructions, which have none. ``module`` is the whole content of a generated filter,
    and ``built`` that of a policy that was compiled.
    """

    path: Path
    sha256: str
    sides: Mapping[str, Meaning | Code]
    settings: Settings | None = None
    policy: ResolvedPolicy | None = None
    origins: Mapping[str, tuple[tuple[Origin, ...], ...]] = field(default_factory=dict)
    notes: tuple[Diagnostic, ...] = ()
    module: Module | None = None
    built: Built | None = None

    def rings(self, table: Table) -> RingValue | None:
        """Return what the filter has for the rings of the ABI of ``table``."""
        if self.module:
            value: Any = self.module.rings.get(table.abi.name)
            return value  # type: ignore[no-any-return] # its form was compared with a module's
        if self.built and self.built.rings:
            programs = zip(self.built.programs, self.built.rings, strict=True)
            return next(ring_value(one, table) for p, one in programs if p.abi == table.abi)
        return None

    @property
    def programs(self) -> dict[str, Code]:
        """The programs by the names of their ABIs; empty for a policy that was not compiled."""
        return {name: side for name, side in self.sides.items() if isinstance(side, Code)}

    @property
    def listed(self) -> tuple[Program, ...]:
        """The programs with the origins of their instructions."""
        return tuple(
            Program(ABIS[name], code.instructions, self.origins.get(name, ()))
            for name, code in self.programs.items()
        )


def require_no_rings(loaded: Iterable[LoadedFilter], done: str, instead: str = "") -> None:
    """Raise InputError if one of the filters has a section for rings.

    ``done`` is what is not done with it, and ``instead`` what a user can do.
    """
    found = [one for one in loaded if one.settings and one.settings.without]
    if found:
        text = f"the section io_uring is not {done}: only the rules for system calls could be"
        text += f"; {instead}" if instead else ""
        problems = [
            Diagnostic(
                text,
                one.policy.io_uring.position
                if one.policy and one.policy.io_uring
                else Position(str(one.path)),
                Problem.RINGS_NOT_SUPPORTED,
            )
            for one in found
        ]
        raise InputError(*problems)


def load_filter(
    path: Path, tables: Tables, only: Abi | None = None, reading: Reading = PLAIN_READING
) -> LoadedFilter:
    """Return the filter in ``path``, for ABI ``only`` or all that it has; no policy is compiled.

    A generated module is read, never run: its bytes count, not its comments. Raises InputError if
    the file holds no filter, or one that the kernel would refuse.
    """
    wanted = only.name if only else "any ABI"
    match kind_of(path):
        case FilterForm.RAW:
            content = read_input(path, MAX_FILTER)
            abis = [only] if only else abis_of(content)
            if not abis:
                text = f"{path}: say with --arch which ABI these instructions are for"
                raise InputError(text, kind=Problem.ABI_NEEDED)
            sha256 = hashlib.sha256(content).hexdigest()
            sides = {abi.name: _decoded(path, abi, content) for abi in abis}
            return LoadedFilter(path, sha256, sides)
        case FilterForm.MODULE:
            from seccompgen.filters.find.module import read_module  # noqa: PLC0415 - policies need it not

            module = read_module(path)
            programs = {
                name: _decoded(path, ABIS[name], data)
                for name, data in module.programs.items()
                if only is None or only.name == name
            }
            if not programs:
                raise InputError(f"{path}: no program for {wanted}", kind=Problem.ABI_MISSING)
            said = []
            if module.settings.report_only:
                said.append(Diagnostic(REFUSES_NOTHING, Position(str(path)), Problem.REPORT_ONLY))
            return LoadedFilter(
                path, module.sha256, programs, module.settings, notes=tuple(said), module=module
            )
    policy, notes = load_policy_for(path, [only] if only else [], tables, reading)
    meanings = {a.name: meaning(policy, a, tables) for a in policy.arches if only in {None, a}}
    if not meanings:
        text = f"{path}: not for {wanted}: its arches leave that out"
        raise InputError(text, kind=Problem.ABI_MISSING)
    return LoadedFilter(path, policy.sources[-1][1], meanings, policy.settings, policy, notes=notes)


def load_each(
    wanted: Iterable[tuple[Path, Abi | None, Reading]], tables: Tables
) -> list[LoadedFilter]:
    """Return several filters, for comparison.

    Raises InputError with all that is wrong with any of them.
    """
    return for_each(lambda one: load_filter(one[0], tables, one[1], one[2]), wanted)


def compile_filter(
    path: Path,
    tables: Tables,
    only: Abi | None,
    options: BuildOptions,
    reading: Reading = PLAIN_READING,
) -> LoadedFilter:
    """Return the filter in ``path`` as `load_filter` does, but with a policy's programs."""
    if kind_of(path) is not FilterForm.POLICY:
        return load_filter(path, tables, only, reading)
    built = build_policy(path, tables, [only] if only else [], options=options, reading=reading)
    return filter_of(path, built)


def filter_of(path: Path, built: Built) -> LoadedFilter:
    """Return the policy at ``path`` with the programs that were built from it."""
    return LoadedFilter(
        path,
        built.policy.sources[-1][1],
        {one.abi.name: Code(one.instructions, one.abi.byte_order) for one in built.programs},
        built.policy.settings,
        built.policy,
        {one.abi.name: one.origins for one in built.programs},
        built.notes,
        built=built,
    )


def _decoded(path: Path, abi: Abi, data: bytes) -> Code:
    try:
        instructions = decode(data, abi)
        wrong = [f"{abi.name}: {objection}" for objection in kernel_objections(instructions)]
    except ValueError as error:
        message = f"{path}: {abi.name}: {error}"
        raise InputError(message, kind=Problem.REFUSED_PROGRAM) from None
    other = next(one for one in ABIS.values() if one.byte_order != abi.byte_order)
    if wrong and not kernel_objections(decode(data, other)):
        text = f"{abi.name} is {abi.byte_order}-endian, but these instructions are not"
        wrong = [f"{text}: are they for another ABI?"]
    if wrong:
        problems = (Diagnostic(text, Position(str(path))) for text in wrong)
        raise InputError(*problems, kind=Problem.REFUSED_PROGRAM)
    return Code(instructions, abi.byte_order)
