"""An argument has another index on this ABI.

On s390x the flags of `clone` are argument 1, and argument 0 is the address of a stack. Name the
argument, so that it is found on every ABI.

```diff
 default_action: errno
 arches: [s390x]
 syscalls:
 - action: allow
   names: [exit, exit_group, futex, restart_syscall, rt_sigreturn, read]
   names_with_args:
-  - {name: clone, arguments: [{argument: 0, operation: BitsSet, value: CLONE_THREAD}]}
+  - {name: clone, arguments: [{argument: flags, operation: BitsSet, value: CLONE_THREAD}]}
 - {action: errno(ENOSYS), names: [clone3]}
```
"""

from seccompgen.lint.compared import compared_arguments
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    for one in compared_arguments(view):
        index, pair = one.moved_to, one.opposed()
        if index is not None and pair is not None:
            name = one.prototype.parameters[index].name
            text = f"{one} is an address on this ABI; {name} is argument {index}"
            fix = f"write argument: {name}, which finds it on every ABI"
            # No error: go-seccomp-bpf takes such policies, and on most ABIs they are right.
            yield one.finding(RULE, text, fix, Severity.WARNING, pair)


RULE = LintRule("wrong-argument", Severity.WARNING, _check)
