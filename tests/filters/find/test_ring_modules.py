"""Generated packages that filter rings: their layout, and what verify finds changed."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import black
import pytest
from command import inside, snapshot
from verify_command import EDITED

POLICY = """arches: [x86_64, s390x]
default_action: errno
syscalls: []
io_uring:
  default_action: deny
  without: {without}
  operations:
  - {{action: allow, names: ['@read']}}
  - {{action: allow, names: [CONNECT], when: addr in 10.0.0.0/8 and port == 5432}}
  - {{action: allow, names: [OPENAT2], when: resolve & RESOLVE_BENEATH}}
"""
MODE = black.Mode(line_length=100, target_versions={black.mode.TargetVersion.PY39})


def built(place: Path, without: str = "refuse_rings") -> Path:
    _lay_out(place, without, "build", "db.yml", "-o", ".")
    return place / "db"


def _lay_out(place: Path, without: str, *words: str) -> None:
    """Lay out the policy, and what a command makes of it."""
    for name, content in _made(without, *words).items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)


@cache
def _made(without: str, *words: str) -> dict[str, bytes]:
    with TemporaryDirectory() as name:
        place = Path(name)
        (place / "db.yml").write_text(POLICY.format(without=without))
        result = inside(*words, cwd=place)
        assert result.code == 0, result.err
        return snapshot(place)


@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
def test_it_is_proved_and_laid_out_as_by_black(tmp_path: Path, without: str) -> None:
    package = built(tmp_path, without)
    for file in package.glob("*.py"):
        text = file.read_text()
        ast.parse(text, feature_version=(3, 9))
        assert black.format_str(text, mode=MODE) == text
    result = inside("verify", "db", cwd=tmp_path)
    assert result.code == 0, result.err


CHANGES = {
    "a port": (r"\x15\x38\x00\x00", r"\x15\x39\x00\x00", "operation 16 is not what"),
    "a size": ("            24,\n", "            0,\n", "no program for operation 28"),
    "an operation more": (
        '        (22, 0, b"',
        '        (21, 0, b"\\x06\\x00\\x00\\x00\\x01\\x00\\x00\\x00"),\n        (22, 0, b"',
        "operation 21 has a program",
    ),
    "a trial": ("(0, (), False),", "(0, (), True),", "what install() does with rings"),
    "exec": ("    False,\n    # Answers", "    True,\n    # Answers", "what install() does with"),
    "a number": ("(425, 426, 427)", "(425, 426, 1)", "what install() does with rings"),
    "the other program": (
        r"\x06\x00\x00\x00\x26\x00\x05\x00",
        r"\x06\x00\x00\x00\x00\x00\xff\x7f",
        "the program for kernels that cannot filter rings",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_finds_what_was_changed(tmp_path: Path, change: str) -> None:
    old, new, said = CHANGES[change]
    module = built(tmp_path) / "_x86_64.py"
    text = module.read_text()
    before, found, after = text.rpartition(old)
    assert found, text
    module.write_text(before + new + after)
    result = inside("verify", "db", cwd=tmp_path)
    assert result.code == 1
    assert said in result.err
    assert EDITED in result.err or change in {"a size", "a trial", "exec", "a number"}


@pytest.mark.parametrize(
    "words",
    [
        ("build", "db.yml", "--format", "js", "-o", "out"),
        ("build", "db.yml", "--format", "oci", "-o", "out"),
        ("build", "db.yml", "--report-only", "-o", "out"),
        ("intersect", "--name", "both", "db.yml", "db.yml", "-o", "out"),
    ],
)
def test_what_cannot_filter_rings_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "db.yml").write_text(POLICY.format(without="fail"))
    result = inside(*words, cwd=tmp_path)
    assert result.code == 2
    assert "io_uring" in result.err
    assert not (tmp_path / words[-1]).exists()


def single(place: Path, without: str = "fail") -> Path:
    _lay_out(place, without, "vendor", "db.yml", "db.py", "--single-file")
    return place / "db.py"


@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
def test_one_file_has_all_of_it(tmp_path: Path, without: str) -> None:
    file = single(tmp_path, without)
    text = file.read_text()
    assert black.format_str(text, mode=MODE) == text
    defined: dict[str, str] = {}
    for statement in ast.parse(text, feature_version=(3, 9)).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names = {name: ast.unparse(statement)}
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                names = {name: ast.unparse(value)}
            case ast.Assign(targets=[ast.Tuple(elts=elts)], value=ast.Tuple(elts=values)):
                pairs = zip(elts, values, strict=True)
                names = {ast.unparse(one): ast.unparse(value) for one, value in pairs}
            case _:
                names = {}
        for name, text_of in names.items():
            assert defined.setdefault(name, text_of) == text_of, name
    assert {"_install", "_install_rings", "install", "filtered", "obstacle"} <= {*defined}
    result = inside("verify", "db.py", cwd=tmp_path)
    assert result.code == 0, result.err


SINGLE_CHANGES = {
    "a port": (r"\x15\x38\x00\x00", r"\x15\x39\x00\x00", "operation 16 is not what"),
    "a trial": ("(0, (), False),", "(0, (), True),", "what install() does with rings"),
    "the runtime": ("_LOOKS = 50", "_LOOKS = 51", "its runtime is not that of this seccompgen"),
    "no rings": (", _X86_64_RINGS)", ")", "not a module that seccompgen generated"),
    "of another ABI": ("_X86_64_RINGS)", "_S390X_RINGS)", "not a module that seccompgen generated"),
    "what is called": (
        "_install_rings(\n        __name__",
        "_install(\n        __name__",
        "not a mod",
    ),
}


@pytest.mark.parametrize("change", SINGLE_CHANGES)
def test_verify_finds_what_was_changed_in_one_file(tmp_path: Path, change: str) -> None:
    old, new, said = SINGLE_CHANGES[change]
    file = single(tmp_path)
    before, found, after = file.read_text().rpartition(old)
    assert found
    file.write_text(before + new + after)
    result = inside("verify", "db.py", cwd=tmp_path)
    assert result.code
    assert said in result.err


TABLE = """
    ======  ========================================
    answer  operations
    ======  ========================================
    allow   READV, READ_FIXED, READ, READ_MULTISHOT, READV_FIXED
    allow   CONNECT where addr in 10.0.0.0/8 and port == 5432
    allow   OPENAT2 where resolve & RESOLVE_BENEATH
    deny    every other operation
    ======  ========================================
"""


def test_the_docstring_says_what_rings_may_do_and_verify_reads_it(tmp_path: Path) -> None:
    main = built(tmp_path) / "__init__.py"
    text = main.read_text()
    assert TABLE in text
    main.write_text(text.replace("port == 5432", "port == 5433"))
    result = inside("verify", "db", cwd=tmp_path)
    assert result.code == 1
    assert "its docstring is not what seccompgen says of this policy" in result.err


def test_the_report_says_what_rings_may_do(tmp_path: Path) -> None:
    main = built(tmp_path) / "__init__.py"
    (tmp_path / "old.yml").write_text(POLICY.format(without="fail").replace("5432", "80"))
    words = ("report", "db.yml", "--against", "old.yml", "-o", "db.html")
    result = inside(*words, cwd=tmp_path)
    assert result.code == 0, result.err
    page = (tmp_path / "db.html").read_text()
    assert "<td>CONNECT where addr in 10.0.0.0/8 and port == 5432</td>" in page
    assert "<code>CONNECT to 10.0.0.0 port 80</code>" in page
    (proved,) = (line for line in main.read_text().splitlines() if line.startswith("#   proved"))
    assert proved.rpartition(":")[2] in page
