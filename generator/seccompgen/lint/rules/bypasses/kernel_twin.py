"""Something of the kernel or the machine is refused by one call, but given by another one.

`add_key`, `request_key` and `keyctl` give keys, `iopl` and `ioperm` ports, `quotactl` and
`quotactl_fd` quotas, `seccomp` and `prctl(PR_SET_SECCOMP)` filters. Most pairs follow from the
[table of what calls give](tables.md#what-calls-give).

```diff
-- {action: errno, names: [add_key]}
+- {action: errno, names: [add_key, request_key, keyctl]}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, equal
from seccompgen.lint.shared_powers import ANY_OTHER

RULE = LintRule(
    "kernel-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it installs the same filters",
            (
                CallPattern("seccomp", where={1: equal(0)}),
                CallPattern("prctl", where={0: equal("PR_SET_SECCOMP")}, in_part=True),
            ),
        ),
    ),
    powers=(ANY_OTHER,),
)
