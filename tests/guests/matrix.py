"""Put the results of all guests into one page, docs/kernels.md: ``make test-kernels`` ends so."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from guests import table
from guests.machines import GUESTS
from guests.run import RESULTS, ROOT
from oracle import ABIS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PAGE = ROOT / "docs" / "kernels.md"
_HOST = "x86_64"

_HEAD = """\
# Real kernels

A filter for s390x that was only ever interpreted on x86_64 is a promise. `make test-kernels` boots
Debian's kernels under QEMU, each with a Python of its architecture, and there has our vendored
modules and our runtime do what they are for. This page is what its last run found.

{table}

In all, {calls:,} calls, {foreign:,} of them by kernels of other architectures than x86,
{records:,} records of what kernels logged, and {attacks:,} attacks. {differences}

- *Filters*: the stock filters that the ABI has, each by its own `install()`: what they refuse and
  permit is tried by Python's own functions. Then every error that `install()` can end in there.
- *Attacks* are those of `tests/escape`, on every promise of these filters: programs that get what
  they want without the filter, and must not with it. Guests of three kinds of ABIs share them out:
  x86_64, ppc64le, s390x and mips64el; aarch64, riscv64 and loongarch64; i386 and arm. But each
  makes one at least on every promise, and all by the ways that its ABI alone has: int $0x80 and
  numbers of x32 on x86_64, 64-bit code in processes of i386, numbers of o32 and n32 on MIPS, the
  number in s390x's `svc`, programs of another ABI.
- *Policies* over every comparison, width, kind of mask and action, compiled for each ABI; guests
  of the same ABI share them out. Children make *calls* around the values where answers change,
  natively and through the kernel's other ABIs. What became of each, as child, tracer, listener or
  parent saw it and as the kernel logged it, is compared with the oracle of the tests, which shares
  no code with the compiler.
- *Numbers*: every number of our table, the gaps in it and 30 beyond its end are called with
  arguments that can do no work. What that release has must not say ENOSYS; all else must.
- *Bitmap*: calls under filters that allow some without looking at arguments and some not. By the
  clock of one boot the kernel must answer the first kind, and only that, without running the
  filter. "-" where a kernel has no bitmap: before 5.11, and on MIPS.
- *Widths*: calls with other bits in arguments, where our facts say that the kernel does not read
  them: in the upper half of an `int`, by all ABIs that the kernel takes from that code, with
  arguments beyond the last. They must come to the same as without. Counted are the arguments of
  which the kernel showed that it looks at the others: a bit of those did make a difference.
- *Faults*: filters, tables and widths that are wrong on purpose, up to {faults} kinds, which must
  be noticed, beside right filters of the same policies, which must not. Others leave that out.
"""

_TAIL = """\
## What these kernels lack

Numbers that a table has and a kernel of that age has not, with the reason (where it is needed):

{excuses}

## Attacks that they cannot try

By what keeps the kernel, the machine or the ABI from them, filter or not, of those that guests of
the ABI were dealt. Where a policy has no program, there is nothing to attack: compute_only on
s390x.

{untried}

## What they taught

- s390x keeps 16 bits of a number: a filter sees 0x40000000 as 0.
- MIPS takes a call's ABI from its number, and `seccomp_data.arch` from the process. Filters refuse
  other ABIs' numbers, so both ways are shut. Call 4000 makes another call; filters see the number
  of that one.
- powerpc, in Linux 7.2, returns 0 from a notified call whatever the listener answers.
- x86_64 runs `uretprobe` (335) and `uprobe` (336) without asking any filter.
- A call that is logged waits while 64 records do (`audit_backlog_limit`), and where it misses that
  they were taken, for a minute. Guests run without that limit.
- In processes of 32 bits the upper halves of arguments are 0: nothing is left of a caller's sign.
  But 64-bit code can make i386 calls, and x86_64 shows filters all of its registers, of which the
  calls get the lower halves.

## systemd and auditd

