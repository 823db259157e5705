"""Write an OCI profile as an object of the Security Profiles Operator."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.formats.oci.writer import WRITER as OCI
from seccompgen.formats.oci.writer import profile, render_profile

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

_DEFAULTS = {ActionKind.ERRNO: 1, ActionKind.TRACE: 1}
"""The number of an action that states none."""
_MOST_IN_KUBERNETES = (1 << 63) - 1


def _render(policy: ResolvedPolicy, abi: Abi, tables: Tables, release: int | None) -> bytes:
    """Return the object of ``policy`` for ``abi``.

    Raises InputError for what its fields cannot hold.
    """
    del release
    found = profile(policy, abi, tables)
    where, kind = policy.unknown_origin.position, Problem.NOT_IN_OCI_PROFILE
    problems = []
    action = ActionKind(found.default & ~RET_DATA_MAX)
    if found.default & RET_DATA_MAX != _DEFAULTS.get(action, 0):
        name = f"SCMP_ACT_{action.name}"
        text = f"a SeccompProfile has no number for its default action: {name} is errno(EPERM) "
        text += "there; say unknown_action: errno(EPERM)"
        problems.append(Diagnostic(text, where, kind))
    numbers = (n for rule in found.rules for m in rule.matches for n in (m.value, m.value_two))
    if any(number > _MOST_IN_KUBERNETES for number in numbers):
        text = "a number in a Kubernetes object is below 2**63, and a condition needs a larger one"
        problems.append(Diagnostic(text, where, kind))
    if problems:
        raise InputError(*problems)
    label = re.sub(r"[^a-z0-9]+", "-", f"{policy.name}-{abi.name}".lower()).strip("-")
    body = render_profile(found).decode().splitlines()
    lines = [line for line in body[1:-1] if "defaultErrnoRet" not in line]
    head = [
        "apiVersion: security-profiles-operator.x-k8s.io/v1beta1",
        "kind: SeccompProfile",
        f"metadata: {{name: {json.dumps(label)}}}",
        "spec: {",
    ]
    return "\n".join((*head, *lines, "  }", "")).encode()


WRITER = OCI._replace(suffix="yml", render=_render)
