"""Pages of the documentation as a reader follows them: files written, commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from command import ROOT
from shown import same

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?://|#) (?P<name>[\w./-]+\.\w+)\n")

README = (ROOT / "README.md").read_text()
PYTHONS = [sys.executable, "/usr/bin/python3"]


def blocks(language: str, text: str = README) -> list[str]:
    """Return the blocks of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


EXAMPLES = blocks("console", (ROOT / "examples" / "README.md").read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, those of its headings as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def follow(page: str, directory: Path, env: Mapping[str, str] | None = None) -> int:
    """Do what docs/``page`` says in ``directory``; return how many commands that were.

    A block whose first line is a comment with a file's name is that file. Each command of a
    ``console`` block must print what is shown below it, where "..." matches anything.
    """
    shutil.copytree(ROOT / "policies", directory / "policies")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = 0
    for block in _BLOCK.finditer((ROOT / "docs" / page).read_text()):
        text = block["text"]
        if block["language"] == "console":
            for command, shown in _commands(text):
                run = subprocess.run(
                    ["bash", "-c", command],
                    cwd=directory,
                    env={**os.environ, "PATH": path, **(env or {})},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=300,
                    check=False,
                )
                assert same(shown, run.stdout), f"{page}: {command}\n{run.stdout}"
                done += 1
        elif name := _FILE.match(text):
            file = directory / name["name"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return done


def _commands(text: str) -> list[tuple[str, str]]:
    """Return (command, what it prints) pairs; a command goes on after a backslash."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*\n)", text, flags=re.MULTILINE)
    assert not parts[0], "a console block starts with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))
