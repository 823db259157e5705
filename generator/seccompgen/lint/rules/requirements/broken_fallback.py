"""A call gets ENOSYS, but the older call that libraries then make is refused.

Here `clone` is permitted as `fork` makes it, but not as `pthread_create` or `posix_spawn` does: no
thread starts, and no program by `system`. A filter that permits one of these two has made its
choice, unless it permits `fork` and programs. It is found for `statx`, too, if files may be opened
but not examined.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
 - action: allow
   names: [exit_group, rt_sigreturn, read]
   names_with_args:
-  - {name: clone, when: flags == 0x1200011}
+  - {name: clone, when: 'flags in {0x1200011, 0x4111, 0x3d0f00}'}
 - {action: errno(ENOSYS), names: [clone3]}
```
"""

from seccompgen.lint.fallback import is_denied, permit_clones, refused_clones, refused_stat
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    if is_denied(view, "clone3") and (refused := refused_clones(view)):
        yield RULE.finding(
            f"clone3 is answered with ENOSYS, so {' and '.join(refused)} must call clone, but "
            "that is refused",
            permit_clones(refused),
            view=view,
            witness=view.shown("clone", next(iter(refused.values()))[1]),
        )
    if is_denied(view, "statx") and (stat := refused_stat(view)):
        call, box = stat
        then = f"so libraries must call {call}, but that is refused"
        if call == "statx":
            then = f"but {view.abi.name} has no older call to fall back on"
        yield RULE.finding(
            f"statx is answered with ENOSYS, {then}",
            f"permit {call}",
            view=view,
            witness=view.shown(call, box),
        )


RULE = LintRule("broken-fallback", Severity.WARNING, _check)
