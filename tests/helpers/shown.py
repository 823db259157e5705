"""Console blocks of all pages: where each is run, and the directory that their commands speak of.

A block is run in the scene, unless a test of its own runs it (``RUN_BY``), or the page says why
nobody does, in a comment before it: ``<!-- not run: why -->``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from command import ROOT, seccompgen
from transcript import Step, steps

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+?) -->\n+)?^```console\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NAMED = re.compile(
    r"^```\w+\n(?P<text>(?://|#) (?P<name>[\w./-]+\.\w+)\n.*?)^```$", re.MULTILINE | re.DOTALL
)
RUN_BY: dict[str, dict[str, str]] = {
    "README.md": {
        "make generate": "project/test_clean_machine.py",
        "PYTHONPATH=generated": "ecosystem/test_newcomer.py",
        "python3 -m venv": "ecosystem/test_newcomer.py",
    },
    "docs/agents.md": {"": "ecosystem/test_agents.py"},
    "docs/bazel.md": {"": "ecosystem/test_bazel.py"},
    "docs/bpf.md": {"": "ecosystem/test_bpf.py"},
    "docs/build.md": {"seccompgen build policies/web_worker.yml": "project/test_readme.py"},
    "docs/c.md": {"": "languages/test_sources.py"},
    "docs/ci.md": {"": "ecosystem/test_image.py"},
    "docs/deploy/asyncio.md": {"": "project/test_deploy.py"},
    "docs/deploy/celery.md": {"": "ecosystem/test_servers.py"},
    "docs/deploy/gunicorn.md": {"": "ecosystem/test_servers.py"},
    "docs/deploy/multiprocessing.md": {"": "project/test_deploy.py"},
    "docs/deploy/report-only.md": {"": "ecosystem/test_report_only.py"},
    "docs/deploy/subprocess.md": {"": "project/test_deploy.py"},
    "docs/deploy/supervisor.md": {"": "project/test_supervisor.py"},
    "docs/deploy/threads.md": {"": "project/test_deploy.py"},
    "docs/deploy/uploads.md": {"": "ecosystem/test_servers.py"},
    "docs/deploy/uvicorn.md": {"": "ecosystem/test_servers.py"},
    "docs/first-policy.md": {"": "project/test_shown_commands.py"},
    "docs/go.md": {"": "ecosystem/test_languages.py"},
    "docs/init.md": {"": "distribute/test_init.py"},
    "docs/javascript.md": {"": "ecosystem/test_languages.py"},
    "docs/launcher.md": {"": "ecosystem/test_languages.py"},
    "docs/lint-history.md": {"": "lint/test_historic.py"},
    "docs/oci.md": {"": "ecosystem/test_containers.py"},
    "docs/packaging.md": {
        "python -m pip wheel": "ecosystem/test_wheels.py",
        "seq 3 | make": "pipeline/test_depfile.py",
        "ninja": "pipeline/test_depfile.py",
        "python -m pip install seccompgen": "ecosystem/test_newcomer.py",
    },
    "docs/run.md": {"seccompgen run --trace policies/no_network.yml": "run/test_trace.py"},
    "docs/rust.md": {"": "ecosystem/test_languages.py"},
    "docs/start.md": {"": "ecosystem/test_start.py"},
    "docs/tutorial.md": {"": "ecosystem/test_tutorial.py"},
    "docs/vendor.md": {
        "seccompgen vendor": "project/test_vendor_page.py",
        "python3 -m zipapp": "project/test_vendor_page.py",
        "pyinstaller": "ecosystem/test_frozen.py",
    },
    "docs/untrusted.md": {"": "ecosystem/test_languages.py"},
    "examples/README.md": {
        "cd examples/word_count": "project/test_examples.py",
        "cd examples/file_broker": "project/test_examples.py",
        "cd examples/c": "ecosystem/test_languages.py",
        "cd examples/go": "ecosystem/test_languages.py",
        "cd examples/javascript": "ecosystem/test_languages.py",
        "cd examples/rust\n": "ecosystem/test_languages.py",
        "cd examples/rust_build_rs": "ecosystem/test_languages.py",
    },
}
"""For each page the tests that run its blocks, by how a block's first command begins."""


@dataclass(frozen=True)
class Block:
    """A console block: its page and line, and why it is not run, if it is not."""

    page: str
    line: int
    text: str
    reason: str | None

    @property
    def runner(self) -> str | None:
        """The test module that runs the block, below tests/."""
        command = self.text.removeprefix("$ ")
        found = [
            test for head, test in RUN_BY.get(self.page, {}).items() if command.startswith(head)
        ]
        assert len(found) < 2, f"{self.page}:{self.line}: {found}"
        return found[0] if found and not self.reason else None

    def steps(self) -> list[Step]:
        """Return its commands; a comment behind a command is left to the shell."""
        return steps(re.sub(r"\\\n +", " ", self.text))


