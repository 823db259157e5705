"""A workload as a policy: run it, see every call, write what it needs.

::

    session        all of it, end to end
    tracer         a command run to the end of all that it starts, event by event
    executed       the programs that were executed, with their libraries
    threads        the threads that are traced, each of a process
    requests       signals that ask the recorder to end
    attach         processes that run already
    untraced       CLONE_UNTRACED, by which a process would escape
    seen           the calls that were made, as far as they count
    answers        a policy's answers to calls, as they are made
    observations   `Recording`: the calls that were seen, as frozen values
    implied        calls that a run needs though it need not show them
    constrainable  arguments whose values select what a call does, such as ioctl's request
    cases          which line of the table of powers a call is on, by its arguments
    origins        the places that calls came from: program and function
    closure        from calls that were used to what is permitted, by what calls give
    first_tries    what libraries call first, and is refused so that they go on by older calls
    grants         what a closure permits, call by call, and what that covers
    known          what known policies permit, by the table of powers
    sections       a closure as the text of a policy, kind by kind
    generalise     with --exact: from recorded values to conditions
    merge          with --exact: several runs and machines as one
    code_names     functions that code names, and what their calls give
    near_misses    what code can do that no run showed, as rules to take in
    coverage       a workload beside a policy: refused calls, and rules that nothing reached
"""
