"""One policy made into programs by one tool, in a process of its own.

``python -m benchmarks.compiling.once TOOL`` takes JSON on stdin, an object with ``policy``,
``file``, ``abis`` and ``minijail``; a ``file`` of ours takes the place of a policy. It prints JSON
with the CPU ``seconds`` from the policy, as the tool takes it, to the programs; the greatest
resident set of the process in ``megabytes``; and the ``instructions`` of the programs. A tool that
refuses leaves its ``error`` in the place of these.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

_BYTES = 8
"""Of an instruction."""


def _seccompgen(told: dict[str, Any]) -> dict[str, float]:
    """Read the policy's file and compile it for each ABI, as `build` does in one process."""
    # A peer's process loads none of it.
    from seccompgen.core.errors import SeccompgenError  # noqa: PLC0415
    from seccompgen.formats import load_policy  # noqa: PLC0415
    from seccompgen.pipeline.build import shipped_tables  # noqa: PLC0415
    from seccompgen.pipeline.pool import spread  # noqa: PLC0415

    tables = shipped_tables()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(told["file"] or Path(directory, "policy.yml"))
        if not told["file"]:
            path.write_text(told["policy"])
        start = time.process_time()
        policy = load_policy(path, tables)[0]
        abis = policy.arches[: told["abis"]]
        made = list(spread(_length, (policy, tables), abis, 1))
        seconds = time.process_time() - start
    for one in made:
        if isinstance(one, SeccompgenError):
            raise one
    return {"seconds": seconds, "instructions": sum(one for one in made if isinstance(one, int))}


def _length(task: tuple[ResolvedPolicy, Tables], abi: Abi) -> int:
    """Return the length of the program, which may exceed what the kernel takes."""
    from seccompgen.compile import compilation  # noqa: PLC0415

    return len(compilation(task[0], abi, task[1]).program.instructions)


def _libseccomp(told: dict[str, Any]) -> dict[str, float]:
    """Add the rules one by one and take the program, at the optimisation of balanced trees."""
    build = TOOLS["libseccomp-O2"](told["policy"])
    start = time.process_time()
    program = build(told["policy"]).export()
    return {"seconds": time.process_time() - start, "instructions": len(program) // _BYTES}


def _minijail(told: dict[str, Any]) -> dict[str, float]:
    """Run compile_seccomp_policy.py on the policy's file, once it is loaded."""
    sys.path.insert(0, str(Path(told["minijail"], "tools")))
    compiler = __import__("compile_seccomp_policy")
    with tempfile.TemporaryDirectory() as directory:
        policy, output = Path(directory, "policy"), Path(directory, "program")
        policy.write_text(told["policy"])
        constants = str(Path(told["minijail"], "constants.x86_64.json"))
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            compiler.main(["--arch-json", constants, str(policy), str(output)])
        seconds = time.process_time() - start
        return {"seconds": seconds, "instructions": output.stat().st_size // _BYTES}


TASKS: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
    "seccompgen": _seccompgen,
    "libseccomp": _libseccomp,
    "minijail": _minijail,
}


def main() -> None:
    """Do what the command line says."""
    try:
        found: dict[str, Any] = TASKS[sys.argv[1]](json.load(sys.stdin))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found["megabytes"] = usage.ru_maxrss / 1024
    except (Exception, SystemExit) as error:  # whatever it is, it is the tool's answer
        found = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
