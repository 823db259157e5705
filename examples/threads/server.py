"""A server with threads from before and from after install(): ``server.py everywhere|here``."""

import argparse
import concurrent.futures
import http.server
import importlib
import json
import subprocess

EARLY = concurrent.futures.ThreadPoolExecutor(1)


def run():
    """Try to run a program; return "done", or the name of the error that it came to."""
    try:
        subprocess.run(["/bin/true"], check=True)
    except OSError as error:
        return type(error).__name__
    return "done"


class Handler(http.server.BaseHTTPRequestHandler):
    """Each request has a thread of its own, and may ask the one that is older than the filter."""

    def do_GET(self):
        """Answer one request."""
        answer = {"hello": "world"}
        if self.path == "/misbehave":
            answer = {"early thread": EARLY.submit(run).result(), "new thread": run()}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode() + b"\n")

    def log_message(self, *_):
        """Log nothing."""


def main():
    """Start a thread, confine, serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("filter", choices=["everywhere", "here"])
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    EARLY.submit(int).result()
    importlib.import_module(f"sandbox.{arguments.filter}").install()
    with http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        print(f"serving on 127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
