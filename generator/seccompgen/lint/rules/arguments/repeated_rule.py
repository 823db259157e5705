"""An earlier rule says the same. It is harmless, hence a note.

```diff
 - {action: errno, names: [acct, swapon]}
-- {action: errno, names: [swapon]}
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule("repeated-rule", Severity.NOTE, note_fix="drop it")
