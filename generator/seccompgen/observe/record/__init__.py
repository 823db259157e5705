"""A workload as a policy: run it, see every call, write what it needs.

::

    tracer        a command run under `trace.ptrace`: its tasks, what happens to them, its end
    attach        processes that run already
    seen          what they called, as far as it counts, to an
    untraced      CLONE_UNTRACED, by which a process would escape
    observations  `Recording`: what was seen, as frozen values
    implied       calls that a run needs though it need not show them
    multiplexed   what ``socketcall`` and ``ipc`` stand for
    worth         which arguments are worth constraining
    generalise    from what was seen to what shall be allowed
    merge         several runs and machines as one
    coverage      a workload beside a policy: what was refused, what was never reached
    session       all of it, end to end
"""
