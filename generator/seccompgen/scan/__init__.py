"""Find the calls that a program can make, from its code, without running it.

``libraries`` finds the files that a program is loaded with, each a ``binary``; ``elf`` reads these
as an ``image`` (``symbol_tables``, ``relocations``, ``fixed_words`` where there are none,
``frames``, and ``pclntab`` for Go's names).
``code`` divides an image into functions and decodes them, one by one: ``ways`` lists how an
instruction leads to code, ``jumps`` finds the targets of computed jumps (``paths`` are the ways
through a function, ``index_bounds`` the bounds of numbers), ``endless`` functions that never
return, ``lookups`` the names that dlsym() gets. ``analysis`` collects the
facts of all functions, and ``kept`` caches them. ``graph`` finds the code that can run, ``values``
the numbers with which it enters the kernel (``idioms`` those that pass through memory). Whatever is
not understood is reported as ``unknown``; ``unknown_functions`` describes the functions, with
``source_lines``, and takes what the user assumes. ``reasons`` says why a call is there.
``processor`` is the interface to processors; ``x86`` and ``arm64`` implement it, with
``jump_tables``, ``vectors`` for instructions newer than the disassembler, and ``stack_escape`` for
addresses that leave a function.

A container image is a directory or an archive (``saved_image``, ``layers``); ``image_programs``
finds what it starts, and ``inside`` its files. ``packages`` scans the programs of Debian packages
into a ``call_table``, perhaps by a ``cluster`` of machines.
"""

from seccompgen.scan.kept import Kept
from seccompgen.scan.result import ImpliedCall, Scan, Site, Unknown
from seccompgen.scan.scanner import Questions, ScanOptions, imports_of, scan

__all__ = [
    "ImpliedCall",
    "Kept",
    "Questions",
    "Scan",
    "ScanOptions",
    "Site",
    "Unknown",
    "imports_of",
    "scan",
]
