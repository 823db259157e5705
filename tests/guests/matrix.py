"""Put the results of all guests into one page, docs/kernels.md: ``make test-kernels`` ends so."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from guests import escapes, ring_programs, table
from guests.machines import GUESTS, RING_GUESTS
from guests.run import RESULTS, ROOT
from oracle import ABIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from guests.machines import Guest

_Column: TypeAlias = "str | Callable[[Mapping[str, Any]], int]"
"""A field of a result, or what makes a number of one."""

PAGE = ROOT / "docs" / "kernels.md"
_HOST = "x86_64"

_HEAD = """\
# Real kernels

`make test-kernels` boots Debian's kernels under QEMU, each with a Python of its architecture, and
runs our vendored modules and our runtime there. This page is what its last run found.

{table}

In all, {calls:,} calls, {foreign:,} of them by kernels of other architectures than x86,
{records:,} records of what kernels logged, and {attacks:,} attacks. {differences}

- *Filters*: the stock filters of the ABI, installed by their own `install()`, which must also raise
  each of its errors.
- *Attacks*: those of `tests/escape`: programs that succeed without the filter, and must fail with
  it. Guests share them.
- *Policies, calls*: policies over every comparison, width, kind of mask and action. Children make
  calls around the values where answers change, also through the kernel's other ABIs. The outcome
  is compared with the tests' oracle, which shares no code with the compiler.
- *Logged*: what the kernel logged of these, compared likewise.
- *Numbers*: every number of our table, the gaps and 30 beyond its end: ENOSYS exactly where the
  release lacks the call.
- *Bitmap*: calls that the kernel must answer without running the filter, and others that it must
  not, by the clock. "-": no bitmap, before 5.11 and on MIPS.
- *Widths*: arguments with other bits where the kernel reads none, according to our tables: the
  outcome must be the same. Counted are those where the bits that it does read made a difference.
- *Faults*: filters, tables and widths that are wrong on purpose, up to {faults} kinds, which must
  be noticed.
"""

_TAIL = """\
## What these kernels lack

Numbers that a table has and some of these kernels lack, by the reason (and the ABIs):

{excuses}

## Attacks that they cannot try

The number of attacks that the kernel, the machine or the ABI prevents even without a filter, by the
reason. compute_only has no program for s390x.

{untried}

## What they taught

- s390x keeps 16 bits of a number: a filter sees 0x40000000 as 0.
- MIPS takes a call's ABI from its number, and `seccomp_data.arch` from the process. Our filters
  refuse other ABIs' numbers, so both bypasses are closed. Call 4000 makes another call; filters see
  the number of that one.
- powerpc, in Linux 7.2, returns 0 from a notified call whatever the listener answers.
- x86_64 runs `uretprobe` (335) and `uprobe` (336) without asking any filter.
- A logged call waits while 64 records do (`audit_backlog_limit`), sometimes for a minute. Guests
  run without that limit.
- In 32-bit processes the upper halves of arguments are 0, but for o32 on a 64-bit MIPS kernel: it
  shows filters whole registers before Linux 6.14. If there is a filter, calls get them, too.
- 64-bit code can make i386 calls, and x86_64 shows filters whole registers; the calls get the lower
  halves.

## io_uring's filters

Since Linux 7.0 a thread can have a program for each operation of its rings. These guests have
kernels that differ in them.

{rings}

- *Operations*: filters written by hand, and compiled ones, and operations on no file, around the
  values where answers change. The kernel, an interpreter on the context that the tests' oracle
  makes, and the meaning of the filter must agree.
- *Contexts*: the forty bytes that a filter sees, read from the kernel bit by bit.
- *Facts*: threads, forks, exec, chains, submission, stacked filters and more, by release.
- *Packages* of seccompgen are installed, whole and with each program changed, under sandboxes that
  lie, and one after the other. install() must see what does not hold, and refuse rings then.
- *Attacks*: ways round a policy that permits one database, one directory and registered files. Each
  succeeds free. Filters hold off most; rings and threads that are there already are found by who
  installs; what is registered, and a ring of another process, is refused by seccomp. They are made
  on the filters by hand, and on the `install()` of the same policy as it is built, which refuses
  all rings where the kernel loses filters or shows no addresses.

