"""A workload as a policy: run it, see every call, write what it needs.

::

    session           all of it, end to end
    recorder          a command run to the end of all that it starts, event by event
    traced_threads    the threads that are traced, each of a process
    requests          signals that ask the recorder to end
    attach            processes that run already
    untraced          CLONE_UNTRACED, by which a process would escape
    seen              the calls that were made, as far as they count
    policy_answers    a policy's answers to calls, as they are made
    observations      `Recording`: the calls that were seen, as frozen values
    constrainable     arguments whose values select what a call does, such as ioctl's request
    power_cases       which line of the table of powers a call is on, by its arguments
    origins           the places that calls came from: program and function
    closure           from calls that were used to what is permitted, by what calls give
    grants            what a closure permits, call by call, and what that covers
    known             what known policies permit, by the table of powers
    logged            calls that audit records add to known policies
    sections          a closure as the text of a policy, kind by kind
    exact_calls       with --exact: the calls that were seen, and several runs as one
    code_names        functions that code names, and what their calls give
    near_misses       what code can do that no run showed, as rules to take in
    coverage          a workload compared with a policy: refused calls, rules never reached
    recording_report  a recording and its coverage, as text and JSON
"""
