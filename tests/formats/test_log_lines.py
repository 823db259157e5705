"""Lines of a log, one after the other: what several tell of one event counts once."""

from __future__ import annotations

from seccompgen.core.errors import Position
from seccompgen.formats.audit.log_lines import LogReader
from seccompgen.formats.audit.records import SeccompRecord
from seccompgen.pipeline.build import shipped_tables

SIGINFO = """\
{si_signo = 31, si_errno = 0, si_code = 1,
  _sifields = {_sigsys = {_call_addr = 0x7f0000001234,
    _syscall = SYSCALL,
    _arch = 3221225534}}}
"""
"""As gdb prints one, over several lines; the architecture is x86_64."""


def test_each_siginfo_over_several_lines_is_a_call_of_its_own() -> None:
    reader = LogReader(shipped_tables())
    dumps = [SIGINFO.replace("SYSCALL", str(number)) for number in (41, 59)]
    lines = [line for dump in dumps for line in dump.splitlines()]
    found = [reader.read(line, Position("log", place)) for place, line in enumerate(lines, 1)]
    calls = [(one.position.line, one.name) for one in found if isinstance(one, SeccompRecord)]
    assert calls == [(4, "socket"), (8, "execve")]
