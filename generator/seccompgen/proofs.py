"""What ``verify`` and ``equiv`` prove: files into pairs of sides, and each pair decided."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.architectures import ABIS
from seccompgen.build import PLAIN_MEANS, build_policy, difference_text
from seccompgen.errors import AnswerNo, Diagnostic, InputError, Position, SeccompgenError
from seccompgen.filters import module_programs, read_banner, read_filters
from seccompgen.policy import load_policy
from seccompgen.pool import spread
from seccompgen.program import LD_W_ABS, programs_sha256
from seccompgen.project import find_project
from seccompgen.verify import Code, Difference, Meaning, Proof, Stack, meaning, prove
from seccompgen.verify.call import ARGS, word_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.architectures import Abi
    from seccompgen.build import Means
    from seccompgen.filters import Banner
    from seccompgen.model import Origin, Policy
    from seccompgen.program import Instruction
    from seccompgen.tables import Tables
    from seccompgen.verify import Method
    from seccompgen.verify.call import Call
    from seccompgen.verify.stack import Side


@dataclass(frozen=True)
class Claim:
    """That two sides are one for ``abi``; ``names`` is how reports call them, ``file`` is where."""

    file: str
    abi: Abi
    names: tuple[str, str]
    sides: tuple[Side, Side]


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim."""

    claim: Claim
    result: Proof | Difference

    def text(self, tables: Tables) -> str:
        """Return a difference as one line."""
        assert isinstance(self.result, Difference)
        call = self.result.call
        shown = max(_arguments_looked_at(side, call) for side in self.claim.sides)
        return difference_text(self.result, self.claim.names, self.claim.abi, tables, shown)

    def executed(self, side: int) -> tuple[tuple[Instruction, ...], tuple[int, ...]]:
        """Return the program of a side, and which of it runs where they differ, if it is one."""
        code = self.claim.sides[side]
        if not isinstance(code, Code) or not isinstance(self.result, Difference):
            return (), ()
        return code.instructions, code.run(self.result.call)[1]

    def origin(self, side: int) -> Origin | None:
        """Return the part of the policy of a side that decides where they differ, if it is one."""
        policy = self.claim.sides[side]
        if not isinstance(policy, Meaning) or not isinstance(self.result, Difference):
            return None
        return policy.case(self.result.call).origin


