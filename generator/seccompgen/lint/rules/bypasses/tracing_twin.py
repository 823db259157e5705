"""`perf_event_open` is refused, but not `bpf`, which attaches programs to the same events.

```diff
-- {action: errno, names: [perf_event_open]}
+- {action: errno, names: [perf_event_open, bpf]}
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

RULE = LintRule(
    "tracing-twin",
    Severity.NOTE,
    bypasses=(
        Bypass(
            "it attaches programs to the same events of the kernel",
            same("perf_event_open"),
            same("bpf"),
        ),
    ),
)