Programs that people have, and two of ours, work there under sections, and are refused what these
leave out: [io-uring.md](io-uring.md#programs-that-ran-under-a-section).

{programs}

What they taught:

- Up to 7.1.7 a thread that ever set up a ring loses its filters when it executes a program.
- A CONNECT shows no address before 7.2. IPv6 addresses of 24 to 27 bytes, which connect, are shown
  as port 0 and `::` before 7.2.11.
- A socket's type comes with SOCK_CLOEXEC and SOCK_NONBLOCK in 7.2.13 and 7.3-rc7, without in 7.3.4.
- O_LARGEFILE is added to open's flags, another bit on aarch64 and powerpc. O_EMPTYPATH is among
  those that pass since 7.2.
- Up to 7.2.13 a filter that a parent adds reaches the rings and children that it has.
- A poll, ACCEPT, RECV or READ for all times goes on if its filter comes after it.
- A timeout for a chain whose first operation is refused ends with ECANCELED, refused or not.
  RECV_ZC fails before a filter is asked, where no network card's queue is registered.
- io_uring_register(2) of a registered ring says EINVAL in a thread that had no ring yet: only a
  call that succeeds, such as PROBE with a buffer, tells that there is one.

## systemd and auditd

One more guest boots Debian's systemd, with journald, auditd and systemd-coredump, and starts units
with [settings](formats.md#systemd) of every kind. The programs that systemd installed are proved
equal to our reading of the settings. `explain --audit` must trace the records of auditd and the
kernel, there and in the guests above but for MIPS, to the rule that refused.

## How it works

`make test-kernels` needs Debian or a derivative with the Debian archive as a source of apt. As root
it installs QEMU. apt fetches kernels and Pythons into `~/.cache/seccompgen/kernels`
(`SECCOMPGEN_KERNELS_CACHE` names another directory), verified and never installed; `make
test-kernels REFRESH=1` asks for the newest. Each guest leaves a file in `build/kernels/`. Once a
week `make test-weekly` has each guest make all attacks, and try twice as many policies; this page
does not count them. A guest is skipped only if its emulator or packages are not available.
"""


def main(arguments: Sequence[str]) -> int:
    """Write the page; return 1 if a guest has no result, an excuse is idle, or CI misses some."""
    assert not arguments, "there are no options"
    missing: list[str] = []
    results = _results(RESULTS, GUESTS, "{}", missing)
    rings = _results(RESULTS / "rings", RING_GUESTS, "rings of {}", missing)
    programs = _results(
        ring_programs.FOLDER, ring_programs.GUESTS, "programs of rings of {}", missing
    )
    every = (*results, *rings, *programs)
    ran = [result for result in results if "skipped" not in result]
    ran_rings = [result for result in rings if "skipped" not in result]
    failed = [result["guest"] for result in every if result.get("differences")]
    if missing or failed or not ran:
        names = ", ".join([*missing, *failed])
        print(f"{PAGE.name} is left as it is, for something is wrong with {names or 'all'}")
        return 1
    for result in every:
        if "skipped" in result:
            print(f"skipped: {result['guest']}: {result['skipped']}")
    if len(ran) == len(GUESTS) and (idle := table.idle(ran)):
        print("\n".join(["ABSENT, in table.py, excuses what is there:", *idle]))
        return 1
    through = [name for result in ran for name in result["through"]]
    if len(ran) == len(GUESTS) and (never := escapes.held_by_nobody(through)):
        print("\n".join(["attacks that no guest lets through without a filter:", *never]))
        return 1
    if some := escapes.let_through_after_all(through):
        print("\n".join(["NOWHERE, in escapes.py, has attacks that a guest lets through:", *some]))
        return 1
    PAGE.write_text(page(results, rings, programs))
    if os.environ.get("CI") == "true" and (few := too_few(ran) or too_few(ran_rings)):
        print(few)
        return 1
    return 0


def _results(
    folder: Path, guests: Iterable[Guest], what: str, missing: list[str]
) -> list[dict[str, Any]]:
    """Return the results that guests left in a folder; add to ``missing`` those that left none."""
    results = []
    for guest in guests:
        path = folder / f"{guest.name}.json"
        if path.exists():
            results.append(json.loads(path.read_text()))
        else:
            missing.append(what.format(guest.name))
    return results


def too_few(ran: Iterable[Mapping[str, Any]]) -> str:
    """Say what CI misses among the guests that ran, "" if nothing: skips must not look green."""
    foreign = {result["abi"] for result in ran} - {_HOST, "i386"}
    big = {abi for abi in foreign if ABIS[abi].byte_order == "big"}
    if len(big) >= 1 and len(foreign - big) >= 2:
        return ""
    return (
        f"CI wants one big-endian and two little-endian foreign ABIs; there were {sorted(foreign)}"
    )


def page(
    results: Sequence[Mapping[str, Any]],
    rings: Iterable[Mapping[str, Any]],
    programs: Iterable[Mapping[str, Any]],
) -> str:
    """Return the page, Markdown."""
    ran = [result for result in results if "skipped" not in result]
    differences = sum(len(result["differences"]) for result in ran)
    head = _HEAD.format(
        table=_table(results),
        calls=sum(_calls(result) for result in ran),
        foreign=sum(_calls(result) for result in ran if result["abi"] not in {_HOST, "i386"}),
        attacks=sum(result["attacks"] for result in ran),
        records=sum(result["records"] or 0 for result in ran),
        differences=f"There were {differences} differences." if differences else "None differed.",
        faults=max(result["faults"] or 0 for result in ran),
    )
    tail = _TAIL.format(
        excuses=_reasons(ran),
        untried=_counts(ran),
        rings=ring_table(rings),
        programs=program_table(programs),
    )
    return f"{head}\n{tail}"


def _calls(result: Mapping[str, Any]) -> int:
    count: int = result["calls"] + result["numbers"] + result["stock"]
    return count + (result["foreign"] or 0)


def _table(results: Iterable[Mapping[str, Any]]) -> str:
    columns: dict[str, _Column] = {
        "ABI": "abi",
        "kernel": "release",
        "Python": "python",
        "filters": "filters",
        "attacks": "attacks",
        "policies": "policies",
        "calls": _calls,
        "logged": "records",
        "numbers": "numbers",
        "bitmap": "bitmap",
        "widths": "widths",
        "faults": "faults",
        "differences": _differences,
    }
    return _drawn(results, columns, 3)


def ring_table(rings: Iterable[Mapping[str, Any]]) -> str:
    """Return what guests tried of io_uring's filters, a table of Markdown."""
    counts = ("operations", "contexts", "facts", "attacks")
    columns: dict[str, _Column] = {"ABI": "abi", "kernel": "release"}
    columns |= {one: one for one in counts}
    columns["differences"] = _differences
    return _drawn(rings, columns, 2)


def program_table(programs: Iterable[Mapping[str, Any]]) -> str:
    """Return which guests ran programs that use rings, a table of Markdown."""
    columns: dict[str, _Column] = {
        "ABI": "abi",
        "kernel": "release",
        "PostgreSQL": "postgres",
        "runs": lambda result: len(result["programs"]),
        "untried": lambda result: len(result["untried"]),
        "differences": _differences,
    }
    return _drawn(programs, columns, 3)


def _differences(result: Mapping[str, Any]) -> int:
    return len(result["differences"])


def _drawn(
    results: Iterable[Mapping[str, Any]],
    columns: Mapping[str, _Column],
    words: int,
) -> str:
    """Return a table, by its columns' names, of which the first so many hold words."""
    lines = [
        " | ".join(["guest", *columns]),
        " | ".join(["---"] * (words + 1) + ["--:"] * (len(columns) - words)),
    ]
    for result in results:
        if "skipped" in result:
            cells = [result["abi"], f"skipped: {result['skipped']}"]
            cells += [""] * (len(columns) - len(cells))
        else:
            cells = [
                _cell(result[key] if isinstance(key, str) else key(result))
                for key in columns.values()
            ]
        lines.append(" | ".join([result["guest"], *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _reasons(ran: Iterable[Mapping[str, Any]]) -> str:
    where: dict[str, tuple[set[str], set[str]]] = {}
    for result in ran:
        for name, why in result["excuses"].items():
            abis, names = where.setdefault(why, (set(), set()))
            abis.add(result["abi"])
            names.add(f"`{name}`")
    lines = (
        f"- {why} ({', '.join(sorted(abis))}): {', '.join(sorted(names))}"
        for why, (abis, names) in sorted(where.items())
    )
    return "\n".join(lines)


def _counts(ran: Iterable[Mapping[str, Any]]) -> str:
    attacks: dict[str, set[str]] = {}
    for result in ran:
        for name, why in result["untried"].items():
            attacks.setdefault(why, set()).add(name)
    return "\n".join(f"- {why}: {len(names)}" for why, names in sorted(attacks.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
