"""A call that opens files is refused, but not another one.

`open`, `openat`, `openat2` and `creat` open the same files; so does `open_by_handle_at` with
CAP_DAC_READ_SEARCH. Conditions are translated: argument 2 of `openat` is argument 1 of `open`.
`openat2` has its flags in memory; libraries fall back if it gets ENOSYS. Without O_CREAT, `mknod`
makes new files, and so does O_TMPFILE with `linkat`.

```diff
-- {action: errno, names: [open, creat]}
-- {action: errno(ENOSYS), names: [io_uring_setup]}
+- {action: errno, names: [open, creat, openat, open_by_handle_at]}
+- {action: errno(ENOSYS), names: [openat2, io_uring_setup]}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, equal, has, same

_CWD = {"dfd": ("AT_FDCWD",)}
_OPEN = (
    CallPattern("openat", {"dfd": 0, "flags": 2, "mode": 3}),
    CallPattern("open", {"flags": 1, "mode": 2}, _CWD),
    CallPattern("creat", {"mode": 1}, _CWD | {"flags": ("O_CREAT", "O_WRONLY", "O_TRUNC")}),
    CallPattern("openat2", {"dfd": 0}, opaque=True),
    CallPattern("open_by_handle_at", {"flags": 2}, opaque=True),
)
_CREATING = (
    CallPattern("open", {"flags": 1}, where={1: has("O_CREAT")}),
    CallPattern("openat", {"flags": 2}, where={2: has("O_CREAT")}),
)
_UNNAMED = tuple(
    CallPattern(call, where={n: has("__O_TMPFILE")}) for call, n in (("open", 1), ("openat", 2))
)
"""Calls that make a file that gets its name later, by ``linkat``."""
_REGULAR = tuple(
    CallPattern(call, where={n: equal("S_IFREG", 0o170000)})
    for call, n in (("mknod", 1), ("mknodat", 2))
)

RULE = LintRule(
    "open-twin",
    Severity.WARNING,
    bypasses=(
        Bypass("it opens the same files", _OPEN),
        *(
            Bypass(
                "it makes new files", _CREATING, others, cleared=("flags", "O_CREAT"), needs=needs
            )
            for others, needs in ((_UNNAMED, same("linkat")), (_REGULAR, ()))
        ),
    ),
)