def _arguments_looked_at(side: Side, call: Call) -> int:
    """Return up to which argument ``side`` looks to answer ``call``; 0 if at none."""
    match side:
        case Meaning():
            fields = [test.field for test in side.case(call).tests]
        case Code():
            loads = (side.instructions[at] for at in side.run(call)[1])
            fields = [word_at(one.k, side.byte_order) // 2 for one in loads if one.code == LD_W_ABS]
        case Stack():
            return max(_arguments_looked_at(part, call) for part in side.parts)
    return max(0, *(field - ARGS + 1 for field in fields))


def claims_of_policy(path: Path, tables: Tables, only: Abi | None, means: Means) -> list[Claim]:
    """Return the claims that the programs compiled from the policy at ``path`` are that policy."""
    built = build_policy(path, tables, [only] if only else [], means=means)
    return [
        _claim(path, built.policy, program.abi, program.instructions, tables)
        for program in built.programs
    ]


def claims_of_programs(
    path: Path, policy_path: Path | None, tables: Tables, only: Abi | None
) -> tuple[list[Claim], list[Diagnostic]]:
    """Return the claims that the programs in ``path`` are their policy, and what is out of date.

    ``path`` is a generated module or raw instructions. Without ``policy_path`` it must be a
    module whose policy lies beside it, or where the project keeps policies, unchanged.
    """
    filters = read_filters(path, tables, only)
    banner = None
    if path.suffix == ".py" and (policy_path is None or _has_banner(path)):
        banner = read_banner(path)
    if policy_path is None:
        if banner is None:
            raise InputError(f"{path}: say with --policy which policy these instructions are for")
        policy_path = _find_policy(path, banner)
    policy, _ = load_policy(policy_path, tables)
    strange = [one.abi.name for one in filters if one.abi not in policy.arches]
    if strange:
        raise InputError(f"{path}: {policy_path} has no program for {', '.join(strange)}")
    stale = _stale(path, banner, policy, tables) if banner else []
    return [_claim(path, policy, one.abi, one.instructions, tables) for one in filters], stale


def _claim(
    path: Path, policy: Policy, abi: Abi, instructions: tuple[Instruction, ...], tables: Tables
) -> Claim:
    sides = meaning(policy, abi, tables), Code(instructions, abi.byte_order)
    return Claim(str(path), abi, ("policy", "program"), sides)


def claims_of_two(left: Path, right: Path, tables: Tables, only: Abi | None) -> list[Claim]:
    """Return the claims that two filters are one, for each ABI; policies are not compiled.

    Raises AnswerNo if only one of them has a program for some ABI.
    """
    ours, its = (_sides(path, tables, only) for path in (left, right))
    lonely = [
        Diagnostic(f"{name}: only {path} has a program for it; --arch compares one ABI alone")
        for path, names in ((left, ours.keys() - its.keys()), (right, its.keys() - ours.keys()))
        for name in ABIS
        if name in names
    ]
    if lonely:
        raise AnswerNo(*lonely)
    names = (str(left), str(right))
    return [
        Claim(f"{left} = {right}", ABIS[name], names, (side, its[name]))
        for name, side in ours.items()
    ]


def _sides(path: Path, tables: Tables, only: Abi | None) -> dict[str, Side]:
    """Return what is in a FILTER, by the name of the ABI: programs, or what a policy means."""
    if path.suffix in {".py", ".bpf"}:
        filters = read_filters(path, tables, only)
        return {one.abi.name: Code(one.instructions, one.abi.byte_order) for one in filters}
    policy, _ = load_policy(path, tables)
    abis = [abi for abi in policy.arches if only in {None, abi}]
    if not abis:
        raise InputError(f"{path}: not for {only.name if only else ''}: its arches leave that out")
    return {abi.name: meaning(policy, abi, tables) for abi in abis}


def decide(
    claims: Sequence[Claim], methods: tuple[Method, ...], means: Means = PLAIN_MEANS
) -> Iterator[Verdict]:
    """Yield the verdict on each claim, by all of ``methods``; see `verify.prove`."""
    with contextlib.closing(spread(_decide_one, methods, claims, means.workers)) as results:
        for claim, result in zip(claims, results, strict=True):
            if isinstance(result, SeccompgenError):
                place = Position(claim.file)
                raise type(result)(
                    *(Diagnostic(f"{claim.abi.name}: {one}", place) for one in result.diagnostics)
                )
            yield Verdict(claim, result)


def _decide_one(methods: tuple[Method, ...], claim: Claim) -> Proof | Difference:
    """Do one job; named at the top of a module, so that a worker finds it."""
    return prove(*claim.sides, methods)


# --- the policy of a module ----------------------------------------------------------------------


def _has_banner(path: Path) -> bool:
    try:
        read_banner(path)
    except InputError:
        return False
    return True


def _find_policy(path: Path, banner: Banner) -> Path:
    """Return the policy file that ``banner`` names, from beside the module or from the project."""
    name, sha256 = banner.policies[-1]
    projects = [find_project(place) for place in (path.absolute().parent, Path.cwd())]
    places = dict.fromkeys([path.parent, *(one.policies for one in projects if one), Path()])
    there = [place / name for place in places if (place / name).is_file()]
    for candidate in there:
        if hashlib.sha256(candidate.read_bytes()).hexdigest() == sha256:
            return candidate
    if there:
        raise AnswerNo(
            Diagnostic(f"stale: {there[0]} is no longer what it was made from", Position(str(path)))
        )
    looked = ", ".join(map(str, places))
    raise InputError(
        Diagnostic(
            f"its policy {name} is not to be found in {looked}; name it with --policy",
            Position(str(path)),
        )
    )


def _stale(path: Path, banner: Banner, policy: Policy, tables: Tables) -> list[Diagnostic]:
    """Return what of the module's banner is not so."""
    if banner.tag != tables.tag:
        what = f"made from the tables of Linux {banner.tag}, not {tables.tag}; say --tables DIR"
        raise InputError(Diagnostic(what, Position(str(path))))
    abis = [one.abi for one in read_filters(path, tables, None)]
    answered = [other for abi in abis for other in (abi, *policy.compat_of(abi))]
    programs = module_programs(path)
    problems = []
    if tuple(sha256 for _, sha256 in banner.policies) != tuple(sha for _, sha in policy.sources):
        problems.append("stale: its policy is no longer what it was made from")
    if banner.tables_sha256 != tables.digest_for(answered):
        problems.append("stale: the tables are no longer those that it was made from")
    if banner.programs_sha256 != programs_sha256(programs):
        problems.append("its programs are not those that were proved when it was generated")
    return [Diagnostic(text, Position(str(path))) for text in problems]
