"""The filters that flatpak hands to bubblewrap are those that we read, for all its features.

Debian's packages are unpacked, not installed; a script in bubblewrap's place keeps the program.
"""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from firejail_filters import compared
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.foreign import Reading
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.verify import Code, Proof, meaning, prove

DRIVER = Path(__file__).parents[3] / "shared" / "peers" / "drivers" / "flatpak_bpf.sh"
PACKAGES = (
    "flatpak fuse3 xdg-dbus-proxy libstemmer0d libxmlb2 libappstream5 libjson-glib-1.0-0 "
    "libmalcontent-0-0 libavahi-glib1 libostree-1-1 libpolkit-gobject-1-0 libpolkit-agent-1-0"
)
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not DRIVER.exists() or not shutil.which("apt-get") or platform.machine() != "x86_64",
        reason="needs apt-get, the driver beside the project, and packages for x86_64",
    ),
]
X86_64 = ABIS["x86_64"]
FEATURES = ("devel", "multiarch", "bluetooth", "canbus")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory in which the packages are unpacked."""
    folder = tmp_path_factory.mktemp("flatpak")
    command = ["apt-get", "--quiet=2", "download", *PACKAGES.split()]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
        pytest.skip("no packages of flatpak to be had")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    return folder / "root"


def test_every_choice_of_features_is_read_as_flatpak_filters(root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "WORK": str(root.parent / "work")}
    metadata, out = tmp_path / "metadata", tmp_path / "filter.bpf"
    for allowed in itertools.product((False, True), repeat=len(FEATURES)):
        chosen = list(itertools.compress(FEATURES, allowed))
        command = ["bash", str(DRIVER), str(root), str(out), *(f"--allow={one}" for one in chosen)]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if not out.exists():
            pytest.skip(f"flatpak does not run here: {done.stdout.decode()}{done.stderr.decode()}")
        metadata.write_text(f"[Context]\nfeatures={';'.join(chosen)}\n")
        policy, _ = load_policy(metadata, TABLES, Reading("flatpak", abis=("x86_64",)))
        theirs = Code(decode(out.read_bytes(), X86_64), "little")
        ours = compared(meaning(policy, X86_64, TABLES))
        assert isinstance(prove(ours, compared(theirs)), Proof), chosen
        out.unlink()
