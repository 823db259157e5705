"""What a program can call, from its code, without running it.

``elf`` reads files as an ``image`` (``pclntab`` the names of Go), ``libraries`` finds what a
program is loaded with, ``graph`` the code that can run (``ways`` how one instruction leads to it),
``values`` the numbers it enters the kernel with (``idioms`` those that pass through memory).
``machine`` says what these ask of a processor; ``x86`` and ``arm64`` answer, with ``tables`` for
jump tables and ``usage`` for what becomes of addresses.
"""

from seccompgen.scan.found import Implied, Scan, Site, Unknown
from seccompgen.scan.scanner import scan

__all__ = ["Implied", "Scan", "Site", "Unknown", "scan"]
