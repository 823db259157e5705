"""The rules for Bazel, in workspaces as docs/bazel.md shows them, with a remote cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, snapshot
from released import built_wheel, ended, pins, run
from transcript import blocks, section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ecosystem

PAGE = ROOT / "docs" / "bazel.md"
(FILTERS,) = blocks("starlark", PAGE.read_text().partition("## Set up")[0])
(RC,) = blocks("text", section(PAGE, "## Set up"))
TOOL = next(
    one for one in blocks("starlark", section(PAGE, "## Set up")) if "seccompgen_binary" in one
)
POLICY = "include: [_base.yml]\nsyscalls:\n- action: errno(EACCES)\n  names: [{}]\n"
INCLUDES = '        includes = ["_base.yml"],\n'
NAMES = ("acct", "swapon", "reboot")
PATIENCE = 240
"""Seconds that Bazel waits for the cache, by default 60: a busy machine may take long."""


@dataclass(frozen=True)
class Bazel:
    """A Bazel, a folder of what pip installed, a remote cache, and the servers that it starts."""

    place: Path
    site: Path
    port: int
    workspaces: list[Path]

    def workspace(self, name: str) -> Path:
        """Lay out a workspace with a policy for each name."""
        here = self.place / name
        (here / "seccomp").mkdir(parents=True)
        (here / "tools").mkdir()
        local = f'local_repository(name = "seccompgen", path = "{ROOT / "bazel"}")\n'
        (here / "WORKSPACE").write_text(local)
        (here / ".bazelrc").write_text(RC)
        (here / "seccomp" / "BUILD.bazel").write_text(FILTERS)
        (here / "tools" / "BUILD.bazel").write_text(TOOL.replace("/usr/bin/python3", python()))
        shutil.copytree(self.site, here / "tools" / "site")
        (here / "seccomp" / "_base.yml").write_text("arches: [x86_64]\ndefault_action: allow\n")
        for call in NAMES:
            (here / "seccomp" / f"{call}.yml").write_text(POLICY.format(call))
        self.workspaces.append(here)
        return here

    def __call__(self, here: Path, *words: str) -> tuple[int, str]:
        """Run Bazel in a workspace; what it keeps is that workspace's alone."""
        return ended(
            *("bazel", "--nohome_rc", "--max_idle_secs=60"),
            *(f"--output_user_root={here}.root", *words),
            cwd=here,
            env={"HOME": str(self.place), "SECRET": "of who started it"},
        )

    def build(self, here: Path, *words: str) -> tuple[int, int]:
        """Build all filters; return how many were compiled, and how many the cache had."""
        cache = (f"--remote_cache=http://127.0.0.1:{self.port}", f"--remote_timeout={PATIENCE}")
        code, text = self(here, "build", *cache, *words, "//...")
        assert code == 0, text
        # A cache that does not answer is worth a warning to Bazel, which compiles then.
        assert "Remote Cache" not in text, text
        (line,) = re.findall(r"^INFO: \d+ process.*?: (.*)\.$", text, re.MULTILINE)
        counts = {kind: int(n) for n, kind in re.findall(r"(\d+) ([a-z][a-z -]*)", line)}
        cached = counts.pop("remote cache hit", 0)
        counts.pop("internal", 0)
        return sum(counts.values()), cached


def python() -> str:
    """Return the interpreter that this environment was made from, which needs no variables."""
    return os.path.realpath(sys.executable)


class Cache(BaseHTTPRequestHandler):
    """A remote cache: what was put at a path, and 404."""

    protocol_version = "HTTP/1.1"
    kept: dict[str, bytes]

    def do_PUT(self) -> None:
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        found = self.kept.get(self.path)
        self._answer(404 if found is None else 200, found or b"")

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server that takes as many connections at once as Bazel opens, not 5."""

    request_queue_size = 128


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what pip installs of our wheel, for workspaces to have."""
    place = tmp_path_factory.mktemp("site")
    constraints = place / "constraints.txt"
    constraints.write_text(pins())
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"),
        *("--disable-pip-version-check", "--constraint", constraints),
        *("--target", place / "site", built_wheel(place)),
    )
    for tests in sorted(place.glob("site/**/tests")):  # of numpy: a quarter of all files
        shutil.rmtree(tests, ignore_errors=True)
    return place / "site"


