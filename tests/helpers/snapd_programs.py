"""snap-seccomp's programs for a policy, and the proof that they are what our reader makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus import SHARED
from libseccomp_abis import guarded
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.program import decode
from seccompgen.verify import Code, Operation, Stack, meaning, prove

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.verify import Difference, Proof

X86_64 = ABIS["x86_64"]


def answers(policy: Path) -> tuple[bytes, bytes]:
    """Return the filters that allow and deny, as they are stored for a policy's file."""
    place, name = policy.parent / "answers", policy.stem
    if policy.is_relative_to(SHARED):
        place, name = SHARED / "answers" / "snapd", policy.name
    allow, deny = ((place / f"{name}.{kind}.bpf").read_bytes() for kind in ("allow", "deny"))
    return allow, deny


def proved(policy: ResolvedPolicy, programs: tuple[bytes, bytes]) -> Proof | Difference:
    """Prove a policy equal to both filters together, of which the kernel has the deny one first."""
    allow, deny = (Code(decode(one, X86_64), X86_64.byte_order) for one in programs)
    both = Stack(Operation.INTERSECT, (deny, allow))
    ours = meaning(policy, X86_64, TABLES)
    return prove(guarded("x86_64", ours), guarded("x86_64", both))
