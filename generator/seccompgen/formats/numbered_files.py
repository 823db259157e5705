"""Files of minijail's and seccompiler's, each proved by reading back what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading
from seccompgen.formats import translate
from seccompgen.formats.minijail.text import render_minijail
from seccompgen.formats.minijail.writer import minijail_policy
from seccompgen.formats.numbered import NUMBERED_ABIS
from seccompgen.formats.seccompiler.text import render_seccompiler
from seccompgen.formats.seccompiler.writer import seccompiler_filter
from seccompgen.policy import resolve_policy
from seccompgen.render.call import difference_text
from seccompgen.verify import Code, Difference, meaning, prove

if TYPE_CHECKING:
    from seccompgen.core.built import Built
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables

_SUFFIXES = {"minijail": "policy", "seccompiler": "json"}


def numbered_files(one: Built, tables: Tables, form: str) -> dict[str, bytes]:
    """Return the files of a policy in ``form``, ``minijail`` or ``seccompiler``, by their names.

    Raises one InputError with all that the form cannot say.
    """
    fit = [program for program in one.programs if program.abi.name in NUMBERED_ABIS]
    if not fit:
        abis = ", ".join(program.abi.name for program in one.programs)
        text = f"{form} can be exact for no ABI of these: {abis}; name one of "
        text += ", ".join(NUMBERED_ABIS)
        raise InputError(Diagnostic(text, one.policy.arches_origin.position))
    files: dict[str, bytes] = {}
    problems: dict[Diagnostic, None] = {}
    for program in fit:
        try:
            content = _content(one.policy, program, tables, form)
            require_read_back(one.policy, content, program, tables, form)
        except InputError as error:
            problems |= dict.fromkeys(error.diagnostics)
        else:
            files[f"{one.policy.name}.{program.abi.name}.{_SUFFIXES[form]}"] = content
    if problems:
        raise InputError(*problems)
    return files


def _content(policy: ResolvedPolicy, program: Program, tables: Tables, form: str) -> bytes:
    if form == "minijail":
        return render_minijail(minijail_policy(policy, program.abi, tables))
    return render_seccompiler(seccompiler_filter(policy, program.abi, tables))


def require_read_back(
    policy: ResolvedPolicy, content: bytes, program: Program, tables: Tables, form: str
) -> None:
    """Raise AnswerNo if ``content``, read as its format is, answers otherwise than the program.

    Raises InputError where it cannot be read, which is so for what nobody could: lines of thousands
    of letters, or more of them than a policy has.
    """
    abi, source = program.abi, Position(policy.sources[-1][0])
    try:
        draft = translate(content, policy.name, Reading(form, abis=(abi.name,)), tables)
        assert draft
        again, _ = resolve_policy(draft.document(), tables)
    except InputError as error:
        text = f"the file of {form} for {abi.name} would be more than is read back, so it is not "
        text += f"written: {error.diagnostics[0].message}"
        raise InputError(Diagnostic(text, source)) from None
    code = Code(program.instructions, abi.byte_order)
    found = prove(meaning(again, abi, tables), code)
    if isinstance(found, Difference):
        text = difference_text(found, (form, "program"), abi, tables)
        raise AnswerNo(
            Diagnostic(
                f"seccompgen made a wrong file of {form} for {abi.name}, and does not write it: "
                f"{text}; please report this, with the policy",
                source,
            )
        )
