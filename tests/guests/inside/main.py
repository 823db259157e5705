"""All that is tried in a guest, one part after another."""

import base64
import glob
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from escape import run as escape
from guests.inside import (
    bitmap,
    confined,
    conformance,
    foreign,
    historic,
    kernel_records,
    stock,
    table,
    widths,
)

PLAN = "/trial/plan"
FOLDER = "/tmp/escape"


def main() -> bytes:
    """Return the report, JSON: of each part what was seen, and the seconds that it took."""
    began = time.monotonic()
    runtime = importlib.import_module("app.sandbox._runtime")
    plan = conformance.Plan(PLAN)
    system = os.uname()
    report: dict[str, Any] = {
        "machine": system.machine,
        "release": system.release,
        "python": ".".join(map(str, sys.version_info[:3])),
        "abi": runtime.running_abi(),
        "seconds": {"before": round(began, 2)},
    }
    sandbox = importlib.import_module("app.sandbox")
    nrs = plan.stock["numbers"]
    maker = confined.Confined(plan.abi, nrs, plan.real)
    os.makedirs(FOLDER, exist_ok=True)
    attacks = {**plan.escape, "numbers": nrs, "folder": FOLDER, "own_machine": True}
    installs = {
        policy: importlib.import_module(f"app.sandbox.{policy}").install
        for policy in plan.escape["policies"]
    }
    stock.raise_loopback()
    parts: dict[str, Callable[[], object]] = {
        # First, as long as this process is small: it forks thousands of times.
        "escape": lambda: escape.outcomes(attacks, installs),
        "conformance": lambda: conformance.report(plan, maker, runtime),
        "stock": lambda: stock.report(plan.stock, sandbox),
        "absent": lambda: table.absent(plan.numbers, plan.enosys),
        "foreign": lambda: foreign.ends(maker, nrs["execve"], plan.foreign()),
        "times": lambda: bitmap.times(nrs["seccomp"], plan.probes()),
        "widths": lambda: widths.planned_outcomes(PLAN),
        "logged": lambda: kernel_records.lines(*plan.logged) if plan.logged else [],
        "historic": lambda: historic.outcomes(plan.historic),
    }
    for name, part in parts.items():
        print(name, flush=True)  # the console shows it where a guest does not come to its report
        start = time.monotonic()
        report[name] = part()
        report["seconds"][name] = round(time.monotonic() - start, 2)
    if plan.wants_bytecode:
        report["bytecode"] = _bytecode()
    report["seconds"]["all"] = round(time.monotonic() - began, 2)
    return json.dumps(report).encode()


def _bytecode() -> "dict[str, str]":
    """Return what Python has compiled of our sources, by path below /trial."""
    files = {}
    for path in glob.glob("/trial/**/*.pyc", recursive=True):
        with open(path, "rb") as file:
            files[path[len("/trial/") :]] = base64.b64encode(file.read()).decode()
    return files
