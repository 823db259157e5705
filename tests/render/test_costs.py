"""Rules by what they take of a program, and in names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from known_facts import KNOWN_TABLES
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.formats import load_policy
from seccompgen.render.costs import costly_rules

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
arches: [x86_64]
default_action: kill_process
syscalls:
- action: allow
  names: [read, write, close, fstat, exit]
- action: errno(EPERM)
  names_with_args:
  - name: ioctl
    arguments: [{argument: 1, operation: Equal, value: 0x541b, width: 32}]
- action: log
  names_with_args:
  - name: mprotect
    arguments:
    - {argument: 2, operation: BitsNotSet, value: 4}
    - {argument: 1, operation: GreaterThan, value: 0x500000005, width: 64}
- action: errno(ENOSYS)
  optional: true
  names: [spu_run]
"""


def test_the_costliest_rules_come_first_and_speak_names(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(TEXT)
    policy, _ = load_policy(path, KNOWN_TABLES)
    program = compile_policy(policy, ABIS["x86_64"], KNOWN_TABLES)
    found = costly_rules(policy, program, KNOWN_TABLES, 5)
    texts = {str(rule): rule for rule in found}
    assert set(texts) == {
        "read, write, close, fstat and 1 more",
        "ioctl where cmd == FIONREAD",
        "mprotect where not prot & PROT_EXEC and len > 0x500000005",
    }
    counts = [rule.instructions for rule in found]
    assert counts == sorted(counts, reverse=True)
    for rule in found:
        origins = [{one.position for one in some} for some in program.origins]
        assert rule.instructions == sum(rule.position in some for some in origins)
    assert costly_rules(policy, program, KNOWN_TABLES, 1) == found[:1]
    # Bytes alone have no rules.
    assert costly_rules(policy, replace(program, origins=()), KNOWN_TABLES, 5) == ()
