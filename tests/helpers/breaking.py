"""Functions broken on purpose, to see that what should notice does."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest


class Edit(NamedTuple):
    """``old``, which stands once in the source of ``function``, becomes ``new``."""

    function: Callable[..., Any]
    old: str
    new: str


def break_functions(edits: Iterable[Edit], patch: pytest.MonkeyPatch) -> None:
    """Change functions as ``edits`` say, for whoever has imported them already, too."""
    sources: dict[Callable[..., Any], str] = {}
    for function, old, new in edits:
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        assert source.count(old) == 1, f"{function.__qualname__} no longer has {old!r}"
        sources[function] = source.replace(old, new)
    flags = __future__.annotations.compiler_flag
    for function, source in sources.items():
        made: dict[str, Any] = {}
        exec(compile(source, "<fault>", "exec", flags), function.__globals__, made)
        patch.setattr(function, "__code__", made[function.__name__].__code__)
