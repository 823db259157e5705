"""Settings of units, each for a way in which systemd makes filters of them.

To make a large one takes an emulated machine seconds: tests/ecosystem has more, with systemd's
library on this machine.
"""

FILES: dict[str, list[str]] = {
    "allow-x32": ["SystemCallFilter=@basic-io", "SystemCallArchitectures=native x32"],
    "allow-but": [
        "SystemCallErrorNumber=EACCES",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallFilter=~ptrace:5 kcmp:kill",
        "SystemCallFilter=swapon",
    ],
    "deny-errno": ["SystemCallFilter=~@debug:EPERM @mount:13 kcmp", "SystemCallErrorNumber=99"],
    "log-and-deny": ["SystemCallLog=~@basic-io @default", "SystemCallFilter=~mount:EPERM"],
    "reset": [
        *("SystemCallFilter=@basic-io", "SystemCallFilter=", "SystemCallFilter=~mount"),
        *("SystemCallArchitectures=native", "SystemCallArchitectures="),
        *("SystemCallErrorNumber=EPERM", "SystemCallErrorNumber="),
    ],
    "families-twice": [
        *("RestrictAddressFamilies=AF_UNIX AF_INET", "RestrictAddressFamilies=~AF_INET"),
    ],
    "namespaces-but": ["RestrictNamespaces=~user net"],
    "dynamic": ["DynamicUser=yes"],
    "namespaces-and-filter": [
        *("RestrictNamespaces=~user", "SystemCallFilter=~unshare:EACCES setns:kill"),
    ],
    "families-and-log": [
        *("RestrictAddressFamilies=~AF_UNIX", "LockPersonality=yes"),
        *("SystemCallLog=socket openat chmod", "SystemCallFilter=~unshare:EACCES setns:kill"),
    ],
    "realtime": ["RestrictRealtime=yes", "SystemCallFilter=~unshare:EACCES setns:kill"],
    "suid": ["RestrictSUIDSGID=yes", "SystemCallFilter=~unshare:EACCES setns:kill"],
}
"""By the name of the unit."""

RUNS: dict[str, list[str]] = {
    "run-deny": [
        *("SystemCallFilter=~@mount ptrace:EACCES", "SystemCallArchitectures=native"),
    ],
    "run-families": ["RestrictAddressFamilies=AF_UNIX", "LockPersonality=yes"],
}
"""Those that systemd-run gets as properties."""
