"""Trials of a wheel with one Python: its filters, its command line, and the tests of its rooms."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from release.pythons.root import PLACE

if TYPE_CHECKING:
    from release.pythons.root import Python

RUNTIME_ONLY = ("3.9", "3.10")
"""Versions for which the filters are made, but not the generator."""
ROOMS = ("core", "policy", "compile", "verify", "render", "filters", "runtime")
"""The folders of tests that each Python runs."""
STOCK = ("compute_only", "no_exec", "no_network", "web_worker")
# What these tests need, besides seccompgen.
_TOOLS = "black capstone hatchling hypothesis jsonschema pyelftools pytest pytest-xdist z3-solver"
_LOADED = [
    "click",
    "jinja2",
    "numpy",
    "requests",
    "yaml",
    "seccompgen.pipeline.build",
]
_INSIDE = Path(__file__).with_name("inside.py")
_COUNTED = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of all trials with one Python; empty words where something was not tried."""

    version: str
    release: str
    imported: str = ""
    confines: str = ""
    lock: str = ""
    command_line: str = ""
    tests: str = ""


class FailedError(Exception):
    """A trial failed; the text says which, and how."""


def lay_out(dist: Path, place: Path) -> tuple[Path, Path]:
    """Unpack what was built; return the wheel, and the directory of what is in it."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    shutil.rmtree(place, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "wheel")  # noqa: S202 - our own
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    return wheel, place / "wheel"


def attempt(python: Python, dist: Path) -> Trial:
    """Try all but the tests. Raises FailedError where a Python does not do what it should."""
    place = PLACE / "tried" / python.version
    wheel, contents = lay_out(dist, place)
    script = place / _INSIDE.name  # the root directory has this place, too
    shutil.copyfile(_INSIDE, script)
    seen = _filters(python, python.path, script, contents)
    found = {
        "version": python.version,
        "release": str(seen["python"]),
        "imported": str(seen["modules"]),
        "confines": "yes" if seen["no_exec"] and seen["no_network"] else "no",
    }
    if python.version in RUNTIME_ONLY:
        return Trial(**found)
    env = place / "env"
    _run(python, python.path, "-m", "venv", str(env))
    _install(python, env, str(wheel))
    if python.free_threaded:
        lock = _filters(python, str(env / "bin/python"), script, contents, *_LOADED)["lock"]
        found["lock"] = "taken back" if lock else "off"
    found["command_line"] = _command_line(python, place, contents / "seccomp_filters")
    return Trial(**found)


def _filters(
    python: Python, path: str, script: Path, contents: Path, *modules: str
) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        _run(python, path, "-W", "error", str(script), str(contents), *modules)
    )
    return found


def _install(python: Python, env: Path, *wanted: str) -> None:
    words = ("install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    _run(python, str(env / "bin/python"), "-m", "pip", *words, *wanted)


def _command_line(python: Python, place: Path, expected: Path) -> str:
    """Build, prove and lint the stock policies; return how many files have the expected bytes."""
    out = place / "out"
    tool = (str(place / "env/bin/python"), "-W", "error", "-m", "seccompgen")
    _run(python, *tool, "build", *STOCK, "--no-cache", "-o", str(out))
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in files:
        if path.read_bytes() != (expected / path.relative_to(out)).read_bytes():
            raise FailedError(f"{python.version}: {path.relative_to(out)} has other bytes")
    _run(python, *tool, "verify", *(str(out / name) for name in STOCK))
    _run(python, *tool, "lint", *STOCK)
    return str(len(files))


def tested(python: Python, trial: Trial) -> Trial:
    """Run the tests of the rooms after `attempt`, in the tree of the sdist; add their numbers."""
    if python.version in RUNTIME_ONLY:
        return trial
    place = PLACE / "tried" / python.version
    env = place / "env"
    (tree,) = place.glob("seccompgen-*")
    _install(python, env, *_TOOLS.split())
    pytest = (str(env / "bin/python"), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile")
    places = [str(tree / "tests" / room) for room in ROOMS]
    done = _done(python, *pytest, "-p", "no:cacheprovider", *places)
    log = PLACE / f"tests-{python.version}.log"
    log.write_text(done.stdout + done.stderr)
    last = done.stdout.splitlines()[-1] if done.stdout else ""
    numbers = {kind: number for number, kind in _COUNTED.findall(last)}
    if done.returncode:
        raise FailedError(f"{python.version}: {last.strip('= ')}; {log} has all")
    return replace(trial, tests=f"{numbers['passed']}, {numbers.get('skipped', 0)} skipped")


def _run(python: Python, *words: str) -> str:
    """Run a command; return what it prints. Raises FailedError where it fails."""
    done = _done(python, *words)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-8:]
        shown = " ".join(words[1:5])
        raise FailedError("\n  ".join([f"{python.version}: {shown} ended with an error:", *said]))
    return done.stdout


def _done(python: Python, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a home of its own, without settings of this environment."""
    kept = ("PATH", "PIP_CERT", "PIP_INDEX_URL", "SSL_CERT_FILE")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    home = PLACE / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(  # noqa: S603 - the Pythons that are tried
        [*python.enter, *words],
        cwd=PLACE,
        env={**env, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def keep(trial: Trial) -> None:
    """Keep an outcome, for the table of a later run that tries others."""
    place = PLACE / "results" / f"{trial.version}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(asdict(trial)))


def kept(version: str) -> Trial | None:
    """Return the last outcome with a Python; None if there is none."""
    place = PLACE / "results" / f"{version}.json"
    return Trial(**json.loads(place.read_text())) if place.exists() else None
