"""Files beside a module count for `verify`; so does the runtime in a single file."""

from __future__ import annotations

import ast
import copy
import importlib.util
import py_compile
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from changed_modules import POLICY, accepted
from command import ROOT, inside
from runtime_template import FILES
from seccompgen.core.errors import SeccompgenError
from seccompgen.filters.find.module import read_module
from seccompgen.filters.find.related_files import package_problems
from seccompgen.languages.python import ModuleForm

# --- what lies beside ----------------------------------------------------------------------------


def spoil(path: Path, addition: str) -> None:
    path.write_text(path.read_text() + addition)


@pytest.mark.long("makes and proves filters of many forms")
def test_the_runtime_beside_counts(sandbox: Path) -> None:
    here = sandbox
    other = "not what this seccompgen writes; generate it again, or leave it out with --no-runtime"
    for name in [*sorted(FILES), "notification.py"]:
        whole = (here / name).read_text()
        lines = len(whole.splitlines())
        spoil(here / name, "install = print\n")
        run = inside("verify", "m", cwd=here)
        assert (run.code, run.err) == (1, f"{name}:{lines + 1}:1: {other}\n")
        assert inside("verify", "m", "--no-runtime", cwd=here).code == 0
        (here / name).write_text(whole + "# a remark\n")
        assert inside("verify", "m", cwd=here).code == 0
        (here / name).unlink()
        run = inside("verify", "m", cwd=here)
        if name == "_explain.py":  # the runtime does without its sentences
            assert (run.code, run.err) == (0, "")
        else:
            assert run.code == 1
            assert run.err.startswith(f"{name}: cannot read what m imports: No such file")
        (here / name).write_text(whole)
    (here / "_explain.py").unlink()
    for place in ("_runtime/__init__.py", "_explain.abi3.so", "_explain.pyc"):
        (here / place).parent.mkdir(exist_ok=True)
        (here / place).touch()
        run = inside("verify", "m", cwd=here)
        name = place.replace("/", ".").partition(".")[0]
        instead = f"{place}: Python imports this instead of {name}.py; remove it\n"
        assert (run.code, run.err) == (1, instead)
        (here / place).unlink()


@pytest.mark.few(1, "makes and proves filters of many forms")
@pytest.mark.parametrize(
    "place",
    [
        "_mips.py",
        "__init__.cpython-311-x86_64-linux-gnu.so",
        "_arm.pyc",
        "_arm/__init__.py",
        "x.py",
    ],
)
def test_what_is_no_part_of_a_package_is_told(sandbox: Path, place: str) -> None:
    """A module of an ABI that the policy had once, or what Python imports instead of ours."""
    (sandbox / "m" / place).parent.mkdir(exist_ok=True)
    shutil.copy(sandbox / "m" / "_arm.py", sandbox / "m" / place)
    run = inside("verify", "m", cwd=sandbox)
    text = f"m/{place.partition('/')[0]}: does not belong to the filter m; remove it\n"
    assert (run.code, run.err) == (1, text)


def test_bytecode_that_python_runs_whatever_the_source_says_is_told(sandbox: Path) -> None:
    """Of another source, with the hash or time of ours; what an import leaves is no finding."""
    other = sandbox / "other.py"
    other.write_text("raise SystemExit('not what was proved')\n")
    modes = py_compile.PycInvalidationMode
    for name, mode in [
        ("m/__init__.py", modes.CHECKED_HASH),
        ("m/_x86_64.py", modes.UNCHECKED_HASH),
        ("_runtime.py", modes.CHECKED_HASH),
        ("m/_x86_64.py", modes.TIMESTAMP),
        ("_runtime.py", modes.TIMESTAMP),
    ]:
        file = sandbox / name
        kept = Path(importlib.util.cache_from_source(file))
        py_compile.compile(str(other), cfile=str(kept), invalidation_mode=mode)
        bytecode = bytearray(kept.read_bytes())
        if mode is modes.TIMESTAMP:
            status = file.stat()
            bytecode[8:16] = struct.pack("<II", int(status.st_mtime), status.st_size)
        else:
            bytecode[8:16] = importlib.util.source_hash(file.read_bytes())
        kept.write_bytes(bytecode)
        python = subprocess.run(
            [sys.executable, "-B", "-c", f"import {sandbox.name}.m._x86_64"],
            check=False,
            cwd=sandbox.parent,
            capture_output=True,
        )
        assert python.stderr == b"not what was proved\n"
        run = inside("verify", "m", cwd=sandbox)
        there = kept.relative_to(sandbox)
        text = f"{there}: Python may run this bytecode, whatever {file.name} says; remove it\n"
        assert (run.code, run.err) == (1, text)
        py_compile.compile(str(file), cfile=str(kept), invalidation_mode=modes.TIMESTAMP)
    run = inside("verify", "m", cwd=sandbox)
    assert (run.code, run.err) == (0, "")


