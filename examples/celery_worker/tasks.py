"""Celery tasks whose pool processes confine themselves. Broker and results are files in ./queue."""

import os
import pathlib
import socket
import subprocess

from celery import Celery
from celery.signals import worker_process_init
from sandbox import task

QUEUE = pathlib.Path("queue").resolve()
for folder in ("messages", "control", "results"):
    (QUEUE / folder).mkdir(parents=True, exist_ok=True)

app = Celery(
    "tasks",
    broker="filesystem://",
    backend=f"file://{QUEUE / 'results'}",
    broker_transport_options={
        "data_folder_in": QUEUE / "messages",
        "data_folder_out": QUEUE / "messages",
        "control_folder": QUEUE / "control",
    },
)


@worker_process_init.connect
def confine(**_):
    """Install the filter in a pool process, which has loaded the tasks and has run none yet.

    Celery logs an exception in a signal's handler and goes on, without a filter; SystemExit ends
    the process.
    """
    try:
        task.install()
    except OSError as error:
        raise SystemExit(f"not confined: {error}") from None


@app.task
def count_words(text):
    """Do some work."""
    return len(text.split())


def outcome(attempt):
    """Return "done", or the name of the error that ``attempt`` came to."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


@app.task
def misbehave():
    """Try to run a program, to call home, to read the master's memory; return what came of it."""
    return {
        "run": outcome(lambda: subprocess.run(["/bin/true"], check=True)),
        "connect": outcome(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1)),
        "pidfd": outcome(lambda: os.close(os.pidfd_open(os.getppid()))),
    }
