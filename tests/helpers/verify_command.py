"""Values and helpers that the tests of ``verify`` and ``equiv`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import command
from command import Result
from interpreter import assemble
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

TAG = shipped_tables().tag
ONE_ANSWER = "calls that the kernel cannot tell apart get one answer"
POLICY = """\
arches: [aarch64, s390x]
default_action: errno
syscalls:
- {action: allow, names: [read]}
- action: allow
  names_with_args:
  - {name: socket, arguments: [{argument: 0, operation: Equal, value: 1, width: 32}]}
multiplexed: errno(EPERM)
"""
ALLOW, EPERM = 0x7FFF0000, 0x00050001
LD_NR = (0x20, 0, 0, 0)
LD_ARG0 = (0x20, 0, 0, 16)

# The instruction of aarch64's program that jumps to the return of ALLOW if args[0] is 1, and the
# same with a jump to the next one, the return of ERRNO.
TO_ALLOW = r"\x15\x00\x01\x00\x01\x00\x00\x00"
TO_ERRNO = r"\x15\x00\x00\x00\x01\x00\x00\x00"
EDITED = "its programs are not those that were proved when it was generated; generate it again"
NO_BANNER = (
    "its banner does not say what it was made from: generate it again, or name its policy with "
    "--policy"
)
NO_MODULE = "not a module that seccompgen generated"


def said(run: Result) -> tuple[int, list[str], list[str]]:
    """Return what a run said, but for the line that `test_undecided` is about."""
    code, lines, errors = command.said(run)
    return code, [line for line in lines if line != ONE_ANSWER], errors


def changed(path: Path, old: str, new: str, name: str = "") -> str:
    """Replace what ``path`` holds once; with ``name``, write a file beside it instead."""
    text = path.read_text()
    assert text.count(old) == 1, old
    target = path.with_name(name) if name else path
    target.write_text(text.replace(old, new))
    return target.name


def raw(path: Path, *instructions: tuple[int, int, int, int]) -> Path:
    path.write_bytes(assemble(list(instructions), "little"))
    return path


def failed(run: Result) -> tuple[int, list[str]]:
    """Return what a command said that has nothing but errors to say."""
    assert run.out == ""
    return run.code, run.err.splitlines()


PROVED = "proved for 2 ABIs (classes and z3)"


RAW = "worker.aarch64.bpf"


NOT_BY_CLASSES = (
    "x86_64: cannot be decided: classes: instruction 1 computes with a part of the call"
)
INSTALL = "install the extra that brings z3: pip install 'seccompgen[proof]'"


def sum_is(path: Path, addend: int, total: int) -> Path:
    """Write a program that allows the number that gives ``total`` with ``addend``."""
    jump = (0x15, 0, 1, total)
    return raw(path, LD_NR, (0x04, 0, 0, addend), jump, (0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM))
