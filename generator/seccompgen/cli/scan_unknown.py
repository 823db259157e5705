"""Unknown locations in a result of ``seccompgen scan``: with what helps a person to judge them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.cli.scan_reasons import LEAD, place
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.io.console import say
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.tables import Table
    from seccompgen.scan import Scan, Unknown
    from seccompgen.scan.result import Assumption, PathStep, UnknownFunction

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
_OF_NUMBERS = (
    "CALLS are the calls that the function makes there as you use the program, or none. A "
    "function for any call, such as an interpreter's syscall(), makes what your scripts ask for"
)
_OF_JUMPS = (
    "CALLS is none if the jump stays in its function, as those of a switch do, or leads to "
    "functions of the same file: all that is in the function counts already"
)
_OF_FILES = "CALLS are those of code that is not seen; none, if there is none"
HINT = {
    Why.SUM: _OF_JUMPS,
    Why.NO_WAY: _OF_JUMPS,
    Why.NO_FILE: "name the file that has the function with --library; or CALLS are what it makes",
    Why.NO_INSTRUCTION: (
        "CALLS is none if the bytes are an instruction newer than the disassembler, or no code: "
        "try a newer capstone"
    ),
    Why.RELOCATION: _OF_FILES,
    Why.FRAMES: _OF_FILES,
    Why.WRITABLE: _OF_FILES,
}
"""The lines to write, by reason; for all others `_OF_NUMBERS`."""
_SHOWN = 10
"""The most functions that are shown."""
_FIRST_STEPS, _LAST_STEPS = 3, 4
"""The steps of a long way that are shown."""
_HASH_DIGITS = 16


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


def show_unknown(found: Scan, table: Table) -> None:
    """Print the functions with unknown locations, and what to write about each."""
    missing = len(set(table.numbers.values())) - len({table.numbers[one] for one in found.names})
    for one in found.unclear[:_SHOWN]:
        say(diagnostic(one.places[0]), err=True)
        details = _details(one, missing)
        for name, text in details:
            say(f"  {name:9} {text}", err=True)
    others = found.unclear[_SHOWN:]
    if others:
        places = sum(len(one.places) for one in others)
        say(
            f"{found.path}: {len(others)} more functions, with {places} unknown locations; "
            "--json lists all, each with its line for --assume",
            err=True,
        )
    reasons = {one.why for function in found.unclear for one in function.places}
    for hint in dict.fromkeys(HINT.get(why, _OF_NUMBERS) for why in sorted(reasons)):
        say(f"hint: {hint}", err=True)


def _details(one: UnknownFunction, missing: int) -> list[tuple[str, str]]:
    first, name = one.places[0], one.spot.function
    where = place(one.spot)
    if not name and one.nearest:
        where += f", which has no name; the last one is {one.nearest}, {one.offset:#x} before"
    if len(one.places) > 1:
        where += f", with {len(one.places)} unknown locations or reasons"
    could = "run any code" if first.why.leads_on else f"make {missing} more calls"
    found = [
        ("function", where),
        ("calls", f"{one.called}()" if one.called else ""),
        ("source", one.source),
        ("way", _way(one.path)),
        ("it could", f"{could}, for all that is known"),
        ("to go on", f"--assume '{assumable(one)}=CALLS'"),
    ]
    return [(name, text) for name, text in found if text]


def _way(path: Sequence[PathStep]) -> str:
    """Return the names on a way, without the middle of a long one."""
    names: list[str] = []
    file = ""
    for step in path:
        name = step.name or step.spot.function or f"{step.spot.address:#x}"
        is_new = step.spot.path != file
        names.append(f"{Path(step.spot.path).name} {name}" if is_new else name)
        file = step.spot.path
    if len(names) > _FIRST_STEPS + _LAST_STEPS:
        left_out = len(names) - _FIRST_STEPS - _LAST_STEPS
        names[_FIRST_STEPS:-_LAST_STEPS] = [f"({left_out} more)"]
    return f"{LEAD[path[0].lead]}: {' > '.join(names)}" if path else ""


def assumable(one: UnknownFunction) -> str:
    """Return the name by which --assume knows the function."""
    file = Path(one.spot.path).name
    return f"{file}@{one.sha256[:_HASH_DIGITS]}+{one.spot.address:#x}"


def assumption(one: Assumption) -> str:
    """Return an assumption as --assume takes it."""
    return f"{one.file}@{one.sha256}+{one.address:#x}={','.join(one.calls) or 'none'}"


def unknown_json(found: Scan) -> dict[str, object]:
    """Return all unknown locations for JSON, and the functions that contain them."""
    return {
        "unknown": [_location_json(one) for one in found.unknown],
        "unclear": [
            {
                **one.spot._asdict(),
                "nearest": one.nearest,
                "offset": one.offset,
                "calls": one.called,
                "source": one.source,
                "way": [{**step.spot._asdict(), "kind": step.lead} for step in one.path],
                "places": len(one.places),
                "assume": assumable(one),
            }
            for one in found.unclear
        ],
        "assumed": list(map(assumption, found.assumed)),
    }


def _location_json(one: Unknown) -> dict[str, object]:
    return {
        "path": one.path,
        "address": one.address,
        "function": one.function,
        "kind": one.why,
        "reason": reason(one),
        "leads_on": one.why.leads_on,
    }


def advice(output: Path | None, unknown: Iterable[Unknown]) -> str:
    """Return what to do about unknown locations."""
    wrote = "nothing is written: " if output else ""
    count = len({(one.path, one.address) for one in unknown})
    what = "the location" if count == 1 else f"the {count} locations"
    return (
        f"{wrote}say with --assume what {what} above can call; or allow that with --allow, and say "
        "--accept-unknown"
    )
