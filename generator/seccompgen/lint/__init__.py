"""Lint: what a filter's author probably did not mean, each finding with a call that shows it.

::

    Meaning | Code of each ABI
      | view        the answers to a call by name, as exact sets of arguments
      | arguments   comparisons that ask something else
      | ways        the other way in (doors: the calls that do the same)
      | foreign     other ABIs of the kernel
      | living      what no program can do without
      | fallback    new calls refused so that libraries do not fall back
      | places      the rule or the instruction that decides
    findings        frozen values
"""

from seccompgen.lint.check import LintedFilter, lint
from seccompgen.lint.finding import Finding, Severity, Witness

__all__ = ["Finding", "LintedFilter", "Severity", "Witness", "lint"]
