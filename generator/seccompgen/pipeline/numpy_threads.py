"""Have numpy start no threads in a process of our own: nobody needs them, and they take time."""

from __future__ import annotations

import os
import sys

_COUNT = "OPENBLAS_NUM_THREADS"


def forgo_threads() -> None:
    """Have numpy start no threads in this process when the compiler, which needs it, is imported.

    OpenBLAS, which numpy loads, starts one for each further CPU, and they wait for work in a loop:
    0.05 s of CPU. The compiler has none for them. A program that uses seccompgen as a library may
    have some, so this is for processes that are ours alone: commands, and workers.
    """
    if _COUNT not in os.environ:
        sys.meta_path.insert(0, _BeforeCompiler)


class _BeforeCompiler:
    """An importer that finds nothing: where it is asked for the compiler, it imports numpy."""

    @classmethod
    def find_spec(cls, name: str, *_: object) -> None:
        """Import numpy with the variable set, which OpenBLAS reads once, and no child inherits."""
        if name == "seccompgen.compile":
            sys.meta_path.remove(cls)
            os.environ[_COUNT] = "1"
            try:
                import numpy  # noqa: F401, PLC0415 - what this is about
            finally:
                del os.environ[_COUNT]
