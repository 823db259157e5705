"""The wheel, in an empty environment elsewhere: another Python, user, directory, locale, zone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT, checkout, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

installs = pytest.mark.long("installs the wheel, and what it needs, in an environment of its own")
SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = 65534


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Path]:
    """A directory that other users can enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="elsewhere-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def wheel(elsewhere: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", elsewhere, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = elsewhere.glob("seccompgen-*.whl")
    return path


@pytest.fixture(scope="module")
def binaries(elsewhere: Path, wheel: Path) -> Path:
    """An environment with the wheel and the versions that the project pins, and no more."""
    interpreter = SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else Path(sys.executable)
    environment = elsewhere / "venv"
    subprocess.run([interpreter, "-m", "venv", environment], check=True, capture_output=True)
    pins = [
        line.removesuffix(" \\")
        for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines()
        if "==" in line
    ]
    constraints = elsewhere / "constraints.txt"
    constraints.write_text("\n".join(pins))
    pip: list[str | Path] = [
        environment / "bin" / "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "--constraint", constraints, wheel], check=True, capture_output=True)
    return environment / "bin"


@pytest.mark.long("makes projects and builds them")
def test_the_wheel_holds_what_generation_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {
        f"seccompgen/templates/{p.name}" for p in (ROOT / "templates").iterdir() if p.is_file()
    }
    assert templates <= names
    assert {
        "seccompgen/py.typed",
        "seccompgen/kernel/kernel.lock.toml",
        "seccompgen/kernel/syscalls.csv",
        *(f"seccompgen/policies/{p.name}" for p in (ROOT / "policies").iterdir()),
        "seccomp_filters/py.typed",
        "seccomp_filters/no_network/__init__.py",
        "seccomp_filters/no_network/_s390x.py",
        "seccomp_filters/tables/x86_64.py",
    } <= names
    tops = {name.split("/")[0] for name in names}
    data = {name for name in names if ".data/" in name}
    assert {tuple(name.split("/")[1:3]) for name in data} == {("data", "share")}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == {
        "seccompgen",
        "seccomp_filters",
    }


@installs
def test_it_generates_a_filter_and_loads_it(elsewhere: Path, binaries: Path) -> None:
    application = elsewhere / "application"
    application.mkdir()
    (application / "worker.yml").write_text(
        "default_action: allow\nsyscalls:\n- {action: errno(EXDEV), names: [getppid]}\n"
    )
    built = subprocess.run(
        [binaries / "seccompgen", "build", "worker.yml", "-o", "app/sandbox"],
        cwd=application,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    run = subprocess.run(
        [
            SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else sys.executable,
            "-c",
            # getppid cannot fail, so libc hands on what the kernel returned.
            "import os\nfrom app.sandbox import worker\nworker.install()\nprint(os.getppid())",
        ],
        cwd=application,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("-18\n", "")


@installs
def test_it_vendors_the_stock_filters_that_it_comes_with(elsewhere: Path, binaries: Path) -> None:
    stock = sorted(path.stem for path in (ROOT / "policies").glob("*.yml"))
    command: list[str | Path] = [
        binaries / "seccompgen",
        "vendor",
        *stock,
        "stock",
        "--arch",
        "x86_64",
    ]
    run = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {f"{name}/_x86_64.py" for name in stock} < snapshot(elsewhere / "stock").keys()
    code = "from stock import no_network as f; f.install(); import socket; socket.socket()"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert run.stderr.endswith("PermissionError: [Errno 13] Permission denied\n")


@installs
def test_another_user_place_and_python_give_the_same_bytes(elsewhere: Path, binaries: Path) -> None:
    tree = checkout(elsewhere / "another" / "directory")
    expected = snapshot(tree)
    shutil.rmtree(tree / "generated")
    command: list[str | Path] = [binaries / "seccompgen", "tables"]
    if os.geteuid() == 0:
        for path in (tree, *tree.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command = [*setpriv, *command]
    run = subprocess.run(
        command,
        cwd=tree,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "LC_ALL": "tr_TR.ISO-8859-9",
            "TZ": "Pacific/Kiritimati",
            "PYTHONHASHSEED": "4711",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert snapshot(tree) == expected


def test_metadata_lead_nowhere_while_nobody_has_published_it() -> None:
    """A package index shows the README without the files that its links lead to."""
    from build.util import project_wheel_metadata

    metadata = project_wheel_metadata(ROOT, isolated=False)
    assert metadata.get_all("Project-URL", []) == []
    shown = str(metadata.json["description"])
    assert shown.startswith("# seccompgen\n")
    assert re.findall(r"\]\(([^)]*)\)", shown) == []
    assert "[CONTRIBUTING.md]" not in shown
    assert "\nCONTRIBUTING.md says how to work on it, CHANGELOG.md" in shown


def test_metadata_lead_to_the_repository_once_it_has_an_address() -> None:
    from release.metadata import described, urls

    home = "https://host.example/somebody/seccompgen"
    site = "https://docs.example/"
    assert [*urls("", "")] == []
    assert urls(home, site)["Documentation"] == site
    assert urls(home, "")["Documentation"] == f"{home}/tree/main/docs"
    shown = described((ROOT / "README.md").read_text(), home)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", shown)
    assert pictures == [f"{home}/raw/main/docs/assets/report.png"]
    others = {*re.findall(r"\]\(([^)]*)\)", shown)} - {*pictures}
    assert len(others) > 20
    for target in others:
        path = target.removeprefix(f"{home}/blob/main/").partition("#")[0]
        assert path != target, target
        assert (ROOT / path).exists(), target
