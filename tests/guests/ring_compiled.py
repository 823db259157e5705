"""The policy of `ring_filters` as the compiler builds it: its programs, and its package."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from guests.ring_filters import ONE_DATABASE
from ring_context import ADDRESSES, CONNECT, pdu_size
from seccompgen.core.program import encode
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.rings import proved_operation
from seccompgen.policy.document import read_document
from seccompgen.policy.resolve import resolve_policy

if TYPE_CHECKING:
    from ring_context import Release
    from seccompgen.core.model import ResolvedPolicy

_POLICY = Path(__file__).with_name("ring_database.yml")

INSTALLS = "compiled.ring_database"
"""The module of guests whose ``install()`` puts the policy in force."""


@cache
def _policy() -> ResolvedPolicy:
    policy, _ = resolve_policy(read_document(_POLICY.read_bytes(), _POLICY.name), shipped_tables())
    return policy


@cache
def _programs(abi: str, release: Release) -> dict[int, tuple[int, bytes]]:
    policy = _policy()
    assert policy.io_uring
    (own,) = [one for one in policy.arches if one.name == abi]
    return {
        one.opcode: (
            pdu_size(one.opcode, release),
            encode(proved_operation(policy, own, one).instructions, own),
        )
        for one in policy.io_uring.operations(own)
        # A program for fields that a kernel lacks is not for it.
        if one.opcode != CONNECT or release >= ADDRESSES
    }


COMPILED = replace(ONE_DATABASE, name="compiled", programs=_programs)


@cache
def package() -> dict[str, bytes]:
    """Return the files of the package that `build` writes, as guests have them."""
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
        command = [sys.executable, "-m", "seccompgen", "build", str(_POLICY), "-o", folder]
        subprocess.run(command, check=True, capture_output=True)
        return {
            f"compiled/{path.relative_to(folder)}": path.read_bytes()
            for path in sorted(Path(folder).rglob("*.py"))
        }
