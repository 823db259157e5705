"""A call is refused, but not `socketcall` or `ipc`, which makes it as well.

These stand for many calls: argument 0 is the call's number, all else is in memory. i386, s390x,
m68k, powerpc, mips and sh have them. A rule without conditions covers them, too; for one with
conditions `multiplexed` says what happens there. Programs of other tools often forget them.

```diff
 default_action: allow
 arches: [s390x]
 syscalls:
 - action: errno
-  multiplexed: allow
+  multiplexed: errno
   names_with_args:
   - {name: semget, when: key == 0}
```
"""

from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, equal

_NUMBERS = {
    "socketcall": range(1, len(MULTIPLEXED["socketcall"].split()) + 1),
    "ipc": (*range(1, 5), *range(11, 15), *range(21, 25)),
}

RULE = LintRule(
    "multiplexed-way",
    Severity.WARNING,
    bypasses=tuple(
        Bypass(
            "it does the same, with the arguments in memory",
            (CallPattern(name),),
            (CallPattern(call, where={0: equal(number)}),),
        )
        for call, numbers in _NUMBERS.items()
        for number, name in zip(numbers, MULTIPLEXED[call].split(), strict=True)
    ),
)
