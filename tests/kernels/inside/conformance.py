"""Install the programs of a plan, make its calls, and report what became of each.

What the calls should have come to is not known here. ``judge`` compares, outside.
"""

import array
import base64
import gc
import json
import resource
from collections.abc import Sequence
from typing import Any, Optional

from kernels.inside import confined
from kernels.inside.kernel_log import KernelLog

_EVERY = 8
"""One filter of that many comes into force by the runtime. Its care takes longer, emulated, than
all calls of a policy, and is the same for each."""


class Plan:
    """What ``kernels.plan`` wrote for this guest, in ``directory``."""

    def __init__(self, directory: str) -> None:
        with open(directory + "/plan.json") as file:
            plan = json.load(file)
        with open(directory + "/programs", "rb") as binary:
            self._code = binary.read()
        with open(directory + "/calls", "rb") as binary:
            self._words = memoryview(binary.read()).cast("Q")
        self.abi: str = plan["abi"]
        self.nr_seccomp: int = plan["nr_seccomp"]
        self.nr_pidfd_getfd: int = plan["nr_pidfd_getfd"]
        self.real = {tuple(pair) for pair in plan["real"]}
        self.filters: list[tuple[int, int, int, list[int]]] = plan["filters"]
        self.runs: list[tuple[int, str, int, int]] = plan["runs"]
        self.numbers: list[int] = plan["numbers"]
        self.enosys: int = plan["enosys"]
        self.wants_bytecode: bool = plan["wants_bytecode"]
        self.stock: dict[str, Any] = plan["stock"]
        self._foreign: list[list[str]] = plan["foreign"]
        self._probes: list[tuple[int, list[int]]] = plan["probes"]

    def program(self, number: int) -> bytes:
        """Return the program of a filter."""
        start, size, _, _ = self.filters[number]
        return self._code[start : start + size]

    def calls(self, first: int, count: int) -> "list[tuple[int, ...]]":
        """Return some calls, of CALL_WORDS words each."""
        size = confined.CALL_WORDS
        starts = range(first * size, (first + count) * size, size)
        return [tuple(self._words[start : start + size]) for start in starts]

    def probes(self) -> "list[tuple[bytes, list[int]]]":
        """Return what the bitmap is asked with: programs, and calls that each allows."""
        return [(self.program(number), numbers) for number, numbers in self._probes]

    def foreign(self) -> "list[list[bytes]]":
        """Return programs for filters, and what to execute under each."""
        return [[base64.b64decode(content) for content in pair] for pair in self._foreign]


def report(plan: Plan, runtime: Any) -> "dict[str, Any]":
    """Go through the plan; ``runtime`` is the vendored module."""
    log = KernelLog()
    gc.disable()  # it would only touch memory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runs: list[tuple[int, int, int, str]] = []
    kinds: dict[bytes, int] = {}
    records = array.array("H")
    for number, how, first, count in plan.runs:
        _, _, flags, actions = plan.filters[number]
        program = plan.program(number)

        def install(
            number: int = number,
            program: bytes = program,
            flags: int = flags,
            actions: "Sequence[int]" = actions,
        ) -> Optional[int]:
            if number % _EVERY:
                return confined.install_raw(plan.nr_seccomp, program, flags)
            listener: int = runtime.install(
                "conformance",
                {plan.abi: (plan.nr_seccomp, program)},
                flags=flags,
                no_new_privs=True,
                actions=tuple(actions),
            )
            return listener

        calls = plan.calls(first, count)
        result = confined.run(calls, install, plan.real, how, plan.nr_pidfd_getfd)
        runs.append((result.pid, result.status, result.made, result.refused))
        for start in range(0, len(result.records), 8 * confined.RECORD_WORDS):
            record = result.records[start : start + 8 * confined.RECORD_WORDS]
            records.append(kinds.setdefault(record, len(kinds)))
        log.read()
    log.finish()
    return {
        "runs": runs,
        # Most records are like others, and the console carries little in a second.
        "kinds": [memoryview(record).cast("Q").tolist() for record in kinds],
        "records": base64.b64encode(records.tobytes()).decode(),
        "log": log.calls,
        "log_overrun": log.overrun,
    }
