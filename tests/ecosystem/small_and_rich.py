"""Measure the workloads of `data/workloads.toml`, and print docs/workloads.md.

``make workloads`` runs it, as root, which takes an hour; ``ARGS="redis lua"`` only these. What is
not installed is left out: most is Debian's, $PYTHON has what is PyPI's (fastapi, uvicorn, asyncpg,
python-multipart, celery, redis, granian, pandas), $NODE_MODULES what is npm's (fastify, esbuild).
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import date
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recorded_policies import ALLOW, TABLES, X86_64, load
from seccompgen.core.model import comparisons
from seccompgen.kernel.powers import powers
from seccompgen.run.record.power_cases import PowerCases
from seccompgen.verify import meaning
from seccompgen.verify.call import Call
from workloads import SECCOMPGEN, Workload, built, taken_in, turn, verdict, version, workloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.kernel.powers import PowerLine

ENVIRONMENT = {name: os.environ[name] for name in ("PYTHON", "NODE_MODULES") if name in os.environ}
CASES = PowerCases(TABLES)
NUMBERS = TABLES.tables[X86_64.name].numbers
MOST = 20_000
"""As many combinations of arguments are tried of a call."""
RAISED = ("kill", "tgkill", "tkill")
"""Calls by which programs signal themselves: each recorded policy permits some."""
_TRACED = re.compile(r"^\d+\s+(\w+)\((.*?)(?:\)\s+=|\s*<unfinished|$)")
_MARKER = re.compile(r"\bseccomp\(0x1, 0")

Permitted = set[tuple[str, "PowerLine"]]
"""Calls, and lines of the table of powers that they are on."""


class Row(NamedTuple):
    """What came of a workload: verdicts, the policy's lines that are no comments, and its calls.

    ``more`` counts calls that the exact policy lacks: those that give nothing, those that give
    something of a kind that the run used, and those of another.
    """

    program: str
    version: str
    exact: str
    recorded: str
    taken: str
    lines: int
    more: tuple[int, int, int]
    refused: Sequence[str]
    findings: int
    formats: bool


def measure(one: Workload, directory: Path) -> Row:
    """Do all that a row says of a workload."""
    policy, exact = directory / "recorded.yml", directory / "exact.yml"

    def go(how: str, name: str, held_to: Path, options: str = "") -> tuple[str, Sequence[str]]:
        done = turn(one, how, directory / name, held_to, options, **ENVIRONMENT)
        return verdict(free, done), [*done.refused]

    free = turn(one, "free", directory / "free", policy, **ENVIRONMENT)
    go("record", "small", policy)
    go("record", "small-exactly", exact, "--exact")
    recorded, _ = go("enforce", "held", policy)
    exactly, _ = go("enforce", "held-exactly", exact)
    taken, refused, last = "", [], policy
    if (
        recorded != "works"
        and (text := taken_in(policy.read_text(), one.permits)) != policy.read_text()
    ):
        last = directory / "taken.yml"
        last.write_text(text)
        taken, _ = go("enforce", "held-once-taken-in", last)
    if (taken or recorded) != "works":
        refused = [name for name in go("trace", "traced", last)[1] if name != "clone3"]
    turn(one, "strace", directory / "strace", policy, **ENVIRONMENT)
    lines = [line for line in policy.read_text().splitlines() if line.strip() and line[0] != "#"]
    used = {line.power.name for _, line in made(one, directory / "strace")}
    return Row(
        one.program or one.name,
        version(one, **ENVIRONMENT),
        exactly,
        recorded,
        taken,
        len(lines),
        more(permitted(policy), permitted(exact), used),
        refused,
        _findings(policy),
        all(
            built(policy, directory / form, form, *options).returncode == 0
            for form, *options in (("oci",), ("systemd", "--nearest"))
        ),
    )


def made(one: Workload, directory: Path) -> Permitted:
    """Return the calls of a run as strace saw them: the recorder has no say in it."""
    found: Permitted = set()
    for file in directory.glob("**/strace.*"):
        lines = file.read_text(errors="replace").splitlines()
        if one.installs:
            marks = [index for index, line in enumerate(lines) if _MARKER.search(line)]
            lines = lines[marks[0] + 1 :] if marks else []
        for match in filter(None, map(_TRACED.match, lines)):
            call, text = match[1], match[2]
            values = dict.fromkeys(range(6), 0)
            if call == "clone3":
                values[0] = 0x20000 if "CLONE_NEW" in text else 0x10000 * ("CLONE_THREAD" in text)
            else:
                for index, word in enumerate(text.split(", ")[:6]):
                    values[index] = int(word, 16) if re.fullmatch("0x[0-9a-f]+|0", word) else 0
            if line := CASES.line(call, X86_64, values) if call in NUMBERS else None:
                found.add((call, line))
    return found


def permitted(policy: Path) -> Permitted:
    """Return each call, with each line of the table, of which a policy permits some arguments."""
    read = load(policy)
    means = meaning(read, X86_64, TABLES)
    asked: dict[str, dict[int, set[int]]] = {}
    for rule in read.own_rules:
        for test in comparisons(rule.condition) if rule.condition else ():
            asked.setdefault(rule.name, {}).setdefault(test.argument, set()).add(test.value)
    found: Permitted = set()
    for call in {rule.name for rule in read.own_rules} & NUMBERS.keys():
        for args in islice(_samples(call, asked.get(call, {})), MOST):
            line = CASES.line(call, X86_64, dict(enumerate(args)))
            if line and (call, line) not in found:
                a, b, c, d, e, f = args
                one = Call(NUMBERS[call], X86_64.audit_arch, (a, b, c, d, e, f))
                if means.answer(one) == ALLOW:
                    found.add((call, line))
    return found


def _samples(call: str, asked: dict[int, set[int]]) -> Iterator[tuple[int, ...]]:
    values = {
        index: {0, 1, *(value + more for value in those for more in (0, 1))}
        for index, those in asked.items()
    }
    for case in CASES.of(call, X86_64):
        for condition in case.conditions:
            for test in comparisons(condition):
                values.setdefault(test.argument, {0, 1}).update((test.value, test.value | 1))
    return product(*(sorted(values.get(index, {0})) for index in range(6)))


def more(now: Permitted, before: Permitted, used: set[str]) -> tuple[int, int, int]:
    """Count the calls that are permitted beyond those ``before``; see `Row`."""
    kinds = powers().kinds
    # What the recorded run did, and the one under strace did not: no argument decides of these.
    used = used | {line.power.name for call, line in before if powers().of(call) == (line,)}
    beyond = {(call, line.power.name) for call, line in now - before}
    own = {one for one in beyond if one[0] in RAISED and one[1] == "others"}
    gives = {one for one in beyond - own if kinds[one[1]].gives}
    other = {one for one in gives if one[1] not in used}
    return (
        len({call for call, kind in beyond if not kinds[kind].gives}),
        len(gives - other),
        len(other),
    )


def _findings(policy: Path) -> int:
    done = subprocess.run(
        [SECCOMPGEN, "lint", "--format", "json", policy],
        capture_output=True,
        text=True,
        check=False,
    )
    return sum(one["severity"] != "note" for one in json.loads(done.stdout)["findings"])


PAGE = """# Recorded small, enforced richer

