"""No call is permitted that waits for anything.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
-- {action: allow, names: [exit_group, rt_sigreturn, write]}
+- {action: allow, names: [exit_group, rt_sigreturn, write, ppoll, restart_syscall]}
```
"""

from seccompgen.lint.requirement import is_possible, lacking
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_WAITS = (
    "read readv recvfrom recvmsg recv accept accept4 poll ppoll ppoll_time64 select _newselect "
    "pselect6 pselect6_time64 epoll_wait epoll_pwait epoll_pwait2 futex futex_time64 futex_wait "
    "futex_waitv nanosleep clock_nanosleep clock_nanosleep_time64 wait4 waitpid waitid pause "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_sigsuspend sigsuspend io_getevents io_pgetevents "
    "io_uring_enter socketcall ipc"
)


def _check(view: FilterView) -> Findings:
    waits = [name for name in _WAITS.split() if view.has(name)]
    if not any(is_possible(view, name) for name in waits):
        name = "ppoll" if view.has("ppoll") else waits[0]
        yield lacking(RULE, view, name, "no call that waits is permitted: a program can only spin")


RULE = LintRule("no-wait", Severity.NOTE, _check)
