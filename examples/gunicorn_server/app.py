"""A WSGI application: it greets, and on /misbehave tries what an intruder would."""

import json
import pathlib
import socket
import subprocess


def outcome(attempt):
    """Return "done", or the name of the error that ``attempt`` came to."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


def misbehave():
    """Try to run a program, to leave a file, to call home; return what came of it."""
    return {
        "run": outcome(lambda: subprocess.run(["/bin/true"], check=True)),
        "write": outcome(lambda: pathlib.Path("left-behind").write_text("x")),
        "connect": outcome(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1)),
    }


def app(environ, start_response):
    """Answer a request."""
    answer = misbehave() if environ["PATH_INFO"] == "/misbehave" else {"hello": "world"}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode() + b"\n"]
