"""Lint: what a filter's author probably did not mean, each finding with a call that shows it.

::

    Meaning | Code of each ABI
      | answers     the answers to one call, as exact sets of arguments
      | view        the filter through one ABI: answers by name, its default, what the kernel reads
      | arguments   comparisons that ask something else
      | whole_flags words of flags that are compared as one value
      | noted       what reading the policy has told of already
      | jumps       jumps of a program that are decided before any call
      | ways        the other way in (doors: the calls that do the same)
      | foreign     other ABIs of the kernel, and those that a filter answers for as well
      | living      what no program can do without
      | fallback    new calls refused so that libraries do not fall back
      | newer       what newer releases of libraries call (companions: the table; upgrade: from
                    which releases to which; younger: what only newer ones make)
      | newer_kernel  what newer kernels have and the default kills
      | threads     whether a policy says which threads a filter is for
      | places      the rule or the instruction that decides
      | policies    of a policy: what comments in it silence (silence)
    findings        frozen values
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
