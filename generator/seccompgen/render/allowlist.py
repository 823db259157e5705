"""Render what a scan found as source code: Go for go-seccomp-bpf, or a policy in Python."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from seccompgen.core.text import printable
from seccompgen.render.templates import render_python, render_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Action
    from seccompgen.core.tables import Tables

_GOARCH = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386"}


def render_go_allowlist(
    calls: Mapping[Abi, Sequence[str]], package: str, heading: Sequence[str]
) -> bytes:
    """Return Go source for ``package``: a seccomp.Policy of go-seccomp-bpf that allows ``calls``.

    It is built for the architectures of ``calls`` only. Raises ValueError for several of them: the
    library refuses a name that the one it runs on does not have.
    """
    if len(calls) != 1:
        raise ValueError("an allowlist in Go is for one architecture")
    ((abi, names),) = calls.items()
    return render_text(
        "allowlist.go.j2",
        build=f"linux && {_GOARCH[abi.name]}",
        package=package,
        names=sorted(set(names)),
        heading=[printable(line) for line in heading],
    ).encode()


def render_python_allowlist(
    calls: Mapping[Abi, Sequence[str]],
    compat_arches: Sequence[Abi],
    default_action: Action,
    tables: Tables,
    description: str,
    heading: Sequence[str],
) -> bytes:
    """Return Python source with one value, ``POLICY``, that allows ``calls``."""
    has = [tables.tables[abi.name].numbers for abi in calls]
    names = sorted({name for wanted in calls.values() for name in wanted})
    everywhere = [name for name in names if all(name in numbers for numbers in has)]
    elsewhere = [name for name in names if name not in set(everywhere)]
    groups = [
        {"names": group, "optional": optional}
        for group, optional in ((everywhere, False), (elsewhere, True))
        if group
    ]
    return render_python(
        "allowlist.py.j2",
        {},
        arches=[abi.name for abi in calls],
        compat_arches=[abi.name for abi in compat_arches],
        default_action=str(default_action),
        description=json.dumps(description),
        groups=groups,
        heading=[printable(line) for line in heading],
    )
