"""One run of a program, in namespaces of its own: ``python -m benchmarks.userlands.inside``.

``runs`` starts it under unshare(1), as the first process of its PID namespace: when it ends,
nothing of the run is left. The root is an overlay, whose upper half is memory, so a run changes
nothing for the next. Its network is a loopback of its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.userlands.clients import serving_http
from benchmarks.userlands.programs import PROGRAMS

HERE = Path(__file__).parent
TIMEOUT = 60.0
ENDING = 20.0
"""Seconds that a run may take, and a server to end."""
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/job",
    "TZ": "UTC",
}


def system(*words: str | Path) -> None:
    """Run a command that has to succeed."""
    subprocess.run([str(word) for word in words], check=True)


def overlaid(layers: list[str], scratch: Path) -> Path:
    """Mount a writable copy of a root directory, with /proc, /dev and /job in it."""
    system("mount", "-t", "tmpfs", "-o", "size=1g", "userlands", scratch)
    root = scratch / "root"
    for directory in ("upper", "work", "root"):
        (scratch / directory).mkdir()
    options = f"lowerdir={':'.join(layers)},upperdir={scratch}/upper,workdir={scratch}/work"
    system("mount", "-t", "overlay", "-o", options, "userlands", root)
    system("mount", "-t", "proc", "proc", root / "proc")
    system("mount", "--rbind", "/dev", root / "dev")
    for directory, mode in (("job", 0o755), ("tmp", 0o1777), ("run", 0o755)):
        (root / directory).mkdir(exist_ok=True)
        system("mount", "-t", "tmpfs", "-o", f"mode={mode:o}", "userlands", root / directory)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc/resolv.conf").write_text("")
    shutil.copytree(HERE / "workloads", root / "job", dirs_exist_ok=True)
    return root


def main() -> None:
    """Read what to run from standard input, and write how it went to standard output."""
    wish: dict[str, Any] = json.load(sys.stdin)
    program = PROGRAMS[wish["program"]]
    scratch = Path(wish["scratch"])
    system("ip", "link", "set", "lo", "up")
    root = overlaid(wish["layers"], scratch)
    if program.prepare:
        shell = ["chroot", str(root), "/bin/sh", "-c", f"set -e; cd /job; {program.prepare}"]
        subprocess.run(shell, check=True, env=ENVIRONMENT)
    enter = [sys.executable, "-I", "-S", str(HERE / "enter.py"), str(root), wish["filter"]]
    words = [*wish["around"], *enter, *program.command]
    answered = ""
    with contextlib.ExitStack() as stack:
        if program.offers_http:
            stack.enter_context(serving_http())
        out = stack.enter_context((scratch / "stdout").open("wb"))
        err = stack.enter_context((scratch / "stderr").open("wb"))
        running = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=ENVIRONMENT
        )
        timeout = TIMEOUT
        if program.client:
            try:
                answered = program.client(lambda: running.poll() is None)
            except OSError as error:
                answered = f"no answer: {error}"
            running.send_signal(signal.SIGTERM)
            timeout = ENDING
        try:
            status: int | str = running.wait(timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            status = "did not end"
    texts = [(scratch / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    json.dump(
        {"status": status, "answered": answered, "out": texts[0], "err": texts[1]}, sys.stdout
    )


main()
