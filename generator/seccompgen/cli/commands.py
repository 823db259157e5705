"""The commands, under the headings of --help: for each its module, a page, and examples.

Help, manual pages, the site's pages and completion list them in this order, the usual ones first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.published import documentation

if TYPE_CHECKING:
    from collections.abc import Iterator


class CommandInfo(NamedTuple):
    """A command: its module in this room, the page of docs/ that says more, and command lines."""

    module: str
    page: str
    examples: tuple[str, ...]


_TABLE = r"""
Compile
  build docs/build.md
    build worker.yml -o out
    build --check
    build worker.yml --arch x86_64 --format bpf -o out
    build worker.yml --profile worker.strace --costs -o out
  init docs/init.md
    init --policy web_worker
  vendor docs/vendor.md
    vendor worker.yml myapp/sandbox
    vendor --check myapp/sandbox
Watch programs
  run docs/run.md
    run no_network -- ./tool
    run --trace worker.yml -- ./worker
  record docs/record.md
    record -o worker.yml --args -- ./worker --selftest
    record -o worker.yml -p 4711
    record --against worker.yml -- ./worker
  scan docs/scan.md
    scan ./server -o server.yml
Check
  lint docs/lint.md
    lint worker.yml
    lint --format github policies
    lint old.bpf --arch arm64
    lint worker.yml --from debian:11 --to debian:13
  verify docs/proof.md
    verify worker.yml
    verify myapp/sandbox/worker --policy worker.yml
  drift docs/drift.md
    drift
    drift worker.yml --from debian:12
    drift --format markdown --tag v7.4
Explain
  explain docs/explain.md
    explain worker.yml openat AT_FDCWD 0 'O_RDONLY|O_CLOEXEC'
    explain worker.yml socket family=AF_INET --arch s390x
    explain --audit /var/log/audit/audit.log worker.yml
  report docs/report.md
    report worker.yml -o report.html
    report worker.yml --against released.yml -o report.html
    report filter.bpf --arch x86_64 --svg -o tree.svg
Compare and combine
  diff docs/diff.md
    diff old.yml new.yml
    diff docker-default.json worker.x86_64.bpf --arch x86_64
    diff --git main
    diff --git v1.2..v1.3 seccomp/web.yml --format markdown
    diff --tables-before tables-6.12 worker.yml
  subset docs/compare.md compare
    subset worker.yml baseline.yml
    subset docker.json docker.json --caps 1:CAP_SYS_ADMIN --caps 2:
  equiv docs/compare.md compare
    equiv old.bpf worker.yml --arch x86_64
  intersect docs/compare.md combine
    intersect base.yml worker.yml --name both -o out
    intersect team.json docker-default.json --name app --format oci -o out
  union docs/compare.md combine
    union base.yml worker.yml --name either -o out
  subtract docs/compare.md combine
    subtract base.yml worker.yml --name rest -o out
Other formats
  convert docs/formats.md
    convert docker-default.json -o docker.yml
    convert docker-default.json --caps CAP_SYS_ADMIN --kernel 6.1
    convert firecracker.json -o policies/
  amend docs/amend.md
    amend docker-default.json --refuse 'socket when family == AF_ALG'
    amend docker-default.json --shield CVE-2026-31431 --check
    amend worker.yml --refuse keyctl --refuse 'add_key request_key' --check
    amend worker.yml --allow 'madvise when behavior == MADV_FREE'
  disasm docs/library.md
    disasm no_exec --arch x86_64
  asm docs/library.md
    asm program.txt -o program.bpf
Look up
  syscalls docs/tables.md
    syscalls openat2
    syscalls --since v6.1 --arch arm64
    syscalls @basic-io
  constants docs/tables.md
    constants O_DIRECTORY 'CLONE_NEW*'
    constants 0x5412
  schema docs/policy.md
    schema
  tables docs/tables.md
    tables --check
    tables --tag v6.1 --from ~/src/linux -o tables-6.1
Set up
  completion docs/tour.md
    completion bash --install
    completion fish
"""
"""Headings; below each its commands: name, page, module if its name differs; then examples."""


def _sections() -> Iterator[tuple[str, dict[str, CommandInfo]]]:
    for section in re.split(r"\n(?=\S)", _TABLE.strip()):
        heading, *entries = re.split(r"\n  (?=\S)", section)
        found = {}
        for entry in entries:
            (name, page, *module), *examples = map(str.split, entry.split("\n"))
            lines = tuple(map(" ".join, examples))
            found[name] = CommandInfo(module[0] if module else name, page, lines)
        yield heading, found


SECTIONS = dict(_sections())
"""The commands by heading and name."""
COMMANDS = {name: one for commands in SECTIONS.values() for name, one in commands.items()}


def more(name: str) -> str:
    """Return the documentation of a command: an address if there is one, else its manual page."""
    return documentation(COMMANDS[name].page) or f"man seccompgen-{name}"


def epilog(name: str) -> str:
    """Return the end of a command's help, with marks that make click keep its lines."""
    lines = [f"  seccompgen {one}" for one in COMMANDS[name].examples]
    return "\n".join(["\b", "Examples:", *lines, "", "\b", more(name)])
