"""A call that makes processes is refused, but not another one.

`fork` and `vfork` are `clone` with certain flags, and C libraries call only `clone` or `clone3`.
`clone3` has its flags in memory. Permit `clone` with CLONE_THREAD alone, if threads are needed, and
answer `clone3` with ENOSYS.

```diff
-- {action: errno, names: [fork, vfork]}
+- action: errno
+  names: [fork, vfork]
+  names_with_args:
+  - {name: clone, when: not flags & CLONE_THREAD}
+- {action: errno(ENOSYS), names: [clone3]}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity

RULE = LintRule(
    "process-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it makes the same processes",
            (
                CallPattern("clone", {"flags": 0}),
                CallPattern("fork", always={"flags": ("SIGCHLD",)}),
                CallPattern("vfork", always={"flags": ("SIGCHLD", 0x4100)}),
                CallPattern("clone3", opaque=True),
            ),
        ),
    ),
    powers=("processes",),
)
