"""A call that sets limits or priorities is refused, but not another one.

C libraries set limits by `prlimit64`; with 0 for the new limit it only reads them. `sched_setattr`
schedules as `sched_setscheduler` and `setpriority` do, with its values in memory. `mlock2` and
`mlockall` lock memory as `mlock` does.

```diff
-- {action: errno, names: [setrlimit]}
+- action: errno
+  names: [setrlimit]
+  names_with_args:
+  - {name: prlimit64, when: new_rlim != 0}
```
"""

from seccompgen.lint.rule import NOT_ZERO, Bypass, CallPattern, LintRule, Severity, same

RULE = LintRule(
    "limit-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it sets the same limits",
            (
                CallPattern("setrlimit", {"resource": 0}, {"pid": (0,)}),
                CallPattern("prlimit64", {"pid": 0, "resource": 1}, where={2: NOT_ZERO}),
            ),
        ),
        Bypass(
            "it sets the same priorities",
            same("nice setpriority sched_setparam"),
            same("sched_setattr"),
        ),
        Bypass(
            "it sets the same priorities",
            same("sched_setparam", pid=0),
            same("sched_setscheduler", pid=0),
        ),
    ),
    powers=("limits",),
)
