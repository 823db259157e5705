"""A value has bits outside of its mask, so the comparison is never true.

In a program without a policy this is reported at the instruction. Add the value's bits to the mask.

```diff
 - action: errno
   names: [acct]
   names_with_args:
-  - {name: personality, arguments: [{argument: 0, operation: MaskedEqual, mask: 0xf0, value: 8}]}
+  - {name: personality, arguments: [{argument: 0, operation: MaskedEqual, mask: 0xff, value: 8}]}
```
"""

from seccompgen.lint.jumps import decided_jumps
from seccompgen.lint.rule import LintRule, Severity

RULE: LintRule = LintRule(
    "mask-never-matches",
    Severity.WARNING,
    lambda view: decided_jumps(RULE, view, taken=False),
    note_fix="add the bits of the value to the mask",
)
