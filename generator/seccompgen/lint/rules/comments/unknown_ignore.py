"""A comment names a code that does not exist, so it silences nothing.

```diff
-- action: errno  # lint: ignore[exec-twins]: a script runs here
-  names: [acct]
+- {action: errno, names: [acct]}
```
"""

from seccompgen.core.errors import did_you_mean
from seccompgen.lint.registry import codes
from seccompgen.lint.rule import Findings, LintRule, Severity
from seccompgen.lint.silence import IgnoreComment


def _check(comment: IgnoreComment) -> Findings:
    for code in comment.codes:
        if code not in codes():
            yield RULE.finding(
                f"unknown code {code!r}{did_you_mean(code, codes())}",
                "write the code that the finding has",
                position=comment.position,
            )


RULE = LintRule("unknown-ignore", Severity.WARNING, check_comment=_check)
