"""Raw programs: one file per ABI, an array of ``struct sock_filter`` in the ABI's byte order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.languages import Language

if TYPE_CHECKING:
    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables


def _write(one: Built, _tables: Tables) -> dict[str, bytes]:
    return {f"{one.policy.name}.{p.abi.name}.bpf": p.to_bytes() for p in one.programs}


LANGUAGE = Language(_write, "bpf.md")
