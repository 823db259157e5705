"""Policies that say their ``kernel``, built with the tables of every release since.

Whatever tables a build uses, such a policy answers every call that it does not name as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import interpreter
import pytest
from corpus import NAMES, corpus, translated
from first_releases import release, releases
from longer import long_but
from old_tables import tables_at
from oracle import ABIS
from seccompgen.compile import ProgramBuilder, compile_policy
from seccompgen.compile.lower import number_lines
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.formats import load_policy
from stock_policies import STOCK, read_policy
from strategies import document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.policy.document import Source

OLDEST, LATER = "v5.10", "v6.1"
PIN = releases()[-1]
ARGUMENTS = ([0] * 6, [0xFFFFFFFFFFFFFFFF] * 6, [1, 2, 4, 8, 3, 5])
STOCK_ABIS = {
    "compute_only": ["x86_64", "loongarch64", "mips"],
    "no_exec": ["i386", "arm", "aarch64", "alpha"],
    "no_network": ["x86_64", "i386", "aarch64", "loongarch64", "s390x", "mips64el", "alpha"],
    "no_path_sockets": ["mips"],
    "no_escape": ["i386"],
    "no_listen": ["s390x"],
    "sandboxed_code": ["aarch64"],
    "web_worker": ["aarch64"],
}
"""ABIs of stock policies; loongarch64 came after v5.10. Larger policies are tried on fewer."""
MIPS_SPAN = 1000
"""The numbers from the base of one MIPS ABI to that of the next."""


class Answers:
    """The answers of a policy's programs, by the tables that they were built with."""

    def __init__(self, source: Source, abi: str) -> None:
        self._source, self._abi = source, abi
        self._seen: dict[object, dict[int, list[int]]] = {}

    def of(self, tables: Tables) -> dict[int, list[int]]:
        """Return the answers to all numbers of the newest tables, and to some that no call has.

        A program is made, and run, only where the compiler is given something new.
        """
        policy = load_policy(self._source, tables)[0]
        abi = tables.tables[self._abi].abi
        key = _key(policy, abi, tables)
        if key not in self._seen:
            program = compile_policy(policy, abi, tables).to_bytes()
            order = ABIS[abi.name].byte_order
            self._seen[key] = {
                nr: [
                    interpreter.run(
                        program, interpreter.seccomp_data(nr, abi.audit_arch, args, 0, order), order
                    ).value
                    for args in ARGUMENTS
                ]
                for nr in self._numbers()
            }
        return self._seen[key]

    def _numbers(self) -> list[int]:
        calls = tables_at(PIN).tables[self._abi].numbers.values()
        least = min(calls)
        return [nr for nr in range(least, max(calls) + 40) if nr < least + MIPS_SPAN]


def _key(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> object:
    """Return all that decides the answers of a program."""
    functions = ProgramBuilder(abi, (), DEFAULT_OBJECTIVE).functions
    lines = number_lines(policy, abi, tables, functions)
    return tuple(
        (line.audit_arch, tuple((s.first, s.last, repr(s.answer.cases), s.answer.function.default)
                                for s in line.spans))
        for line in lines
    )  # fmt: skip


def changes(source: Source, abi: str, kernel: str) -> Iterator[tuple[str, str]]:
    """Yield (release, call) for each answer that differs from the one of the release before."""
    names = tables_at(PIN).tables[abi].names
    answers, before = Answers(source, abi), dict[int, list[int]]()
    for tag in releases():
        table = tables_at(tag).tables.get(abi)
        if release(tag) < release(kernel) or table is None or not table.has_filters:
            continue
        now = answers.of(tables_at(tag))
        for nr in now:
            if now[nr] != before.get(nr, now[nr]):
                yield tag, names.get(nr, str(nr))
        before = now


def named(policy: dict[str, Any]) -> set[str]:
    """Return the calls that a policy itself names, and not only by a group such as @basic-io."""
    found = set()
    for group in policy["syscalls"]:
        own = [*group.get("names", ()), *(x["name"] for x in group.get("names_with_args", ()))]
        found |= set(own) - set(group.get("mentioned", ()))
    return found


@pytest.mark.long("compiles with the tables of many releases")
@pytest.mark.parametrize(
    ("stock", "abi"),
    long_but(
        [("compute_only", "loongarch64"), ("no_exec", "arm"), ("no_network", "s390x")],
        [(path.stem, abi) for path in STOCK for abi in STOCK_ABIS[path.stem]],
        "old tables never change, and each ABI has twenty of them",
    ),
)
def test_stock_policies_change_for_no_call_that_they_do_not_name(
    tmp_path: Path, stock: str, abi: str
) -> None:
    policy = tmp_path / "p.yml"
    policy.write_text(f"include: [{stock}]\nkernel: {OLDEST}\narches: [{abi}]\n")
    found = {call for _, call in changes(policy, abi, OLDEST)}
    (path,) = (path for path in STOCK if path.stem == stock)
    assert found <= named(read_policy(path))


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize(
    "name",
    long_but(
        ["journal", "vm-net"],
        sorted({"journal", "vm-net", *NAMES[::3]}),
        "old tables never change, nor do most policies",
    ),
)
def test_corpus_policies_change_for_no_call_that_they_do_not_name(name: str) -> None:
    policy = {**translated(corpus()[name]), "kernel": LATER}
    for group in policy["syscalls"]:
        group["optional"] = True
    found = {call for _, call in changes(document(policy), "x86_64", LATER)}
    assert found <= named(policy)


def test_without_a_kernel_they_do_change(tmp_path: Path) -> None:
    policy = tmp_path / "p.yml"
    text = "arches: [x86_64]\ndefault_action: errno(EPERM)\nunknown_action: errno(ENOSYS)\n"
    policy.write_text(
        f"{text}syscalls: [{{action: allow, names: [read, mseal], optional: true}}]\n"
    )
    found = {call: tag for tag, call in changes(policy, "x86_64", LATER)}
    assert found["cachestat"] == "v6.5"
    policy.write_text(f"kernel: {LATER}\n{policy.read_text()}")
    assert list(changes(policy, "x86_64", LATER)) == [("v6.10", "mseal")]
