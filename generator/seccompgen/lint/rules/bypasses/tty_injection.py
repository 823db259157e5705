"""TIOCSTI is refused, but not TIOCLINUX, or the reverse.

TIOCSTI types into the terminal that a sandbox shares with its caller's shell. On a virtual console
TIOCLINUX pastes, which does the same (flatpak's CVE-2023-28100).

```diff
-- {action: errno, names: [ioctl], when: cmd == TIOCSTI}
+- {action: errno, names: [ioctl], when: 'cmd in {TIOCSTI, TIOCLINUX}'}
```
"""

from seccompgen.lint.rule import Bypass, CallPattern, LintRule, Severity, equal

RULE = LintRule(
    "tty-injection",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it types into a terminal, too",
            (CallPattern("ioctl", where={1: equal("TIOCSTI")}),),
            (CallPattern("ioctl", where={1: equal("TIOCLINUX")}),),
        ),
    ),
)
