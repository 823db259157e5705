"""Commands that run under a filter, watched: which call was refused, by whom, where, and why.

::

    token    what lets a command be started that its filter would not let start
    launch   a command, found and started under a filter; nothing is between, or a supervisor
    asking   a filter that refuses, as one that asks
    notify   supervising by user notification        ptrace   the same by ptrace
    signals  a supervisor's own signals and end, as if it were the command
    process  what /proc tells of a process: memory, descriptors, mappings
    calls    a call as people read it                signatures   what arguments are
    python   the line of Python that a thread is at
    refusal  what a filter answers to a call, by which rule, told
"""
