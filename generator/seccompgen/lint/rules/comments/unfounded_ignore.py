"""A comment that silences findings lacks its reason, or its code, so it silences nothing.

The next reader of the policy wants to know why. Write `# lint: ignore[code]: reason`.

```diff
-- action: errno  # lint: ignore[exec-twin]
-  names: [acct]
+- {action: errno, names: [acct]}
```
"""

from seccompgen.lint.rule import Findings, LintRule, Severity
from seccompgen.lint.silence import IgnoreComment


def _check(comment: IgnoreComment) -> Findings:
    if not comment.is_founded:
        yield RULE.finding(
            "this comment silences nothing: it needs a code and a reason",
            "write # lint: ignore[code]: why it is no mistake here",
            position=comment.position,
        )


RULE = LintRule("unfounded-ignore", Severity.WARNING, check_comment=_check)
