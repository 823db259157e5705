"""Boot a guest, have it try everything, judge what it reports, and write that down."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests import (
    bitmap,
    cache,
    escapes,
    historic_filters,
    image,
    kernel_records,
    shares,
    stock,
    table,
    widths,
)
from guests.emulator import boot
from guests.explained import explained
from guests.judge import judge
from guests.plan import plan
from guests.programs import compiled
from seccompgen.pipeline.build import shipped_tables
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guests.machines import Guest
    from guests.plan import Plan
    from guests.widths import Trial

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "kernels"
"""Where there is a file of JSON for each guest."""

FAULTY = {"x86_64-newest", "s390x", "mips64el"}
"""Guests that try wrong filters as well: one has to, and each of these has faults of its own."""

_COMPAT = {"amd64", "arm64", "mips64el"}
"""Debian's architectures whose kernels start programs of 32 bits as well."""


def _has_bitmap(guest: Guest) -> bool:
    """Say whether the kernel has the bitmap: since 5.11, on MIPS not yet in 6.1."""
    return "5.10" not in guest.name and guest.abi != "mips64el"


def run(guest: Guest, processor: int | None = None) -> dict[str, Any]:
    """Return what was tried in a guest and what differed, and write it to a file.

    Raises what ``boot`` does.
    """
    faulty, foreign = guest.name in FAULTY, guest.kernel.architecture in _COMPAT
    made = compiled(guest.abi)
    planned = plan(guest.abi, made, share=shares.of_abi(guest), faults=faulty, foreign=foreign)
    tables = shipped_tables()
    wide = [
        *widths.trials(guest.abi, tables)[shares.of_abi(guest)],
        *widths.filtered_trials(guest.abi, tables),
    ]
    wrong_widths = widths.wrong_trials(guest.abi, tables) if faulty else {}
    all_widths = [*wide, *(trial for trials in wrong_widths.values() for trial in trials)]
    report = _report(guest, planned, all_widths, processor)
    verdict = judge(planned, report["conformance"], logs=kernel_records.logs(guest))
    release = report["release"]
    differences = list(explained(planned))
    if report["abi"] != guest.abi:
        differences.append(f"the runtime takes the interpreter for {report['abi']}")
    if report["conformance"]["log_overrun"]:  # for want of records any fault would be noticed
        differences.append("the kernel's log went round before all of it was read")
    uncaught = []
    for number, one in enumerate(planned.filters):
        found = verdict.differences.get(number, [])
        if number in planned.wrong:
            uncaught += [] if found else [one.what]
        else:
            differences += [f"{one.what}: {text}" for text in found]
    differences += stock.differences(guest, report["stock"])
    absent = report["absent"]
    own = plain_tables()[guest.abi]
    differences += table.differences(guest.abi, release, own, absent)
    wrong_tables = dict(_wrong_tables(own))
    uncaught += [
        what
        for what, wrong in wrong_tables.items()
        if not table.differences(guest.abi, release, wrong, absent)
    ]
    for (one, trial), end in zip(planned.foreign, report["foreign"], strict=True):
        if end != trial.end:
            differences.append(f"foreign program, {one.what}: wanted {trial.end}, was {end}")
    differences += bitmap.differences(
        planned.probes, report["times"], has_bitmap=_has_bitmap(guest)
    )
    of_widths = widths.judge(release, wide, report["widths"][: len(wide)])
    differences += of_widths.differences
    left = report["widths"][len(wide) :]
    for what, trials in wrong_widths.items():
        if not widths.judge(release, trials, left[: len(trials)]).differences:
            uncaught.append(what)
        left = left[len(trials) :]
    attacked = escapes.judge(guest, shares.of_attacks(guest), report["escape"])
    differences += attacked.differences
    differences += historic_filters.differences(guest, report["historic"])
    differences += [f"not caught: {what}" for what in uncaught]
    result = {
        "guest": guest.name,
        "abi": guest.abi,
        "machine": report["machine"],
        "release": release,
        "python": report["python"],
        "filters": sum(
            one["confined"].get("install") == "done" for one in report["stock"]["policies"].values()
        ),
        "stock": stock.attempts(report["stock"]),
        "attacks": attacked.tried,
        "through": attacked.through,
        "untried": attacked.untried,
        "policies": len(planned.filters) - len(planned.wrong),
        "calls": verdict.calls,
        "records": verdict.records if kernel_records.logs(guest) else None,
        "numbers": len(table.numbers(guest.abi)),
        "excuses": {
            name: one.why for name, one in table.excuses(guest.abi, release, absent).items()
        },
        "bitmap": sum(len(probe.cached) for probe in planned.probes)
        if _has_bitmap(guest)
        else None,
        "foreign": len(planned.foreign) if foreign else None,
        "widths": len(of_widths.shown),
        "faults": len(planned.wrong) + len(wrong_tables) + len(wrong_widths) - len(uncaught)
        if faulty
        else None,
        "differences": differences,
        "logged": report["logged"],
        "seconds": report["seconds"],
    }
    differences += untried(result)
    write(guest, result)
    return result


