"""A call that changes the user or group is refused, but not another one.

`setreuid` and `setresuid` can switch to the same user as `setuid`; `setregid` and `setresgid` to
the same group as `setgid`. The mended rules translate conditions: argument 0 of `setuid` is
argument 1 of the others.

```diff
-- {action: errno, names: [setuid]}
+- {action: errno, names: [setuid, setreuid, setresuid]}
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

RULE = LintRule(
    "identity-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it becomes the same user",
            (
                *same("setuid setuid32", user=0),
                *same("setreuid setreuid32 setresuid setresuid32", user=1),
            ),
        ),
        Bypass(
            "it becomes of the same group",
            (
                *same("setgid setgid32", group=0),
                *same("setregid setregid32 setresgid setresgid32", group=1),
            ),
        ),
    ),
    powers=("identity",),
)
