"""Bad filters of the past are found, each by a call that the kernel answers as lint says."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import interpreter
import pytest
from command import ROOT, seccompgen
from historic import (
    FOLDER,
    HISTORIC,
    Historic,
    as_built,
    findings_of,
    historic_table,
    program_of,
    witnesses,
)
from pages import blocks
from running_kernel import (
    ALLOW,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    ERRNO,
    IS_X86_64,
    i386_call,
    install_raw,
    instruction,
    run,
    syscall,
)
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.answers import permits

if TYPE_CHECKING:
    from running_kernel import Outcome
    from seccompgen.verify.call import Call

SIGSYS = 31
KILLS = {0x80000000, 0x00000000}
PROCESSES = {"fork", "clone"}
"""Calls that return twice."""
CASES = {case.name: case for case in HISTORIC}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Historic:
    return CASES[request.param]


def test_there_are_many_and_each_has_a_link() -> None:
    assert len(HISTORIC) >= 30
    assert sorted(FOLDER.iterdir()) == sorted(
        path for one in HISTORIC for path in (one.path, one.mended)
    )
    for one in HISTORIC:
        assert re.fullmatch(r"https://\S+", one.link), one.name
        assert one.story.endswith("."), one.name


@pytest.mark.few(26, "asks the running kernel case by case")
def test_it_is_found_where_it_is_wrong(case: Historic) -> None:
    found = findings_of(case.path)
    assert {one.kind.value for one in found} == set(case.codes)
    places = [
        one.instruction if case.is_program else one.position and one.position.line
        for one in found
        if one.kind.value == case.codes[0]
    ]
    assert case.place in places


@pytest.mark.few(23, "asks the running kernel case by case")
def test_the_mended_filter_is_silent(case: Historic) -> None:
    assert findings_of(case.mended) == ()


@pytest.mark.few(26, "asks the running kernel case by case")
def test_an_interpreter_answers_as_lint_says(case: Historic) -> None:
    """The program, run by the tests' own interpreter, is of one mind with the witnesses."""
    program = program_of(case.path)
    order = program.abi.byte_order
    for witness in witnesses(case):
        call = witness.call
        data = interpreter.seccomp_data(call.nr, call.arch, call.args, byte_order=order)
        assert interpreter.run(program.to_bytes(), data, order).value == as_built(witness)


@pytest.mark.few(3, "asks the running kernel case by case")
def test_the_running_kernel_answers_as_lint_says(case: Historic) -> None:
    """A permitted call fares as without a filter; a refused one gets the filter's answer."""
    if not IS_X86_64 or case.abi.name not in {"x86_64", "i386"}:
        pytest.skip(f"needs a kernel for {case.abi.name}")
    program = program_of(case.path).to_bytes()
    calls = witnesses(case)
    if {one.call.arch for one in calls} == {AUDIT_ARCH_I386}:
        i386_call()
        program = for_i386_alone(program)
    for witness in calls:
        answer = as_built(witness)
        outcome = tried(witness.call, program)
        if permits(answer):
            assert told(outcome) == told(tried(witness.call))
        elif answer in KILLS:
            assert outcome.signal == SIGSYS
        else:
            assert answer & 0xFFFF0000 == ERRNO
            assert told(outcome) == answer & 0xFFFF


@pytest.mark.few(6, "asks the running kernel case by case")
@pytest.mark.parametrize(
    "name", [one.name for one in HISTORIC if one.codes[0] == "ignored-bits" and not one.is_program]
)
def test_the_kernel_takes_both_calls_for_one(name: str) -> None:
    """Of two calls that differ in bits that are ignored, the kernel says the same."""
    if not IS_X86_64:
        pytest.skip("needs Linux on x86_64")
    permitted, refused = witnesses(CASES[name])[:2]
    assert permitted.call != refused.call
    assert told(tried(permitted.call)) == told(tried(refused.call))


def test_the_page_has_them_all() -> None:
    """Its table is the one that ``python tests/helpers/historic.py`` prints."""
    page = (ROOT / "docs" / "lint-history.md").read_text()
    assert f"\n\n{historic_table()}\n" in page
    assert (
        f"shows it on {len(HISTORIC)} filters that were shipped"
        in (ROOT / "docs" / "tour.md").read_text()
    )
    command, said = blocks("console", page)[0].splitlines()
    result = seccompgen(*command.split()[2:], cwd=ROOT)
    assert result.out.splitlines()[0] == said


def for_i386_alone(program: bytes) -> bytes:
    """Return the program with all calls but i386's permitted, so that a 64-bit process lives."""
    load = instruction(0x20, 0, 0, 4)
    is_i386 = instruction(0x15, 1, 0, AUDIT_ARCH_I386)
    return load + is_i386 + instruction(0x06, 0, 0, ALLOW) + program


def tried(call: Call, program: bytes = b"") -> Outcome:
    """Make a call in a child, under a filter if one is given."""
    names = shipped_tables().tables["x86_64" if call.arch == AUDIT_ARCH_X86_64 else "i386"].names
    name = names.get(call.nr, "")
    assert name != "vfork"
    other = i386_call() if call.arch == AUDIT_ARCH_I386 else None

    def make() -> int:
        if program:
            install_raw(program)
        if other:
            result = other(call.nr, *call.args)
            return -result if -4096 < result < 0 else 0
        value, number = syscall(call.nr, *call.args)
        if name in PROCESSES and value == 0:
            os._exit(0)
        return number

    return run(make)


def told(outcome: Outcome) -> object:
    """Return the errno that a call came to, 0 for none; or how the process ended that made it."""
    assert outcome.error is None
    return outcome.value if outcome.signal is None else ("signal", outcome.signal)
