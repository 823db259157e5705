"""The results of ``seccompgen scan`` for one program, as text, as JSON and as errors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.cli.scan_reasons import place, reasons_json
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.io.console import say
from seccompgen.scan.result import Caller, Caveat
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from seccompgen.scan import Scan, Unknown

WHY = {
    Why.MEMORY: "it is loaded from memory",
    Why.NARROW: "it is loaded from memory, as less than a word",
    Why.COMPUTED: "it is computed",
    Why.DECODED: "it is computed by an exclusive or, or a rotation",
    Why.PART: "a part of it is set alone",
    Why.RETURNED: "it is what a call returned",
    Why.CHANGED: "a call may have changed it",
    Why.STORED: "it may have been changed on the stack",
    Why.NO_STACK: "the stack pointer is computed",
    Why.NOBODY: "it is on the stack of nobody",
    Why.POINTER: "it is handed to a function that is called by a pointer",
    Why.NO_CALLER: "it is handed to a function without known callers",
    Why.NO_WAY_HERE: "it is not known how control gets there",
    Why.NO_CODE: "the code around it is not understood",
    Why.TOO_MUCH: "too many ways lead here",
    Why.NO_CALL: "the kernel has no call of that number",
    Why.FOREIGN: "it enters the kernel by another ABI, which the policy does not allow",
    Why.NO_WAY: "it is not understood where this leads",
    Why.SUM: "where it goes is computed, and not from a jump table that is understood",
    Why.NO_FILE: "no file that is read has the function",
    Why.NO_INSTRUCTION: "control runs into bytes that are no instruction known here",
    Why.RELOCATION: "its relocation is of a type that is not understood",
    Why.FRAMES: "what catches exceptions is written in a form that is not understood",
    Why.WRITABLE: "this code can be written, so that it may be other code when it runs",
}
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
    Caveat.PRIORITY_CEILINGS: (
        "what only mutexes with a priority ceiling need is left out: no file names a function "
        "that makes such a mutex"
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
        say(f"what can come after {found.after} has begun, for a filter that it installs itself")
    if found.without:
        say(f"without what only these imports lead to: {', '.join(found.without)}")
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


def reason(unknown: Unknown) -> str:
    """Return why something is unknown."""
    more = [unknown.detail] if unknown.detail else []
    lost = unknown.lost
    if (lost.path, lost.address) != (unknown.path, unknown.address):
        elsewhere = f" of {Path(lost.path).name}" if lost.path != unknown.path else ""
        more.append(f"at {place(lost)}{elsewhere}")
    return WHY[unknown.why] + (f" ({', '.join(more)})" if more else "")


def diagnostic(unknown: Unknown) -> Diagnostic:
    """Return the error about something unknown."""
    what = "what can run from" if unknown.why.leads_on else "the number of the system call at"
    return Diagnostic(
        f"{what} {place(unknown)} is unknown: {reason(unknown)}", Position(unknown.path)
    )


def advice(output: Path | None) -> str:
    """Return what to do about it."""
    wrote = "nothing is written: " if output else ""
    return f"{wrote}see what these call, allow that with --allow, and then say --accept-unknown"


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
        "unknown": [
            {
                "path": one.path,
                "address": one.address,
                "function": one.function,
                "kind": one.why,
                "reason": reason(one),
                "leads_on": one.why.leads_on,
            }
            for one in found.unknown
        ],
        "after": found.after,
        "without": list(found.without),
        **reasons_json(found),
        "notes": [{"kind": one, "text": CAVEAT[one]} for one in found.caveats],
    }
