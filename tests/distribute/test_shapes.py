"""A vendored filter in the shapes that need nothing but Python: each is refused its call."""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import tempfile
import zipapp
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from deployed import SHAPES, lay_out, refused, said
from interpreters import find_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

kernel.require_x86_64()

SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = "65534"


@pytest.fixture(scope="module", params=SHAPES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "application"
    lay_out(directory, request.param)
    return directory


@pytest.fixture
def application(built: Path) -> Iterator[Path]:
    """The application without bytecode, where every user can read it."""
    place = Path(tempfile.mkdtemp(prefix="shapes-"))
    place.chmod(0o755)
    ignore = shutil.ignore_patterns("__pycache__")
    yield shutil.copytree(built, place / "application", ignore=ignore)
    for directory in (path for path in place.rglob("*") if path.is_dir()):
        directory.chmod(0o755)
    shutil.rmtree(place)


@pytest.mark.few(7, "makes projects and builds them")
@pytest.mark.parametrize(
    "options",
    [[], ["-O"], ["-OO"], ["-I"], ["-S"], ["-ISO"], ["-W", "error", "-X", "dev"]],
    ids=str,
)
def test_under_the_interpreters_options(application: Path, options: list[str]) -> None:
    optimize = "".join(options).count("O")
    assert said([sys.executable, *options, application]) == refused(optimize)


@pytest.mark.few(2, "makes projects and builds them")
@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_under_other_pythons(application: Path, version: str) -> None:
    python = find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    assert said([python, application]) == refused()


@pytest.mark.parametrize("compressed", [False, True])
def test_as_a_zipapp(application: Path, tmp_path: Path, compressed: bool) -> None:
    archive = tmp_path / "application.pyz"
    zipapp.create_archive(application, archive, compressed=compressed)
    shutil.rmtree(application)
    assert said([sys.executable, archive]) == refused()
    assert said([sys.executable, "-ISO", archive]) == refused(1)


def test_where_no_bytecode_can_be_written(application: Path) -> None:
    command: list[str | Path] = [sys.executable, "-B"]
    for place in (application, *(path for path in application.rglob("*") if path.is_dir())):
        place.chmod(0o555)
    if os.geteuid() == 0:
        # Modes hold for other users only.
        if not Path(SYSTEM_PYTHON).exists():
            pytest.skip(f"root needs a Python that nobody can run, and there is no {SYSTEM_PYTHON}")
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        _, _, error = said([*command, "touch", application / "app" / "x"])
        assert "Permission denied" in error
        command.append(SYSTEM_PYTHON)
    assert said([*command, application]) == refused()
    assert not list(application.rglob("__pycache__"))


def test_as_bytecode_alone(application: Path) -> None:
    assert compileall.compile_dir(application, quiet=1, legacy=True, optimize=2)
    for source in application.rglob("*.py"):
        source.unlink()
    assert said([sys.executable, "-OO", application]) == refused(2)


def test_under_another_name(application: Path) -> None:
    (application / "app").rename(application / "renamed")
    main = application / "__main__.py"
    main.write_text(main.read_text().replace("from app", "from renamed"))
    assert said([sys.executable, application]) == refused()


@pytest.mark.parametrize("built", ["package"], indirect=True)
def test_the_runtime_of_an_older_seccompgen_is_named_in_a_zipapp(
    application: Path, tmp_path: Path
) -> None:
    runtime = application / "app" / "sandbox" / "_runtime.py"
    runtime.write_text(runtime.read_text().replace("FORMAT = 1\n", "FORMAT = 0\n"))
    archive = tmp_path / "application.pyz"
    zipapp.create_archive(application, archive)
    code, out, error = said([sys.executable, archive])
    assert (code, out) == (1, "")
    last = error.splitlines()[-1]
    assert last.startswith(f"ImportError: {archive}/app/sandbox/_runtime.py does not fit app.")


@pytest.mark.parametrize("built", ["single-file"], indirect=True)
def test_importing_a_single_file_imports_that_alone(built: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import app; before = set(sys.modules)\n"
        "import app.worker; print(*sorted(set(sys.modules) - before))"
    )
    assert said([sys.executable, "-I", "-c", code, built]) == (0, "app.worker\n", "")
