"""Turn a workload into a policy: run it, observe every call, write what it needs.

::

    session           the whole recording, end to end
    recorder          run a command to the end of all that it starts, event by event
    traced_threads    the traced threads and their processes
    requests          signals that ask the recorder to end
    attach            trace processes that run already
    untraced          CLONE_UNTRACED, by which a process would escape
    seen              collect the calls that count
    ring_reader       read what threads give to rings, at the calls that hand it to the kernel
    ring_memory       a ring in a process's memory: its layout and entries
    ring_uses         collect what rings do
    policy_answers    collect a policy's answers to calls
    observations      `Recording`: the calls that were seen, as frozen values
    constrainable     arguments whose values select what a call does, such as ioctl's request
    power_cases       find the line of the table of powers that a call is on, by its arguments
    origins           the origins of calls: program and function
    closure           derive what to permit from the calls that were used, by what calls give
    grants            the calls that a closure permits, with conditions
    known             the permissions of known policies, by the table of powers
    logged            calls that audit records add to known policies
    sections          a closure as the sections of a policy, kind by kind
    exact_calls       with --exact: the calls that were seen, and several runs merged
    recorded_rings    the section io_uring: what rings did, and what known sections permit
    seen_conditions   conditions on operations of rings that were seen
    code_names        functions that code names, and what their calls give
    near_misses       offer rules for what the code can do but no run showed
    coverage          compare a workload with a policy: refused calls, rules never reached
    recording_report  a recording and its coverage, as text and JSON
"""
