"""A call whose result is used is answered with `errno(0)`, which fakes success.

That suits calls whose result nobody uses, such as `chown`. But 0 from `fork` means "you are the
child", 0 from `mmap` is an address, and 0 from `open` is the descriptor of standard input.

```diff
-- {action: errno(0), names: [clone, fork, vfork]}
+- {action: errno(EAGAIN), names: [clone, fork, vfork]}
 - {action: errno(ENOSYS), names: [clone3]}
```
"""

from seccompgen.core.text import some
from seccompgen.lint.answers import errno_of
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_EFFECTS = {
    "takes its only process for the child": "clone fork vfork clone3",
    "takes 0 for an address": "mmap mmap2 mremap shmat",
    "takes 0, often its standard input, for a new descriptor": (
        "open openat openat2 creat socket accept accept4 dup epoll_create epoll_create1 eventfd "
        "eventfd2 memfd_create pidfd_open signalfd signalfd4 timerfd_create inotify_init "
        "inotify_init1 userfaultfd"
    ),
}
"""Calls by the effect on a program whose call returns 0."""


def _check(view: FilterView) -> Findings:
    for text, names in _EFFECTS.items():
        boxes = {
            call: box
            for call in names.split()
            for box, ret in view.within(call)
            if errno_of(ret) == 0
        }
        if boxes:
            call, box = next(iter(boxes.items()))
            verb = "is" if len(boxes) == 1 else "are"
            yield RULE.finding(
                f"{some(list(boxes))} {verb} answered with errno(0), success: a program {text}",
                f"answer {call} with an errno",
                view=view,
                witness=view.shown(call, box),
            )


RULE = LintRule("false-success", Severity.WARNING, _check)
