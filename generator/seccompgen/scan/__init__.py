"""Find the calls that a program can make, from its code, without running it.

``libraries`` finds what a program is loaded with, each a ``binary``; ``elf`` reads these as an
``image`` (``symbol_tables``, ``relocations``, ``frames``, and ``pclntab`` for the names of Go).
``code`` divides it into functions and reads these, one by one: ``ways`` says how an instruction
leads to code, ``jumps`` where computed ones go. ``analysis`` has the facts of all functions, which
``kept`` keeps. ``graph`` finds the code that can run, ``values`` the numbers it enters the kernel
with (``idioms`` those that pass through memory). What is not understood is ``unknown``.
``processor`` has the questions of these to a processor; ``x86`` and ``arm64`` answer, with
``jump_tables``, ``vectors`` for instructions too new, and ``stack_escape`` for addresses that leave
a function.
"""

from seccompgen.scan.kept import Kept
from seccompgen.scan.result import ImpliedCall, Scan, Site, Unknown
from seccompgen.scan.scanner import ScanOptions, scan

__all__ = ["ImpliedCall", "Kept", "Scan", "ScanOptions", "Site", "Unknown", "scan"]
