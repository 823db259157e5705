"""A call that loads code into the kernel is refused, but not another one.

`finit_module` loads the same modules as `init_module`, and `kexec_file_load` the same kernels as
`kexec_load`.

```diff
-- {action: errno, names: [init_module]}
+- {action: errno, names: [init_module, finit_module]}
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule(
    "module-twin",
    Severity.WARNING,
    powers=(
        "init_module",
        "kexec_load",
    ),
)
