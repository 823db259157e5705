"""Rules above a group permit some of its calls.

If these should be refused, move the group up; if not, say so in a comment.

```diff
-- {action: allow, names: [swapoff]}
 - {action: errno, names: ['@swap']}
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule(
    "hidden-calls", Severity.WARNING, note_fix="move the group above the rules that allow them"
)
