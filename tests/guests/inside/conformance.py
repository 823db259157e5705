"""Install the programs of a plan, make its calls, and report what became of each.

What the calls should have come to is not known here. ``judge`` compares, outside.
"""

import base64
import json
import resource
from collections.abc import Callable, Sequence
from typing import Any

from guests.inside import confined
from guests.inside.kernel_log import KernelLog
from guests.inside.machine_code import CALL_WORDS


class Plan:
    """Return the plan that ``guests.plan`` wrote for this guest, in ``directory``."""

    def __init__(self, directory: str) -> None:
        with open(directory + "/plan.json") as file:
            plan = json.load(file)
        with open(directory + "/programs", "rb") as binary:
            self._code = binary.read()
        with open(directory + "/calls", "rb") as binary:
            self._calls = binary.read()
        self.abi: str = plan["abi"]
        self.real: list[tuple[int, int]] = plan["real"]
        self.filters: list[tuple[int, int, int, list[int]]] = plan["filters"]
        self.runs: list[tuple[int, str, int, int]] = plan["runs"]
        self.numbers: list[int] = plan["numbers"]
        self.enosys: int = plan["enosys"]
        self.wants_bytecode: bool = plan["wants_bytecode"]
        self.stock: dict[str, Any] = plan["stock"]
        self.escape: dict[str, Any] = plan["escape"]
        self.logged: list[Any] = plan["logged"]
        self.historic: dict[str, Any] = plan["historic"]
        self._foreign: list[list[str]] = plan["foreign"]
        self._probes: list[tuple[int, list[int]]] = plan["probes"]

    def program(self, number: int) -> bytes:
        """Return the program of a filter."""
        start, size, _, _ = self.filters[number]
        return self._code[start : start + size]

    def calls(self, first: int, count: int) -> bytes:
        """Return some calls, of CALL_WORDS words each."""
        size = 8 * CALL_WORDS
        return self._calls[first * size : (first + count) * size]

    def probes(self) -> "list[tuple[bytes, list[int]]]":
        """Return what the bitmap is asked with: programs, and calls that each allows."""
        return [(self.program(number), numbers) for number, numbers in self._probes]

    def foreign(self) -> "list[list[bytes]]":
        """Return programs for filters, and what to execute under each."""
        return [[base64.b64decode(content) for content in pair] for pair in self._foreign]


def report(plan: Plan, maker: confined.Confined, runtime: Any) -> "dict[str, Any]":
    """Go through the plan; ``runtime`` is the vendored module."""
    log = KernelLog()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runs = []
    for number, how, first, count in plan.runs:
        _, _, flags, actions = plan.filters[number]
        program = plan.program(number)
        calls = plan.calls(first, count)
        if how == "thread":
            result = maker.run_in_thread(calls, _installing(plan, runtime, program, flags, actions))
        else:
            result = maker.run(calls, program, flags, how)
        pid, status, made, before, results, outside, refused = result
        runs.append([pid, status, made, before, results.hex(), outside, refused])
        log.read()
    log.finish()
    return {"runs": runs, "log": log.calls, "log_overrun": log.overrun}


def _installing(
    plan: Plan, runtime: Any, program: bytes, flags: int, actions: "Sequence[int]"
) -> "Callable[[], object]":
    """Return what puts a program in force by the runtime."""
    programs = {plan.abi: (plan.stock["numbers"]["seccomp"], program)}
    return lambda: runtime.install(
        "conformance", programs, flags=flags, no_new_privs=True, actions=tuple(actions)
    )
