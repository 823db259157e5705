"""A request that has the kernel send signals for a descriptor is refused, but not another one.

`fcntl(F_SETFL)` sets O_ASYNC, and so does `ioctl(FIOASYNC)`. F_SETOWN, F_SETOWN_EX and
`ioctl(FIOSETOWN)` set who gets the signals.

```diff
-- {action: errno, names: [fcntl], when: cmd == F_SETFL and arg & FASYNC}
+- action: errno
+  names_with_args:
+  - {name: fcntl, when: cmd == F_SETFL and arg & FASYNC}
+  - {name: ioctl, when: cmd == FIOASYNC}
```
"""

from seccompgen.lint.rule import OWNER_CALLS, Bypass, CallPattern, LintRule, Severity, equal, has

RULE = LintRule(
    "async-signals",
    Severity.WARNING,
    bypasses=(
        Bypass("it has the kernel signal the same processes", OWNER_CALLS),
        Bypass(
            "it turns on the same signals",
            (CallPattern("fcntl", {"flags": 2}, where={1: equal("F_SETFL"), 2: has("FASYNC")}),),
            (CallPattern("ioctl", where={1: equal("FIOASYNC")}),),
            cleared=("flags", "FASYNC"),
        ),
    ),
)
