"""Files that others made, of every kind and read by every reader: content, or an error. Quickly."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import ROOT, Result, inside, seccompgen
from seccompgen.core.errors import InputError, SeccompgenError
from seccompgen.core.tables import Tables
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.filters.find.manifest import read_manifest
from seccompgen.filters.find.module import read_banner
from seccompgen.formats import load_policy
from seccompgen.io.reading import parse_toml, read_file, read_start
from seccompgen.kernel.lockfile import render_lock, render_matrix
from seccompgen.pipeline.build import load_tables, shipped_tables
from seccompgen.pipeline.project import read_project
from seccompgen.policy.profile import read_profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = shipped_tables()
X86 = TABLES.tables["x86_64"].abi
POLICY = """\
arches: [x86_64]
default_action: errno(EPERM)
flags: [log]
syscalls:
- {action: allow, names: [read, write]}
- action: trap(3)
  names_with_args:
  - {name: socket, arguments: [{argument: 0, operation: Equal, value: 1, width: 32}]}
"""

# --- what is no file -----------------------------------------------------------------------------


def test_only_files_are_read_and_only_so_much(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1024)
    assert read_file(file, 1024) == b"x" * 1024
    assert read_start(file, 3) == b"xxx"
    assert read_start(file, 5000) == b"x" * 1024
    with pytest.raises(OSError, match="larger than 0 KiB"):
        read_file(file, 1023)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("fifo", "link", "/dev/null", "/dev/stdin", "/dev/fd/0"):
        for read in (read_file, lambda path: read_start(path, 1)):
            with pytest.raises(OSError, match="not a regular file") as caught:
                read(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(OSError, match="null"):
        read_file(tmp_path / "a\0b")


@pytest.mark.long("runs commands against what fails, one by one")
def test_a_pipe_of_the_shell_is_read() -> None:
    disasm = f"{shlex.quote(sys.executable)} -m seccompgen disasm"
    script = f"{disasm} <(sleep 0.1; cat no_exec.yml) && cat no_exec.yml | {disasm} /dev/stdin"
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT / "policies",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "/dev/fd/63:" in run.stdout
    assert "/dev/stdin:" in run.stdout


@pytest.mark.parametrize("what", ["/dev/zero", "/dev/stdin", "fifo", "/proc/kmsg", "."])
def test_an_include_is_a_file(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "p.yml").write_text(f"{POLICY}include: [{what}]\n")
    run = inside("disasm", "p.yml", cwd=tmp_path)
    assert run.code == 2
    assert re.match(r"p.yml:9:11: cannot read .*: ", run.err)


WORDS = {
    "a.yml": ["disasm", "a.yml"],
    "a.py": ["verify", "a.py"],
    "a.bpf": ["disasm", "a.bpf", "--arch", "x86_64"],
    "a": ["build", "p.yml", "--profile", "a", "-o", "o"],
    "v/seccomp-manifest.json": ["vendor", "--check", "v"],
    "k/kernel.lock.toml": ["syscalls", "--tables", "k"],
    "a.tar": ["tables", "--tag", "v6.1", "--from", "a.tar", "-o", "o"],
    "b": ["scan", "b"],
    "c/p.py": ["build", "p.yml", "-o", "c"],
    "d/p.yml": ["build"],
    "e": ["run", "p.yml", "--", "./e"],
    "f.yml": ["record", "--merge", "f.yml", "-o", "g.yml"],
}


@pytest.mark.few(10, "runs commands against what fails, one by one")
@pytest.mark.parametrize("name", WORDS)
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.yml").write_text(POLICY)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    os.mkfifo(file, 0o777)
    if name.startswith("d/"):
        (file.parent / "pyproject.toml").write_text('[tool.seccompgen]\npolicies = "."\n')
    run = seccompgen(*WORDS[name], cwd=file.parent if name.startswith("d/") else tmp_path)
    assert run.code == (
        0 if name == "c/p.py" else 126 if name == "e" else 2 if name != "a.tar" else 3
    )
    assert name == "c/p.py" or run.err


# --- what is much --------------------------------------------------------------------------------

HEAD = "default_action: errno\narches: [x86_64]\n"
BIG = 1 << 19
MUCH: dict[str, tuple[str, str]] = {
    "digits.toml": (f"a = {'1' * 4301}", "1:5: not TOML: a number of too many digits"),
    "hex.toml": (f"default_action = 0x{'f' * 9000}", "1:18: a number of more than 30 digits"),
    "dots.toml": ("a." * (BIG // 4) + "a = 1", "1:1: not TOML: a key of more than 32 parts"),
    "quoted.toml": ('[' + '"a".' * (BIG // 8) + "a]", "1:2: not TOML: a key of more than 32 parts"),
    "deep.toml": (f"a = {'[' * BIG}", "1:1: not TOML: nested too deeply"),
    "tables.toml": ("a = " + "[[" * 30 + "]]" * 30, "1:5: nested too deeply"),
    "values.toml": ("a = [" + "1," * 210_000 + "]", "1:5: too many values: more than 200,000"),
    "hex.yml": (f"a: 0x{'f' * 9000}", "1:4: a number of more than 30 digits"),
    "digits.yml": (f"a: {'1' * 9000}", "1:4: a number of more than 30 digits"),
    "deep.json": ("[" * 500_000, "1:1001: nested too deeply"),
    "deep.yml": ("- " * 300_000, "1:103: nested too deeply"),
    "tag.yml": (f"a: !{'a' * BIG}", f"1:4: tag !{'a' * 99} is not allowed"),
    "values.yml": ("[" + "a," * 210_000, "1:400000: too many values: more than 200,000"),
    "large.yml": ("#" * (4 << 20) + "\n", "cannot read large.yml: larger than 4 MiB"),
    "names.yml": (
        HEAD + "syscalls:\n- action: allow\n  names:\n"
        + "".join(f"  - reed{i}\n" for i in range(2000)),
        "6:5: unknown system call 'reed0'",
    ),
    "keys.yml": (
        HEAD + "".join(f"sysc{i}: 1\n" for i in range(2000)),
        "3:1: unknown key 'sysc0'; known: ",
    ),
    "statements.py": ("a;" * (1 << 20), "not a module that seccompgen generated"),
    "signs.py": (f"x={'-' * BIG}1", "not a module that seccompgen generated"),
    "large.bpf": ("\0" * (17 << 20), "cannot read large.bpf: larger than 16 MiB"),
}  # fmt: skip


@pytest.mark.few(1, "runs commands against what fails, one by one")
@pytest.mark.parametrize("name", MUCH)
def test_too_much_is_an_error_and_soon(tmp_path: Path, name: str) -> None:
    """Without the bounds these take from a minute to hours, gigabytes, or end in a traceback."""
    content, message = MUCH[name]
    (tmp_path / name).write_text(content)
    run = limited("disasm", name, "--arch", "x86_64", cwd=tmp_path)
    assert run.code == 2
    assert message in run.err.splitlines()[0]


def limited(*words: str, cwd: Path) -> Result:
    """Run a command that may have 90 s of CPU, and 2 GiB."""
    limits = "ulimit -t 90; ulimit -v 2097152; exec"
    run = subprocess.run(
        ["bash", "-c", f'{limits} "$@"', "-", sys.executable, "-m", "seccompgen", *words],
        cwd=cwd, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert "Traceback" not in run.stderr, run.stderr
    return Result(run.returncode, run.stdout, run.stderr)


def test_includes_have_a_depth(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"p{i}.yml").write_text(f"{HEAD}include: [p{i + 1}.yml]\n")
    run = inside("disasm", "p0.yml", cwd=tmp_path)
    assert (run.code, run.err) == (2, "p31.yml:3:11: includes nested deeper than 32\n")


def test_a_lock_with_more_errors_than_anybody_reads(tmp_path: Path) -> None:
    (tmp_path / "syscalls.csv").write_bytes(b"")
    lock = "".join(f"key{i} = 1\n" for i in range(30_000))
    (tmp_path / "kernel.lock.toml").write_text(lock)
    with pytest.raises(InputError) as caught:
        load_tables(tmp_path)
    assert len(caught.value.diagnostics) == 100


# --- what is damaged, or doctored ----------------------------------------------------------------

SMALL = Tables(TABLES.tag, {name: TABLES.tables[name] for name in ("x86_64", "x32", "aarch64")})
MATRIX = render_matrix(SMALL)
LOCK = render_lock(SMALL, MATRIX)


def doctored(directory: Path, matrix: bytes) -> Path:
    """Write tables with a lock that fits them, whatever they say."""
    digest = hashlib.sha256(matrix).hexdigest().encode()
    lock = re.sub(rb'(\[matrix\]\nsha256 = ")[0-9a-f]+', rb"\g<1>" + digest, LOCK)
    directory.mkdir(exist_ok=True)
    (directory / "kernel.lock.toml").write_bytes(lock)
    (directory / "syscalls.csv").write_bytes(matrix)
    return directory


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:1], "x86_64 lacks execve, exit_group, faccessat2, prctl, read"),
        (lambda rows: [row for row in rows if b"seccomp" not in row], "x86_64 lacks seccomp"),
        (lambda rows: [row.replace(b"read,0,", b"read,,") for row in rows], "x86_64 lacks read"),
        (lambda rows: [row.replace(b"read,0,", b"read,1073741824,") for row in rows], "bit 30"),
        (
            lambda rows: [row.replace(b",1073741824,", b",0,") for row in rows],
            "x32 has a number whose bit 30 is wrong",
        ),
    ],
)
def test_doctored_tables(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    doctored(tmp_path / "k", b"\n".join(change(MATRIX.splitlines())) + b"\n")
    (tmp_path / "p.yml").write_text(POLICY)
    run = inside("build", "p.yml", "--tables", "k", "-o", "o", cwd=tmp_path)
    assert run.code == 2
    assert run.err.startswith(f"k{os.sep}syscalls.csv:1:1: ")
    assert message in run.err


PIECES = [
    b"\0", b"\x1b[31m", b"\xff", b"\xef\xbb\xbf", b"\r", b"\xc2\x85", b"\xed\xa0\x80", b"9" * 4400,
    b"0x" + b"f" * 5000, b"[" * 200, b"{a: " * 100, b"- " * 100, b"&a [*a]", b"*x", b"!!x ",
    b"!<\x1b> ", b"'", b'"', b"|\n", b"%", b"@", b"\t", b"...\n", b"---\n", b"1e999", b".nan",
    b"0o9", b"null", b"<<: ", b"? ", b"12:30:45", b"/dev/zero", b"../", b"18446744073709551616",
    b"-1", b"4294967296", b"NaN", b"\\ud800", b"\\u0000", b"a." * 40, b"=", b"[[", b"#",
    b"errno(99999)",
    b"x" * 3000, b"1979-05-27T07:32:00Z", b'"""', b"\\", b"\n", b"", b"2" * 31, b"true",
    b"[]", b"{}",
]  # fmt: skip


