"""A comment silences nothing: its finding is gone, or on another line.

```diff
-- action: errno  # lint: ignore[exec-twin]: a script runs here
-  names: [acct]
+- {action: errno, names: [acct]}
```
"""

from seccompgen.lint.registry import codes
from seccompgen.lint.rule import Findings, LintRule, Severity
from seccompgen.lint.silence import IgnoreComment


def _check(comment: IgnoreComment) -> Findings:
    for code in comment.unused:
        if code in codes():
            yield RULE.finding(
                f"there is no {code} here to ignore", "remove it", position=comment.position
            )


RULE = LintRule("unused-ignore", Severity.NOTE, check_comment=_check)