One guest more boots Debian's systemd, with journald, auditd and systemd-coredump. There units of
[settings](formats.md#systemd) of every kind are started, by file and by `systemd-run`; the
programs that systemd installed are read from their processes, and proved equal to our reading of
the settings. Records that auditd and the kernel write of refused calls, there and in the guests
above but for MIPS, must come back from `explain --audit` as the rule that refused.

## How it works

`make test-kernels` needs Debian or a derivative with the Debian archive as a source of apt. As root
it installs QEMU; kernels and Pythons are fetched by apt with a state of its own, verified by it,
and never installed. They stay in `~/.cache/seccompgen/kernels` (`SECCOMPGEN_KERNELS_CACHE` says
where instead), by name and version, so that a second run fetches nothing;
`make test-kernels REFRESH=1` asks for the newest. Each guest leaves a file in
`build/kernels/`. A kernel that does not come to its first process is booted once more. Once a week
`make test-weekly` has each guest make all attacks, and try twice as many policies; this page does
not count them. A guest is skipped only where its emulator or packages cannot be had; on CI one
big-endian ABI and two little-endian ones must run, besides those of x86.
"""


def main(arguments: Sequence[str]) -> int:
    """Write the page; return 1 if a guest has no result, an excuse is idle, or CI misses some."""
    assert not arguments, "there are no options"
    results = []
    missing = []
    for guest in GUESTS:
        path = RESULTS / f"{guest.name}.json"
        if path.exists():
            results.append(json.loads(path.read_text()))
        else:
            missing.append(guest.name)
    ran = [result for result in results if "skipped" not in result]
    failed = [result["guest"] for result in ran if result["differences"]]
    if missing or failed or not ran:
        names = ", ".join([*missing, *failed])
        print(f"{PAGE.name} is left as it is, for something is wrong with {names or 'all'}")
        return 1
    for result in results:
        if "skipped" in result:
            print(f"skipped: {result['guest']}: {result['skipped']}")
    if len(ran) == len(GUESTS) and (idle := table.idle(ran)):
        print("\n".join(["ABSENT, in table.py, excuses what is there:", *idle]))
        return 1
    PAGE.write_text(page(results))
    if os.environ.get("CI") == "true" and (few := too_few(ran)):
        print(few)
        return 1
    return 0


def too_few(ran: Iterable[Mapping[str, Any]]) -> str:
    """Say what CI misses among the guests that ran, "" if nothing: skips must not look green."""
    foreign = {result["abi"] for result in ran} - {_HOST, "i386"}
    big = {abi for abi in foreign if ABIS[abi].byte_order == "big"}
    if len(big) >= 1 and len(foreign - big) >= 2:
        return ""
    return (
        f"CI wants one big-endian and two little-endian foreign ABIs; there were {sorted(foreign)}"
    )


def page(results: Sequence[Mapping[str, Any]]) -> str:
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
    tail = _TAIL.format(excuses=_reasons(ran, "excuses"), untried=_reasons(ran, "untried"))
    return f"{head}\n{tail}"


def _calls(result: Mapping[str, Any]) -> int:
    count: int = result["calls"] + result["numbers"] + result["stock"]
    return count + (result["foreign"] or 0)


def _table(results: Iterable[Mapping[str, Any]]) -> str:
    columns = {
        "ABI": "abi",
        "kernel": "release",
        "Python": "python",
        "filters": "filters",
        "attacks": "attacks",
        "policies": "policies",
        "calls": None,
        "logged": "records",
        "numbers": "numbers",
        "bitmap": "bitmap",
        "widths": "widths",
        "faults": "faults",
        "differences": None,
    }
    lines = [
        " | ".join(["guest", *columns]),
        " | ".join(["---"] * 4 + ["--:"] * (len(columns) - 3)),
    ]
    for result in results:
        if "skipped" in result:
            cells = [result["abi"], f"skipped: {result['skipped']}"]
            cells += [""] * (len(columns) - len(cells))
        else:
            differences = len(result["differences"])
            values = {**result, "calls": _calls(result), "differences": differences}
            cells = [_cell(values[key or column]) for column, key in columns.items()]
        lines.append(" | ".join([result["guest"], *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _reasons(ran: Iterable[Mapping[str, Any]], kind: str) -> str:
    where: dict[tuple[str, str], set[str]] = {}
    for result in ran:
        for name, why in result[kind].items():
            where.setdefault((why, name), set()).add(result["abi"])
    alike: dict[tuple[str, str], list[str]] = {}
    for (why, name), abis in sorted(where.items()):
        alike.setdefault((why, ", ".join(sorted(abis))), []).append(f"`{name}`")
    lines = [f"- {why} ({abis}): {', '.join(names)}" for (why, abis), names in alike.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
