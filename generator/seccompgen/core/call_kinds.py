"""The kinds by which long listings sort system calls."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """A kind of system call, by its title; in the order of listings."""

    FILES = "Files and directories"
    DESCRIPTORS = "Open descriptors"
    NETWORK = "Network"
    PROCESSES = "Processes and threads"
    MEMORY = "Memory"
    SIGNALS = "Signals"
    TIME = "Clocks and timers"
    IPC = "Pipes, queues, shared memory"
    IDENTITY = "Users, groups, limits"
    SYSTEM = "Facts about the machine"
    SANDBOX = "Confinement and keys"
    WATCHING = "Watching other processes"
    ADMINISTRATION = "Administration of the kernel"
    MULTIPLEXED = "Many calls behind one number"
    OBSOLETE = "Gone or never there"
    OTHER = "Not yet sorted"
    UNNAMED = "Numbers without a name"