@pytest.fixture
def bazel(site: Path, tmp_path: Path) -> Iterator[Bazel]:
    if not shutil.which("bazel"):
        pytest.skip("needs bazel-bootstrap")
    handler = type("Handler", (Cache,), {"kept": {}})
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made = Bazel(tmp_path, site, server.server_port, [])
        try:
            yield made
        finally:
            for here in made.workspaces:
                made(here, "shutdown")
                subprocess.run(["chmod", "-R", "u+w", f"{here}.root"], check=False)
            server.shutdown()
            thread.join()


def made(here: Path) -> dict[str, bytes]:
    """Return the filters that Bazel made."""
    return snapshot((here / "bazel-bin" / "seccomp").resolve())


def test_another_workspace_has_all_from_the_cache_and_one_change_is_one_action(
    bazel: Bazel,
) -> None:
    first = bazel.workspace("first")
    assert bazel.build(first) == (3, 0)
    for call in NAMES:
        out = bazel.place / "by hand" / call
        built = inside("build", first / "seccomp" / f"{call}.yml", "-o", out)
        assert built.code == 0, built.err
    assert made(first) == snapshot(bazel.place / "by hand")

    second = bazel.workspace("somewhere/else")
    (second / "seccomp" / "swapon.yml").write_text(POLICY.format("swapoff"))
    assert bazel.build(second) == (1, 2)
    changed = {path for path, data in made(second).items() if made(first)[path] != data}
    assert changed
    assert all(path.startswith("swapon/") for path in changed)
    # What all of them include is an input of all.
    (second / "seccomp" / "_base.yml").write_text("arches: [aarch64]\ndefault_action: allow\n")
    assert bazel.build(second) == (3, 0)


def test_what_decides_must_be_declared(bazel: Bazel) -> None:
    here = bazel.workspace("here")
    assert INCLUDES in FILTERS
    (here / "seccomp" / "BUILD.bazel").write_text(FILTERS.replace(INCLUDES, ""))
    code, text = bazel(here, "build", "//seccomp:acct")
    assert code == 1
    assert "seccomp/acct.yml:1:11: " in text
    (here / ".bazelrc").unlink()
    code, text = bazel(here, "build", "//seccomp:acct")
    assert code == 1
    assert "say in .bazelrc: build --@seccompgen//:seccompgen=LABEL" in text


PROBE = """\
genrule(
    name = "probe",
    outs = ["probe.sh"],
    cmd = "cp $< $@",
    srcs = ["script"],
    executable = True,
)
"""
SCRIPT = """\
#!/bin/bash
while [ "$1" != -o ]; do shift; done
env | grep -v ^_= | cut -d= -f1 | sort > "$2/variables"
exec > "$2/network"
if (exec 3<>/dev/tcp/127.0.0.1/{port}) 2> /dev/null; then echo open; else echo closed; fi
"""


def test_an_action_has_no_network_and_no_variables(bazel: Bazel) -> None:
    here = bazel.workspace("here")
    (here / "tools" / "BUILD.bazel").write_text(PROBE)
    script = SCRIPT.format(port=bazel.port)
    (here / "tools" / "script").write_text(script)
    (here / ".bazelrc").write_text(RC.replace("tools:seccompgen", "tools:probe"))
    code, text = bazel(here, "build", "//seccomp:acct")
    assert code == 0, text
    found = made(here)
    assert found["acct/network"] == b"closed\n"
    assert b"SECRET" not in found["acct/variables"]
    assert b"HOME" not in found["acct/variables"]
    # The probe does see a network where there is one.
    subprocess.run(["bash", "-c", script, "probe", "-o", str(bazel.place)], check=True)
    assert (bazel.place / "network").read_text() == "open\n"
