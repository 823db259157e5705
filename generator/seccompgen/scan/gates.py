"""Code of glibc that a program cannot make run by the way it uses glibc.

Each gate is a fact read in glibc's source, for the releases that it names, on the assumption that a
distribution's patches leave it true. It is used only if the file has the shape that goes with it.
What a gate assumes about the program's surroundings is a caveat of the result.

`LOADER_MODES`: ld.so calls uname(), getcpu() and sched_setaffinity() only for --list-diagnostics
(elf/dl-diagnostics.c), and setitimer() only to profile a library (elf/dl-profile.c). The first
needs ld.so to be started as a program, the second LD_PROFILE. On aarch64, ld.so 2.40 and newer also
calls uname() to tell one defect of Linux (cpu-features.c).

`LOADER_TOKENS`: ld.so asks the kernel for the program's directory (elf/dl-origin.c) only where it
replaces $ORIGIN, $LIB or $PLATFORM in the name or search path of a library (elf/dl-dst.h). Such a
text is in a file that it loads, or that hands it to dlopen(), or it comes from outside: from
LD_LIBRARY_PATH, LD_PRELOAD, LD_AUDIT or /etc/ld.so.preload. The same call in 2.42, for the path of
a program that ld.so is told to start (_dl_canonicalize), is of its other mode.

`PRIORITY_CEILINGS`: three functions (nptl/tpp.c) change a thread's priority. They run for mutexes
with the protocol PTHREAD_PRIO_PROTECT alone, and in the four functions that set or get a priority
ceiling. An attribute has no such protocol at first, pthread_mutexattr_setprotocol() sets it, and no
static initialiser of <pthread.h> does. So they cannot run if no file names one of these functions:
as an import, or as text for dlsym(). They have no names themselves in a stripped libc. They are the
functions that are not exported and call two or more of the exported functions about scheduling
that they need; if there are not just these three, with these callees, the gate is not used.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.scan.result import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.scan.analysis import KnownAnalysis
    from seccompgen.scan.image import Image

_RELEASE = re.compile(
    rb"(GNU C Library|ld\.so) \([^()\n]{1,80}\) stable release version 2\.([0-9]{1,3})\.\n"
)
_LOADER_RELEASES = range(36, 43)
_CEILING_RELEASES = range(34, 43)
"""The second numbers of the releases whose source was read; in 2.34, libpthread became libc's."""
_OF_LOADER_MODES = frozenset({"uname", "getcpu", "sched_setaffinity", "setitimer"})
_OF_LOADER_TOKENS = frozenset({"readlink", "readlinkat"})
_TOKENS = tuple(
    f"${before}{name}".encode() for name in ("ORIGIN", "LIB", "PLATFORM") for before in ("", "{")
)
_CEILINGS = (
    *("pthread_mutexattr_setprotocol", "pthread_mutexattr_setprioceiling"),
    *("pthread_mutexattr_getprioceiling", "pthread_mutex_setprioceiling"),
)
_LIMITS = frozenset({"sched_get_priority_max", "sched_get_priority_min"})
_CURRENT = frozenset({"sched_getparam", "sched_getscheduler"})
_CHANGE = _CURRENT | {"sched_setscheduler"}
_SHAPES = (
    {_LIMITS, _CURRENT, _CHANGE | _LIMITS},
    {_LIMITS, _CURRENT, _CHANGE},
)
"""The callees of the three functions; the third may contain the first, inlined."""


def _release(image: Image, title: bytes) -> int:
    """Return the second number of the release of glibc's file ``title``; 0 for any other file."""
    for segment in image.segments:
        for match in _RELEASE.finditer(segment.data):
            if match[1] == title:
                return int(match[2])
    return 0


def is_known_loader(images: Sequence[Image]) -> bool:
    """Return True if the interpreter ``images[1]`` is an ld.so of a release that was read."""
    return bool(images[0].interpreter) and _release(images[1], b"ld.so") in _LOADER_RELEASES


def calls_of_loader(images: Sequence[Image]) -> dict[str, Caveat]:
    """Return the calls that the interpreter ``images[1]`` cannot make, each with its gate."""
    abi = images[0].abi.name
    if not is_known_loader(images) or abi not in {"x86_64", "aarch64"}:
        return {}
    found = dict.fromkeys(_OF_LOADER_MODES, Caveat.LOADER_MODES)
    if abi == "aarch64":
        del found["uname"]
    others = [image for image in images if image is not images[1]]
    if not any(image.mentions(token) for image in others for token in _TOKENS):
        found |= dict.fromkeys(_OF_LOADER_TOKENS, Caveat.LOADER_TOKENS)
    return found


def closed_functions(
    images: Sequence[Image], known: Sequence[KnownAnalysis], loaded: frozenset[int]
) -> Iterator[tuple[int, int, Caveat]]:
    """Yield image, start and gate of each function that cannot run.

    All exports of the images ``loaded`` can run.
    """
    names = [name.encode() for name in _CEILINGS]
    for i, (image, analysis) in enumerate(zip(images, known, strict=True)):
        others = [one for one in images if one is not image]
        if (
            i not in loaded
            and all(name in image.exports for name in _CEILINGS)
            and _release(image, b"GNU C Library") in _CEILING_RELEASES
            and not any(one.mentions(name) for one in others for name in names)
        ):
            for start in _ceiling_functions(image, analysis):
                yield i, start, Caveat.PRIORITY_CEILINGS


def _ceiling_functions(image: Image, known: KnownAnalysis) -> list[int]:
    """Return the starts of the three functions; none if the file has another shape."""
    name = {address: one for one in _CHANGE | _LIMITS for address in image.exports.get(one, ())}
    exported = {address for found in image.exports.values() for address in found}
    callees = {
        facts.start: frozenset(name[address] for address in facts.goes if address in name)
        for facts in known.analysis.functions
        if facts.start not in exported
    }
    found = [start for start, called in callees.items() if len(called) > 1]
    is_known = {callees[start] for start in found} in _SHAPES
    return found if is_known and len(found) == len(_SHAPES[0]) else []
