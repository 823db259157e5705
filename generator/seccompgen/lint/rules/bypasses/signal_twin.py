"""A call that signals processes is refused, but not another one.

`tgkill`, `tkill`, `pidfd_send_signal`, `rt_sigqueueinfo` and `rt_tgsigqueueinfo` signal the same
processes as `kill`. The kernel does so for the process that `fcntl(F_SETOWN)` names: it sends what
F_SETSIG chose, even SIGKILL, when something comes to a descriptor with O_ASYNC. This is a note,
because `abort` and `raise` need `tgkill`: refuse it by a kill, since `abort` ends in SIGSEGV on an
errno. It is a warning if all calls are refused, but not F_SETOWN.

```diff
-- {action: errno, names: [kill]}
+- action: kill_process
+  names: [kill, tkill, tgkill, pidfd_send_signal, rt_sigqueueinfo, rt_tgsigqueueinfo]
+  names_with_args:
+  - {name: fcntl, when: 'cmd in {F_SETOWN, F_SETOWN_EX}'}
+  - {name: ioctl, when: 'cmd in {FIOSETOWN, SIOCSPGRP}'}
```
"""

from seccompgen.lint.rule import OWNER_CALLS, Bypass, LintRule, Severity, same

_SIGNALS = same("kill tkill tgkill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo")
_OWNED = "it has the kernel signal the same processes"

RULE = LintRule(
    "signal-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it signals the same processes",
            same("kill", sig=1),
            (
                *same("tkill pidfd_send_signal rt_sigqueueinfo", sig=1),
                *same("tgkill rt_tgsigqueueinfo", sig=2),
            ),
            Severity.NOTE,
        ),
        Bypass(_OWNED, same("kill"), OWNER_CALLS, Severity.NOTE, needs=_SIGNALS),
        Bypass(_OWNED, _SIGNALS, OWNER_CALLS, refused=_SIGNALS),
    ),
    powers=("kill",),
    power_severity=Severity.NOTE,
)
