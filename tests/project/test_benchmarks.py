"""The benchmark: its exact part, its timers without regard to the time, its report."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import interpreter
import pytest
import running_kernel as kernel
from corpus import ALLOW, FOREIGN, Figures, translated
from probes import argument_vectors
from strategies import compiled

from benchmarks import __main__ as command
from benchmarks import exact, peers, policies, report, start, startup, timing
from benchmarks.results import OURS, Calls, Install, Problem, Results, Start, Starts, Times, Tool

RET = interpreter.RET | interpreter.K
EPERM = 0x00050001
GETPPID, PERSONALITY, NFSSERVCTL = 110, 135, 180
SMALL = {
    "name": "small",
    "default": EPERM,
    "arch": "x86_64",
    "rules": {
        # exit_group: what a confined child needs to end.
        "231": [[None, ALLOW]],
        str(GETPPID): [[None, ALLOW]],
        str(PERSONALITY): [[[[[0, "set", 0x18, 0, 64]], [[0, "eq", 0xFFFFFFFF, 0, 32]]], ALLOW]],
    },
}

OPEN = SMALL | {"default": ALLOW, "rules": {str(NFSSERVCTL): [[None, EPERM]]}}
"""Under it a process can still look at itself."""


def present() -> list[peers.Peer]:
    found = []
    for peer in peers.PEERS:
        try:
            peers.version(peer)
        except peers.Missing:
            continue
        found.append(peer)
    return found


@pytest.mark.long("does all that a page shows")
def test_every_tool_that_is_here_is_right_on_a_small_policy() -> None:
    results = command.measure({"small": SMALL}, timed=False)
    assert results.calls == ()
    assert {tool.name for tool in results.tools} == {OURS, *(peer.name for peer in present())}
    for tool in report.measured_tools(results):
        cell = results.exact["small"][tool]
        assert isinstance(cell, Figures), (tool, cell)
        assert 3 < cell.longest <= cell.length
    if not present():
        pytest.skip("only seccompgen was measured: no other tool is installed")


def test_wrong_programs_are_found() -> None:
    def told(*instructions: tuple[int, int, int, int]) -> str:
        program = interpreter.assemble(instructions, "little")
        problem = exact.disagreement(SMALL, program)
        return problem.text if problem else "right"

    load = (interpreter.LD | interpreter.W | interpreter.ABS, 0, 0, 0)
    equal = interpreter.JMP | interpreter.JEQ
    assert told(load).startswith("the kernel refuses the program")
    assert "gives allow, not errno(1)" in told((RET, 0, 0, ALLOW))
    assert told((RET, 0, 0, EPERM)).startswith(f"{GETPPID}(")
    # Only one vector of arguments of one call tells this from a right one.
    two = [load, (equal, 3, 0, 231), (equal, 2, 0, GETPPID), (equal, 1, 0, PERSONALITY)]
    assert told(*two, (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)).startswith(f"{PERSONALITY}(")


@pytest.mark.parametrize(("action", "open_to_all"), [(ALLOW, True), (FOREIGN, False)])
def test_calls_of_other_abis_are_seen(action: int, open_to_all: bool) -> None:
    program = interpreter.assemble([(RET, 0, 0, action)], "little")
    assert exact.lets_others_in(program) is open_to_all


@pytest.mark.parametrize("op", ["eq", "ne", "lt", "le", "gt", "ge", "meq", "set", "in"])
@pytest.mark.parametrize("width", [32, 64])
def test_what_peers_are_told_means_the_same(op: str, width: int) -> None:
    import random

    import corpus

    def holds(comparison: policies.Comparison, argument: int) -> bool:
        _, op, a, b = comparison
        if op == "masked":
            return argument & a == b
        return corpus.atom_holds((0, op, a, 0, 64), [argument])

    value, mask = (0x20, 0x7E) if op == "meq" else (0x24, 0)
    entry = SMALL | {"rules": {"0": [[[[[0, op, value, mask, width]]], ALLOW]]}}
    told = policies.for_peers(entry)["rules"]
    assert {(nr, action) for nr, action, _ in told} == {(0, ALLOW)}
    arguments = [[corpus.as_argument((0, op, value, mask, width))]]
    for args in argument_vectors(arguments, random.Random(0)):
        answer = any(all(holds(one, args[0]) for one in rule) for _, _, rule in told)
        assert answer == (corpus.direct(entry, 0, args) == ALLOW), hex(args[0])


def test_rules_that_change_nothing_are_not_told() -> None:
    some = [[0, "eq", 1, 0, 64]]
    rules = {
        "0": [[[some], EPERM], [None, EPERM]],
        "1": [[[some], ALLOW], [None, ALLOW], [None, EPERM]],
        "2": [[[some], EPERM], [None, ALLOW]],
    }
    told = policies.for_peers(SMALL | {"rules": rules})["rules"]
    assert told == [
        [1, ALLOW, []],
        [2, EPERM, [(0, "eq", 1, 0)]],
        [2, ALLOW, []],
    ]


def test_stock_policies_are_read(tmp_path: Path) -> None:
    entry = policies.stock(policies.STOCK / "no_exec.yml")
    assert entry["default"] == ALLOW
    assert entry["rules"]["59"] == [[None, 0x0005000D]]
    file = tmp_path / "more.yml"
    file.write_text("default_action: allow\nsyscalls: [{action: log, names: ['@basic-io']}]\n")
    with pytest.raises(policies.Unreadable, match="groups"):
        policies.stock(file)


@pytest.mark.long("does all that a page shows")
def test_calls_are_timed_and_installs_too(tmp_path: Path) -> None:
    kernel.require_x86_64()
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing, and benchmarks/timing.c needs it")
    timer = timing.Timer(tmp_path)
    program = compiled(translated(SMALL))["x86_64"]
    calls = timing.time_calls("small", SMALL, {OURS: program}, timer, rounds=2)
    assert calls.workloads["bitmap hit"] == "getppid"
    assert calls.workloads["argument-filtered"] == "personality (2 vectors)"
    assert "nfsservctl" in calls.workloads["refused"]
    for times in calls.times.values():
        assert set(times) == {None, OURS}
        assert all(
            0 < time.least <= time.low <= time.median <= time.high for time in times.values()
        )
    assert timer.run(None, [(NFSSERVCTL,)], 1)[1] == [-38]
    installs = timing.time_installs("small", SMALL, present(), rounds=1, samples=2)
    assert {row.tool for row in installs} == {OURS, *(peer.name for peer in present())}
    assert all(time.least > 0 for row in installs for time in (row.bare, row.loaded))


@pytest.mark.long("does all that a page shows")
def test_processes_are_measured_from_their_start() -> None:
    kernel.require_x86_64()
    here = present()
    starts = startup.measure_starts("open", OPEN, here, rounds=2, memory_rounds=1)
    tools = {peer.name for peer in here if not peer.name.startswith("libseccomp")}
    assert {row.tool for row in starts.rows} == {"", OURS, *tools}
    for row in starts.rows:
        assert row.process.least > 0
        assert row.rss > row.uss > 0
        assert row.importing is None if row.tool == "" else row.importing
    assert starts.code.keys() == {row.python for row in starts.rows}


def test_a_process_without_a_filter_is_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.require_x86_64()
    (tmp_path / "fake.py").write_text("def install(): pass\n")
    monkeypatch.setattr(peers, "our_module", lambda *_: "fake")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda: nullcontext(tmp_path))
    with pytest.raises(RuntimeError, match="seccompgen put no filter in force"):
        startup.measure_starts("open", OPEN, [])


def test_where_system_calls_do_nothing_nothing_is_done() -> None:
    kernel.require_x86_64()

    def inside() -> list[object]:
        import ctypes

        start.pretend()
        libc = ctypes.CDLL(None, use_errno=True)
        status = Path("/proc/self/status")
        filters = re.findall(r"Seccomp_filters:\t(\d+)", status.read_text())
        calls = []
        for argument in (None, b"\0" * 16):
            result = libc.syscall(ctypes.c_long(kernel.NR_SECCOMP), 1, 0, argument)
            calls.append([result, ctypes.get_errno() if result else 0])
        calls += [[libc.prctl(option, 0, 0, 0, 0), 0] for option in (-1, 39)]
        return [*calls, filters == re.findall(r"Seccomp_filters:\t(\d+)", status.read_text())]

    assert kernel.run(inside).value == [[-1, errno.EFAULT], [0, 0], [0, 0], [1, 0], True]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "no filter is in force"),
        ("raise OSError('no')", "OSError: no"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "wait status 0x9"),
    ],
)
def test_an_install_that_fails_is_no_time(tmp_path: Path, body: str, message: str) -> None:
    kernel.require_x86_64()
    (tmp_path / "fake.py").write_text(f"def install(): {body}\n")
    fake = {"directory": str(tmp_path), "module": "fake"}
    with pytest.raises(RuntimeError, match=message):
        peers.work(sys.executable, ["install", OURS, "1"], fake)


TIME = Times(100.0, 110.0, 120.0, 130.0)
RESULTS = Results(
    machine={"Processor": "an abacus"},
    tools=(
        Tool(OURS, "1.0", None, ()),
        Tool("libseccomp-O1", "2.0", None, ("b",)),
        Tool("pyseccomp", "3.0", "libseccomp-O1", ("b",)),
        Tool("seccompy", "4.0", None, ()),
    ),
    exact={
        "a": {
            OURS: Figures(10, 5, 4.0, None),
            "libseccomp-O1": Figures(20, 20, 8.0, None),
            "seccompy": Problem("wrong", "1(0x0) gives allow, not errno(1)"),
        },
        "b": {
            OURS: Figures(40, 5, 4.0, 6.0),
            "libseccomp-O1": Figures(20, 20, 8.0, 9.0),
            "seccompy": Figures(50, 10, 5.0, 6.0),
        },
    },
    installs={
        "a": (
            Install(OURS, "3.11", TIME, TIME),
            Install("pyseccomp", "3.11", dataclasses.replace(TIME, least=400.0), TIME),
        )
    },
    calls=(
        Calls(
            "b",
            {"refused": "nfsservctl"},
            {"refused": {None: dataclasses.replace(TIME, least=80.5), OURS: TIME}},
        ),
    ),
    notes=("seccomp is left out",),
    starts=(
        Starts(
            "b",
            (
                Start("", "3.11", dataclasses.replace(TIME, least=9e6), None, 8000, 3000),
                Start(OURS, "3.11", dataclasses.replace(TIME, least=10e6), TIME, 8300, 3200),
                Start("pyseccomp", "3.11", dataclasses.replace(TIME, least=34e6), TIME, 9000, 4000),
            ),
            {"3.11": dataclasses.replace(TIME, least=40e3)},
        ),
    ),
)


def test_the_report_says_what_was_measured() -> None:
    text = report.render(RESULTS)
    for line in (
        "| **Processor** | an abacus |",
        "| pyseccomp | 3.0 | the same as libseccomp-O1's | allowed under b |",
        "- seccomp is left out",
        # sqrt(0.5 * 2), and the worse of the two.
        "| libseccomp-O1 | 1.00 (2.00) | 0.25 (0.25) | 0.50 (0.50) | 0.67 (0.67) |",
        "| seccompy | 0.80 (0.80) | 0.50 (0.50) | 0.80 (0.80) | 1.00 (1.00) |",
        f"| {report.BEST} | 1.00 (2.00) | 0.35 (0.50) | 0.63 (0.80) | 1.00 (1.00) |",
        "| a | **10** | 20 | wrong |",
        "| b | 40 | **20** | 50 |",
        "| b | **6.00** | 9.00 | **6.00** |",
        "| no filter | 80.5 | 120.0 (110.0 to 130.0) |  |  |",
        "| seccompgen | 100.0 | 120.0 (110.0 to 130.0) | +19.5 | 1.00 |",
        "| pyseccomp | 3.11 | 400 | 120 (110 to 130) | 0.25 |",
        "| bare | 3.11 | 9.00 |  |  |  | 8000 | 3000 |",
        "| seccompgen | 3.11 | 10.00 | 1.00 | 1.00 | 0.000 | +300 | +200 |",
        "| pyseccomp | 3.11 | 34.00 | 25.00 | 0.04 | 0.000 | +1000 | +1000 |",
        "- seccompy, a: wrong: 1(0x0) gives allow, not errno(1)",
    ):
        assert line in text.splitlines(), text
    bare = report.render(dataclasses.replace(RESULTS, installs={}, calls=(), starts=()))
    assert "processor time" not in bare
    assert "Nanoseconds" not in bare


def test_the_same_results_are_the_same_picture() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing: make bench installs it")
    from benchmarks import plot

    picture = plot.render(RESULTS)
    assert picture == plot.render(RESULTS)
    assert b"libseccomp-O1" in picture
    assert b"dc:date" not in picture
    assert plot.render(dataclasses.replace(RESULTS, installs={}, calls=())).startswith(b"<?xml")


def test_every_tool_has_a_colour() -> None:
    source = (Path(command.__file__).parent / "plot.py").read_text()
    assert all(f'"{peer.name}":' in source for peer in peers.PEERS)


@pytest.mark.long("does all that a page shows")
def test_the_command_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policies, "production", dict)
    command.main(["--no-timing", "--only", "no_exec", "-o", str(tmp_path / "here")])
    text = (tmp_path / "here" / "RESULTS.md").read_text()
    assert "There is no corpus" in text
    assert "| no_exec | " in text
    assert "RESULTS.md" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--only", "absent", "-o", str(tmp_path / "there")])
    assert "no policy absent" in capsys.readouterr().err
