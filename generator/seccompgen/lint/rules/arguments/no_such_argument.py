"""The call does not have this argument.

On i386, m68k and s390x `mmap` has a single argument, the address of all others; other registers
hold anything. Answer the call without this condition, and `mmap2`, which libraries use, with it.

```diff
 default_action: allow
 arches: [i386]
 syscalls:
-- action: errno
-  names_with_args:
-  - {name: mmap, arguments: [{argument: 2, operation: BitsSet, value: 4}]}
+- {action: errno, names: [mmap]}
```
"""

from seccompgen.lint.compared import compared_arguments
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    for one in compared_arguments(view):
        pair = one.opposed() if one.parameter is None else None
        if pair is None:
            continue
        text = f"{one.name} has no argument {one.n}: the call ignores that register"
        fix = "compare an argument that the call has"
        known = one.prototype.parameters
        if len(known) == 1 and known[0].pointer:
            text += "; its arguments are in memory, where no filter can look"
            fix = f"answer {one.name} without a condition there"
        yield one.finding(RULE, text, fix, Severity.WARNING, pair)


RULE = LintRule("no-such-argument", Severity.WARNING, _check)
