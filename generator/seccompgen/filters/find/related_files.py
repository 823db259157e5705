"""Files that Python imports together with a filter, or in its place. Nothing is run."""

from __future__ import annotations

import ast
import glob
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.filters.find.bytecode import is_of_source
from seccompgen.filters.find.module import parse_generated, require_same
from seccompgen.io.reading import MAX_FILTER, read_file
from seccompgen.languages.python import ModuleForm
from seccompgen.pipeline.files import support_files
from seccompgen.pipeline.packages import (
    INIT_NAME,
    in_package,
    is_filter_package,
    is_ours,
    shadowed_module,
)
from seccompgen.render.templates import EXPLAIN_NAME, EXTRA_NAMES, RUNTIME_NAME, RUNTIME_NAMES

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from seccompgen.filters.find.module import Module

_ADVICE = "generate it again, or leave it out with --no-runtime"


def strangers(path: Path, module: Module) -> list[Diagnostic]:
    """Return files that Python imports instead of a filter, or could import from its package.

    A module for an ABI that the policy no longer has is such a file.
    """
    if not path.is_dir():
        return _instead_of(path)
    others = [file for file in in_package(path) if file not in module.files]
    text = f"does not belong to the filter {path.name}; remove it"
    found = [Diagnostic(text, Position(str(file)), Problem.SHADOWED_MODULE) for file in others]
    found += [problem for file in module.files for problem in bytecode_problems(file)]
    hidden = shadowed_module(path)
    if hidden.exists():
        text = f"Python imports the package {path.name} instead of this; remove it"
        found.append(Diagnostic(text, Position(str(hidden)), Problem.SHADOWED_MODULE))
    return found


def runtime_problems(path: Path, module: Module) -> list[Diagnostic]:
    """Return how the files that a filter imports differ from what seccompgen writes.

    These are the runtime, and for a policy with a listener what its supervisor imports. Files that
    Python would import in their place are reported as well. The texts of errors may be missing,
    because the runtime works without them.
    """
    if module.form is ModuleForm.SINGLE_FILE:
        return []
    files = support_files(path.parent, [module.settings])
    problems = [problem for file in files for problem in _instead_of(file)]
    problems += package_problems(path.parent)
    what = f"not what this seccompgen writes; {_ADVICE}"
    for file, content in files.items():
        try:
            there = parse_generated(file, read_file(file, MAX_FILTER))
            require_same(file, there.body, parse_generated(file, content).body, what)
        except InputError as error:
            problems += error.diagnostics
        except OSError as error:
            if file.name == EXPLAIN_NAME and isinstance(error, FileNotFoundError):
                continue
            text = f"cannot read what {path.name} imports: {error.strerror}; {_ADVICE}"
            problems.append(Diagnostic(text, Position(str(file)), Problem.OTHER_RUNTIME))
    return problems


def package_problems(directory: Path) -> list[Diagnostic]:
    """Return code of the surrounding package that runs before its filters and could replace them.

    An ``__init__.py`` may have a docstring, ``__all__``, and imports of the filters. Anything else
    may be harmless; but it can replace a filter, or its runtime in `sys.modules`, and then no proof
    of a filter holds for a process that runs it first.
    """
    init = directory / INIT_NAME
    found = _instead_of(init)
    if not init.exists():
        return found
    try:
        tree = parse_generated(init, read_file(init, MAX_FILTER))
    except InputError as error:
        return [*found, *error.diagnostics]
    except OSError as error:
        text = f"cannot read what runs before the filters: {error.strerror}"
        return [*found, Diagnostic(text, Position(str(init)), Problem.OTHER_RUNTIME)]
    strange = next((one for one in tree.body if not _is_harmless(one, directory)), None)
    if strange:
        text = f"this runs before the filters, and could replace them: {_OWN_PACKAGE}"
        place = Position(str(init), strange.lineno, strange.col_offset + 1)
        found.append(Diagnostic(text, place, Problem.OTHER_RUNTIME))
    return found


_OWN_PACKAGE = "keep them in a package of their own"


def _is_harmless(statement: ast.stmt, directory: Path) -> bool:
    match statement:
        case ast.Expr(ast.Constant()):
            return True
        case ast.Assign([ast.Name("__all__")], ast.List(names) | ast.Tuple(names)):
            return all(isinstance(one, ast.Constant) for one in names)
        case ast.ImportFrom("__future__", _, 0):
            return True
        case ast.ImportFrom(module, names, 1):
            filters = [module] if module else [one.name for one in names]
            bound = [one.asname or one.name for one in names]
            return all(is_filter_package(directory / one) for one in filters) and not any(
                one.startswith(("_", "*")) for one in bound
            )
    return False


def unproved(directory: Path, proved: Collection[Path]) -> list[Diagnostic]:
    """Return importable files in a directory of filters that are not among the ``proved``.

    A filter whose banner and programs were removed is such a file. Our own tables, which `tables
    --check` is about, are not.
    """
    if not (directory / RUNTIME_NAME).exists():
        return []
    support = {directory / name for name in (INIT_NAME, *RUNTIME_NAMES, *EXTRA_NAMES)}
    text = "is no proved filter: move it elsewhere, or name the filters to verify"
    return [
        Diagnostic(text, Position(str(one)), Problem.FOREIGN_MODULE)
        for one in in_package(directory)
        if one not in support
        and one not in proved
        and not (one.name == "tables" and is_ours(one / INIT_NAME))
        and not (one.is_dir() and not in_package(one))
    ]


def _instead_of(file: Path) -> list[Diagnostic]:
    """Return files that Python prefers to ``file`` when it looks for that module.

    These are a package, machine code, and bytecode in place of a missing source.
    """
    package = sorted(file.with_suffix("").glob("__init__.*"))
    alternatives = sorted(file.parent.glob(f"{glob.escape(file.stem)}.*"))
    text = f"Python imports this instead of {file.name}; remove it"
    found = [*package, *(one for one in alternatives if one.suffix in {".so", ".pyd", ".pyc"})]
    others = [Diagnostic(text, Position(str(one)), Problem.SHADOWED_MODULE) for one in found]
    return [*others, *bytecode_problems(file)]


def bytecode_problems(file: Path) -> list[Diagnostic]:
    """Return bytecode that Python may run in place of ``file``, but that is not compiled from it.

    Python runs bytecode if its time and size, or its hash, match the source, or if it asks for no
    check (PEP 552). An attacker can make them match, and archives keep times.
    """
    kept = sorted((file.parent / "__pycache__").glob(f"{glob.escape(file.stem)}.*.pyc"))
    text = f"Python may run this bytecode, whatever {file.name} says; remove it"
    return [
        Diagnostic(text, Position(str(one)), Problem.SHADOWED_MODULE)
        for one in kept
        if not _is_of(one, file)
    ]


def _is_of(bytecode: Path, file: Path) -> bool:
    level = {".opt-1": 1, ".opt-2": 2}.get(bytecode.with_suffix("").suffix, 0)
    try:
        content = read_file(bytecode, MAX_FILTER)
        source = parse_generated(file, read_file(file, MAX_FILTER))
    except (OSError, InputError):
        return False
    return is_of_source(content, source, level)