def test_a_module_that_the_package_hides_is_told(sandbox: Path) -> None:
    (sandbox / "m.py").touch()
    run = inside("verify", "m", cwd=sandbox)
    text = "m.py: Python imports the package m instead of this; remove it\n"
    assert (run.code, run.err) == (1, text)


def test_programs_that_are_missing_exchanged_or_edited_are_found(sandbox: Path) -> None:
    arm, x86_64 = sandbox / "m" / "_arm.py", sandbox / "m" / "_x86_64.py"
    whole = arm.read_text()
    arm.write_text(x86_64.read_text())
    run = inside("verify", "m", cwd=sandbox)
    changed = "not a module that seccompgen generated: this was added, or changed"
    assert (run.code, run.err) == (2, f"m/_arm.py:2:1: {changed}\n")
    # Under its docstring it is another program than was proved, with another number.
    arm.write_text(x86_64.read_text().replace("for x86_64", "for arm"))
    run = inside("verify", "m", cwd=sandbox)
    assert run.code == 1
    assert "m: its programs are not those that were proved when it was generated" in run.err
    assert "m: its install() is not as it should be (the number of seccomp(2))" in run.err
    errno, allow = r"\x06\x00\x00\x00\x01\x00\x05\x00", r"\x06\x00\x00\x00\x00\x00\xff\x7f"
    assert errno in whole
    arm.write_text(whole.replace(errno, allow))
    run = inside("verify", "m", cwd=sandbox)
    assert (run.code, "m: refuted for arm" in run.out) == (1, True)
    arm.unlink()
    run = inside("verify", "m", cwd=sandbox)
    assert (run.code, run.err) == (2, "cannot read m/_arm.py: No such file or directory\n")
    x86_64.unlink()
    run = inside("verify", ".", "--arch", "arm", cwd=sandbox)
    assert (run.code, "cannot read m/_x86_64.py: No such file" in run.err) == (2, True)


# --- one file ------------------------------------------------------------------------------------


def test_one_module_with_the_runtime_beside_it_is_read_still(tmp_path: Path) -> None:
    """As it was generated before filters were packages."""
    old = tmp_path / "here.py"
    shutil.copy(ROOT / "tests" / "data" / "one_module.txt", old)
    assert read_module(old).form is ModuleForm.MODULE
    run = inside("equiv", old, ROOT / "examples" / "threads" / "sandbox" / "here")
    assert run.code == 0, run.err


