"""Answers of ``seccompgen scan`` about why a call is there: ``--why`` and ``--by-import``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.io.console import say
from seccompgen.scan.result import Lead

if TYPE_CHECKING:
    from seccompgen.scan import Scan, Unknown
    from seccompgen.scan.result import Spot

LEAD = {
    Lead.STARTED: "started",
    Lead.DATA: "address in data",
    Lead.LIBRARY: "loaded library",
    Lead.GO_WHOLE: "in a Go program",
    Lead.INTERPRETER: "found by the interpreter",
    Lead.IMPORT: "imported",
    Lead.LOOKUP: "found by dlsym",
    Lead.CALL: "called",
    Lead.POINTER: "address made",
    Lead.LABEL: "label referred to",
    Lead.BEFORE: "address made before",
    Lead.NEXT: "run on into",
    Lead.OBJECT: "address in variable",
}


def show_paths(found: Scan) -> None:
    """Print the shortest way to each call."""
    for name, path in found.paths.items():
        say(f"{name}: {Path(path.site.path).name}:{path.site.address:#x}, the shortest way to it:")
        for step in path.steps:
            imported = f" as {step.name}" if step.name not in {"", step.spot.function} else ""
            where = f"{Path(step.spot.path).name} {place(step.spot)}"
            say(f"  {LEAD[step.lead]:16} {where}{imported}")


def show_imports(found: Scan) -> None:
    """Print the calls that only one import brings."""
    name = Path(found.path).name
    if not found.imports:
        say(f"{name} imports nothing")
        return
    say(f"calls that only one import of {name} brings, of all that it leads to:")
    bringing = [one for one in found.imports if one.alone]
    for one in bringing:
        say(f"{len(one.alone):6} of {len(one.reached):<4} {one.name}: {', '.join(one.alone)}")
    others = len(found.imports) - len(bringing)
    say(f"none alone: {others} other import{'' if others == 1 else 's'}")


def place(spot: Spot | Unknown) -> str:
    """Return an address, with the function that contains it if its name is known."""
    return f"{spot.address:#x}" + (f" ({spot.function})" if spot.function else "")


def reasons_json(found: Scan) -> dict[str, object]:
    """Return the answers for JSON."""
    return {
        "paths": {
            name: {
                "steps": [
                    {**step.spot._asdict(), "kind": step.lead, "import": step.name}
                    for step in path.steps
                ],
                "site": asdict(path.site),
            }
            for name, path in found.paths.items()
        },
        "imports": [
            {"name": one.name, "alone": list(one.alone), "reached": list(one.reached)}
            for one in found.imports
        ],
    }
