"""A call that makes or enters namespaces is refused, but not another one.

`clone`, `clone3` and `unshare` make the same namespaces. `setns` enters one of any type if its
argument is 0. In a user namespace a process has all capabilities, and can attack much of the
kernel.

```diff
-- {action: errno, names: [clone], when: flags & CLONE_NEWUSER}
+- action: errno
+  names_with_args:
+  - {name: clone, when: flags & CLONE_NEWUSER}
+  - {name: unshare, when: unshare_flags & CLONE_NEWUSER}
 - {action: errno(ENOSYS), names: [clone3]}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, equal, has

_FLAGS = tuple(f"CLONE_NEW{name}" for name in "USER NS NET PID IPC UTS CGROUP".split())  # noqa: SIM905


def _made(flag: str) -> tuple[Bypass, ...]:
    clone = CallPattern("clone", {"flags": 0}, where={0: has(flag)})
    unshare = CallPattern("unshare", {"flags": 0}, where={0: has(flag)})
    reason, severity = "it makes the same namespaces", None if flag == _FLAGS[0] else Severity.NOTE
    other = CallPattern("unshare", where={0: has(flag)})
    return (
        Bypass(reason, (clone,), (other,), cleared=("flags", flag)),
        Bypass(reason, (unshare,), (clone, CallPattern("clone3")), severity),
    )


RULE = LintRule(
    "namespace-twin",
    Severity.WARNING,
    bypasses=(
        *(one for flag in _FLAGS for one in _made(flag)),
        *(
            Bypass(
                "it enters the same namespaces, of any type",
                (CallPattern("setns", where={1: has(flag)}),),
                (CallPattern("setns", where={1: equal(0)}),),
            )
            for flag in _FLAGS
        ),
    ),
    powers=("namespaces",),
)
