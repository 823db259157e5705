"""The container image, built by Podman as docs/ci.md says, on a base of a few Debian packages."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import engines
import pytest
from command import ROOT
from hosted import hosted
from released import built_wheel, pins, run
from transcript import blocks, section, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines import Engine

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.long("builds an image from many packages; its description changes rarely"),
]

(SHOWN,) = blocks("console", section(ROOT / "docs" / "ci.md", "## Container image"))
BUILD, RUN = (shlex.split(step.command) for step in steps(SHOWN))
PYTHON = "3.13"
PACKAGES = [
    *("base-files", "coreutils", "dash", "python3-minimal", "python3-pip-whl"),
    *(f"python{PYTHON}", f"python{PYTHON}-minimal", f"python{PYTHON}-venv"),
    *(f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "media-types"),
    *("libacl1", "libattr1", "libbz2-1.0", "libc6", "libcrypt1", "libexpat1", "libffi8"),
    *("libgcc-s1", "libgmp10", "liblzma5", "libpcre2-8-0", "libselinux1", "libssl3t64"),
    *("libstdc++6", "libuuid1", "libzstd1", "zlib1g"),
]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TIMEOUT = 1200.0


def base(place: Path) -> Path:
    """Lay out a tree with a Python and its venv, as few of Debian's packages make it."""
    debs, root = place / "debs", place / "root"
    debs.mkdir()
    got = subprocess.run(
        ["apt-get", "--quiet=2", "download", *PACKAGES], cwd=debs, capture_output=True, check=False
    )
    if got.returncode:
        pytest.skip(f"Debian 13 has the packages of the base image: {got.stderr.decode()}")
    for deb in debs.iterdir():
        run("dpkg", "--extract", deb, root)
    bundle = root / CERTIFICATES.relative_to("/")  # Debian's pip looks for it, network or not
    bundle.parent.mkdir(parents=True)
    shutil.copy(CERTIFICATES, bundle)
    return root


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Podman that has the image; what is installed into it lies in a folder of wheels."""
    if not shutil.which("podman") or not CERTIFICATES.exists():
        pytest.skip("needs podman and ca-certificates")
    place = tmp_path_factory.mktemp("image")
    (place / "constraints.txt").write_text(pins())
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", place / "wheels"),
        *("--constraint", place / "constraints.txt", "--disable-pip-version-check"),
        *("--only-binary=:all:", "--python-version", PYTHON, built_wheel(place)),
        *("hatchling", "hatch-fancy-pypi-readme"),
    )
    (program, *options, context) = BUILD
    assert (program, context) == ("podman", ".")
    wheels = ["--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheels"]
    here = [  # no more than a container that tests run in may have
        *("--network", "host", "--isolation", "chroot", "--layers=false"),
        *("--ulimit", "nofile=10000:10000", "--ulimit", "nproc=10000:10000"),
        *("--volume", f"{place / 'wheels'}:/wheels:ro"),
    ]
    with engines.podman(place / "podman") as engine:
        engine.load(base(place), "localhost/base")
        named = ["--build-arg", "BASE=localhost/base", *wheels, *here]
        with contextlib.chdir(ROOT):  # which the file and the context are named from
            code, text = engine.ended(*options, *named, context, timeout=TIMEOUT)
        assert code == 0, text
        yield engine


def in_image(engine: Engine, project: Path, *more: str) -> tuple[int, str]:
    """Run what the page shows, in a project; ``more`` are options of ``run``."""
    program, verb, *words = (word.replace("$PWD", str(project)) for word in RUN)
    assert (program, verb) == ("podman", "run")
    return engine.ended(verb, *more, *words)


def test_it_checks_a_project_that_it_cannot_write(podman: Engine, tmp_path: Path) -> None:
    here = hosted(tmp_path / "project")
    code, text = in_image(podman, here.project)
    assert (code, text.splitlines()[-1]) == (0, "everything is up to date"), text
    here.change(build=False)
    code, text = in_image(podman, here.project)
    assert code == 1
    assert "/work/sandbox/no_exec/__init__.py: is stale: no_exec.yml has changed; " in text


def test_it_writes_as_whom_it_is_told_to(podman: Engine, tmp_path: Path) -> None:
    here = hosted(tmp_path / "project")
    before = here.policy.read_text()
    here.change(build=False)
    os.chown(here.project / "sandbox", 1234, 1234)
    for path in here.project.joinpath("sandbox").rglob("*"):
        os.chown(path, 1234, 1234)
    volume = f"{here.project}:/work"
    command = ("run", "--rm", "--read-only", "--network", "none", "--volume", volume)
    code, text = podman.ended(*command, "--user", "1234:1234", "seccompgen", "build")
    assert code == 0, text
    module = here.project / "sandbox" / "no_exec" / "_x86_64.py"
    assert (module.stat().st_uid, b"acct" in module.read_bytes()) == (1234, True)
    here.policy.write_text(before)
    code, text = podman.ended(*command, "seccompgen", "build")  # as nobody in particular
    assert (code, "Permission denied" in text) == (3, True), text


def test_it_has_no_rights_and_nothing_to_install_with(podman: Engine) -> None:
    look = "id -u; id -g; echo /* /opt/seccompgen/bin/*"
    shell = ("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", "seccompgen")
    code, text = podman.ended(*shell, "-c", look)
    uid, gid, *paths = text.split()
    assert (code, uid, gid) == (0, "65532", "65532")
    assert {"/usr", "/opt/seccompgen/bin/seccompgen"} <= set(paths)
    assert not [path for path in paths if path in {"/src", "/wheels"} or "/pip" in path]


def test_without_words_it_helps(podman: Engine) -> None:
    code, text = podman.ended("run", "--rm", "--read-only", "--network", "none", "seccompgen")
    assert (code, text.startswith("Usage: seccompgen ")) == (0, True)
