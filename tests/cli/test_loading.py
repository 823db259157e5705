"""A command imports what it needs and starts no threads: both are paid by each run of it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

UNION = {
    "cli": "combine candidates commands common options reading_options",
    "core": "abis ages argument_families built constant_families equalities errnos errors facts "
    "foreign model multiplexed naming number_spans objective problems program published reach "
    "releases report_only ring ring_wording sets settings spelling styled tables text word wording",
    "filters": "combine combine.combined find find.box_walk find.lift find.loaded_filter "
    "find.locate find.raw_abis",
    "io": "console file_reach outputs reading streams",
    "kernel": "constants_file entry_points fact_files fact_rows powers prototypes_file "
    "shipped since_file",
    "pipeline": "build files numpy_threads packages pool",
    "formats": "android audit declaration detect firejail flatpak kafel load lxc minijail oci "
    "seccompiler snapd spo strace systemd",
    "policy": "condition_faults conditions dead document expressions form ground groups "
    "horizon keys layers resolve ring_keys schema source_rules stock",
    "languages": "python",
    "render": "about call_names listing ring_listing ring_rows ring_source source templates",
}
"""All that a union of two policies loads of each room, but for compiling and proving."""
FOREIGN = {"click", "jinja2", "markupsafe", "numpy", "yaml"}
SLOW = {"asyncio", "concurrent", "email", "http", "multiprocessing", "requests", "socket", "ssl"}
SLOW |= {"capstone", "elftools", "subprocess", "tomllib", "unittest", "xml", "z3"}
"""Packages that other commands need, and that take long."""

POLICY = """\
arches: [x86_64]
default_action: errno(EPERM)
syscalls:
  - names: [exit_group, {call}]
    action: allow
  - names: [socket]
    when: arg0 == AF_UNIX
    action: allow
"""

LEFT = """
import atexit, os, sys, threading

def tell():
    threads = len(os.listdir("/proc/self/task")) - threading.active_count()
    told = [*sys.modules], threads, os.environ.get("OPENBLAS_NUM_THREADS")
    os.write(2, repr(told).encode())  # Python's streams are closed by then

atexit.register(tell)
from seccompgen.__main__ import program
program()
"""


def _left(place: Path, variable: str | None) -> tuple[list[str], int, str | None]:
    """Return what a union leaves: modules, threads that Python did not start, the variable.

    That is one that finds its files written. To write some it forks, and then OpenBLAS ends its
    threads.
    """
    for call in ("read", "write"):
        (place / f"{call}.yml").write_text(POLICY.format(call=call))
    others = {name: text for name, text in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    words = ["union", "read.yml", "write.yml", "--name", "both"]
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", LEFT, *words],
            cwd=place,
            env=others | ({"OPENBLAS_NUM_THREADS": variable} if variable else {}),
            capture_output=True,
            text=True,
            check=True,
        )
    assert "everything is up to date" in run.stdout
    modules, threads, after = ast.literal_eval(run.stderr)
    return modules, threads, after


@pytest.mark.long("runs commands on many filters")
def test_union_loads_what_it_needs_and_starts_no_threads(tmp_path: Path) -> None:
    modules, threads, variable = _left(tmp_path, None)
    assert (threads, variable) == (0, None)
    for room, names in UNION.items():
        found = {one for one in modules if one.startswith(f"seccompgen.{room}.")}
        assert found == {f"seccompgen.{room}.{name}" for name in names.split()}
    rooms = {one.split(".")[1] for one in modules if one.startswith("seccompgen.")}
    assert rooms == {*UNION, "compile", "verify", "__main__"}
    assert "seccompgen.verify.smt" not in modules
    assert {*modules} >= FOREIGN
    assert not {one.partition(".")[0] for one in modules} & SLOW


@pytest.mark.long("runs commands on many filters")
def test_number_of_threads_that_somebody_chose_is_left_alone(tmp_path: Path) -> None:
    assert _left(tmp_path, "2")[2] == "2"


def test_library_lets_numpy_start_its_threads() -> None:
    import_both = "import sys, seccompgen.compile, numpy; print(*map(type, sys.meta_path))"
    plain = "import sys, numpy; print(*map(type, sys.meta_path))"
    found = [
        subprocess.run(
            [sys.executable, "-c", f"{code}; import os; print(len(os.listdir('/proc/self/task')))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for code in (import_both, plain)
    ]
    assert found[0] == found[1]
