"""A call that sleeps is permitted, but not `restart_syscall`.

When a process is stopped and continued, by Ctrl-Z or a debugger, the kernel resumes its sleep by
calling `restart_syscall`, under the filter.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
-- {action: allow, names: [exit_group, rt_sigreturn, ppoll]}
+- {action: allow, names: [exit_group, rt_sigreturn, ppoll, restart_syscall]}
```
"""

from seccompgen.lint.requirement import is_possible, lacking
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_SLEEPS = (
    "nanosleep clock_nanosleep clock_nanosleep_time64 poll ppoll ppoll_time64 futex futex_time64"
)
"""Calls that the kernel resumes by ``restart_syscall``."""


def _check(view: FilterView) -> Findings:
    sleep = next((name for name in _SLEEPS.split() if is_possible(view, name)), None)
    if sleep and not is_possible(view, "restart_syscall"):
        text = (
            f"{sleep} is permitted, but restart_syscall is refused: a process that is stopped "
            "during the call fails when it continues"
        )
        yield lacking(RULE, view, "restart_syscall", text)


RULE = LintRule("no-restart", Severity.NOTE, _check)
