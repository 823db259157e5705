"""A call that makes memory executable is refused, but not another one.

`mprotect` and `pkey_mprotect` do, also with memory that `mmap` may not map so; `shmat` does with
SHM_EXEC. After `personality(READ_IMPLIES_EXEC)` all readable memory is executable.

```diff
 - action: errno
   names: [shmat]
   names_with_args:
   - {name: personality, when: personality & READ_IMPLIES_EXEC}
   - {name: mprotect, when: prot & PROT_EXEC}
+  - {name: pkey_mprotect, when: prot & PROT_EXEC}
```
"""

from collections.abc import Mapping

from seccompgen.core.model import U32
from seccompgen.lint.rule import (
    Bypass,
    CallPattern,
    LintRule,
    PatternCondition,
    Severity,
    has,
    same,
)

_SAME = "it makes the same memory executable"
_PROT = {"prot": 2}
_WRITE_EXECUTE = {"prot": (7,)}
_OLD_MMAP = frozenset({"i386", "s390", "s390x", "m68k"})
"""ABIs whose ``mmap`` has its arguments in memory (``sys_old_mmap``)."""


def _mapping(where: Mapping[int, PatternCondition]) -> tuple[CallPattern, ...]:
    mmap = CallPattern("mmap", _PROT, where=where, not_on=_OLD_MMAP)
    return CallPattern("mmap2", _PROT, where=where), mmap


_PROTECT = (CallPattern("mprotect", _PROT), *_mapping({}))

RULE = LintRule(
    "executable-memory",
    Severity.WARNING,
    bypasses=(
        Bypass(_SAME, same("mprotect pkey_mprotect", prot=2)),
        Bypass(
            _SAME,
            _mapping(where={2: has("PROT_EXEC")}),
            tuple(
                CallPattern(call, _PROT, where={2: has("PROT_EXEC")})
                for call in ("mprotect", "pkey_mprotect")
            ),
            unpermitted="prot",
        ),
        Bypass(
            "it makes all readable memory executable",
            _PROTECT,
            (
                CallPattern(
                    "personality",
                    always=_WRITE_EXECUTE,
                    where={0: has("READ_IMPLIES_EXEC", except_for=U32)},
                ),
            ),
            cleared=("prot", "PROT_EXEC"),
        ),
        Bypass(
            "it maps memory that can be written and executed",
            _PROTECT,
            (CallPattern("shmat", always=_WRITE_EXECUTE, where={2: has("SHM_EXEC")}),),
            cleared=("prot", "PROT_EXEC"),
        ),
    ),
)