def mutated(content: bytes, random_: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(random_.choice([1, 1, 2, 4])):
        at = random_.randrange(len(data) + 1)
        match random_.randrange(5):
            case 0:
                data[at:at] = random_.choice(PIECES)
            case 1:
                data[at : at + random_.choice([1, 3, 10, 100])] = random_.choice(PIECES)
            case 2:
                del data[at : at + random_.choice([1, 2, 40, 400])]
            case 3:
                words = [match.span() for match in re.finditer(rb"[\w.-]+", data)]
                if words:
                    data[slice(*random_.choice(words))] = random_.choice(PIECES)
            case _:
                end = random_.randrange(len(data) + 1)
                data[at:at] = data[end : end + 30]
    return bytes(data)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("originals")
    (here / "p.yml").write_text(POLICY)
    for words in (["vendor", "p.yml", "v"], ["vendor", "p.yml", "one.py", "--single-file"],
                  ["build", "p.yml", "-o", ".", "--format", "bpf"]):  # fmt: skip
        assert inside(*words, cwd=here).code == 0
    return here


@pytest.mark.long("runs commands against what fails, one by one")
def test_damaged_files_are_errors(originals: Path, tmp_path: Path) -> None:
    """Whatever is in them: a value, or an error that says where. Seeded, so always the same."""
    project = '[tool.seccompgen]\nlinux = "v7.3.4"\npolicies = "p"\nbitmap = false\n'
    policy = {"arches": ["x86_64"], "default_action": "errno", "syscalls": []}
    toml = 'default_action = "errno"\n[[syscalls]]\naction = "allow"\nnames = ["read"]\n'

    def tables(path: Path) -> object:
        return load_tables(doctored(tmp_path / "k", path.read_bytes()))

    def lock(path: Path) -> object:
        doctored(tmp_path / "k", MATRIX)
        (tmp_path / "k" / "kernel.lock.toml").write_bytes(path.read_bytes())
        return load_tables(tmp_path / "k")

    def module(path: Path) -> object:
        with contextlib.suppress(InputError):
            read_banner(path)
        return load_filter(path, TABLES, None)

    def package_of(path: Path) -> object:
        for file in package.glob("*.py"):
            if file.name != path.name:
                shutil.copy(file, path.parent)
        return module(path.parent)

    package = originals / "v" / "p"
    (tmp_path / "m").mkdir()
    readers: dict[str, tuple[bytes, Callable[[Path], object]]] = {
        "p.yml": (POLICY.encode(), lambda path: load_policy(path, TABLES)),
        "p.json": (json.dumps(policy).encode(), lambda path: load_policy(path, TABLES)),
        "p.toml": (toml.encode(), lambda path: load_policy(path, TABLES)),
        "pyproject.toml": (project.encode(), read_project),
        "m.json": ((originals / "v" / "seccomp-manifest.json").read_bytes(), read_manifest),
        "m/_x86_64.py": ((package / "_x86_64.py").read_bytes(), package_of),
        "m/__init__.py": ((package / "__init__.py").read_bytes(), package_of),
        "one.py": ((originals / "one.py").read_bytes(), module),
        "p.bpf": (
            (originals / "p.x86_64.bpf").read_bytes(),
            lambda path: load_filter(path, TABLES, X86),
        ),
        "profile": (b"read: 100\nwrite: 3\n", read_profile),
        "syscalls.csv": (MATRIX, tables),
        "lock.toml": (LOCK, lock),
    }
    ends = {True: 0, False: 0}
    for name, (content, read) in readers.items():
        random_ = random.Random(name)
        for _ in range(15):
            path = tmp_path / name
            path.write_bytes(mutated(content, random_))
            try:
                read(path)
            except SeccompgenError as error:
                assert all(str(one) for one in error.diagnostics)
                ends[False] += 1
            else:
                ends[True] += 1
    assert min(ends.values()) > 10, ends


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = 1\nb = \x00", "2:5"),
        ("a = ", "1:5"),
        (f"a = 1\nb = [1, {'7' * 4400}]", "2:9"),
        ("a = 1\na = 2", "2:6"),
        ("x = 1979-99-99", "1:9"),
    ],
)
def test_errors_of_toml_have_places(text: str, place: str) -> None:
    with pytest.raises(InputError, match=f"^f:{place}: not TOML: "):
        parse_toml(text, "f")


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """A pipe that has a writer, who writes nothing, is no file either."""
    fifo = tmp_path / "p.yml"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR)
    try:
        assert inside("disasm", "p.yml", cwd=tmp_path).code == 2
    finally:
        os.close(descriptor)


