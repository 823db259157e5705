"""System calls as the running kernel describes them, in its tracing file system."""

from __future__ import annotations

import re
import subprocess

_EVENTS = "/sys/kernel/tracing/events/syscalls"
_EVENT = re.compile(r"^name: sys_enter_(\w+)$", re.MULTILINE)
_FIELD = re.compile(r"^\tfield:(.+?) ?(\w+);\toffset:(\d+);", re.MULTILINE)
_COMMON = 16
"""Bytes that every event begins with: what is traced, and the number of the call."""


def traced_calls() -> dict[str, list[tuple[str, str]]] | None:
    """Return type and name of each parameter, by entry point without ``sys_``.

    None if root alone could know, or the kernel was built without. The file system is mounted for
    the one command that reads it, if it is not there.
    """
    mount = f"[ -d {_EVENTS} ] || mount -t tracefs none /sys/kernel/tracing"
    script = f"{mount}; cat {_EVENTS}/sys_enter_*/format"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return None
    names = list(_EVENT.finditer(done.stdout))
    ends = [match.start() for match in names[1:]] + [len(done.stdout)]
    return {
        match[1]: [
            (field[1].replace("*", " *").strip(), field[2])
            for field in _FIELD.finditer(done.stdout, match.end(), end)
            if int(field[3]) >= _COMMON
        ]
        for match, end in zip(names, ends, strict=True)
    }
