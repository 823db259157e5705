"""The values beside the programs of rings: whether a process may become another program."""

from __future__ import annotations

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.rings import built_rings
from seccompgen.policy.document import read_document
from seccompgen.policy.resolve import resolve_policy

TABLES = shipped_tables()
BOTH = "execve, execveat"
ALL = f"{BOTH}, exec_with_loader, osf_execve"


@pytest.mark.parametrize(
    ("abi", "default", "rules", "permits"),
    [
        ("x86_64", "allow", "", True),
        ("x86_64", "errno", "", False),
        ("x86_64", "allow", f"{{action: errno, names: [{BOTH}]}}", False),
        ("x86_64", "allow", "{action: errno, names: [execve]}", True),
        ("x86_64", "errno", "{action: allow, names: [execveat]}", True),
        ("x86_64", "errno", f"{{action: kill_process, names: [{BOTH}]}}", False),
        ("x86_64", "allow", f"{{action: log, names: [{BOTH}]}}", True),
        ("x86_64", "errno", "{action: allow, names: [execve], when: 'arg0 == 1'}", True),
        ("x86_64", "allow", "{action: errno, names: [execve, execveat], when: 'arg0 == 1'}", True),
        ("alpha", "allow", f"{{action: errno, names: [{BOTH}]}}", True),
        ("alpha", "allow", f"{{action: errno, names: [{ALL}]}}", False),
    ],
)
def test_a_process_may_become_another_program(
    abi: str, default: str, rules: str, *, permits: bool
) -> None:
    text = (
        f"arches: [{abi}]\ndefault_action: {default}\nsyscalls: [{rules}]\n"
        "io_uring: {default_action: deny, without: fail, operations: []}\n"
    )
    policy, _ = resolve_policy(read_document(text.encode(), "p.yml"), TABLES)
    assert built_rings(policy, ABIS[abi], TABLES.facts, None).permits_exec == permits
