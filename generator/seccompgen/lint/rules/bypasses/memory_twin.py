"""`ptrace` is refused, but not another call that reads or changes the same processes.

`process_vm_writev` writes the memory that `ptrace` does, `process_vm_readv` reads it, and
`pidfd_getfd` takes descriptors, which is a note. PTRACE_SEIZE attaches as PTRACE_ATTACH does.
`/proc/PID/mem` does the same if the process sees it.

```diff
-- {action: errno, names: [ptrace]}
+- {action: errno, names: [ptrace, process_vm_readv, process_vm_writev, pidfd_getfd]}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, equal, same

RULE = LintRule(
    "memory-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it reads or writes the memory of the same processes",
            same("ptrace process_vm_writev process_vm_readv"),
        ),
        Bypass(
            "it takes descriptors out of the same processes",
            same("ptrace"),
            same("pidfd_getfd"),
            Severity.NOTE,
        ),
        Bypass(
            "it attaches to the same processes",
            tuple(
                CallPattern("ptrace", where={0: equal(request)}, in_part=True)
                for request in ("PTRACE_ATTACH", "PTRACE_SEIZE")
            ),
        ),
    ),
    powers=("others",),
)
