"""OCI profiles, as JSON or as objects of the Security Profiles Operator, each proved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.model import U32, ActionKind, Origin
from seccompgen.core.problems import Problem
from seccompgen.core.word import ARCH, ARGS, NR
from seccompgen.formats import translate
from seccompgen.formats.oci.text import render_profile, render_spo
from seccompgen.formats.oci.writer import architecture
from seccompgen.formats.oci.writer import profile as oci_profile
from seccompgen.policy import resolve_policy
from seccompgen.render.call import difference_text
from seccompgen.verify import Code, Difference, Meaning, meaning, prove
from seccompgen.verify.oracle import Case, FieldTest, OneOf

if TYPE_CHECKING:
    from seccompgen.core.built import Built
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram, Program
    from seccompgen.core.tables import Tables
    from seccompgen.formats.oci.writer import OciProfile


def profile_files(one: Built, tables: Tables, form: str) -> dict[str, bytes]:
    """Return the profiles of a policy in ``form``, ``oci`` or ``spo``, by their names.

    Raises InputError with all that a profile cannot say.
    """
    found = dict(_profile_file(one, profile, form) for profile in _profiles(one, tables))
    for (name, content), program in zip(found.items(), _with_profiles(one), strict=True):
        if one.policy.compat_of(program.abi):
            _require_exact(content, name, one.policy, program, tables)
        else:
            require_same_back(content, name, program, tables)
    return found


def _with_profiles(one: Built) -> list[CompiledProgram]:
    """Return the programs that can have a profile."""
    return [program for program in one.programs if architecture(program.abi)]


def _profiles(one: Built, tables: Tables) -> list[OciProfile]:
    """Return the OCI profiles of a policy, each proved to be the program for its ABI."""
    fit = _with_profiles(one)
    if not fit:
        abis = ", ".join(program.abi.name for program in one.programs)
        text = f"an OCI profile can be exact for no ABI of these: {abis}; name one of 64 bits"
        raise InputError(Diagnostic(text, one.policy.arches_origin.position))
    made: list[OciProfile] = []
    problems: dict[Diagnostic, None] = {}
    for program in fit:
        try:
            profile = oci_profile(one.policy, program.abi, tables)
        except InputError as error:
            problems |= dict.fromkeys(error.diagnostics)
        else:
            if len(profile.architectures) == 1:
                require_profile_proof(one.policy, profile, program, tables)
            made.append(profile)
    if problems:
        raise InputError(*problems)
    return made


def _profile_file(one: Built, profile: OciProfile, form: str) -> tuple[str, bytes]:
    name = f"{one.policy.name}.{profile.abi.name}"
    if form == "oci":
        return f"{name}.json", render_profile(profile)
    try:
        return f"{name}.yml", render_spo(profile, one.policy.name)
    except InputError as error:
        where = one.policy.unknown_origin.position
        raise InputError(*(replace(found, position=where) for found in error.diagnostics)) from None


def require_same_back(content: bytes, file: str, program: Program, tables: Tables) -> None:
    """Raise AnswerNo if a profile, read as any is, says anything else than the program."""
    if text := _read_otherwise(content, file, program, tables):
        raise AnswerNo(f"{file} does not say what its program does: {text}; please report this")


def _require_exact(
    content: bytes, file: str, policy: ResolvedPolicy, program: Program, tables: Tables
) -> None:
    """Raise InputError if a profile for several ABIs says anything else than the program.

    libseccomp has one list of rules by name for all of them, compares halves of arguments where
    these have 32 bits, and takes `socket` for `socketcall`: not every policy can be said so.
    """
    served = ", ".join(one.name for one in policy.compat_of(program.abi))
    try:
        text = _read_otherwise(content, file, program, tables)
    except InputError as error:
        text = error.diagnostics[0].message
    if text:
        text = f"no OCI profile for {program.abi.name} and {served} says this: {text}; give "
        text += "these calls one answer by name, or take ABIs out of compat_arches"
        where = policy.arches_origin.position
        raise InputError(Diagnostic(text, where, Problem.NOT_IN_OCI_PROFILE))


def _read_otherwise(content: bytes, file: str, program: Program, tables: Tables) -> str | None:
    """Return a call that a profile, read as any is, answers otherwise than the program."""
    reading = Reading("oci", runtime=Runtime.LIBSECCOMP)
    draft = translate(content, file, reading, tables)
    assert draft is not None
    policy, _ = resolve_policy(draft.document(), tables)
    code = Code(program.instructions, program.abi.byte_order)
    found = prove(meaning(policy, program.abi, tables), code)
    if not isinstance(found, Difference):
        return None
    return difference_text(found, ("profile", "program"), program.abi, tables)


def require_profile_proof(
    policy: ResolvedPolicy, profile: OciProfile, program: Program, tables: Tables
) -> None:
    """Raise AnswerNo if a profile says anything else than the program, which is proved itself."""
    code = Code(program.instructions, program.abi.byte_order)
    found = prove(_profile_meaning(profile, tables), code)
    if isinstance(found, Difference):
        text = difference_text(found, ("profile", "program"), program.abi, tables)
        raise AnswerNo(
            Diagnostic(
                f"seccompgen made a wrong OCI profile for {program.abi.name}, and does not write "
                f"it: {text}; please report this, with the policy",
                Position(policy.sources[-1][0]),
            )
        )


_RELATIONS = {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}


def _profile_meaning(profile: OciProfile, tables: Tables) -> Meaning:
    """Return what runtimes make of a profile, by the specification and seccomp_rule_add(3).

    Its rules do not overlap, so that here it does not matter which comes first.
    """
    abi, numbers = profile.abi, tables.tables[profile.abi.name].numbers
    origin = Origin("the OCI profile", Position(""))
    foreign = ActionKind.KILL_THREAD.value
    through = FieldTest(ARCH, "==", abi.audit_arch)
    cases = []
    if abi.name == "x86_64":
        x32 = FieldTest(NR, "!=", U32), FieldTest(NR, "!=", 0, X32_SYSCALL_BIT)
        cases.append(Case((through, *x32), foreign, origin))
    for rule in profile.rules:
        tests: list[FieldTest | OneOf] = [
            through,
            OneOf(NR, frozenset(numbers[n] for n in rule.names)),
        ]
        for match in rule.matches:
            if match.op == "MASKED_EQ":
                tests.append(FieldTest(ARGS + match.index, "==", match.value_two, match.value))
            else:
                tests.append(FieldTest(ARGS + match.index, _RELATIONS[match.op], match.value))
        cases.append(Case(tuple(tests), rule.ret, origin))
    cases += [Case((through,), profile.default, origin), Case((), foreign, origin)]
    return Meaning(abi, tuple(cases))
