"""Other people's policies, read as documents in our language whose places are those of their files.

``detect`` tells formats apart. A module a format translates a text into a `Draft`, which
is checked and resolved like any policy: there is no second meaning. What our language cannot say
is an error at its place, never dropped.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import PLAIN_READING, Format, Reading
from seccompgen.core.problems import Problem
from seccompgen.io.reading import decode_text, read_file
from seccompgen.policy.document import MAX_POLICY, Document
from seccompgen.policy.formats.detect import detect

if TYPE_CHECKING:
    from seccompgen.core.tables import Tables
    from seccompgen.policy.document import Source
    from seccompgen.policy.formats.draft import Draft

__all__ = ["PLAIN_READING", "Format", "Reading", "filter_names", "names_no_abi", "translate"]

_MODULES: dict[Format, str] = {
    Format.KAFEL: "kafel",
    Format.PFC: "pfc",
    Format.STRACE: "strace",
    Format.AUDIT: "audit",
    Format.OCI: "oci_reader",
    Format.MINIJAIL: "minijail",
    Format.SECCOMPILER: "seccompiler",
    Format.SYSTEMD: "systemd",
    Format.ANDROID: "android",
}
"""The module that reads a format, by its name in this folder; it has ``read``."""


_WITH_SEVERAL = frozenset({Format.SECCOMPILER, Format.ANDROID, Format.OCI})
"""The formats of which a file may have several filters; their modules have ``filter_names``."""


_NAMING_ABIS: dict[Format, re.Pattern[bytes] | None] = {
    Format.MINIJAIL: None,
    Format.SECCOMPILER: None,
    Format.KAFEL: None,
    Format.STRACE: None,
    # Runtimes filter the machine's own ABI, whatever a profile lists: libseccomp adds it.
    Format.OCI: None,
    Format.SYSTEMD: re.compile(rb"SystemCallArchitectures"),
}
"""The formats whose files may leave their ABIs open, each with the setting that closes them."""


def names_no_abi(source: Source, reading: Reading) -> bool:
    """Return True if a foreign policy does not say its ABIs."""
    if isinstance(source, Document):
        return False
    try:
        content = read_file(source, MAX_POLICY)
    except OSError:
        return False  # such as a pipe, which cannot be read again
    found = reading.format or detect(content, str(source))
    sign = _NAMING_ABIS.get(found)
    return found in _NAMING_ABIS and (sign is None or not sign.search(content))


def filter_names(content: bytes, file: str, reading: Reading) -> tuple[str, ...]:
    """Return the names of the filters in a file, none for formats of which each is one filter.

    Raises InputError where it cannot be read at all.
    """
    found = reading.format or detect(content, file)
    if found not in _WITH_SEVERAL or len(content) > MAX_POLICY:
        return ()
    module = import_module(f"seccompgen.policy.formats.{_MODULES[found]}")
    names: tuple[str, ...] = module.filter_names(decode_text(content, file), file)
    return names


def translate(content: bytes, file: str, reading: Reading, tables: Tables) -> Draft | None:
    """Return the foreign policy that ``content`` is, in our language; None if it is ours.

    ``file`` names it in messages, and what it includes is looked for beside it. Raises InputError
    with every error of the file, and with what our language cannot say.
    """
    found = reading.format or detect(content, file)
    if found is Format.SECCOMPGEN:
        return None
    if len(content) > MAX_POLICY:
        text = "larger than 1 MiB, which no policy is"
        raise InputError(Diagnostic(text, Position(file), Problem.TOO_LARGE))
    module = import_module(f"seccompgen.policy.formats.{_MODULES[found]}")
    draft: Draft = module.read(decode_text(content, file), file, reading, tables)
    return draft
