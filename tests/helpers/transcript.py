"""Run what a page shows in a ``console`` block, and see what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Step:
    """A command as shown, and what is shown below it."""

    command: str
    output: str


def blocks(language: str, text: str) -> list[str]:
    """Return the contents of all blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    """Return the text of a page below ``heading``, up to the next one of its level."""
    level = heading.split(maxsplit=1)[0]
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page.name} has no {heading!r}"
    return found[1]


def steps(block: str) -> list[Step]:
    """Return the commands of a block: lines after ``$ ``, with their here-documents."""
    return list(_steps(iter(block.splitlines(keepends=True))))


def _steps(lines: Iterator[str]) -> Iterator[Step]:
    command, output = "", ""
    for line in lines:
        if not line.startswith("$ "):
            output += line
            continue
        if command:
            yield Step(command, output)
        command, output = line.removeprefix("$ "), ""
        if document := re.search(r"<<'(\w+)'", command):
            while not command.endswith(f"\n{document[1]}\n"):
                command += next(lines)
    yield Step(command, output)


def play(
    commands: list[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    *,
    scrubbed: bool = False,
) -> list[tuple[int, str]]:
    """Run commands in one shell; return the exit code of each and what it said.

    What the environment of the tests has is found first, as if it were activated; ``scrubbed``,
    the commands see ``env`` and nothing else.
    """
    activated = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    script = "".join(f"{command.rstrip()}\nprintf '\\0%d\\0' $?\n" for command in commands)
    run = subprocess.run(
        ["bash", "-c", f"exec 2>&1 </dev/null\n{script}"],
        cwd=cwd,
        env={**({} if scrubbed else activated), **(env or {})},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    parts = run.stdout.split("\0")
    assert "Traceback" not in run.stdout, run.stdout
    return [(int(code), said) for said, code in zip(parts[::2], parts[1::2], strict=False)]


def replay(block: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a block and require each command to succeed and to say exactly what is shown."""
    shown = steps(block)
    played = play([step.command for step in shown], cwd, env)
    assert [(step.command, 0, step.output) for step in shown] == [
        (step.command, *result) for step, result in zip(shown, played, strict=True)
    ]