@pytest.mark.long("makes and proves filters of many forms")
def test_what_goes_before_a_single_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text(POLICY.format(setting="").replace("user_notif", "log"))
    assert inside("vendor", "m.yml", "m.py", "--single-file", cwd=tmp_path).code == 0
    for place in ("m/__init__.py", "m.cpython-311.so"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
        run = inside("verify", "m.py", cwd=tmp_path)
        instead = f"{place}: Python imports this instead of m.py; remove it\n"
        assert (run.code, run.err) == (1, instead)
        (tmp_path / place).unlink()


@pytest.mark.long("changes a module again and again")
@pytest.mark.parametrize(
    "stride", [7, pytest.param(1, marks=pytest.mark.long("every statement and not each seventh"))]
)
def test_every_statement_of_an_inlined_runtime_counts(tmp_path: Path, stride: int) -> None:
    (tmp_path / "m.yml").write_text(POLICY.format(setting="").replace("user_notif", "log"))
    run = inside("vendor", "m.yml", "one.py", "--single-file", cwd=tmp_path)
    assert run.code == 0, run.err
    module = tmp_path / "one.py"
    source = module.read_text()
    assert accepted(module)
    tree = ast.parse(source)
    banner = source[: source.index('"""')]
    target = tmp_path / "changed.py"
    for at in range(1, len(tree.body), stride):
        fresh = copy.deepcopy(tree)
        for change in (fresh.body[at : at + 1] * 2, []):
            fresh.body[at : at + 1] = change
            target.write_text(banner + ast.unparse(fresh))
            with pytest.raises(SeccompgenError):
                read_module(target)
            fresh = copy.deepcopy(tree)


def test_a_name_that_python_takes_for_an_encoding(tmp_path: Path) -> None:
    """It stands in the second line of a module, and `+AAo-` is a line feed in UTF-7."""
    name = "x coding=utf-7.yml"
    (tmp_path / name).write_text("description: +AAo-x\n")
    policy = POLICY.format(setting="").replace("user_notif", "log")
    (tmp_path / "m.yml").write_text(f"include: ['{name}']\n{policy}")
    run = inside("vendor", "m.yml", "one.py", "--single-file", cwd=tmp_path)
    assert run.code == 2
    assert run.err.endswith(
        "Python would take its name for an encoding (PEP 263): rename the file\n"
    )
    assert not (tmp_path / "one.py").exists()


@pytest.mark.parametrize(
    "code",
    [
        "class _runtime:\n    FORMAT = 1\n    install = print\n",
        "from . import m as _runtime\n",
        "from .m import install as _runtime\n",
        "from .m import *\n",
        "from . import other\n",
        "from os import path\n",
        "import sys; sys.modules[__name__ + '._runtime'] = sys\n",
        "__all__ = [print()]\n",
        "_runtime: object = print\n",
    ],
)
def test_code_that_runs_before_a_filter_is_told(sandbox: Path, code: str) -> None:
    (sandbox / "__init__.py").write_text(f'"""What it is."""\n{code}')
    (told,) = package_problems(sandbox)
    assert str(told.position).endswith("__init__.py:2:1")
    assert told.message.startswith("this runs before the filters, and could replace them: keep ")


def test_what_lies_among_filters_and_is_not_proved_is_named(sandbox: Path) -> None:
    """A filter of which nothing shows that it is one, a module, machine code; no data, no docs."""
    assert inside("verify", ".", cwd=sandbox).code == 0
    (sandbox / "data").mkdir()
    (sandbox / "data" / "x.json").touch()
    (sandbox / "p").mkdir()
    (sandbox / "p" / "__init__.py").write_text("# Generated by seccompgen; do not edit.\n")
    (sandbox / "r.abi3.so").touch()
    run = inside("verify", ".", cwd=sandbox)
    text = "is no proved filter: move it elsewhere, or name the filters to verify"
    assert (run.code, run.err) == (1, f"p: {text}\nr.abi3.so: {text}\n")
    assert inside("verify", "m", cwd=sandbox).code == 0


def test_a_policy_that_came_along_is_not_taken_for_the_stock_policy(tmp_path: Path) -> None:
    """Nor is one beside a vendored filter taken for that which the manifest names."""
    for place in ("built", "vendored"):
        (tmp_path / place).mkdir()
    words = ("no_exec", "--arch", "x86_64")
    assert inside("vendor", *words, tmp_path / "vendored" / "sandbox").code == 0
    assert inside("build", *words, "-o", tmp_path / "built" / "sandbox").code == 0
    (tmp_path / "no_exec.yml").write_text("arches: [x86_64]\ndefault_action: allow\nsyscalls: []\n")
    planted = tmp_path / "planted"
    assert inside("build", "no_exec.yml", "-o", planted, cwd=tmp_path).code == 0
    for place in ("built", "vendored"):
        package = tmp_path / place / "sandbox" / "no_exec"
        assert inside("verify", package, cwd=tmp_path / place).code == 0
        shutil.rmtree(package)
        shutil.copytree(planted / "no_exec", package)
        shutil.copy(tmp_path / "no_exec.yml", package.parent)
        run = inside("verify", package, cwd=tmp_path / place)
        assert run.code in {1, 2}
        assert ("is not the stock policy of that name" in run.err) == (place == "built")


def test_a_package_may_import_its_filters(sandbox: Path) -> None:
    init = sandbox / "__init__.py"
    for harmless in (
        '"""What it is."""\nfrom __future__ import annotations\n\nfrom . import m\n',
        'from .m import install\n\n__all__ = ["install"]\n',
    ):
        init.write_text(harmless)
        assert package_problems(sandbox) == []
    init.write_text("from os import path\n")
    run = inside("verify", "m", cwd=sandbox)
    assert (run.code, run.err.startswith("__init__.py:1:1: this runs before")) == (1, True)
    assert inside("verify", "m", "--no-runtime", cwd=sandbox).code == 0
