"""Keep numpy from starting threads in our own processes: they are not needed and take time."""

from __future__ import annotations

import os
import sys

_COUNT = "OPENBLAS_NUM_THREADS"


def forgo_threads() -> None:
    """Keep numpy from starting threads when this process imports the compiler, which needs numpy.

    OpenBLAS, which numpy loads, starts a thread for each further CPU, and these wait for work in a
    loop: 0.05 s of CPU. The compiler does not use them. A program that uses seccompgen as a library
    may, so this is only for processes of our own: commands and workers.
    """
    if _COUNT not in os.environ:
        sys.meta_path.insert(0, _BeforeCompiler)


class _BeforeCompiler:
    """An importer that finds nothing, but imports numpy when it is asked for the compiler."""

    @classmethod
    def find_spec(cls, name: str, *_: object) -> None:
        """Import numpy with the variable set: OpenBLAS reads it once, and no child inherits it."""
        if name == "seccompgen.compile":
            sys.meta_path.remove(cls)
            os.environ[_COUNT] = "1"
            try:
                import numpy  # noqa: F401, PLC0415 - what this is about
            finally:
                del os.environ[_COUNT]
