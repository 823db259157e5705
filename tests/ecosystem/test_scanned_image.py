"""A container of Python, made of Debian's packages, under the profile of ``scan --image``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from bundles import COMMANDS, configure
from command import seccompgen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.long("reads the code of an image; what finds its files changes rarely"),
    pytest.mark.skipif(
        not shutil.which("apt-get") or platform.machine() != "x86_64",
        reason="needs apt-get, and packages for x86_64",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="runc needs root"),
]

PACKAGES = "python3.13-minimal libpython3.13-minimal libc6 zlib1g libexpat1 libssl3t64 libzstd1"
APP = """#!/usr/bin/python3.13
import hashlib, os, sys, threading
thread = threading.Thread(target=lambda: print(sys.version_info[:2], flush=True))
thread.start()
thread.join()
print(sorted(os.listdir("/"))[0], hashlib.sha256(b"").hexdigest()[:8])
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose entry point is a script for Python, with links as Debian has them."""
    folder = tmp_path_factory.mktemp("image")
    root = folder / "bundle" / "rootfs"
    for name in ("bin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"/usr/{name}")
    command = ["apt-get", "--quiet=2", "download", *PACKAGES.split()]
    if subprocess.run(command, cwd=folder, check=False).returncode:
        pytest.skip("packages cannot be downloaded")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "one"], check=True)
    shutil.copytree(folder / "one", root, symlinks=True, dirs_exist_ok=True)
    for name in ("proc", "dev", "tmp"):
        (root / name).mkdir()
    (root / "app.py").write_text(APP)
    (root / "app.py").chmod(0o755)
    configure(folder / "bundle", ["/app.py"])
    return folder / "bundle"


@pytest.fixture(scope="module")
def profile(bundle: Path) -> Path:
    run = seccompgen(
        *("scan", "--image", bundle, "-o", bundle.parent / "app.yml", "--format", "oci"),
        *("--default-action", "kill_process", "--accept-unknown"),
    )
    assert run.code == 0, run.err
    assert "/usr/bin/python3.13: the interpreter of /app.py" in run.out
    return bundle.parent / "app.x86_64.json"


@pytest.mark.parametrize("runtime", COMMANDS)
def test_the_container_runs_under_its_profile(bundle: Path, profile: Path, runtime: str) -> None:
    if not shutil.which(runtime):
        pytest.skip(f"needs {runtime}")
    configure(bundle, ["/app.py"], seccomp=json.loads(profile.read_text()))
    command = f"{COMMANDS[runtime]} run --bundle {bundle} scanned-{os.getpid()}"
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == ["(3, 13)", "app.py e3b0c442"], run.stderr
