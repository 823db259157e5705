"""The jobs for GitLab, each as the runner's shell would run it, and a GitLab that keeps notes."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT
from hosted import Hosted, hosted
from released import built_wheel, ended, pins
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ecosystem

TEMPLATE: dict[str, Any] = YAML(typ="safe").load((ROOT / "ci" / "gitlab.yml").read_text())
ME, SOMEBODY = 1, 2


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a runner; what jobs install is kept between them, as an image would."""
    place = tmp_path_factory.mktemp("builds")
    constraints = place / "constraints.txt"
    constraints.write_text(pins())
    return {
        "CI_BUILDS_DIR": str(place),
        "PIP_CONSTRAINT": str(constraints),
        "SECCOMPGEN_PACKAGE": str(built_wheel(place)),
    }


def work(job: str, here: Hosted, environment: dict[str, str], **more: str) -> tuple[int, str]:
    """Run a job's commands in one shell, as GitLab does; return its exit code and lines."""
    description = {**TEMPLATE[".seccompgen"], **TEMPLATE[job]}
    commands = [*description["before_script"], *description["script"]]
    code, text = ended(
        *("bash", "-eo", "pipefail", "-c", "\n".join(commands)),
        cwd=here.directory,
        env={
            **{name: str(value) for name, value in TEMPLATE["variables"].items()},
            **environment,
            "CI_PROJECT_DIR": str(here.directory),
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": here.base,
            **more,
        },
    )
    assert "Traceback" not in text, text
    return code, text


class Notes(BaseHTTPRequestHandler):
    """A GitLab of one merge request, whose notes come one a page."""

    notes: list[dict[str, Any]]

    def do_GET(self) -> None:
        if self.path == "/user":
            self._answer({"id": ME})
            return
        path, _, query = self.path.partition("?")
        assert path == "/projects/3/merge_requests/7/notes", path
        page = int(dict(part.split("=") for part in query.split("&"))["page"])
        more = str(page + 1) if page < len(self.notes) else ""
        self._answer(self.notes[page - 1 : page], more)

    def do_POST(self) -> None:
        self.notes.append({"id": len(self.notes) + 1, "author": {"id": ME}})
        self._write(len(self.notes))

    def do_PUT(self) -> None:
        self._write(int(self.path.rpartition("/")[2]))

    def _write(self, number: int) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "secret"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        self.notes[number - 1] |= {"body": body}
        self._answer(self.notes[number - 1])

    def _answer(self, value: object, more: str = "") -> None:
        self.send_response(200)
        self.send_header("X-Next-Page", more)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def gitlab(notes: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Serve notes; give the variables by which a job finds them."""
    handler = type("Handler", (Notes,), {"notes": notes})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {
            "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}",
            "CI_PROJECT_ID": "3",
            "CI_MERGE_REQUEST_IID": "7",
            "SECCOMPGEN_TOKEN": "secret",
        }
        server.shutdown()
        thread.join()


def test_what_is_forgotten_stops_it(tmp_path: Path, environment: dict[str, str]) -> None:
    here = hosted(tmp_path / "repository")
    assert work("seccompgen-check", here, environment)[0] == 0
    here.change(build=False)
    code, text = work("seccompgen-check", here, environment)
    assert code == 1
    assert "/sandbox/no_exec/__init__.py: is stale: no_exec.yml has changed; " in text


@pytest.mark.parametrize("below", ["services/a|b"])
def test_findings_have_paths_from_the_top(
    tmp_path: Path, environment: dict[str, str], below: str
) -> None:
    here = hosted(tmp_path / "repository", below)
    doubtful = "default_action: errno(EPERM)\nsyscalls:\n- action: allow\n  names: [read]\n"
    here.policy.write_text(f"arches: [x86_64]\n{doubtful}")
    code, _ = work("seccompgen-lint", here, environment, SECCOMPGEN_DIRECTORY=below)
    assert code == 1
    (name,) = TEMPLATE["seccompgen-lint"]["artifacts"]["reports"].values()
    found = json.loads((here.directory / name).read_text())
    assert found
    for one in found:
        path = one["location"]["path"]
        assert path == str(Path(below, "seccomp", "no_exec.yml"))
        assert (here.directory / path).is_file()


def test_a_difference_is_one_note_that_is_written_anew(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    here = hosted(tmp_path / "repository")
    theirs: dict[str, Any] = {
        "id": 1,
        "author": {"id": SOMEBODY},
        "body": "<!-- seccompgen 2e -->\nmine",
    }
    notes = [theirs]
    with gitlab(notes) as variables:
        code, text = work("seccompgen-diff", here, {**environment, **variables})
        assert (code, notes) == (0, [theirs]), text
        here.change()
        code, text = work("seccompgen-diff", here, {**environment, **variables})
        assert (code, len(notes)) == (0, 2), text
        assert "1 newly refused" in text
        assert notes[1]["body"].startswith("<!-- seccompgen 2e -->\n**")
        here.policy.write_text(here.policy.read_text().replace("[acct]", "[acct, swapon]"))
        here.change("")
        code, text = work("seccompgen-diff", here, {**environment, **variables})
    assert (code, len(notes)) == (0, 2), text
    assert "swapon" in notes[1]["body"]
    assert notes[0]["body"].endswith("\nmine")


def test_without_a_token_it_prints(tmp_path: Path, environment: dict[str, str]) -> None:
    here = hosted(tmp_path / "repository")
    here.change()
    code, text = work("seccompgen-diff", here, environment)
    assert code == 0
    (kept,) = TEMPLATE["seccompgen-diff"]["artifacts"]["paths"]
    told = (here.directory / kept).read_text()
    assert "1 newly refused" in told
    assert text.endswith(told)
