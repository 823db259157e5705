"""Records that a kernel, its audit daemon and systemd write of calls that filters refuse.

``python -m guests.records`` boots the guest and writes tests/data/audit anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guests import system
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parents[1] / "data" / "audit"
_INSIDE = Path(__file__).parent / "inside"


class Case(NamedTuple):
    """A call that is made, and the text of the line of the rule that answers it.

    ``source`` is the policy that does: refused.yml, or refused.conf as a unit's settings.
    """

    name: str
    source: str
    abi: str
    call: str
    arguments: tuple[int, ...]
    action: str
    rule: str


CASES = (
    Case("mkdir", "refused.yml", "x86_64", "mkdir", (), "kill_process", "names: [mkdir]"),
    Case("rmdir", "refused.yml", "x86_64", "rmdir", (), "kill_thread", "names: [rmdir]"),
    Case("symlink", "refused.yml", "x86_64", "symlink", (), "trap(7)", "names: [symlink]"),
    Case("link", "refused.yml", "x86_64", "link", (), "errno(EACCES)", "names: [link]"),
    Case("chmod", "refused.yml", "x86_64", "chmod", (), "log", "names: [chmod]"),
    Case("rename", "refused.yml", "x86_64", "rename", (), "trace(9)", "names: [rename]"),
    Case(
        *("personality", "refused.yml", "x86_64", "personality", (8,)),
        *("errno(EPERM)", "when: personality == 8"),
    ),
    Case(
        *("bsd", "refused.yml", "x86_64", "personality", (0x40000,)),
        *("errno(EINVAL)", "when: personality == 0x40000"),
    ),
    Case("mkdir-i386", "refused.yml", "i386", "mkdir", (), "kill_process", "names: [mkdir]"),
    Case("link-i386", "refused.yml", "i386", "link", (), "errno(EACCES)", "names: [link]"),
    Case("getpid-x32", "refused.yml", "x32", "getpid", (), "kill_process", ""),
    Case("unit-mkdir", "refused.conf", "x86_64", "mkdir", (), "kill_process", "~mkdir"),
    Case("unit-chmod", "refused.conf", "x86_64", "chmod", (), "log", "SystemCallLog=chmod"),
    Case(
        *("unit-i386", "refused.conf", "i386", "getpid", ()),
        *("kill_thread", "SystemCallArchitectures=native"),
    ),
)


def written() -> dict[str, str]:
    """Boot the guest and return what was written there, by the name of its file."""
    tables = shipped_tables()
    policy, _ = load_policy(DATA / "refused.yml", tables)
    settings = [
        line
        for line in (DATA / "refused.conf").read_text().splitlines()
        if line.startswith("SystemCall")
    ]
    cases = []
    for case in CASES:
        number = tables.tables[case.abi].numbers[case.call]
        behind_unit = case.source == "refused.conf"
        program = "-" if behind_unit else "/trial/refused.bpf"
        way = str(int(case.abi == "i386"))
        words = [program, way, str(number), *map(str, case.arguments)]
        command = ["/usr/bin/python3", "/trial/refused.py", *words]
        cases.append([case.name, settings if behind_unit else [], command])
    files = {
        "main.py": (_INSIDE / "records.py").read_bytes(),
        "refused.py": (_INSIDE / "refused.py").read_bytes(),
        "refused.bpf": compile_policy(policy, ABIS["x86_64"], tables).to_bytes(),
        "cases.json": json.dumps(cases).encode(),
    }
    texts: Mapping[str, str] = json.loads(system.boot(files, timeout=200))
    return dict(texts)


_TELLING = ("SECCOMP", "type=1326", "type=1701", "ANOM_ABEND", "/SYS", "dumped core")
"""Marks of an entry that has to do with a call that a filter refused."""
_WHOLE = (
    "audit.log",
    "ausearch.txt",
    "ausearch-i.txt",
    "coredumpctl-list.txt",
    "core-siginfo.json",
)
_LONGEST = 600
"""Characters of a field of the journal; longer ones are the process's memory maps and the like."""


def kept(texts: Mapping[str, str]) -> dict[str, str]:
    """Return what is worth keeping of all that was written, by the name of its file."""
    files = {name: texts[name] for name in _WHOLE}
    files["coredumpctl-info.txt"] = _entries(texts["coredumpctl-info.txt"], "           PID: ", 2)
    files["dmesg.txt"] = _telling(texts["dmesg.txt"])
    files["journal-short.txt"] = _telling(texts["journal-short.txt"])
    entries: list[str] = []
    for line in _telling(texts["journal-json.txt"]).splitlines():
        if "ANOM_ABEND" in line or "type=1701" in line:
            continue
        entry = {
            key: value
            for key, value in json.loads(line).items()
            if not key.startswith(("COREDUMP_PROC_", "COREDUMP_ENVIRON"))
            and (key == "MESSAGE" or len(str(value)) <= _LONGEST)
        }
        entries.append(json.dumps(entry))
    files["journal.json"] = "\n".join([*entries, ""])
    files["status.txt"] = _entries(texts["status.txt"], "\N{MULTIPLICATION SIGN} ", 2)
    return files


def _telling(text: str) -> str:
    lines = (line for line in text.splitlines() if any(one in line for one in _TELLING))
    return "\n".join([*lines, ""])


def _entries(text: str, start: str, count: int) -> str:
    """Return the first entries of a text, each of which begins with ``start``."""
    return start + start.join(text.split(start)[1 : count + 1])


def _cases() -> str:
    """Return the cases as JSON, a line each, with the line of the rule."""
    listed = []
    for case in CASES:
        lines = (DATA / case.source).read_text().splitlines()
        (number,) = (
            [i for i, line in enumerate(lines, 1) if case.rule in line] if case.rule else [0]
        )
        told = case._asdict() | {"line": number, "arguments": list(case.arguments)}
        del told["rule"]
        listed.append(json.dumps(told))
    return "[\n" + ",\n".join(listed) + "\n]\n"


if __name__ == "__main__":
    for name, text in {**kept(written()), "cases.json": _cases()}.items():
        (DATA / name).write_text(text)