How far does a small recording carry? {all} programs were recorded with a small run. Then a richer
run ran under the recorded policy: other input, more load, another signal, an abort. Programs, runs
and what somebody who knows the program permits were written down before anything was measured
(`tests/data/workloads.toml`). `make workloads` writes this page; its last run was on {day}, with
Linux {kernel} and {libc}.

- **{recorded} of {all}** work as recorded; {exact} with `--exact`, which allows only the calls that
  were seen.
- **{once} of {all}** work once the commented rules are enabled that somebody who knows the program
  permits ([Recording](record.md#what-its-code-can-do)).
- `run --trace` names what is refused in the others: the column *refused then*.
- `lint` has {findings} findings above a note. {formats} of {all} can be written for Docker, and for
  systemd with `--nearest`.
- *More* counts the calls permitted beyond `--exact`. In all {nothing} give nothing, {of_kind} give
  something of a kind that the small run used, and {other} something of another kind. Signals that
  programs send themselves are not counted. *Lines* are those of the policy without comments.

| program | `--exact` | as recorded | once taken in | refused then | lines | more |
|---|---|---|---|---|--:|--:|
{table}
"""


def page(rows: Sequence[Row]) -> str:
    """Return the page, in Markdown."""
    nothing, of_kind, other = (sum(row.more[index] for row in rows) for index in range(3))
    return PAGE.format(
        all=len(rows),
        day=f"{date.today():%Y-%m-%d}",
        kernel=platform.release().partition("-")[0],
        libc=" ".join(platform.libc_ver()),
        exact=sum(row.exact == "works" for row in rows),
        recorded=sum(row.recorded == "works" for row in rows),
        once=sum("works" in {row.recorded, row.taken} for row in rows),
        findings=sum(row.findings for row in rows),
        formats=sum(row.formats for row in rows),
        nothing=f"{nothing:,}",
        of_kind=f"{of_kind:,}",
        other=other,
        table="\n".join(map(_line, rows)),
    )


def _line(row: Row) -> str:
    refused = ", ".join(f"`{one}`" for one in row.refused)
    verdicts = f"{row.exact} | {row.recorded} | {row.taken} | {refused}"
    return f"| {row.program} {row.version} | {verdicts} | {row.lines} | {sum(row.more)} |"


def main(names: Sequence[str]) -> None:
    """Measure workloads, all if there are no ``names``, and print the page."""
    rows = []
    for name, one in workloads().items():
        if names and name not in names:
            continue
        if not version(one, **ENVIRONMENT):
            print(f"{name} is not installed", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as directory:
            Path(directory).chmod(0o755)
            rows.append(measure(one, Path(directory)))
            print(rows[-1], file=sys.stderr)
    print(page(rows), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
