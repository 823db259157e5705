"""The kinds of diagnostics: stable codes, and one for each diagnostic of policies and filters."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
import seccompgen
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.lint.registry import rule_modules

ROOM = Path(seccompgen.__file__).parent
ERRORS = {"AnswerNo", "InputError", "OutsideError", "UndecidedError"}
CODES = """\
abi-left-out abi-missing abi-needed abi-without-filters accepted-loss action-needed always-true
arch-compared arch-unchecked argument-missing argument-skipped async-signals broken-fallback
call-skipped circular-group circular-include clock-twin conflicting-flags conflicting-settings
constant-missing constant-skipped dead-rule deep-group deep-include different-kernels
empty-group empty-policy exec-twin executable-memory false-success few-filters file-exists
file-twin foreign-abi foreign-manifest foreign-module foreign-number group-skipped hidden-calls
identity-twin ignored-bits ignored-text include-elsewhere ineffective-limit io-uring-way
kernel-ahead kernel-twin large-condition limit-twin listener-deadlock long-program
malformed-file mask-never-matches memory-twin misplaced-key missing-key missing-part mixed-words
module-twin mount-twin multiplexed-unsaid multiplexed-way namespace-twin negative-order
newer-argument newer-call newer-group newer-kernel no-banner no-common-abi no-exit no-filters
no-listener no-restart no-rules no-sigreturn no-such-argument no-such-filter no-tsync no-wait
not-combined not-in-minijail not-in-oci-profile not-in-seccompiler not-in-unit not-mirrored
not-report-only number-without-arches open-hole open-twin opposite-effect other-filter other-runtime
other-tables pointer-argument pointer-compared policy-needed process-twin racing-memory
refused-program refused-too-much repeated-abi repeated-group repeated-rule replaced-filter
report-only ring-beneath ring-commands ring-connect ring-messages ring-personality
rings-not-supported rule-skipped rules-in-order scattered-numbers several-filters
shadowed-module signal-twin signed-order socket-twin source-missing stale-module
stock-policy-meant time64-twin too-large too-many-cases too-many-errors tools-differ
tracing-twin tty-injection uncertain-age unfounded-ignore unix-datagrams unknown-abi
unknown-action unknown-argument unknown-call unknown-constant unknown-group unknown-ignore
unknown-key unknown-operation unknown-profiled-call unprintable-name unreadable-file
unserved-abi unused-ignore value-too-wide whole-flags wrong-argument wrong-assembly
wrong-expression wrong-fallback wrong-profile wrong-program wrong-statement wrong-value
"""
"""Codes that were given out. Whoever ignores one by its name relies on it: add to these only."""


def test_no_code_goes_away_or_comes_unnoticed() -> None:
    assert sorted({*rule_modules(), *(one.value for one in Problem)}) == CODES.split()
    assert all(one.value == one.name.lower().replace("_", "-") for one in Problem)


def calls(tree: ast.AST, names: set[str]) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [one for one in found if isinstance(one.func, ast.Name) and one.func.id in names]


def has_kind(call: ast.Call) -> bool:
    return len(call.args) > 2 or any(word.arg == "kind" for word in call.keywords)


def lacking(tree: ast.AST) -> list[int]:
    """Return the lines of diagnostics without a kind, and of errors made from texts alone."""
    diagnostics, errors = calls(tree, {"Diagnostic"}), calls(tree, ERRORS)
    texts = [
        error
        for error in errors
        if not all(isinstance(one, ast.Starred) or one in diagnostics for one in error.args)
    ]
    # What a function collects may get its kind from the error that it is raised with.
    raised_with = any(any(word.arg == "kind" for word in one.keywords) for one in errors)
    without = [one for one in diagnostics if not has_kind(one) and not raised_with]
    without += [one for one in texts if not any(word.arg == "kind" for word in one.keywords)]
    return [one.lineno for one in without]


@pytest.mark.few(2, "tries many values")
@pytest.mark.parametrize("room", ["api", "filters", "policy"])
def test_every_diagnostic_has_a_kind(room: str) -> None:
    """It is given one where it is made, or by the error that it is raised with."""
    found = []
    for path in sorted((ROOM / room).rglob("*.py")):
        tree = ast.parse(path.read_text())
        # What generators of a module yield, another function of it raises.
        whole = path.name in {"oci.py", "minijail.py", "seccompiler.py"}
        parts = [tree] if whole else tree.body
        found += [f"{path.name}:{line}" for part in parts for line in lacking(part)]
    assert not found


def test_an_error_gives_its_kind_to_what_has_none() -> None:
    own = Diagnostic("a", Position("f", 1), Problem.DEAD_RULE)
    error = InputError(own, "b", Diagnostic("c"), kind=Problem.WRONG_VALUE)
    kinds = [Problem.DEAD_RULE, Problem.WRONG_VALUE, Problem.WRONG_VALUE]
    assert [one.kind for one in error.diagnostics] == kinds
    assert pickle.loads(pickle.dumps(error)).diagnostics == error.diagnostics
