"""The check that a file is JSON, because the YAML parser accepts more."""

from __future__ import annotations

import json
import re

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem

_TRAILING = re.compile(r'"(?:[^"\\]|\\.)*"|(,)\s*[\]}]')


def require_json(text: str, file: str) -> None:
    """Raise InputError if ``text`` is YAML but not JSON.

    ``text`` must have passed the YAML parser, which limits its nesting.
    """
    try:
        json.loads(text)
    except ValueError as error:
        comma = next((found.start(1) for found in _TRAILING.finditer(text) if found[1]), None)
        index = getattr(error, "pos", 0) if comma is None else comma
        what = f"no JSON, which this format is: {getattr(error, 'msg', error)}"
        if comma is not None:
            what = "JSON has no comma before a closing bracket: remove it"
        where = Position.after(file, text[:index])
        raise InputError(Diagnostic(what, where, Problem.MALFORMED_FILE)) from None
