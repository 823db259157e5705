"""A supervisor decides by what is in memory, but the caller can change that memory in time.

The supervisor reads memory once, and the kernel again later. With `userfaultfd` a thread stops the
first read as long as it likes, and changes the memory meanwhile.

```diff
 default_action: allow
 arches: [x86_64]
 flags: [new_listener]
 syscalls:
 - {action: user_notif, names: [mount]}
+- {action: errno(ENOSYS), names: [userfaultfd]}
```
"""

from seccompgen.lint.answers import asks
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_INTERPOSED = (
    "open openat execve execveat connect bind mount unlink unlinkat rename renameat renameat2 "
    "mkdir mkdirat mknod mknodat chmod fchmodat chown fchownat link linkat symlink "
    "symlinkat truncate"
)
"""Calls with a name or an address in memory by which supervisors decide."""


def _check(view: FilterView) -> Findings:
    """Yield userfaultfd, with which a thread handles faults itself (seccomp_unotify(2))."""
    answer = view.answer("userfaultfd")
    if answer is None or not answer.permitted:
        return
    for name in _INTERPOSED.split():
        asked = view.answer(name)
        box = next((box for box, ret in asked.parts if asks(ret)), None) if asked else None
        if box is not None:
            yield RULE.finding(
                f"{name} is left to a supervisor or a tracer, but userfaultfd is permitted: a "
                "caller can stop its read of memory, and change that meanwhile",
                "answer userfaultfd with errno(ENOSYS)",
                view=view,
                witness=view.shown("userfaultfd", answer.permitted[0]),
                beside=view.shown(name, box),
            )
            return


RULE = LintRule("racing-memory", Severity.NOTE, _check)
