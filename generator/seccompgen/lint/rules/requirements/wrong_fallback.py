"""A new call is refused in a way after which libraries do not fall back on the old one.

Libraries try the new call first, and the old one on ENOSYS. They pass any other errno on: with
EPERM for `clone3` no thread starts, with EPERM for `faccessat2` every file seems forbidden.
Docker's default profile broke new distributions this way. A kill by default is a note: whoever
needs the call has noticed.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
 - {action: allow, names: [exit_group, rt_sigreturn, read, clone]}
+- {action: errno(ENOSYS), names: [clone3]}
```
"""

from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.lint.fallback import FALLBACKS, enosys_fix
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    for one in FALLBACKS:
        answer = view.answer(one.call)
        if answer is None or answer.permitted or (one.narrow and view.abi.bits == 64):
            continue
        part = next((part for part in answer.parts if not view.is_enosys(part[1])), None)
        older = next(filter(view.permits, one.older), None)
        if part is None or older is None:
            continue
        action = ActionKind(part[1] & ~RET_DATA_MAX)
        kills = action in {ActionKind.KILL_PROCESS, ActionKind.KILL_THREAD}
        if not kills and not (action is ActionKind.ERRNO and one.on_errno):
            continue
        by_default = view.is_allowlist and not view.refused_on_purpose(one.call)
        if by_default and one.if_named:
            continue
        then = f"{one.how} {older}, which is permitted, only on ENOSYS"
        if not one.on_errno:
            then = f"{older}, which is permitted, ends there"
        how = "answered by a kill" if kills else "refused by another errno than ENOSYS"
        yield RULE.finding(
            f"{one.call} is {how}: {one.user} {then}",
            enosys_fix(one.call, view),
            Severity.NOTE if by_default and kills else one.severity,
            view=view,
            witness=view.shown(one.call, part[0]),
        )


RULE = LintRule("wrong-fallback", Severity.WARNING, _check)
