"""Settings of units, each for a way in which systemd makes filters of them."""

FILES: dict[str, list[str]] = {
    "allow": ["SystemCallFilter=@system-service"],
    "allow-native": ["SystemCallFilter=@system-service", "SystemCallArchitectures=native"],
    "allow-x32": ["SystemCallFilter=@basic-io", "SystemCallArchitectures=native x32"],
    "allow-x86": ["SystemCallFilter=@basic-io", "SystemCallArchitectures=x86"],
    "allow-errno": ["SystemCallFilter=@basic-io @file-system", "SystemCallErrorNumber=EPERM"],
    "allow-but": [
        "SystemCallErrorNumber=EACCES",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallFilter=~ptrace:5 kcmp:kill",
        "SystemCallFilter=swapon",
    ],
    "allow-known": ["SystemCallFilter=@known", "SystemCallErrorNumber=EPERM"],
    "allow-default-away": ["SystemCallFilter=@basic-io", "SystemCallFilter=~nanosleep getpid"],
    "allow-write-away": ["SystemCallFilter=@basic-io", "SystemCallFilter=~write"],
    "allow-sockets": ["SystemCallFilter=@network-io", "SystemCallErrorNumber=EPERM"],
    "allow-ipc": ["SystemCallFilter=@ipc", "SystemCallFilter=~shmat:EACCES"],
    "allow-socketcall": ["SystemCallFilter=socketcall ipc", "SystemCallErrorNumber=EPERM"],
    "allow-x86-only": ["SystemCallFilter=mmap2 socketcall stat64 fcntl64 _llseek"],
    "deny": ["SystemCallFilter=~@debug @mount"],
    "deny-native": ["SystemCallFilter=~@debug @mount", "SystemCallArchitectures=native"],
    "deny-errno": ["SystemCallFilter=~@debug:EPERM @mount:13 kcmp", "SystemCallErrorNumber=99"],
    "deny-then-allow": ["SystemCallFilter=~@mount", "SystemCallFilter=umount2"],
    "deny-sockets": ["SystemCallFilter=~@network-io:97 socket"],
    "deny-write": ["SystemCallFilter=~@basic-io:EPERM"],
    "deny-seccomp": ["SystemCallFilter=~seccomp prctl"],
    "reset": [
        *("SystemCallFilter=@basic-io", "SystemCallFilter=", "SystemCallFilter=~mount"),
        *("SystemCallArchitectures=native", "SystemCallArchitectures="),
        *("SystemCallErrorNumber=EPERM", "SystemCallErrorNumber="),
    ],
    "log": ["SystemCallLog=@mount openat"],
    "log-but": ["SystemCallLog=~@basic-io"],
    "log-and-allow": ["SystemCallLog=openat mount", "SystemCallFilter=@basic-io @file-system"],
    "log-and-deny": ["SystemCallLog=~@basic-io @default", "SystemCallFilter=~mount:EPERM"],
    "architectures": ["SystemCallArchitectures=native"],
    "architectures-all": ["SystemCallArchitectures=x86-64 x86 x32"],
    "simple": [
        *("ProtectHostname=yes", "ProtectKernelTunables=yes", "ProtectKernelModules=yes"),
        *("ProtectKernelLogs=yes", "ProtectClock=yes", "PrivateDevices=yes"),
    ],
    "simple-and-deny": ["ProtectClock=yes", "SystemCallFilter=~@clock:EACCES @mount:kill"],
    "nnp": ["NoNewPrivileges=yes", "SystemCallFilter=~mount"],
}
"""By the name of the unit; those whose filters look at numbers alone."""

CONDITIONS: dict[str, list[str]] = {
    "families": ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"],
    "families-one": ["RestrictAddressFamilies=AF_NETLINK"],
    "families-none": ["RestrictAddressFamilies=none"],
    "families-but": ["RestrictAddressFamilies=~AF_PACKET AF_NETLINK"],
    "families-twice": [
        "RestrictAddressFamilies=AF_UNIX AF_INET",
        "RestrictAddressFamilies=~AF_INET",
    ],
    "namespaces": ["RestrictNamespaces=yes"],
    "namespaces-some": ["RestrictNamespaces=user mnt"],
    "namespaces-but": ["RestrictNamespaces=~user net"],
    "realtime": ["RestrictRealtime=yes"],
    "suid": ["RestrictSUIDSGID=yes"],
    "personality": ["LockPersonality=yes"],
    "personality-x86": ["LockPersonality=yes", "Personality=x86"],
    "memory": ["MemoryDenyWriteExecute=yes"],
    "dynamic": ["DynamicUser=yes"],
    "all": [
        *("RestrictAddressFamilies=AF_UNIX", "RestrictNamespaces=yes", "RestrictRealtime=yes"),
        *("RestrictSUIDSGID=yes", "LockPersonality=yes", "ProtectClock=yes"),
        *("SystemCallFilter=@system-service", "SystemCallErrorNumber=EACCES"),
        *("SystemCallFilter=~@resources chmod:kill", "SystemCallArchitectures=native"),
    ],
    "all-open": [
        *("RestrictAddressFamilies=~AF_UNIX", "RestrictNamespaces=~user", "RestrictRealtime=yes"),
        *("RestrictSUIDSGID=yes", "LockPersonality=yes", "SystemCallLog=socket openat chmod"),
        *("SystemCallFilter=~unshare:EACCES setns:kill",),
    ],
}
"""Those whose filters compare arguments."""

RUNS: dict[str, list[str]] = {
    "run-allow": ["SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"],
    "run-deny": ["SystemCallFilter=~@mount ptrace:EACCES", "SystemCallArchitectures=native"],
    "run-families": ["RestrictAddressFamilies=AF_UNIX", "LockPersonality=yes"],
}
"""Those that systemd-run gets as properties."""
