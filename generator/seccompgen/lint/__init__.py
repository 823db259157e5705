"""Lint: probable mistakes in filters, each with a call that shows the mistake.

::

    Meaning | Code of each ABI
      | answers       the answers to one call, as exact sets of arguments
      | view          the filter through one ABI: answers by name, default, what the kernel reads
      | registry      the rules: each file below ``rules`` declares one, a `rule.LintRule`
      | bypass, shared_powers, compared, fallback, jumps, library_calls, requirement
      |               code that several rules share; call_patterns and later_forms name calls
      | check         every rule on every program; locate finds the rule or the instruction
      | policies      comments in a policy silence findings (silence)
    findings          frozen values

`companions` reads the table of the calls that libraries make, `upgrade` the releases to compare.
"""

from seccompgen.lint.check import LintedFilter, lint, views_of
from seccompgen.lint.finding import Finding, Severity, Witness
from seccompgen.lint.policies import LintReport, lint_policy
from seccompgen.lint.view import FilterView

__all__ = [
    "FilterView",
    "Finding",
    "LintReport",
    "LintedFilter",
    "Severity",
    "Witness",
    "lint",
    "lint_policy",
    "views_of",
]
