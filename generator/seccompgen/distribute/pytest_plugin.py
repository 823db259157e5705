"""The pytest plugin: record the calls of a test suite, or run it under a policy.

With one of its options, pytest becomes ``seccompgen record`` before it does anything else, and that
runs the same command line again, traced. In that run, each process that runs tests marks the end of
its startup, or installs the policy, just before its first test. Without the options this module
does nothing, and imports nothing.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRACED = "SECCOMPGEN_PYTEST"
"""The environment variable of a traced run: what to do before the first test, as JSON."""
_label: Any = None
"""The memory that holds the name of the running test, if this process is traced."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("seccompgen")
    group.addoption(
        "--seccompgen-record",
        metavar="FILE",
        help="Write the policy that the tests need, as 'seccompgen record' does.",
    )
    group.addoption(
        "--seccompgen-enforce",
        metavar="POLICY",
        help="Run the tests under this policy, a file or a stock one's name; say what it refused, "
        "and which rules none reached.",
    )
    group.addoption(
        "--seccompgen-skip-unreached",
        action="store_true",
        help="With --seccompgen-enforce, say nothing of the rules that no test reached.",
    )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Become the recorder, if requested: before output is captured or a conftest loaded."""
    options = early_config.known_args_namespace
    record, enforce = options.seccompgen_record, options.seccompgen_enforce
    skip_unreached = options.seccompgen_skip_unreached
    if skip_unreached and not enforce:
        raise pytest.UsageError("--seccompgen-skip-unreached is for --seccompgen-enforce")
    if (record or enforce) and _TRACED not in os.environ:
        _become_recorder(record, enforce, skip_unreached=skip_unreached)
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """In a process that runs tests, mark their beginning or install the policy."""
    config: Any = session.config
    distributes = getattr(config.option, "dist", "no") != "no" and not hasattr(
        config, "workerinput"
    )
    if _TRACED not in os.environ or distributes or config.option.collectonly:
        return
    # A pytest that a test starts is part of what is tested.
    _begin(json.loads(os.environ.pop(_TRACED)))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Write the test's name where the recorder reads it; that takes no system call."""
    if _label is not None:
        _label.value = item.nodeid.encode(errors="backslashreplace")[: len(_label) - 1]
    yield
    if _label is not None:
        _label.value = b""


def _become_recorder(record: str | None, enforce: str | None, *, skip_unreached: bool) -> None:
    """Replace this process by a recorder of its own command line."""
    options = ["--startup-marker"]
    if record:
        options += ["-o", record]
    if enforce:
        options += ["--against", enforce, *(["--skip-unreached"] if skip_unreached else [])]
    recorder = [sys.executable, "-m", "seccompgen", "record", *options]
    again = [sys.executable, *sys.orig_argv[1:]]
    os.environ[_TRACED] = json.dumps(_orders(enforce))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*recorder, "--", *again])  # noqa: S606 - ourselves, again


def _orders(enforce: str | None) -> dict[str, Any]:
    """Return the orders for a process that runs tests, for JSON.

    Policies are compiled here: a process that runs tests must not import the compiler.
    """
    from seccomp_filters._runtime import running_abi  # noqa: PLC0415

    from seccompgen.core.abis import ABIS  # noqa: PLC0415
    from seccompgen.core.errors import SeccompgenError  # noqa: PLC0415
    from seccompgen.filters.find.locate import locate_policy  # noqa: PLC0415
    from seccompgen.io.console import error_text  # noqa: PLC0415
    from seccompgen.pipeline.build import build_policy, shipped_tables  # noqa: PLC0415
    from seccompgen.run.record.seen import LABELLED  # noqa: PLC0415

    abi, tables = ABIS[running_abi()], shipped_tables()
    number = tables.tables[abi.name].numbers["seccomp"]
    orders: dict[str, Any] = {"number": number, "labelled": LABELLED}
    if not enforce:
        return orders
    try:
        (path,) = locate_policy(enforce, "--seccompgen-enforce").paths
        built = build_policy(path, tables, [abi])
    except SeccompgenError as error:
        raise pytest.UsageError(*error_text(error.diagnostics).split("\n")) from None
    (program,) = built.programs
    return orders | {
        "name": built.policy.name,
        "abi": abi.name,
        "program": program.to_bytes().hex(),
        "flags": int(built.policy.flags),
        "no_new_privs": built.policy.no_new_privs,
        "actions": program.actions,
    }


def _begin(orders: dict[str, Any]) -> None:
    """Mark the beginning of the tests, then install the policy in this process, if there is one.

    The marker is a call that fails; its arguments say where in memory the test's name is.
    """
    global _label  # noqa: PLW0603 - a process has one
    import ctypes  # noqa: PLC0415 - only where it is used

    _label = ctypes.create_string_buffer(1024)
    words = (1, 0, 0, orders["labelled"], ctypes.addressof(_label))
    ctypes.CDLL(None).syscall(orders["number"], *map(ctypes.c_ulong, words))
    if "program" not in orders:
        return
    from seccomp_filters import _runtime  # noqa: PLC0415

    program = orders["number"], bytes.fromhex(orders["program"])
    try:
        _runtime.install(
            orders["name"],
            {orders["abi"]: program},
            flags=orders["flags"],
            no_new_privs=orders["no_new_privs"],
            actions=tuple(orders["actions"]),
        )
    except _runtime.SeccompError as error:
        raise pytest.UsageError(str(error)) from None
