"""A section or a limit of a policy limits nothing: its rules apply to other ABIs as well.

LXC looks at a section such as `[x86]` on every machine that can run this ABI. Since LXC 3.0.1 its
rules are then for all ABIs of the machine: a call that is allowed for 32-bit programs alone is
allowed for all.

```diff
 2
 denylist
-[x86]
+[all]
 acct errno 1
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule(
    "ineffective-limit",
    Severity.WARNING,
    note_fix="write what holds for all ABIs, or convert the policy and limit its rules by arches:",
)
