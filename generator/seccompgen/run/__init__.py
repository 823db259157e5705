"""Commands that run under a filter, watched: which call was refused, by what, where, and why.

::

    preflight       warnings, before a command starts, about filters that will break it
    launch          a command, found and started under a filter: as this process, or as a child
    launch_token    a secret argument with which a command starts though its filter refuses execve
    notify_rewrite  a filter that refuses, as one that asks a supervisor
    steps           the part of a call in the installing of a filter
    startup         the end of a program's startup, from which the policy applies
    notification    the question to a supervisor, and its possible answers
    notify          supervising by user notification     tracer      the same by ptrace
    ptrace          ptrace(2) as functions               events      wait statuses as events
    signals         a supervisor's own signals and end, as if it were the command
    outranking      threads that a listener could let past the tracer, judged before any filter
    process         /proc's view of a process: memory, descriptors, mappings
    patience        reads that may wait for ever, given up after a moment
    decoded_call    a call as people read it
    symbols         the symbols of ELF files             demangle    those of C++ and Rust, readable
    locations       the location of a call in native code
    scripts         the line of a script that a thread executes
    python_lines    that of Python                       perl_lines  that of Perl
    folding         refusals that repeat, as one with a count
    refusal         a filter's answer to a call, and the rule behind it
"""
