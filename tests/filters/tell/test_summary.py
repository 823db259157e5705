"""The summary of a filter says what the filter does: written down as a policy, it is the filter."""

from __future__ import annotations

import csv
import random
from typing import TYPE_CHECKING

import pytest
from longer import long_but
from proving import stock_program
from seccompgen.core.abis import ABIS, Abi
from seccompgen.core.call_kinds import Kind
from seccompgen.core.filter_summary import CallRoute, CallSummary, FilterSummary
from seccompgen.core.program import Program
from seccompgen.filters.find.execution import executed_for
from seccompgen.filters.find.loaded_filter import LoadedFilter, compile_filter, load_filter
from seccompgen.filters.tell.shown_kinds import kind_of_call, kinds
from seccompgen.filters.tell.summary import summarize
from seccompgen.kernel.powers import powers
from seccompgen.kernel.shipped import SHIPPED, shipped_tables
from seccompgen.pipeline.build import PLAIN_OPTIONS
from seccompgen.policy.stock import stock_policies
from seccompgen.verify import Proof, prove
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
X86_64, S390X = ABIS["x86_64"], ABIS["s390x"]


POLICY = """\
arches: [x86_64, aarch64, mips64]
default_action: errno(ENOSYS)
syscalls:
- action: allow
  names: [read, write, poll]
- action: errno(EPERM)
  names: [openat]
  when: flags & O_CREAT
- action: allow
  names: [openat]
- action: log
  names: [fcntl]
  when: cmd in {F_SETLK, F_GETFD}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> LoadedFilter:
    path = tmp_path_factory.mktemp("summary") / "policy.yml"
    path.write_text(POLICY)
    return compile_filter(path, TABLES, None, PLAIN_OPTIONS)


@pytest.fixture(scope="module")
def summary(compiled: LoadedFilter) -> FilterSummary:
    return summarize(compiled, TABLES)


def abis(call: CallSummary) -> list[str]:
    return [place.way.abi for place in call.places]


def test_abis_that_answer_alike_are_one(summary: FilterSummary) -> None:
    (read,) = summary.by_name["read"]
    assert abis(read) == ["x86_64", "aarch64", "mips64"]
    assert read.kind is Kind.DESCRIPTORS
    assert read.only == read.answers[0]
    (poll,) = summary.by_name["poll"]
    assert abis(poll) == ["x86_64", "mips64"]


def test_errnos_are_compared_by_name(summary: FilterSummary) -> None:
    (connect,) = summary.by_name["connect"]
    assert [one.action for one in connect.answers] == ["errno(ENOSYS)"]
    assert len(connect.places) == 3


def test_the_last_rule_says_otherwise(summary: FilterSummary) -> None:
    (openat,) = summary.by_name["openat"]
    assert openat.only is None
    assert [(one.action, one.condition, one.otherwise) for one in openat.answers] == [
        ("errno(EPERM)", "flags & O_CREAT", False),
        ("allow", "", True),
    ]
    lines = [one.origin.position.line for one in openat.answers if one.origin]
    assert lines == [6, 9]


def test_values_have_names_and_not_the_numbers_of_an_abi(summary: FilterSummary) -> None:
    (fcntl,) = summary.by_name["fcntl"]
    assert fcntl.answers[0].condition == "cmd in {F_SETLK, F_GETFD}"
    assert len(fcntl.places) == 3


def test_calls_that_are_always_allowed_are_in_the_bitmap(summary: FilterSummary) -> None:
    said = {
        name: {place.bitmap for entry in summary.by_name[name] for place in entry.places}
        for name in ("read", "openat", "connect")
    }
    assert said == {"read": {True}, "openat": {False}, "connect": {False}}


def test_nothing_is_said_of_costs_without_a_program(compiled: LoadedFilter) -> None:
    (read,) = summarize(load_filter(compiled.path, TABLES), TABLES).by_name["read"]
    assert {(one.bitmap, one.executed) for one in read.places} == {(None, None)}


def test_calls_without_a_name_are_told_apart(summary: FilterSummary) -> None:
    assert [(one.answer.action, len(one.ways)) for one in summary.rest] == [
        ("errno(ENOSYS)", 3),
        ("kill_process", 3),
    ]


def test_what_runs_lies_within_what_is_said(compiled: LoadedFilter) -> None:
    chosen = random.Random(4)
    for abi, code in compiled.programs.items():
        for name, nr in TABLES.tables[abi].numbers.items():
            said = executed_for(code, nr, ABIS[abi].audit_arch)
            counts = set()
            for _ in range(8):
                args = [chosen.choice([0, 1, 7, 64, 0x241, 1 << 32]) for _ in range(6)]
                call = Call(nr, ABIS[abi].audit_arch, tuple(args))  # type: ignore[arg-type] # six
                counts.add(len(code.run(call)[1]))
            assert said.least <= min(counts), name
            assert max(counts) <= said.most, name
            if name not in {"openat", "fcntl"}:
                assert counts == {said.least} == {said.most}, name


def test_every_call_of_every_abi_has_a_kind() -> None:
    with (SHIPPED / "syscalls.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert [name for name in names if kind_of_call(name) is Kind.OTHER] == []
    first = {line.calls[0] for line in powers().lines if not line.when}
    assert kinds()[1].keys() <= first


def rewritten(summary: FilterSummary, abi: Abi, directory: Path) -> Path:
    """Write down as a policy what a summary says of the calls of an ABI."""
    lines = [f"arches: [{abi.name}]", "default_action: trace(4711)", "multiplexed: trace(4711)"]
    for one in summary.rest:
        if CallRoute(abi.name, abi.name) in one.ways:
            which = "unknown" if "does not name" in one.subject else "bad_arch"
            line = f"{which}_action: {one.answer.action}"
            lines += [line] if line not in lines else []
    lines.append("syscalls:")
    # Rules of the multiplexed calls come first, before those that ordinary calls make of them.
    for call in sorted(summary.calls, key=lambda one: one.kind is not Kind.MULTIPLEXED):
        if all(place.way != CallRoute(abi.name, abi.name) for place in call.places):
            continue
        for answer in call.answers:
            lines.append(f"- action: {answer.action}")
            lines.append(f"  names: [{call.name!r}]")
            if answer.condition:
                lines.append(f"  when: {answer.condition!r}")
    path = directory / f"{abi.name}.yml"
    path.write_text("\n".join(lines) + "\n")
    return path


def says_what_it_does(loaded: LoadedFilter, abi: Abi, directory: Path) -> bool:
    again = load_filter(rewritten(summarize(loaded, TABLES), abi, directory), TABLES)
    return isinstance(prove(loaded.sides[abi.name], again.sides[abi.name]), Proof)


EVERY = [
    (name, abi)
    for name in sorted(stock_policies())
    for abi in ("x86_64", "mips64", "s390x")
    if (name, abi) != ("compute_only", "s390x")
]


@pytest.mark.few(1, "makes and proves filters of many forms")
@pytest.mark.parametrize(
    ("name", "abi"),
    long_but(
        [("no_network", "s390x"), ("no_exec", "mips64"), ("web_worker", "x86_64")],
        EVERY,
        "each policy on each kind of ABI",
    ),
)
def test_a_stock_policy_as_its_summary_has_it_is_the_same_policy(
    name: str, abi: str, tmp_path: Path
) -> None:
    loaded = load_filter(stock_policies()[name], TABLES, ABIS[abi])
    assert says_what_it_does(loaded, ABIS[abi], tmp_path)


@pytest.mark.few(1, "makes and proves filters of many forms")
@pytest.mark.parametrize(
    "name", long_but(["no_network", "web_worker"], stock_policies(), "the other policies")
)
def test_a_program_as_its_summary_has_it_is_the_same_program(name: str, tmp_path: Path) -> None:
    one = stock_program(name, "x86_64")
    path = tmp_path / "program.bpf"
    path.write_bytes(Program(X86_64, one.code.instructions).to_bytes())
    assert says_what_it_does(load_filter(path, TABLES, X86_64), X86_64, tmp_path)
