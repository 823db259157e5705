"""The part of a policy that refused a call, with what it asks of the arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from known_facts import KNOWN_TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.deciding import DecidingRule
from seccompgen.core.errors import Position
from seccompgen.formats import load_policy
from seccompgen.run.refusal import JudgedFilter
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from pathlib import Path

X86_64, I386 = ABIS["x86_64"], ABIS["i386"]
TEXT = """
arches: [x86_64]
compat_arches: [i386]
default_action: errno(EPERM)
syscalls:
- action: allow
  names: [read, write]
- action: allow
  names_with_args:
  - name: ioctl
    arguments: [{argument: 1, operation: Equal, value: 0x5421, width: 32}]
  - name: ioctl
    arguments: [{argument: 1, operation: Equal, value: 0x5401, width: 32}]
- action: errno(EACCES)
  names_with_args:
  - name: openat
    arguments: [{argument: 2, operation: BitsSet, value: 0x40, width: 32}]
- action: kill_process
  names: [ptrace]
"""


@pytest.fixture
def judged(tmp_path: Path) -> JudgedFilter:
    path = tmp_path / "p.yml"
    path.write_text(TEXT)
    policy, _ = load_policy(path, KNOWN_TABLES)
    means = meaning(policy, X86_64, KNOWN_TABLES)
    table = KNOWN_TABLES.tables["x86_64"]
    return JudgedFilter(Position(str(path)), table, (), policy, means)


def told(judged: JudgedFilter, name: str, *args: int, abi: str = "x86_64") -> str:
    """Return what decided a call, without the file."""
    nr = KNOWN_TABLES.tables[abi].numbers[name]
    a, b, c, d, e, f = (*args, *[0] * (6 - len(args)))
    call = Call(nr, ABIS[abi].audit_arch, (a, b, c, d, e, f))
    _, rule = judged.decide(call, KNOWN_TABLES)
    return str(judged.with_conditions(rule, call, KNOWN_TABLES)).partition(".yml:")[2]


def test_a_rule_that_refused_tells_its_condition(judged: JudgedFilter) -> None:
    assert told(judged, "openat", 3, 0, 0x41) == "16:11 (rule 3: flags & O_CREAT)"
    assert told(judged, "ptrace", 16) == "19:11 (rule 4)"


def test_where_no_rule_fitted_it_is_told_what_would_have(judged: JudgedFilter) -> None:
    allowed = "default_action; allowed where cmd in {FIONBIO, TCGETS}"
    assert told(judged, "ioctl", 0, 0x5412) == f"4:17 ({allowed})"
    assert told(judged, "ioctl", 0, 0x5412, abi="i386") == f"4:17 ({allowed})"
    assert told(judged, "getpid") == "4:17 (default_action)"
    # What else happens to other arguments of the call allows nothing.
    assert told(judged, "openat", 3, 0, 0) == "4:17 (default_action)"


def test_bytes_alone_have_no_conditions(judged: JudgedFilter) -> None:
    bare = JudgedFilter(judged.file, judged.table, ())
    rule = DecidingRule("instruction 3", judged.file)
    call = Call(16, X86_64.audit_arch)
    assert bare.with_conditions(rule, call, KNOWN_TABLES) == rule
    strange = Call(16, 0xC00000B7 ^ 0xFFFF)
    assert judged.with_conditions(rule, strange, KNOWN_TABLES) == rule
