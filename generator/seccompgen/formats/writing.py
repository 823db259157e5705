"""Filters in other people's formats: a file for each ABI, proved by reading it back."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.model import ActionKind
from seccompgen.core.settings import FilterFlag
from seccompgen.formats.load import translate
from seccompgen.policy.resolve import resolve_policy
from seccompgen.render.call_names import difference_text
from seccompgen.verify import Code, Difference, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.abis import Abi
    from seccompgen.core.built import Built
    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables


def _never(policy: ResolvedPolicy, abi: Abi, text: str) -> None:
    """Return None: `Writer.render` already refused whatever the format cannot express."""
    del policy, abi, text


class Writer(NamedTuple):
    """A format that filters are written in; ``suffix`` ends the names of its files.

    ``fits`` returns True for ABIs that the format has files for. ``render`` returns the file of a
    policy for one ABI, or raises InputError with all that the format cannot express; its last
    argument is the release of systemd. ``reading`` returns how to read that file back. If the
    policy read back, after ``as_written``, differs from the program, ``refusal`` returns the error
    for what the format cannot express, or None for a bug of ours. ``report_only`` gets the policy
    that logs and the one that refuses, and returns the policy to write, and a note. With
    ``shared``, ABIs with equal content share a file. ``foreign`` is the format's answer to calls
    through other ABIs, ``flags`` are those that its users may have; if ``numbers_x32``, it answers
    x32's calls like numbers without a call. ``comment`` begins a line of comment, if it has any.
    """

    suffix: str
    fits: Callable[[Abi], bool]
    render: Callable[[ResolvedPolicy, Abi, Tables, int | None], bytes]
    reading: Callable[[Abi, int | None], Reading]
    report_only: Callable[[ResolvedPolicy, ResolvedPolicy], tuple[ResolvedPolicy, str]]
    refusal: Callable[[ResolvedPolicy, Abi, str], Diagnostic | None] = _never
    as_written: Callable[[ResolvedPolicy, ResolvedPolicy], ResolvedPolicy] = lambda read, _: read
    shared: bool = False
    foreign: ActionKind = ActionKind.KILL_THREAD
    flags: FilterFlag = ~FilterFlag(0)
    numbers_x32: bool = False
    comment: str = ""


def writer(name: str) -> Writer:
    """Return the writer of a format, one of `WRITABLE`."""
    found: Writer = import_module(f"seccompgen.formats.{name}.writer").WRITER
    return found


def write_files(name: str, one: Built, tables: Tables, release: int | None) -> dict[str, bytes]:
    """Return the files of a policy in a format, by their names.

    Raises one InputError with all that the format cannot express.
    """
    how = writer(name)
    fit = [program for program in one.programs if how.fits(program.abi)]
    if not fit:
        text = f"{name} has files for none of {', '.join(p.abi.name for p in one.programs)}, but "
        text += f"for {', '.join(abi.name for abi in ABIS.values() if how.fits(abi))}"
        raise InputError(Diagnostic(text, one.policy.arches_origin.position))
    contents: dict[str, bytes] = {}
    problems: dict[Diagnostic, None] = {}
    for program in fit:
        try:
            content = how.render(one.policy, program.abi, tables, release)
            require_read_back(name, content, one.policy, program, tables, release)
        except InputError as error:
            problems |= dict.fromkeys(error.diagnostics)
        else:
            more = "".join(f"{line}\n" for line in one.unit_lines)
            head = "".join(f"{how.comment} {loss}\n" for loss in one.losses if how.comment)
            contents[f".{program.abi.name}"] = head.encode() + content + more.encode()
    if problems:
        raise InputError(*problems)
    if how.shared and len({*contents.values()}) == 1:
        contents = {"": next(iter(contents.values()))}
    return {f"{one.policy.name}{abi}.{how.suffix}": found for abi, found in contents.items()}


def require_read_back(
    name: str,
    content: bytes,
    policy: ResolvedPolicy,
    program: Program,
    tables: Tables,
    release: int | None = None,
) -> None:
    """Raise AnswerNo if ``content``, read back in its format, answers differently from the program.

    Raises InputError if the format cannot express the policy, or if the file exceeds the limits of
    a policy file, such as the length of a line.
    """
    how, abi, source = writer(name), program.abi, Position(policy.file)
    unread = False
    try:
        text = _difference(how, content, policy, program, tables, release)
    except InputError as error:
        text, unread = error.diagnostics[0].message, True
    if text is None:
        return
    if refusal := how.refusal(policy, abi, text):
        raise InputError(refusal)
    if unread:
        text = f"the {name} file for {abi.name} cannot be read back, so it is not written: {text}"
        raise InputError(Diagnostic(text, source))
    text = f"seccompgen made a wrong {name} file for {abi.name}, and does not write it: {text}; "
    raise AnswerNo(Diagnostic(f"{text}please report this, with the policy", source))


def _difference(
    how: Writer,
    content: bytes,
    policy: ResolvedPolicy,
    program: Program,
    tables: Tables,
    release: int | None,
) -> str | None:
    """Describe a call that the file and the program answer differently; None if there is none."""
    draft = translate(content, policy.name, how.reading(program.abi, release), tables)
    assert draft is not None
    again = how.as_written(resolve_policy(draft.document(), tables)[0], policy)
    code = Code(program.instructions, program.abi.byte_order)
    found = prove(meaning(again, program.abi, tables), code)
    if not isinstance(found, Difference):
        return None
    return difference_text(found, ("file", "program"), program.abi, tables)