# --- nothing goes round it -----------------------------------------------------------------------

# Where a file is opened otherwise, and why nobody can make that wait, or read without an end.
OTHERWISE = {
    "io/entry_store.py": "a directory of the user's own, checked; each entry behind a hash",
    "cli/record.py": "an output",
    "cli/run.py": "an output",
    "scan/packages.py": "packages that dpkg-deb has read already",
    "kernel/fetch/local.py": "an archive that is a regular file; its members have limits",
    "io/outputs.py": "what was staged, and a pipe to a child of its own",
    "distribute/pytest_plugin.py": "an environment variable of its own",
    "io/reading.py": "the place itself",
    "run/record/attach.py": "files of /proc",
    "run/record/untraced.py": "memory of a process that is traced, in /proc",
    "render/templates.py": "parts of seccompgen",
    "distribute/scaffold.py": "pyproject.toml, after project.py has read it; stock policies",
    "run/launch.py": "files of /proc; a message of its own child",
    "run/process.py": "files of /proc",
    "io/streams.py": "/dev/null",
    "filters/find/manifest.py": "bytes that were read",
    "lint/companions.py": "a part of seccompgen",
    "pipeline/cache.py": "a part of numpy",
    "core/argument_families.py": "a part of seccompgen",
    "policy/groups.py": "a part of seccompgen",
    "filters/tell/abilities.py": "a part of seccompgen",
    "filters/tell/shown_kinds.py": "a part of seccompgen",
    "kernel/powers.py": "a part of seccompgen",
    "kernel/ring_operations.py": "a part of seccompgen",
    "policy/ring_section.py": "a part of seccompgen",
    "run/ring_installer.py": "a part of seccompgen",
    "scan/cluster.py": "a function of its own that is called load",
    "kernel/shields.py": "a part of seccompgen",
    "formats/kafel/calls.py": "a part of seccompgen",
    "policy/plain_json.py": "a text that was read",
    "formats/systemd/groups.py": "a part of seccompgen",
    "formats/firejail/words.py": "a part of seccompgen",
    "scan/elf.py": "bytes that were read",
    "scan/layers.py": "an archive that is a regular file; its members have limits",
    "scan/saved_image.py": "a document that was read",
    "formats/audit/log_lines.py": "a line that was read",
    "scan/scanner.py": "a function of its own that is called load",
}
OPENING = {"open", "read_bytes", "read_text", "fdopen", "load", "loads"}
OURS = {"lockfile.load", "cache.load", "store.load", "tar.open"}
NAMED = re.compile("open|read_(bytes|text)|loads?\\(")


def opened_in(path: Path) -> set[str]:
    """Return what opens files, or parses them, in a module."""
    source = path.read_text()
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)) if NAMED.search(source) else ():
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in OPENING:
                found.add(name)
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in OPENING:
                called = f"{ast.unparse(value)}.{name}"
                if called not in OURS:
                    found.add(called)
    return found


PACKAGE = ROOT / "generator" / "seccompgen"


@pytest.mark.long("runs commands against what fails, one by one")
def test_files_are_read_in_one_place() -> None:
    found = {str(path.relative_to(PACKAGE)): opened_in(path) for path in PACKAGE.rglob("*.py")}
    assert {name for name, opens in found.items() if opens} <= OTHERWISE.keys()
