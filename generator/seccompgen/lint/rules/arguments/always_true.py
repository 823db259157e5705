"""Every value satisfies the comparison, so the rule is for every call.

Drop the comparison, or compare with what is meant.

```diff
-- {action: errno, names: [personality], when: 'u32(personality) <= 0xffffffff'}
+- {action: errno, names: [personality]}
```
"""

from seccompgen.lint.jumps import decided_jumps
from seccompgen.lint.rule import LintRule, Severity

RULE: LintRule = LintRule(
    "always-true",
    Severity.WARNING,
    lambda view: decided_jumps(RULE, view, taken=True),
    note_fix="drop the comparison, or compare with what is meant",
)
