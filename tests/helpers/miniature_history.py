"""Four mainline tags made of the miniature, whose history is not the kernel's but ours to know.

v6.1 has neither loongarch nor `cachestat`; v6.2 brings `cachestat` to x86_64 and to the ABIs of the
generic header; v6.3 brings loongarch; v6.4 is the miniature's other tag, where the generic
architectures have a table.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from upstream import MINIATURE, NEW, OLD

if TYPE_CHECKING:
    from pathlib import Path

TAGS = ("v6.1", "v6.2", "v6.3", "v6.4")
_TABLE = "arch/x86/entry/syscalls/syscall_64.tbl"
_HEADER = "include/uapi/asm-generic/unistd.h"
_END = "#undef __NR_syscalls\n"


def write_trees(directory: Path) -> Path:
    """Write a tree for each tag under ``directory``, and return that."""
    for tag in TAGS[:3]:
        shutil.copytree(MINIATURE / OLD, directory / tag)
    for tag in TAGS[:2]:
        shutil.rmtree(directory / tag / "arch" / "loongarch")
    for tag in TAGS[1:3]:
        table, header = directory / tag / _TABLE, directory / tag / _HEADER
        table.write_text(f"{table.read_text()}451 common cachestat sys_cachestat\n")
        text = header.read_text()
        assert text.count(_END) == 1
        header.write_text(text.replace(_END, f"#define __NR_cachestat 451\n{_END}"))
    shutil.copytree(MINIATURE / NEW, directory / TAGS[3])
    for tag in TAGS:
        makefile = f"VERSION = 6\nPATCHLEVEL = {tag[-1]}\nSUBLEVEL = 0\nEXTRAVERSION =\n"
        (directory / tag / "Makefile").write_text(makefile)
    return directory


def write_repository(trees: Path, directory: Path) -> Path:
    """Make a git repository of ``trees``, with a tag for each; none of them is checked out."""
    directory.mkdir()
    _git(directory, "init", "--quiet")
    for tag in TAGS:
        _git(directory, "--work-tree", trees / tag, "add", "--all", ".")
        _git(directory, "commit", "--quiet", "--message", tag)
        _git(directory, "tag", tag)
    return directory


def _git(directory: Path, *arguments: str | Path) -> None:
    nobody = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    top = ("--git-dir", str(directory / ".git"))
    subprocess.run(["git", *nobody, *top, *map(str, arguments)], cwd=directory, check=True)
