"""The end of each command's help: examples, and the address of the page that says more."""

from __future__ import annotations

from typing import NamedTuple

SITE = "https://OWNER.github.io/seccompgen/"
"""The documentation's site; OWNER as in pyproject.toml."""


def address(page: str) -> str:
    """Return the address at which the site has a page of docs/."""
    return f"{SITE}{page.removeprefix('docs/').removesuffix('.md')}/"


class More(NamedTuple):
    """The end of a command's help: command lines, and a page of docs/."""

    page: str
    examples: tuple[str, ...]

    def text(self) -> str:
        """Return the paragraphs as click takes them, each with the mark that keeps its lines."""
        lines = [f"  seccompgen {one}" for one in self.examples]
        return "\n".join(["\b", "Examples:", *lines, "", "\b", address(self.page)])


MORE = {
    "asm": More("docs/library.md", ("asm program.txt -o program.bpf",)),
    "build": More(
        "docs/build.md",
        (
            "build worker.yml -o out",
            "build --check",
            "build worker.yml --arch x86_64 --format bpf -o out",
            "build worker.yml --profile worker.strace --costs -o out",
        ),
    ),
    "completion": More("docs/tour.md", ("completion bash --install", "completion fish")),
    "constants": More("docs/tables.md", ("constants O_DIRECTORY 'CLONE_NEW*'", "constants 0x5412")),
    "convert": More(
        "docs/formats.md",
        (
            "convert docker-default.json -o docker.yml",
            "convert docker-default.json --caps CAP_SYS_ADMIN --kernel 6.1",
            "convert firecracker.json -o policies/",
        ),
    ),
    "diff": More(
        "docs/diff.md",
        (
            "diff old.yml new.yml",
            "diff docker-default.json worker.x86_64.bpf --arch x86_64",
            "diff --git main",
            "diff --git v1.2..v1.3 seccomp/web.yml --format markdown",
            "diff --tables-before tables-6.12 worker.yml",
        ),
    ),
    "disasm": More("docs/library.md", ("disasm no_exec --arch x86_64",)),
    "drift": More(
        "docs/drift.md",
        (
            "drift",
            "drift worker.yml --from debian:12",
            "drift --format markdown --tag v7.4",
        ),
    ),
    "equiv": More("docs/compare.md", ("equiv old.bpf worker.yml --arch x86_64",)),
    "explain": More(
        "docs/explain.md",
        (
            "explain worker.yml openat AT_FDCWD 0 'O_RDONLY|O_CLOEXEC'",
            "explain worker.yml socket family=AF_INET --arch s390x",
            "explain --audit /var/log/audit/audit.log worker.yml",
        ),
    ),
    "init": More("docs/init.md", ("init --policy web_worker",)),
    "intersect": More(
        "docs/compare.md",
        (
            "intersect base.yml worker.yml --name both -o out",
            "intersect team.json docker-default.json --name app --format oci -o out",
        ),
    ),
    "lint": More(
        "docs/lint.md",
        (
            "lint worker.yml",
            "lint --format github policies",
            "lint old.bpf --arch arm64",
            "lint worker.yml --from debian:11 --to debian:13",
        ),
    ),
    "record": More(
        "docs/record.md",
        (
            "record -o worker.yml --args -- ./worker --selftest",
            "record -o worker.yml -p 4711",
            "record --against worker.yml -- ./worker",
        ),
    ),
    "report": More(
        "docs/report.md",
        (
            "report worker.yml -o report.html",
            "report worker.yml --against released.yml -o report.html",
            "report filter.bpf --arch x86_64 --svg -o tree.svg",
            "report worker.yml --arch aarch64 --dot | dot -Tpdf -o tree.pdf",
        ),
    ),
    "run": More(
        "docs/run.md",
        ("run no_network -- ./tool", "run --trace worker.yml -- ./worker"),
    ),
    "scan": More("docs/scan.md", ("scan ./server -o server.yml",)),
    "schema": More("docs/policy.md", ("schema",)),
    "subset": More(
        "docs/compare.md",
        (
            "subset worker.yml baseline.yml",
            "subset docker.json docker.json --caps 1:CAP_SYS_ADMIN --caps 2:",
        ),
    ),
    "subtract": More("docs/compare.md", ("subtract base.yml worker.yml --name rest -o out",)),
    "syscalls": More(
        "docs/tables.md",
        ("syscalls openat2", "syscalls --since v6.1 --arch arm64", "syscalls @basic-io"),
    ),
    "tables": More(
        "docs/tables.md", ("tables --check", "tables --tag v6.1 --from ~/src/linux -o tables-6.1")
    ),
    "union": More("docs/compare.md", ("union base.yml worker.yml --name either -o out",)),
    "vendor": More(
        "docs/vendor.md", ("vendor worker.yml myapp/sandbox", "vendor --check myapp/sandbox")
    ),
    "verify": More(
        "docs/proof.md", ("verify worker.yml", "verify myapp/sandbox/worker --policy worker.yml")
    ),
}
