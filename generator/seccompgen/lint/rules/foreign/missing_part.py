"""A filter that the policy asks for lacks a part, by a mistake of the program that makes it.

firejail's `restrict-namespaces` restricts nothing through i386: of its two ready filters both are
for x86_64. A list with a value makes the right ones. Of lists with more than 255 refused calls it
lets some pass: its jumps do not reach farther. Flatpak restricts no socket families for an
application with `multiarch`: libseccomp refuses its rules where a filter is for two ABIs.

```diff
 seccomp-error-action EPERM
-restrict-namespaces
+restrict-namespaces cgroup,ipc,net,mnt,pid,user,uts,time
```
"""

from seccompgen.lint.rule import LintRule, Severity

RULE = LintRule(
    "missing-part",
    Severity.WARNING,
    note_fix="write it in the way that works, or convert the policy",
)
