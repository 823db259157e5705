"""A policy sets no `flags`, so `install()` confines only the thread that calls it.

Threads that already run stay unconfined, without any message: a thread of a pool, a logger or an
async runtime makes the calls that the policy refuses. `flags: [tsync]` confines all threads, or
raises if one cannot be confined. `flags: []` is the author's decision for a program with one
thread. No policy shows whether other threads run, so this is a note, on our policy files only. With
a section `io_uring` there is no other thread: `install()` requires that.
`record`, `scan` and `init` write the flag.

```diff
 default_action: allow
 arches: [x86_64]
+flags: [tsync]
 syscalls:
 - {action: errno, names: [acct]}
```
"""

from seccompgen.core.model import ResolvedPolicy
from seccompgen.lint.rule import Findings, LintRule, Severity


def _check(policy: ResolvedPolicy) -> Findings:
    if policy.without_flags and not policy.io_uring:
        yield RULE.finding(
            "the policy sets no flags: install() confines only the thread that calls it, and "
            "threads that already run stay unconfined",
            "write flags: [tsync] to confine all threads, or flags: [] if there is only one",
            position=policy.without_flags,
        )


RULE = LintRule("no-tsync", Severity.NOTE, check_policy=_check)
