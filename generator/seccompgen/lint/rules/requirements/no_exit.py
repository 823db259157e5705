"""The call that ends a program is refused.

The C library ends a process only by `exit_group`. It is a note if `exit` is permitted, which ends
one thread.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
-- {action: allow, names: [rt_sigreturn, read]}
+- {action: allow, names: [exit_group, rt_sigreturn, read]}
```
"""

from seccompgen.lint.requirement import is_possible, lacking
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    if not is_possible(view, "exit_group"):
        severity = Severity.NOTE if is_possible(view, "exit") else Severity.WARNING
        text = "exit_group is refused: a program can end only by a kill, or thread by thread"
        yield lacking(RULE, view, "exit_group", text, severity)


RULE = LintRule("no-exit", Severity.WARNING, _check)
