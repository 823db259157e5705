"""`execve` is refused, but not `execveat`, which executes the same programs, or the reverse.

`execveat` also executes a program by its descriptor.

```diff
-- {action: errno, names: [execve]}
+- {action: errno, names: [execve, execveat]}
```
"""

from seccompgen.lint.bypass import Bypass
from seccompgen.lint.call_patterns import same
from seccompgen.lint.finding import Severity
from seccompgen.lint.rule import LintRule

RULE = LintRule(
    "exec-twin",
    Severity.WARNING,
    # In part as well: a descriptor that execveat may not execute is /proc/self/fd/N to execve.
    bypasses=(Bypass("it executes the same programs", same("execve execveat")),),
    powers=("exec",),
)
