"""Commands that run under a filter, watched: which call was refused, by what, where, and why.

::

    token          what lets a command be started that its filter would not let start
    launch         a command, found and started under a filter: by nobody between, or a child
    asking         a filter that refuses, as one that asks
    steps          what a call has to do with the installing of a filter
    startup        where a program's startup ends, and the policy begins to apply
    notification   the question, and the answers that there are
    notify         supervising by user notification      tracer   the same by ptrace
    ptrace         ptrace(2) as functions           events   its wait statuses as typed events
    signals        a supervisor's own signals and end, as if it were the command
    process        what /proc tells of a process: memory, descriptors, mappings
    calls          a call as people read it              signatures   what its arguments are
    symbols        the names that ELF files have for what is in them
    places         where in native code a call was made
    python         the lines of Python that a thread is at
    refusal        what a filter answers to a call, by which rule, told
    surprises      what is worth saying before the command runs
"""
