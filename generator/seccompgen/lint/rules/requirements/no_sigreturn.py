"""The call by which signal handlers return is refused.

The C library makes it, no program does itself. It is a note if no handler can be set.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
-- {action: allow, names: [exit_group, rt_sigaction, read]}
+- {action: allow, names: [exit_group, rt_sigaction, rt_sigreturn, read]}
```
"""

from seccompgen.lint.requirement import is_possible, lacking
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    returns = [name for name in ("rt_sigreturn", "sigreturn") if view.has(name)]
    if returns and not any(is_possible(view, name) for name in returns):
        text = f"{returns[0]} is refused: a program crashes when its first signal handler returns"
        handles = is_possible(view, "rt_sigaction") or is_possible(view, "sigaction")
        severity = Severity.WARNING if handles else Severity.NOTE
        yield lacking(RULE, view, returns[0], text, severity)


RULE = LintRule("no-sigreturn", Severity.WARNING, _check)
