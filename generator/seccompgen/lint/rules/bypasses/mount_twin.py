"""A call that changes mounts is refused, but not another one.

Since Linux 5.2 a new API mounts step by step. `umount2` removes what was mounted over something,
such as masks of /proc. `chroot` changes the root directory, though less thoroughly than
`pivot_root`.

```diff
-- {action: errno, names: [mount]}
+- action: errno
+  names: [mount, umount2, fsopen, fsmount, move_mount, open_tree, open_tree_attr, mount_setattr]
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

RULE = LintRule(
    "mount-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it mounts file systems, too",
            same("mount"),
            same("fsopen fsmount move_mount open_tree open_tree_attr mount_setattr"),
        ),
        Bypass("it changes what is mounted", same("mount"), same("umount umount2 oldumount")),
    ),
    powers=("mounts",),
)
