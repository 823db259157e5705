"""A value does not fit into the bits that the kernel reads.

The comparison is never true, or always. Most often numbers were joined or shifted wrongly.

```diff
 - action: errno
   names_with_args:
   - {name: personality, arguments: [{argument: 0, operation: GreaterThan, value: 8},
-                                    {argument: 0, operation: NotEqual, value: 0x100000020}]}
+                                    {argument: 0, operation: NotEqual, value: 0x20}]}
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule("value-too-wide", Severity.WARNING, note_fix="compare with a value that fits")
