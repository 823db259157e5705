"""gunicorn, uvicorn, Celery and Flask under filters, as their pages in docs/deploy show them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import walkthrough

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ecosystem
pytest.importorskip("celery", reason="make test-ecosystem installs what this needs")

PAGES = ["gunicorn", "uvicorn", "celery", "uploads"]
GUNICORN = "gunicorn --bind 127.0.0.1:8000 app:app"
UVICORN = "uvicorn app:app --workers 2 --port 8000"
CELERY = "celery -A tasks worker --concurrency 2"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page: str, tmp_path: Path) -> None:
    for visit in walkthrough.follow(page, tmp_path):
        assert visit.differences() == []
        assert "Traceback" not in visit.log


@pytest.mark.parametrize("page", PAGES)
def test_without_a_filter_nothing_is_refused(page: str, tmp_path: Path) -> None:
    walkthrough.assert_free(walkthrough.follow(page, tmp_path, walkthrough.free))


@pytest.mark.parametrize("example", ["gunicorn_server"], indirect=True)
def test_gunicorn_stops_where_no_filter_can_be_installed(example: Path) -> None:
    walkthrough.broken(example)
    with walkthrough.started(GUNICORN, example) as server:
        # 3, or 1 where a second worker fails while gunicorn stops because of the first.
        assert server.process.wait(walkthrough.TIMEOUT) in {1, 3}
        assert "no filters here" in server.log()
        assert "Worker failed to boot" in server.log()


@pytest.mark.parametrize("command", [UVICORN, "python3 serve.py --port 8000"])
@pytest.mark.parametrize("example", ["uvicorn_server"], indirect=True)
def test_uvicorn_stops_where_no_filter_can_be_installed(example: Path, command: str) -> None:
    walkthrough.broken(example)
    with walkthrough.started(command, example) as server:
        server.process.wait(walkthrough.TIMEOUT)
        assert "no filters here" in server.log()
        assert "startup complete" not in server.log()


@pytest.mark.parametrize("example", ["uvicorn_server"], indirect=True)
def test_uvicorn_takes_an_exception_for_no_lifespan(example: Path) -> None:
    """The trap that the page warns of: it serves, unconfined; --lifespan on helps."""
    walkthrough.broken(example)
    app = (example / "app.py").read_text()
    (example / "app.py").write_text(app.replace("except OSError", "except KeyError", 1))
    with walkthrough.serving(UVICORN, example) as server:
        server.wait_for(lambda: server.log().count("startup complete") == 2)
        assert "lifespan' protocol appears unsupported" in server.log()
        assert json.loads(server.get("/misbehave"))["run"] == "done"
    with walkthrough.started(f"{UVICORN} --lifespan on", example) as server:
        server.process.wait(walkthrough.TIMEOUT)
        assert "startup complete" not in server.log()


@pytest.mark.parametrize("example", ["uvicorn_server"], indirect=True)
def test_uvicorn_alone_would_listen_nowhere(example: Path) -> None:
    """The trap that the page warns of. It binds no port, so the test can keep that meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        with walkthrough.started(f"uvicorn app:app --port {port}", example) as server:
            server.wait_for(lambda: f"running on http://127.0.0.1:{port}" in server.log())
            assert not server.listens()


@contextmanager
def celery(example: Path, options: str = "") -> Iterator[walkthrough.Server]:
    with walkthrough.serving(f"{CELERY} --loglevel info {options}", example) as server:
        server.wait_for(lambda: "ready." in server.log())
        yield server


def ask(example: Path, *task: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "ask.py", *task],
        cwd=example,
        capture_output=True,
        text=True,
        timeout=walkthrough.TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("example", ["celery_worker"], indirect=True)
def test_celery_runs_no_task_where_no_filter_can_be_installed(example: Path) -> None:
    walkthrough.broken(example)
    (example / "ask.py").write_text((example / "ask.py").read_text().replace("=30", "=2"))
    with celery(example) as server:
        server.wait_for(lambda: server.log().count("not confined: ") > 4)
        run = ask(example, "count_words", "a")
        assert run.stderr.splitlines()[-1].startswith("celery.exceptions.TimeoutError")
        assert "succeeded" not in server.log()


