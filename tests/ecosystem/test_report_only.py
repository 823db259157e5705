"""From a small recording to enforcing, by what report-only filters have the kernel record.

docs/deploy/report-only.md shows it with a service. It is done here, with the kernel's own records.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from audit_records import Records, recorded
from command import ROOT, seccompgen
from running_kernel import require_x86_64
from servers import free_port, get, listens, serving
from shown import named_in, same
from transcript import BIN, Step, blocks, play, section, steps

require_x86_64()
pytestmark = pytest.mark.ecosystem
pytest.importorskip("fastapi", reason="make test-ecosystem installs what this needs")

PAGE = ROOT / "docs" / "deploy" / "report-only.md"
SECTION = "## From the first recording to the switch"
LOAD, AT_ONCE = 400, 20
PYTHON = str(Path(sys.executable).resolve())


class Session:
    """The page's commands, one after the other, in a directory with the files that it shows.

    A server runs until the next begins, under load beyond what the page asks of it.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port, self.mail = free_port(), free_port()
        self.statuses: dict[str, list[int]] = {}
        self._servers, self._readers = ExitStack(), ExitStack()
        self._records = Records()

    def do(self, step: Step) -> None:
        command = step.command.strip().replace("8000", str(self.port))
        if command.endswith(" &"):
            self._servers.close()
            if "report_only" in command:
                self._records = self._readers.enter_context(recorded())
            self._serve(command.removesuffix(" &"))
        elif command.startswith("kill "):
            self._servers.close()
        elif command.startswith("journalctl "):
            self._servers.close()
            self._readers.close()
            (self.place / command.rpartition(" ")[2]).write_text(self._records.text(PYTHON))
        else:
            ((code, said),) = play([command], self.place)
            assert code == 0, command + said
            # What has no newline at its end is shown with one.
            said = f"{said.rstrip()}\n"
            assert not step.output or same(step.output, said), command + said

    def _serve(self, command: str) -> None:
        name = re.search(r"FILTER=(\w+)", command)
        log = self.place / f"{name[1] if name else 'recorded'}.log"
        words = ["bash", "-c", f"exec env {command}"]
        path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
        self._servers.enter_context(serving(words, log, lambda: listens(self.port), path))
        if name:
            self.statuses[name[1]] = self.load()

    def load(self) -> list[int]:
        """Return the status of each request of a second week, most of which are as in the first."""
        paths = ["/mail" if n % 10 == 9 else f"/double/{n}" for n in range(LOAD)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [status for status, _ in pool.map(lambda path: get(self.port, path), paths)]

    def close(self) -> None:
        self._servers.close()


def test_a_second_week_brings_a_call_that_the_first_did_not(tmp_path: Path) -> None:
    session = Session(tmp_path)
    text = section(PAGE, SECTION)
    for name, content in named_in(text).items():
        (tmp_path / name).write_text(content.replace("25", str(session.mail)))
    shown = [step for block in blocks("console", text) for step in steps(block)]
    for step in shown:
        session.do(step)
        if "app.yml --report-only" in step.command:
            # What would have been: the filter of the first week's recording.
            assert seccompgen("build", "app.yml", "-o", "sandbox", cwd=tmp_path).code == 0
            session.do(Step("FILTER=app uvicorn app:app --port 8000 --lifespan on &", ""))
            shutil.rmtree(tmp_path / "sandbox" / "app")
            unmerged = session.statuses.pop("app")
    session.close()
    mail = LOAD // 10
    assert (unmerged.count(200), unmerged.count(500)) == (LOAD - mail, mail)
    assert session.statuses == dict.fromkeys(("app_report_only", "app"), [200] * LOAD)
    assert "Permission" not in (tmp_path / "app.log").read_text()
    told = seccompgen("explain", "--audit", "records", "app.yml", "--json", cwd=tmp_path)
    calls = {one["syscall"]: one for one in json.loads(told.out)["calls"]}
    assert calls.keys() <= {"connect", "clone3"}
    assert calls["connect"]["times"] == mail + 1
    assert calls["connect"]["other_filter"] == "this one answers allow"
