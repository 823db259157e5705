"""Filters that programs install themselves, made from what `scan` finds in these programs."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from command import seccompgen

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
static int install(const char *name) {
  static struct sock_filter code[4096];
  int file = open(name, O_RDONLY);
  struct sock_fprog program = {read(file, code, sizeof code) / 8, code};
  close(file);
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}
"""
"""The beginning of a program in C: `install` installs the filter in a file; 0 if it did."""


def make_filter(directory: Path, program: str, *options: str) -> dict[str, Any]:
    """Scan a program and make its file ``filter``, which kills; return what scan reports."""
    ask = ["scan", program, "-o", "p.yml", "--json", "--default-action", "kill_process"]
    run = seccompgen(*ask, *options, cwd=directory)
    assert run.code == 0, run.err
    built = seccompgen("build", "p.yml", "-o", "out", "--format", "bpf", cwd=directory)
    assert built.code == 0, built.err
    (made,) = (directory / "out").glob("*x86_64*")
    shutil.copy(made, directory / "filter")
    found: dict[str, Any] = json.loads(run.out)[0]
    return found
