"""A call that changes files is refused, but not another one.

Such calls come in generations: `chmod`, `fchmodat`, and since Linux 6.6 `fchmodat2`; `setxattr`,
and since 6.13 `setxattrat`; `rename` and `renameat2`; `rmdir` and `unlinkat`. `fchmodat2` got past
sandboxes that forbid setuid files, and so did `open`, which makes files of such a mode.

```diff
-- {action: errno, names: [chmod, fchmod, fchmodat]}
+- {action: errno, names: [chmod, fchmod, fchmodat, fchmodat2]}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, has, same

_CHMOD = (*same("chmod fchmod", mode=1), *same("fchmodat fchmodat2", mode=2))
_NEW_FILE = (
    CallPattern("open", {"mode": 2}, where={1: has("O_CREAT")}),
    CallPattern("openat", {"mode": 3}, where={2: has("O_CREAT")}),
    *same("creat mknod", mode=1),
    *same("mknodat", mode=2),
)
"""Calls that make a file of any mode."""

RULE = LintRule(
    "file-twin",
    Severity.WARNING,
    bypasses=(
        Bypass("it makes files of the same modes", _CHMOD, _NEW_FILE, cleared=("mode", "S_ISUID")),
        Bypass(
            "it removes the same directories",
            same("rmdir"),
            (CallPattern("unlinkat", where={2: has("AT_REMOVEDIR")}),),
        ),
    ),
    powers=(
        "files-read",
        "files-write",
        "files-own",
    ),
)
