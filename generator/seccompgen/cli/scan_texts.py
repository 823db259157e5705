"""The results of ``seccompgen scan`` for one program, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from seccompgen.cli.scan_reasons import reasons_json
from seccompgen.cli.scan_unknown import assumption, unknown_json
from seccompgen.io.console import say
from seccompgen.scan.result import Caller, Caveat

if TYPE_CHECKING:
    from seccompgen.scan import Scan

ORIGIN = {
    Caller.RESTART: "the kernel makes it to go on after a signal",
    Caller.SIGNAL_RETURN: ("the kernel's trampoline makes it to return from a signal handler"),
    Caller.VDSO: "the vDSO makes it where it cannot answer by itself",
}
CAVEAT = {
    Caveat.GO_WHOLE: (
        "all of a Go program counts as code that can run: its linker removes what cannot"
    ),
    Caveat.POINTERS: (
        "a function whose address is taken counts as called: who calls it is not followed"
    ),
    Caveat.LOADED: (
        "libraries that are loaded while it runs (dlopen, NSS, iconv) are not seen; name them "
        "with --library"
    ),
    Caveat.STARTED: "programs that it starts are not seen; scan them, too",
    Caveat.LOADER_MODES: (
        "what ld.so does only with --list-diagnostics or LD_PROFILE is left out: the program is "
        "started by its name, without that variable"
    ),
    Caveat.LOADER_TOKENS: (
        "what ld.so does only for libraries named by $ORIGIN, $LIB or $PLATFORM is left out: no "
        "file has these words, and LD_LIBRARY_PATH, LD_PRELOAD and /etc/ld.so.preload are taken "
        "to have none"
    ),
    Caveat.PRIORITY_CEILINGS: (
        "what only mutexes with a priority ceiling need is left out: no file names a function "
        "that makes such a mutex"
    ),
    Caveat.ANY_TIME: (
        "the function of --after may be called at any time, since its address, or that of a "
        "function that leads to it, is in data: so only what comes before main is left out"
    ),
}


def show(found: Scan, denied: set[str], *, sites: bool) -> None:
    """Print what was found, and with ``sites`` where each call is made."""
    if sites:
        for site in sorted(found.sites, key=lambda one: (one.name, one)):
            say(f"{site.name:24} {site.path}:{site.address:#x} {site.function}".rstrip())
        for one in found.implied:
            say(f"{one.name:24} {ORIGIN[one.origin]}")
    kind = f"{found.abi.name}{', Go' if found.is_go else ''}"
    lost = f", {len(found.unknown)} of unknown number" if found.unknown else ""
    say(
        f"{found.path} ({kind}): {len(found.names)} system calls, from {len(found.sites)} sites"
        f"{lost}, in {len(found.files)} file{'s' if len(found.files) > 1 else ''}"
    )
    if found.after:
        say(f"what can come once {found.after} is called, for a filter that it installs itself")
    if found.without:
        say(f"without what only these imports lead to: {', '.join(found.without)}")
    for assumed in found.assumed:
        say(f"assumed: {assumption(assumed)}")
    left_out = sorted(denied & set(found.names))
    if left_out:
        say(f"denied: {', '.join(left_out)}")
    for caveat in found.caveats:
        say(f"note: {CAVEAT[caveat]}", err=True)


def show_implied(found: Scan, wanted: set[str]) -> None:
    """Print why each call in ``wanted`` that no code makes is there."""
    for one in found.implied:
        if one.name in wanted - found.paths.keys():
            say(f"{one.name}: {ORIGIN[one.origin]}")


def scan_json(found: Scan) -> dict[str, object]:
    """Return ``found`` for JSON."""
    return {
        "path": found.path,
        "abi": found.abi.name,
        "go": found.is_go,
        "files": [{"path": path, "sha256": sha256} for path, sha256 in found.files],
        "syscalls": list(found.names),
        "sites": [asdict(site) for site in found.sites],
        "implied": [
            {"name": one.name, "kind": one.origin, "reason": ORIGIN[one.origin]}
            for one in found.implied
        ],
        **unknown_json(found),
        "after": found.after,
        "without": list(found.without),
        **reasons_json(found),
        "notes": [{"kind": one, "text": CAVEAT[one]} for one in found.caveats],
    }
