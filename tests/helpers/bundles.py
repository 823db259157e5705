"""Bundles that OCI runtimes run, and the commands that run them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from engines import ALONE

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "runc": "runc",
    "crun": f"unshare -m sh -c '{ALONE}; exec \"$@\"' sh crun --cgroup-manager=disabled",
}


def lay_out(bundle: Path) -> None:
    """Lay out a container that has busybox and nothing else."""
    binaries = bundle / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    for name in ("tmp", "dev", "proc"):
        (bundle / "rootfs" / name).mkdir()
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("needs busybox-static")
    shutil.copy(busybox, binaries)
    for name in ("sh", "mkdir", "chmod", "hostname", "sleep", "echo"):
        (binaries / name).symlink_to("busybox")


def configure(bundle: Path, args: list[str], **more: Any) -> None:
    namespaces = [{"type": name} for name in ("pid", "mount", "ipc", "uts", "network")]
    seccomp = more.pop("seccomp", None)
    document = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {
                kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")
            },
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": namespaces, **({"seccomp": seccomp} if seccomp else {})},
        **more,
    }
    (bundle / "config.json").write_text(json.dumps(document))