def pages() -> list[str]:
    """Return the pages that people read, by their path."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    found += [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/README.md")]
    found += ROOT.glob("examples/README.md")
    return sorted(str(path.relative_to(ROOT)) for path in found if path.exists())


def console_blocks(page: str) -> list[Block]:
    """Return the console blocks of a page."""
    text = (ROOT / page).read_text()
    return [
        Block(page, text.count("\n", 0, found.start("text")), found["text"], found["reason"])
        for found in _BLOCK.finditer(text)
    ]


def named_files(page: str) -> dict[str, str]:
    """Return the files that a page shows: blocks whose first line is a comment with a name."""
    return named_in((ROOT / page).read_text())


def named_in(text: str) -> dict[str, str]:
    """Return the files that a part of a page shows."""
    return {found["name"]: found["text"] for found in _NAMED.finditer(text)}


def same(shown: str, said: str) -> bool:
    """Tell whether a command said what is shown, where "..." stands for anything.

    A shell that is no terminal's tells more of a process that was killed.
    """
    said = re.sub(r"^\S+: line \d+: +\d+ (Bad system call).*$", r"\1", said, flags=re.MULTILINE)
    lines = shown.splitlines(keepends=True)
    return bool(re.fullmatch("".join(_pattern(line) for line in lines), said))


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return "(?:.*\n)*"
    return ".*".join(re.escape(part) for part in line.split("..."))


_SOCKETS = """\
arches: [x86_64, aarch64]
default_action: errno(EPERM)
syscalls:
- {action: allow, names: [read, write, exit_group]}
- {action: allow, names: [socket], when: 'family in {AF_UNIX, AF_INET}'}
"""
_SMALL = """\
arches: [x86_64]
default_action: errno(EPERM)
flags: [tsync]
syscalls:
- {action: allow, names: [read, write, exit_group, NAME]}
"""
_PROFILE = """\
{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
 "syscalls": [{"names": ["read", "write", "NAME"], "action": "SCMP_ACT_ALLOW"}]}
"""
_FILTERS = """\
{"NAME": {"default_action": "trap", "filter_action": "allow", "filter": [{"syscall": "read"}]}}
"""
_RECORD = (
    "audit: type=1326 audit(1795889128.5:{1}): auid=1 uid=0 gid=0 ses=1 subj=unconfined pid=172 "
    'comm="worker" exe="/srv/worker" sig=31 arch=c000003e syscall={0} compat=0 ip=0x7f3f2a90b4c7 '
    "code=0x80000000"
)
_JOURNAL = "".join(
    json.dumps({"_TRANSPORT": "kernel", "MESSAGE": _RECORD.format(number, serial)}) + "\n"
    for serial, number in enumerate((257, 257, 257, 9))
)
_PROGRAMS = {
    "worker": "#!/bin/sh\necho done\n",
    "tool": "#!/bin/sh\necho done\n",
    "bin/journalctl": f"#!/bin/sh\ncat <<'END'\n{_JOURNAL}END\n",
}
_PROJECT = '[tool.seccompgen]\npolicies = "seccomp"\noutput = "sandbox"\n'
_TEST = "def test_it():\n    assert sum([1, 2]) == 3\n"


def build_scene(place: Path) -> None:
    """Make the directory that pages speak of: a project in git, with files by all their names."""
    shutil.copytree(ROOT / "policies", place / "policies")
    shutil.copytree(ROOT / "generated", place / "generated")
    worker = (ROOT / "examples" / "word_count" / "worker.yml").read_text()
    files = {
        "worker.yml": f"# worker.yml\n{worker}",
        "released.yml": worker,
        "old.yml": _SOCKETS,
        "new.yml": _SOCKETS.replace("AF_INET", "AF_INET, AF_ALG"),
        "seccomp/worker.yml": _SOCKETS,
        "pyproject.toml": _PROJECT,
        "tests/test_it.py": _TEST,
        "debug.policy": "ptrace: 1\n",
        "vmm.json": _FILTERS.replace("NAME", "api"),
        "unusual-input": "1\n",
        **_PROGRAMS,
    }
    for name in ("baseline", "base", "service", "plugin", "upload", "seccomp.d/a", "seccomp.d/b"):
        files[f"{name}.yml"] = _SMALL.replace("NAME", "getpid" if name == "base" else "close")
    for name in ("team", "baseline", "web", "docker", "docker-default"):
        files[f"{name}.json"] = _PROFILE.replace("NAME", "close")
    for arch in ("x86_64", "aarch64"):
        files[f"worker-{arch}.yml"] = _SMALL.replace("NAME", "close").replace("x86_64", arch)
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    for name in _PROGRAMS:
        (place / name).chmod(0o755)
    shutil.copy("/bin/true", place / "server")
    for command in (
        ("vendor", "worker.yml", "myapp/sandbox"),
        ("build",),
        ("build", "worker.yml", "--arch", "x86_64", "--format", "bpf", "-o", "."),
    ):
        assert seccompgen(*command, cwd=place).code == 0
    for name in ("old", "theirs", "filter"):
        shutil.copy(place / "worker.x86_64.bpf", place / f"{name}.bpf")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=place, check=True)
    (place / "seccomp" / "worker.yml").write_text(files["new.yml"])
    assert seccompgen("build", cwd=place).code == 0
