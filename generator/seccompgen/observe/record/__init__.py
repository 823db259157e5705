"""A workload as a policy: run it, see every call, write what it needs.

::

    tracer        a command run to the end of all that it starts, and what is done at each event
    threads       the threads that are traced, each of a process
    requests      signals that ask the recorder to end
    attach        processes that run already
    seen          what they called, as far as it counts, to an
    answers       what a policy answers to it, as it is called
    untraced      CLONE_UNTRACED, by which a process would escape
    observations  `Recording`: what was seen, as frozen values
    implied       calls that a run needs though it need not show them
    worth         which arguments are worth constraining
    generalise    from what was seen to what shall be allowed
    merge         several runs and machines as one
    coverage      a workload beside a policy: what was refused, what was never reached
    session       all of it, end to end
"""
