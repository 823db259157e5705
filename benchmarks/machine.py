"""This machine, as far as it matters to the figures. Its name does not."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def describe() -> dict[str, str]:
    """Return what to compare before comparing two runs."""
    cpuinfo = _text("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    virtual = ", virtual" if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) else ""
    jit = {"0": "off", "1": "on", "2": "on, with debug output"}
    return {
        "Processor": f"{model[1] if model else 'unknown'}, {os.cpu_count()} of them{virtual}",
        "Kernel": f"Linux {platform.release()}, {platform.machine()}",
        "BPF JIT": jit.get(_text("/proc/sys/net/core/bpf_jit_enable").strip(), "unknown"),
        "Python": platform.python_version(),
        "C library": " ".join(platform.libc_ver()),
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
