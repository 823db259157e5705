"""Run a command under a filter and watch it: which call is refused, where, and by which rule.

::

    preflight       warnings, before a command starts, about filters that will break it
    launch          find a command and start it under a filter: as this process, or as a child
    descriptor_message  a descriptor, handed from one process to another over a socket
    launch_token    a secret argument with which a command starts even if its filter refuses execve
    ring_installer  install() of filters with a section io_uring, for a command
    notify_rewrite  rewrite a filter so that it asks a supervisor instead of refusing
    steps           the part that a call plays in installing a filter
    startup         the end of a program's startup, from which the policy applies
    notification    the question to a supervisor, and its possible answers
    notify          supervising by user notification     tracer      the same by ptrace
    ptrace          ptrace(2) as functions               events      wait statuses as events
    signals         a supervisor's own signals and end, as if it were the command
    outranking      threads whose calls are judged before any filter, because of a listener
    process         /proc's view of a process: memory, descriptors, mappings
    patience        a time limit for reads that may block for ever
    decoded_call    a call as people read it
    symbols         the symbols of ELF files             demangle    readable C++ and Rust names
    locations       the location of a call in native code
    scripts         the line of a script that a thread executes
    python_lines    the same for Python                  perl_lines  the same for Perl
    folding         report repeated refusals once, with a count
    refusal         a filter's answer to a call, and the rule behind it
"""
