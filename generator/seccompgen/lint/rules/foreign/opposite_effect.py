"""The program that a policy is for makes the opposite of what a word of it says.

In a list of firejail, `!name` takes a call out of what is refused. It marks such a call by its
number's negative, and 0 has none: `!read` refuses `read` on x86_64. Its `seccomp.32.keep` makes a
filter for x86_64, and none for i386.

```diff
 seccomp.block-secondary
-seccomp.drop acct,!read
+seccomp.drop acct
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule("opposite-effect", Severity.WARNING, note_fix="remove it")
