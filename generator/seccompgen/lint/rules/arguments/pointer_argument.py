"""A comparison looks at an address.

A filter sees the address of a name, not the name: the caller chooses the address, and another
thread can change what is there. It is an error if one address is refused and others pass, a warning
if one is permitted. To compare with 0 is fine. Refuse the call, or leave paths to Landlock, mounts
and users.

```diff
-- action: errno
-  names_with_args:
-  - {name: acct, arguments: [{argument: 0, operation: Equal, value: 4096, width: 64}]}
+- {action: errno, names: [acct]}
```
"""

from seccompgen.core.model import U32, U64
from seccompgen.core.sets import ALL
from seccompgen.lint.compared import compared_arguments
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_SOME_ADDRESS = 0x0000_7F5A_1C3E_9A40
"""An address that no filter names; its low word is one on 32-bit ABIs."""


def _check(view: FilterView) -> Findings:
    sets = view.sets
    null = sets.masked(U32 if view.abi.argument_bits == 32 else U64, 0)
    for one in compared_arguments(view):
        if not one.is_address or one.moved_to is not None:
            continue
        pair = one.opposed(sets.minus(ALL, null))
        if pair is None:
            continue  # only whether there is an address at all
        text = f"{one} is an address: a filter does not see what is stored there"
        severity = Severity.WARNING
        fix = "compare an argument that is a number; memory can be changed after the check"
        if any(sets.has(box[one.n], _SOME_ADDRESS) for box in one.answer.permitted):
            severity = Severity.ERROR
            text += ", so a caller who stores the same elsewhere gets past it"
            fix = "refuse the call whatever this argument is, or drop the rule"
        yield one.finding(RULE, text, fix, severity, pair)


RULE = LintRule("pointer-argument", Severity.ERROR, _check)
