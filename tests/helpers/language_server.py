"""A client of npm's ``yaml-language-server``: what an editor shows of a policy."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Self

from command import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

HOME = ROOT / "build" / "editor" / "node_modules"
SERVER = HOME / "yaml-language-server" / "bin" / "yaml-language-server"
CARET = "|>"
"""The mark of the cursor in a text."""


def missing() -> str:
    """Return why there is no server, empty if there is one."""
    if not shutil.which("node"):
        return "no node"
    return "" if SERVER.is_file() else "no yaml-language-server: make test-ecosystem installs it"


class LanguageServer:
    """A running server; documents are files below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._id = self._documents = 0
        self._diagnostics: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["node", str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {
                "completion": {"completionItem": {"documentationFormat": ["markdown"]}},
                "hover": {"contentFormat": ["markdown"]},
            },
        }
        root = {"rootUri": self._directory.as_uri(), "processId": None}
        self._request("initialize", {**root, "capabilities": capabilities})
        self._notify("initialized", {})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._request("shutdown", None)
        self._notify("exit", None)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()

    def completions(self, text: str) -> list[str]:
        """Return what is offered where ``text`` has `CARET`."""
        found = self._asked("textDocument/completion", text)
        items = found["items"] if isinstance(found, dict) else found or []
        return [item["label"] for item in items]

    def hover(self, text: str) -> str:
        """Return what is shown of the word at the `CARET`."""
        found = self._asked("textDocument/hover", text)
        return str(found["contents"]["value"]) if found else ""

    def problems(self, text: str) -> list[tuple[int, str]]:
        """Return the marks in ``text``: (line from 1 on, message)."""
        uri = self._open(text)
        while uri not in self._diagnostics:
            self._receive()
        return [
            (one["range"]["start"]["line"] + 1, one["message"]) for one in self._diagnostics[uri]
        ]

    def _asked(self, method: str, text: str) -> Any:
        before, _, after = text.partition(CARET)
        uri = self._open(before + after)
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        place = {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}}
        return self._request(method, place)

    def _open(self, text: str) -> str:
        """Show ``text`` to the server as a document of its own; return its name."""
        self._documents += 1
        uri = (self._directory / f"{self._documents}.yml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._notify("textDocument/didOpen", {"textDocument": document})
        return uri

    def _request(self, method: str, params: object) -> Any:
        self._id += 1
        self._send({"id": self._id, "method": method, "params": params})
        while True:
            message = self._receive()
            if message.get("id") == self._id and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def _notify(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        """Read one message; answer what the server asks."""
        assert self._process.stdout
        length = 0
        while (line := self._process.stdout.readline()) not in {b"\r\n", b""}:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert line, "the server ended"
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            result: Any = None
            if message["method"] == "workspace/configuration":
                result = [self._settings(item) for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": result})
        return message

    def _settings(self, item: dict[str, Any]) -> Any:
        off = {"enable": False}
        if item.get("section") == "yaml":
            return {"validate": True, "completion": True, "hover": True, "schemaStore": off}
        return {} if item.get("section") == "http" else None
