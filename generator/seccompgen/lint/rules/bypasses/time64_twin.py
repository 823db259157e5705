"""One form of a call is refused, but not its other form.

On 32-bit ABIs many calls have a form with 64-bit times, offsets or identifiers, which does the
same.

```diff
 default_action: allow
 arches: [i386]
 syscalls:
-- {action: errno, names: [fcntl]}
+- {action: errno, names: [fcntl, fcntl64]}
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

_FORMS = {
    "_time64": "futex clock_nanosleep ppoll pselect6 recvmmsg semtimedop utimensat mq_timedsend "
    "mq_timedreceive rt_sigtimedwait io_pgetevents",
    "64": "clock_settime clock_adjtime clock_gettime timer_settime timerfd_settime fcntl sendfile",
    "32": "setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid",
}
"""Calls of 32-bit ABIs by the suffix of another form, which has the same arguments."""

RULE = LintRule(
    "time64-twin",
    Severity.WARNING,
    bypasses=tuple(
        Bypass(
            "it is the same call in another form",
            same(f"{name} {name}{end}", **{f"argument {n}": n for n in range(6)}),
            two_forms=True,
        )
        for end, names in _FORMS.items()
        for name in names.split()
    ),
)