def untried(result: Mapping[str, Any]) -> list[str]:
    """Say of which parts of a result a guest tried nothing, though it should: None says not.

    Where nothing is tried nothing differs.
    """
    parts = (
        *(
            "filters",
            "stock",
            "attacks",
            "policies",
            "calls",
            "records",
            "numbers",
            "bitmap",
            "foreign",
            "widths",
        ),
        "faults",
    )
    return [f"{part}: nothing was tried" for part in parts if result[part] == 0]


def write(guest: Guest, result: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Write a guest's result down: what was found, or ``skipped`` with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{guest.name}.json").write_text(json.dumps(result, indent=1) + "\n")


def _report(
    guest: Guest, planned: Plan, wide: Sequence[Trial], processor: int | None
) -> dict[str, Any]:
    """Boot the guest and return its report.

    To compile our sources takes it a second or more, so it reports the bytecode as well, which
    later runs bring along. Python takes it only for the very sources, by their size.
    """
    sources = _sources()
    digest = hashlib.sha256(b"\0".join(sources[name] for name in sorted(sources))).hexdigest()
    place = cache.place("bytecode/ours", (image.user_space(guest).library, digest))
    bytecode = json.loads(place.read_text()) if place.exists() else {}
    others = {
        "stock": stock.plan(guest),
        "escape": escapes.plan(guest, shares.of_attacks(guest)),
        "logged": kernel_records.plan(guest),
        "historic": historic_filters.plan(guest),
    }
    own = planned.files(others, wants_bytecode=not bytecode)
    own |= widths.plan(guest.abi, wide)
    files = {f"plan/{name}": content for name, content in own.items()}
    files |= {name: base64.b64decode(content) for name, content in bytecode.items()}
    report: dict[str, Any] = json.loads(boot(guest, files | sources, processor=processor))
    if not bytecode:
        place.parent.mkdir(parents=True, exist_ok=True)
        with cache.locked(place.name):
            cache.write(place, json.dumps(report["bytecode"]).encode())
    return report


def _sources() -> dict[str, bytes]:
    """Return what runs in guests: our scripts; the runtime and the filters, as vendored."""
    files = escapes.sources("main")
    package = ROOT / "generated" / "seccomp_filters"
    for path in sorted([*package.glob("*.py"), *package.glob("*/_*.py")]):
        if path.parent.name != "tables":
            files[f"app/sandbox/{path.relative_to(package)}"] = path.read_bytes()
    return files


def _wrong_tables(own: Mapping[str, int]) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield tables with a fault, which the kernel's answers must contradict."""
    yield "a call missing in the table", {n: nr for n, nr in own.items() if n != "openat"}
    yield "a number off by one in the table", {**own, "getpid": own["getpid"] + 1}
