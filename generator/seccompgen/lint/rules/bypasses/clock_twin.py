"""A call that sets or adjusts the clock is refused, but not another one.

`clock_settime` sets the clock that `settimeofday` sets; on 32-bit ABIs so do `clock_settime64` and
`stime`. `adjtimex` and `clock_adjtime` adjust it, or move it at once with ADJ_SETOFFSET.

```diff
-- {action: errno, names: [settimeofday]}
+- {action: errno, names: [settimeofday, clock_settime, adjtimex, clock_adjtime]}
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

RULE = LintRule(
    "clock-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it moves the same clock",
            same("settimeofday clock_settime clock_settime64 stime"),
            same("adjtimex clock_adjtime clock_adjtime64"),
        ),
    ),
    powers=(
        "settimeofday",
        "adjtimex",
    ),
)
