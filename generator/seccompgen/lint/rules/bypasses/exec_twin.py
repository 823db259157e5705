"""`execve` is refused, but not `execveat`, which executes the same programs, or the reverse.

`execveat` also executes a program by its descriptor.

```diff
-- {action: errno, names: [execve]}
+- {action: errno, names: [execve, execveat]}
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

RULE = LintRule(
    "exec-twin",
    Severity.WARNING,
    # In part as well: a descriptor that execveat may not execute is /proc/self/fd/N to execve.
    bypasses=(Bypass("it executes the same programs", same("execve execveat")),),
    powers=("exec",),
)