@pytest.mark.parametrize("example", ["celery_worker"], indirect=True)
def test_celery_goes_on_after_an_exception_in_the_handler(example: Path) -> None:
    """The trap that the page warns of."""
    walkthrough.broken(example)
    tasks = (example / "tasks.py").read_text()
    (example / "tasks.py").write_text(tasks.replace("except OSError", "except KeyError", 1))
    with celery(example) as server:
        assert ask(example, "count_words", "a b").stdout == "2\n"
        assert "no filters here" in server.log()


@pytest.mark.parametrize("example", ["gunicorn_server"], indirect=True)
def test_gunicorn_replaces_a_worker_that_was_killed(example: Path) -> None:
    walkthrough.killing(example)
    with walkthrough.serving(GUNICORN, example) as server:
        assert server.get("/misbehave") == ""
        server.wait_for(lambda: "was sent SIGSYS!" in server.log())
        assert server.get("/") == '{"hello": "world"}\n'


@pytest.mark.parametrize("example", ["uvicorn_server"], indirect=True)
def test_uvicorn_replaces_a_worker_that_was_killed(example: Path) -> None:
    walkthrough.killing(example)
    with walkthrough.serving(UVICORN, example) as server:
        server.wait_for(lambda: server.log().count("startup complete") == 2)
        assert server.get("/misbehave") == ""
        server.wait_for(lambda: server.log().count("startup complete") == 3)
        assert server.get("/") == '{"hello": "world"}\n'


@pytest.mark.parametrize("example", ["celery_worker"], indirect=True)
def test_a_task_that_was_killed_is_lost_and_the_next_one_runs(example: Path) -> None:
    walkthrough.killing(example)
    with celery(example) as server:
        run = ask(example, "misbehave")
        assert "WorkerLostError" in run.stderr
        assert "signal 31 (SIGSYS)" in server.log()
        assert ask(example, "count_words", "a b").stdout == "2\n"


@pytest.mark.parametrize("options", ["--max-requests 1", "--threads 4", "--preload"])
@pytest.mark.parametrize("example", ["gunicorn_server"], indirect=True)
def test_gunicorn_confines_each_worker_that_it_starts(example: Path, options: str) -> None:
    with walkthrough.serving(f"{GUNICORN} {options}", example) as server:
        for _ in range(4):
            answer = json.loads(server.get("/misbehave"))
            assert answer == dict.fromkeys(answer, "PermissionError")
        if "max-requests" in options:
            server.wait_for(lambda: server.log().count("confined") >= 5)
        workers = server.log().count("confined")
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_for(lambda: server.log().count("confined") >= workers + 2)
        assert server.get("/") == '{"hello": "world"}\n'


@pytest.mark.parametrize("example", ["celery_worker"], indirect=True)
def test_celery_confines_each_process_that_it_starts(example: Path) -> None:
    with celery(example, "--max-tasks-per-child 1") as server:
        for _ in range(3):
            answer = json.loads(ask(example, "misbehave").stdout)
            assert answer == dict.fromkeys(answer, "PermissionError")
        assert len(set(re.findall(r"ForkPoolWorker-\d+", server.log()))) == 3


@pytest.mark.parametrize("example", ["gunicorn_server"], indirect=True)
def test_gunicorn_replaces_workers_that_cannot_open_their_log_again(example: Path) -> None:
    """As the page says of USR1."""
    with walkthrough.serving(f"{GUNICORN} --access-logfile access.txt", example) as server:
        server.wait_for(lambda: server.log().count("confined") == 2)
        os.kill(server.process.pid, signal.SIGUSR1)
        server.wait_for(lambda: server.log().count("confined") == 4)
        assert server.get("/") == '{"hello": "world"}\n'
