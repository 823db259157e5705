"""The program that a policy is for skips a line or a part of it, without an error.

So a call that the line names is not refused, or not allowed. LXC skips names that no call has, and
a tab, a carriage return or a comment without a blank before it are parts of the name; it ignores
all after a complete action (`kill_process` is `kill`); and a line without tests overrides lines
with tests. firejail skips names and errnos that it does not know, and groups after `!`; of several
lists it takes one. snapd ignores names that no call has, with all that follows them.

```diff
 2
 denylist
-accct errno 1
+acct errno 1
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule("ignored-text", Severity.WARNING, note_fix="correct it, or remove it")
