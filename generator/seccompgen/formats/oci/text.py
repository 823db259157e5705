"""Render a profile as the JSON that container runtimes read."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import RET_DATA_MAX, ActionKind, FilterFlag
from seccompgen.core.problems import Problem
from seccompgen.formats.oci.writer import ProfileRule

if TYPE_CHECKING:
    from seccompgen.formats.oci.writer import OciProfile

_EPERM = 1
_MOST_IN_KUBERNETES = (1 << 63) - 1
_FEW = 4
"""So many names fit on the line of their rule."""


def render_profile(profile: OciProfile) -> bytes:
    """Return ``profile`` as the ``linux.seccomp`` of runtime-spec.

    ``flags`` are always there: where they are absent, runtimes set SPEC_ALLOW. TSYNC, which would
    change nothing, cannot keep Docker and Podman from leaving an empty list out of what they hand
    on: runc 1.1 refuses every flag.

    The last rule has the default action, so that runtimes skip it, and its name, which no call has,
    is a digest of all the rest. crun keeps programs by a digest of the profile that leaves out the
    errno numbers of rules (1.21 does): a profile that differs in them alone would get the program
    of the other.
    """
    action, data = _action(profile.default)
    names = (flag.name for flag in FilterFlag if flag & profile.flags)
    settings: dict[str, Any] = {
        "defaultAction": action,
        **({} if data is None else {"defaultErrnoRet": data}),
        "architectures": list(profile.architectures),
        "flags": [f"SECCOMP_FILTER_FLAG_{name}" for name in names],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in settings.items()]
    rules = [_rule(rule) for rule in profile.rules]
    digest = hashlib.sha256("\n".join([*lines, *rules]).encode()).hexdigest()
    rules.append(_rule(ProfileRule((f"profile_{digest[:16]}",), (), profile.default)))
    listed = ",\n".join(f"    {rule}" for rule in rules)
    return "\n".join(["{", *lines, '  "syscalls": [', listed, "  ]", "}", ""]).encode()


def render_spo(profile: OciProfile, name: str) -> bytes:
    """Return ``profile`` as an object of Security Profiles Operator, which may be called ``name``.

    Raises InputError for what its fields cannot hold.
    """
    action, data = _action(profile.default)
    problems = []
    if data not in {None, _EPERM}:
        text = (
            f"a SeccompProfile has no number for its default action: {action} is errno(EPERM) there"
        )
        problems.append(Diagnostic(f"{text}; say unknown_action: errno(EPERM)"))
    numbers = (n for rule in profile.rules for m in rule.matches for n in (m.value, m.value_two))
    if any(number > _MOST_IN_KUBERNETES for number in numbers):
        text = "a number in a Kubernetes object is below 2**63, and a condition needs a larger one"
        problems.append(Diagnostic(text))
    if problems:
        raise InputError(*problems, kind=Problem.NOT_IN_OCI_PROFILE)
    label = re.sub(r"[^a-z0-9]+", "-", f"{name}-{profile.abi.name}".lower()).strip("-")
    body = render_profile(profile).decode().splitlines()
    lines = [line for line in body[1:-1] if "defaultErrnoRet" not in line]
    head = [
        "apiVersion: security-profiles-operator.x-k8s.io/v1beta1",
        "kind: SeccompProfile",
        f"metadata: {{name: {json.dumps(label)}}}",
        "spec: {",
    ]
    return "\n".join((*head, *lines, "  }", "")).encode()


def _rule(rule: ProfileRule) -> str:
    """Return a rule as one line, or with more than a few names as one line a name."""
    action, data = _action(rule.ret)
    found: dict[str, Any] = {"action": action}
    if data is not None:
        found["errnoRet"] = data
    if rule.matches:
        found["args"] = [
            {
                "index": match.index,
                "value": match.value,
                **({"valueTwo": match.value_two} if match.op == "MASKED_EQ" else {}),
                "op": f"SCMP_CMP_{match.op}",
            }
            for match in rule.matches
        ]
    names = json.dumps(list(rule.names), indent=8 if len(rule.names) > _FEW else None)
    closed = f"{names[:-1].rstrip()}\n      ]" if len(rule.names) > _FEW else names
    return f'{{"names": {closed}, {json.dumps(found)[1:]}'


def _action(ret: int) -> tuple[str, int | None]:
    """Return SCMP_ACT_* of a SECCOMP_RET value, and its data where a profile has it apart."""
    kind = ActionKind(ret & ~RET_DATA_MAX)
    has_data = kind in {ActionKind.ERRNO, ActionKind.TRACE}
    return f"SCMP_ACT_{kind.name}", ret & RET_DATA_MAX if has_data else None
