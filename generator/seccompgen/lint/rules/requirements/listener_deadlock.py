"""The call that hands the listener over waits for that listener: the process blocks for ever.

The filter is in force before its supervisor has the listener. The confined process sends it by
`sendmsg`, as SCM_RIGHTS. If the filter leaves `sendmsg` to the supervisor, that call waits for an
answer that nobody can give. No filter sees to whom a message goes, so rather refuse the sockets
that can send to anybody, and permit `sendmsg`. If the supervisor has to be asked, have another
process fetch the listener by `pidfd_getfd`, or have a thread that is not confined send it; then
silence this finding.

```diff
 default_action: allow
 arches: [x86_64]
 flags: [new_listener]
 syscalls:
-- {action: user_notif, names: [connect, sendmsg]}
+- {action: user_notif, names: [connect]}
+- {action: errno(EACCES), names: [socket], when: u32(type) & 0xf != SOCK_STREAM}
 - {action: errno(ENOSYS), names: ['@io-uring', userfaultfd]}
```
"""

from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    """Yield sendmsg if it is never permitted, and left to the listener with some arguments."""
    answer = view.answer("sendmsg")
    if answer is None or answer.permitted:
        return
    for box, ret in answer.parts:
        if ret & ~RET_DATA_MAX == ActionKind.USER_NOTIF.value:
            yield RULE.finding(
                "sendmsg is left to the supervisor, and is the call that sends the listener there: "
                "a process that hands over its own waits for ever",
                "permit sendmsg, or have another process fetch the listener by pidfd_getfd",
                view=view,
                witness=view.shown("sendmsg", box),
            )
            return


RULE = LintRule("listener-deadlock", Severity.WARNING, _check)
