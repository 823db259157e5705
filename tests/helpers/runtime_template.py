"""The runtime that generated filters use, loaded from its template, and ways to try it.

Everything here that installs or refuses a filter runs inside a child of `kernel.run`.
"""

from __future__ import annotations

import resource
import sys
import types
from pathlib import Path
from typing import Any

import running_kernel as kernel

TEMPLATE = Path(__file__).parents[2] / "templates" / "_runtime.py"

FILES = {"_runtime.py", "_questions.py", "_explain.py"}
"""What lies beside a generated filter."""


def load(name: str) -> Any:
    """Return a template as a module of the package ``vendored``; leaves no bytecode beside it."""
    module = types.ModuleType(f"vendored.{name}")
    module.__package__ = "vendored"
    sys.modules[module.__name__] = module
    path = TEMPLATE.with_name(f"{name}.py")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module


sys.modules["vendored"] = types.ModuleType("vendored")
runtime: Any = load("_runtime")
questions: Any = load("_questions")
explain: Any = load("_explain")
rings: Any = load("_io_uring")
notification: Any = load("notification")


def install(
    program: bytes,
    flags: int = 0,
    *,
    no_new_privs: bool = True,
    actions: tuple[int, ...] = (),
    abis: tuple[str, ...] = ("x86_64",),
) -> int:
    """Install ``program`` through the runtime as that of the policy ``worker`` for ``abis``."""
    result: int = runtime.install(
        "worker",
        dict.fromkeys(abis, (kernel.NR_SECCOMP, program)),
        flags=flags,
        no_new_privs=no_new_privs,
        actions=actions,
    )
    return result


def status() -> dict[str, int]:
    """Return the calling thread's no_new_privs, and its number of filters.

    Neither is 0 to begin with where the tests themselves run in a container.
    """
    fields = dict(
        line.split(":\t", 1)
        for line in Path("/proc/thread-self/status").read_text().splitlines()
        if ":\t" in line
    )
    return {
        "nnp": int(fields["NoNewPrivs"]),
        "filters": int(fields["Seccomp_filters"]),
    }


def changes(before: dict[str, int]) -> dict[str, int]:
    """Return how far `status` is from what it was."""
    return {key: value - before[key] for key, value in status().items()}


def refusal(
    program: bytes, flags: int = 0, *, descriptors: bool = True, **options: Any
) -> dict[str, Any]:
    """Try to install; return what the error tells, and what changed. Fails if it is installed.

    With ``descriptors`` False no file can be opened meanwhile.
    """
    before = status()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft if descriptors else 0, hard))
        install(program, flags, **options)
    except runtime.SeccompError as error:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        names = ("errno", "cause", "tried", "reason", "remedy", "facts")
        told = {name: getattr(error, name) for name in names}
        return {**told, "text": error.strerror, **changes(before)}
    raise AssertionError("it was installed")
