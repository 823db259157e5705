"""The gallery: the reports of the stock filters, as `seccompgen report` writes them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from seccompgen import read_filter
from seccompgen.policy.stock import stock_policies

ABIS = ("x86_64", "aarch64")
_HEAD = """\
# Gallery

Each stock filter as a page for reviewers, written by [`seccompgen report`](../report.md) when this
site was built. Type a call into a page: the program itself runs in it, and the tree shows the way.

"""
_TREE = """\
## {name}

{about}

[Open the report](../gallery/{name}.html){{ .md-button .md-button--primary }}

<details markdown="1"><summary>Its decision tree on x86_64</summary>
<div class="tree" tabindex="0" role="region" aria-label="Decision tree of {name}" markdown="1">
![The decision tree of {name}, from the number of the call to its answer]({name}.svg)
</div></details>

"""


def gallery_pages() -> dict[str, str]:
    """Return the gallery's index, and for each stock filter its report and its tree."""
    pages, parts = {}, [_HEAD]
    with tempfile.TemporaryDirectory() as directory:
        for name in sorted(stock_policies()):
            page = Path(directory, f"{name}.html")
            report(name, *(f"--arch={abi}" for abi in ABIS), "-o", str(page))
            pages[f"gallery/{name}.html"] = page.read_text()
            tree = Path(directory, f"{name}.svg")
            report(name, f"--arch={ABIS[0]}", "--svg", "-o", str(tree))
            pages[f"gallery/{name}.svg"] = tree.read_text()
            parts.append(_TREE.format(name=name, about=_about(name)))
    return {**pages, "gallery/index.md": "".join(parts)}


def report(*arguments: str) -> None:
    """Run ``seccompgen report``."""
    command = [sys.executable, "-m", "seccompgen", "report", *arguments]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command


def _about(name: str) -> str:
    """Return the description of a stock policy: its promises, and what it does not promise."""
    return read_filter(name).policy.description
