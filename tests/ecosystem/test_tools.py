"""Compilers, package managers and a browser end under sandboxed_code as they do without it."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import tomllib
import zipfile
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT, seccompgen
from longer import long_but
from running_kernel import require_x86_64
from shown import named_files

if TYPE_CHECKING:
    from collections.abc import Iterator

require_x86_64()
pytestmark = pytest.mark.ecosystem

TOOLS = tomllib.loads((ROOT / "tests" / "data" / "tools.toml").read_text())
USER = 59999
"""Whom root becomes: Chromium's own sandbox refuses root."""
GRACE = 200.0
WHEELS = sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
"""pip as Debian has it for new environments."""
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin"


@dataclass(frozen=True)
class Bench:
    """A directory that any user may enter, what a server serves, and launchers by policy."""

    place: Path
    url: str

    def launcher(self, policy: str) -> list[str]:
        return [str(self.place / "launchers" / policy / policy), "--"]

    def run(self, tool: str, *before: str, user: int = USER, **environment: str) -> tuple[int, str]:
        """Return the exit code of a tool's script, and what it prints."""
        here = Path(tempfile.mkdtemp(dir=self.place))
        here.chmod(0o755)
        (here / "script").write_text(TOOLS[tool]["script"])
        who: list[str] = []
        if os.geteuid() == 0:
            os.chown(here, user, user)
            who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        before = tuple(word.replace("HERE", str(here)) for word in before)
        done = subprocess.run(
            [*who, *before, "bash", "script"], cwd=here, env=self.environment(here, environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=GRACE, check=False,
        )  # fmt: skip
        shutil.rmtree(here)
        return done.returncode, done.stdout.replace(here.name, "HERE")

    def environment(self, here: Path, more: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": _PATH, "HOME": str(here), "TMPDIR": str(here), "LANG": "C.UTF-8",
            "URL": self.url, "MODULES": str(self.place / "modules"),
            "PIP": f"{WHEELS[-1]}/pip" if WHEELS else "",
            "npm_config_update_notifier": "false", **more,
        }  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for folder in ("served", "modules"):
            (place / folder).mkdir()
        for one in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
            spec = importlib.util.find_spec(one)
            assert spec is not None
            assert spec.origin is not None
            shutil.copytree(Path(spec.origin).parent, place / "modules" / one)
        handler = functools.partial(_Quiet, directory=str(place / "served"))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            url = f"http://127.0.0.1:{server.server_port}"
            serve(place / "served", url)
            build(place)
            subprocess.run(["chmod", "-R", "a+rX", name], check=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield Bench(place, url)
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def build(place: Path) -> None:
    """Make launchers of sandboxed_code, and of what docs/layers.md has for Chromium."""
    shown = named_files("docs/layers.md")
    for name in ("own_namespaces.yml", "browser.yml"):
        (place / name).write_text(shown[name])
    (place / "pyproject.toml").write_text("[tool.seccompgen]\n")
    for name, layers in (("sandboxed", ""), ("offline", ", no_network")):
        text = f"include: [sandboxed_code{layers}]\nsyscalls: []\n"
        (place / f"{name}.yml").write_text(text)
    for name in ("sandboxed", "offline", "browser"):
        words = (f"{name}.yml", "--arch", "x86_64", "--format", "launcher", "-o", "launchers")
        assert seccompgen("build", *words, cwd=place).code == 0
        folder = place / "launchers" / name
        subprocess.run(["make", "-s", "-C", str(folder), "LDFLAGS=-static"], check=True)


def serve(root: Path, url: str) -> None:
    """Write what the server serves."""
    (root / "hello.txt").write_text("hello\n")
    (root / "page.html").write_text(
        "<!doctype html><p id=p>no script</p><script>let n = 0; for (let i = 0; i < 1000; i++)"
        " n += i; document.getElementById('p').textContent = 'n=' + n;</script>"
    )
    index_of_pip(root / "simple" / "adder")
    registry_of_npm(root / "npm", url)
    work = root.parent / "work"
    work.mkdir()
    (work / "a.txt").write_text("one\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-b", "main"], ["add", "."], [*who, "commit", "-m", "One"],
        ["clone", "--bare", ".", str(root / "repo.git")],
        ["-C", str(root / "repo.git"), "update-server-info"],
    ):  # fmt: skip
        subprocess.run(["git", *words], cwd=work, capture_output=True, check=True)


def index_of_pip(folder: Path) -> None:
    folder.mkdir(parents=True)
    wheel, info = "adder-1.0-py3-none-any.whl", "adder-1.0.dist-info"
    files = {
        "adder.py": "def add(a, b):\n    return a + b\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: adder\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    (folder / "index.html").write_text(f'<!doctype html><a href="{wheel}">{wheel}</a>')


def registry_of_npm(folder: Path, url: str) -> None:
    folder.mkdir()
    package = {"name": "doubler", "version": "1.0.0", "main": "index.js"}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        files = {
            "package.json": json.dumps(package),
            "index.js": "exports.twice = n => 2 * n;\n",
        }
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    (folder / "doubler-1.0.0.tgz").write_bytes(archive.getvalue())
    digest = base64.b64encode(hashlib.sha512(archive.getvalue()).digest()).decode()
    dist = {"tarball": f"{url}/npm/doubler-1.0.0.tgz", "integrity": f"sha512-{digest}"}
    versions = {"1.0.0": {**package, "dist": dist}}
    listing = {"name": "doubler", "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    (folder / "doubler").write_text(json.dumps(listing))


def require(tool: str) -> None:
    """Skip where a tool is missing, or nobody can become a user."""
    program = TOOLS[tool]["version"].split()[0]
    name = "python3" if "=" in program else program
    if shutil.which(name, path=_PATH) is None or (tool == "pip" and not WHEELS):
        pytest.skip(f"{name} is missing: `make test-ecosystem` installs what Debian has")


@pytest.mark.parametrize("tool", [one for one in TOOLS if one not in {"go", "java"}])
def test_a_tool_ends_as_without_the_policy(bench: Bench, tool: str) -> None:
    require(tool)
    free = bench.run(tool, SANDBOX="--no-sandbox")
    assert free[0] == 0, free[1]
    assert bench.run(tool, *bench.launcher("sandboxed"), SANDBOX="--no-sandbox") == free


@pytest.mark.parametrize("tool", long_but({"make"}, ["make", "gcc", "cargo"], "as make"))
def test_what_fetches_nothing_ends_so_without_a_network(bench: Bench, tool: str) -> None:
    require(tool)
    assert bench.run(tool, *bench.launcher("offline")) == bench.run(tool)


@pytest.mark.long("three runs each, as a user and as root")
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_ends_so_each_time(bench: Bench, tool: str) -> None:
    require(tool)
    for user in (USER, 0) if os.geteuid() == 0 else (USER,):
        free = bench.run(tool, user=user, SANDBOX="--no-sandbox")
        for _ in range(3):
            held = bench.run(tool, *bench.launcher("sandboxed"), user=user, SANDBOX="--no-sandbox")
            assert held == free


@pytest.mark.parametrize(("policy", "code"), [("sandboxed", 1), ("browser", 0)])
def test_chromiums_own_sandbox_needs_namespaces(bench: Bench, policy: str, code: int) -> None:
    """Without them it ends, rather than go on without one."""
    require("chromium")
    free = bench.run("chromium", SANDBOX="")
    assert free[0] == 0, free[1]
    held = bench.run("chromium", *bench.launcher(policy), SANDBOX="")
    assert held == ((1, "No usable sandbox\n") if code else free)


DRIVE = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as drive:
    opened = drive.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    page = opened.new_page()
    page.goto(sys.argv[2])
    print(page.inner_text("#p"), len(page.screenshot()) > 100, len(page.pdf()) > 100)
    opened.close()
"""


@pytest.mark.long("starts a browser and its driver")
def test_playwright_drives_it(bench: Bench) -> None:
    """By pipes, as it does unless asked otherwise."""
    pytest.importorskip("playwright")
    require("chromium")
    program = shutil.which("chromium-headless-shell", path=_PATH) or ""
    words = [sys.executable, "-c", DRIVE, program, f"{bench.url}/page.html"]
    done = subprocess.run(
        [*bench.launcher("sandboxed"), *words], capture_output=True, timeout=GRACE, check=False
    )
    assert (done.stdout, done.returncode) == (b"n=499500 True True\n", 0), done.stderr


@pytest.mark.parametrize(
    "tool", long_but({"git", "node"}, sorted({*TOOLS} - {"chromium", "go", "pytest"}), "as these")
)
def test_a_tool_ends_so_under_the_supervisor(bench: Bench, tool: str) -> None:
    """The one of docs/deploy/supervisor.md, with one directory and one address."""
    require(tool)
    example = bench.place / "supervisor"
    if not example.exists():
        shutil.copytree(ROOT / "examples" / "supervisor", example)
        subprocess.run(["chmod", "-R", "a+rX", str(example)], check=True)
    words = ["/usr/bin/python3", "-B", str(example / "supervise.py"), "--write", "HERE"]
    java = map(str, Path("/etc").glob("java-*"))
    for path in ("/etc/debian_version", "/etc/os-release", "/proc/meminfo", *java):
        words += ["--read", path]
    words += ["--connect", bench.url.removeprefix("http://"), "--"]
    free = bench.run(tool)
    assert free[0] == 0, free[1]
    assert bench.run(tool, *words) == free
