"""Load policies in any format; a file that shows no other format is in ours."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import OURS, PLAIN_READING, Reading
from seccompgen.core.problems import Problem
from seccompgen.formats import FORMATS, READABLE
from seccompgen.formats.detect import detect, shows_ours
from seccompgen.io.reading import decode_text, read_file
from seccompgen.policy.document import LARGER, MAX_POLICY, Document
from seccompgen.policy.layers import Layer, PolicyFiles, own_layer
from seccompgen.policy.resolve import resolve_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft
    from seccompgen.policy.document import Source


def names_no_abi(source: Source, reading: Reading) -> bool:
    """Return True if ``source`` is a foreign policy that does not name its ABIs."""
    if isinstance(source, Document):
        return False
    try:
        content = read_file(source, MAX_POLICY)
    except OSError:
        return False  # such as a pipe, which cannot be read again
    found = reading.format or detect(content)
    return found != OURS and not re.search(FORMATS[found].names_abis.encode(), content)


def filter_names(content: bytes, file: str, reading: Reading) -> tuple[str, ...]:
    """Return the names of the filters in a file; none for a format whose files have one filter.

    Raises InputError if the file cannot be read at all.
    """
    found = reading.format or detect(content)
    if found == OURS or not FORMATS[found].several or len(content) > MAX_POLICY:
        return ()
    names: tuple[str, ...] = _reader(found).filter_names(decode_text(content, file), file)
    return names


def translate(content: bytes, file: str, reading: Reading, tables: Tables) -> Draft | None:
    """Return the translation of the foreign policy ``content``; None if it is in our language.

    ``file`` is its name in messages; included files are searched next to it. Raises InputError with
    every error of the file, and every construct that our language cannot express.
    """
    found = reading.format or detect(content)
    if found == OURS:
        return None
    if len(content) > MAX_POLICY:
        raise InputError(Diagnostic(LARGER, Position(file), Problem.TOO_LARGE))
    draft: Draft = _reader(found).read(decode_text(content, file), file, reading, tables)
    if reading.losses:
        from seccompgen.formats.losses import lose  # noqa: PLC0415 - few accept any

        return lose(draft, reading.losses)
    return draft


def _reader(name: str) -> Any:
    return import_module(f"seccompgen.formats.{name}.reader")


def load_policy(
    source: Source,
    tables: Tables,
    reading: Reading = PLAIN_READING,
    instead: Mapping[str, bytes] | None = None,
) -> tuple[ResolvedPolicy, tuple[Diagnostic, ...]]:
    """Return the policy of ``source``, in any format, and notes, which are not errors.

    ``reading`` applies to files in other tools' formats; ``instead`` maps names of files to
    contents to use in place of theirs. Raises InputError with every error.
    """
    return resolve_policy(source, tables, policy_files(tables, reading, instead))


def load_policy_for(
    source: Source, abis: Sequence[Abi], tables: Tables, reading: Reading = PLAIN_READING
) -> tuple[ResolvedPolicy, tuple[Diagnostic, ...]]:
    """Return a policy like `load_policy`, for a caller that needs its programs for ``abis`` alone.

    A foreign file that names no ABI is read for these, unless the format's default ABIs include
    them.
    """
    chosen = replace(reading, abis=tuple(abi.name for abi in abis))
    try:
        found = load_policy(source, tables, reading)
        if all(abi in found[0].arches for abi in abis):
            return found
    except InputError:
        if not abis or reading.abis or not names_no_abi(source, reading):
            raise
    else:
        served = any(abi in found[0].compat_arches for abi in abis)
        if reading.abis or served or not names_no_abi(source, reading):
            return found
    return load_policy(source, tables, chosen)


def policy_files(
    tables: Tables, reading: Reading = PLAIN_READING, instead: Mapping[str, bytes] | None = None
) -> PolicyFiles:
    """Return the reader for the files of a policy, which may be in any format."""
    return PolicyFiles(
        lambda content, file: _layer(content, file, reading, tables), reading.outside, instead or {}
    )


def _layer(content: bytes, file: str, reading: Reading, tables: Tables) -> Layer:
    """Return a file in any format as a layer. Raises InputError with every error."""
    draft = translate(content, file, reading, tables)
    if draft is None:
        return _own_layer(content, file, reading)
    return Layer.of(draft.document(), content)._replace(
        related=tuple(draft.sources), reading=reading, notes=tuple(draft.notes)
    )


def _own_layer(content: bytes, file: str, reading: Reading) -> Layer:
    try:
        return own_layer(content, file)
    except InputError as error:
        bounds = {one.kind for one in error.diagnostics} == {Problem.TOO_LARGE}
        if bounds or reading.format or not content.strip():
            raise
        from seccompgen.formats.unread import unread  # noqa: PLC0415 - few need it

        if other := unread(content):
            raise InputError(Diagnostic(other, Position(file), Problem.MALFORMED_FILE)) from None
        if shows_ours(content):
            raise
        raise InputError(
            *error.diagnostics, _no_format(file), kind=Problem.MALFORMED_FILE
        ) from None


def _no_format(file: str) -> Diagnostic:
    """Return the error for a file whose format is not recognised."""
    names = ", ".join((OURS, *READABLE))
    text = f"nothing here shows a format of policies; if it is one of {names}, say so with --from"
    return Diagnostic(text, Position(file), Problem.MALFORMED_FILE)
