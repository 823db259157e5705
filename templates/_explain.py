"""The words of a SeccompError: in one sentence, what is in the way and what to do.

Imported when they are read. Where that cannot be, an error has its cause and errno all the same.
"""

from ._runtime import SeccompError

# SECCOMP_FILTER_FLAG_*, from bit 0 on, as the kernel numbers them.
_FLAG_NAMES = (
    "tsync (Linux 3.17)",
    "log (Linux 4.14)",
    "spec_allow (Linux 4.17)",
    "new_listener (Linux 5.0)",
    "tsync_esrch (Linux 5.7)",
    "wait_killable_recv (Linux 5.19)",
)
_ACTION_NAMES = {
    "0x80000000": "kill_process (Linux 4.14)",
    "0x7ffc0000": "log (Linux 4.14)",
    "0x7fc00000": "user_notif (Linux 5.0)",
}

# What can be in the way: its cause, and "/" and a word where a cause has several texts; the reason;
# what to do. What is in braces is filled in: from the error's facts, or its errno.
_REFUSALS = """\
wrong_abi
    this interpreter is {abi}, and the programs are for {programs};
    add {abi} to the policy's arches and generate the filter again, or run an interpreter of one of
    these

unknown_abi
    none is known to fit this interpreter, a {kind} program with a kernel for {machine};
    run one of an ABI that Linux has filters for

unknown_abi/unread
    none is known to fit this interpreter, a {kind} program with a kernel for {machine};
    mount /proc, which tells its ABI exactly

misreported_abi/other
    a {machine} kernel shows the calls of a riscv32 interpreter to filters as its own;
    run an interpreter built for {machine}

misreported_abi/doubtful
    this kernel may be one of 64 bits that calls itself riscv32, and would show the calls of a
    riscv32 interpreter to filters as its own;
    mount /proc, and run the interpreter without the personality linux32

no_program
    {size} bytes are not a program of 1 to 4096 instructions;
    generate the filter again

unknown_flag
    this runtime does not know the filter flags {flags};
    generate the filter and the runtime beside it by one seccompgen

conflicting_flags/tsync
    tsync and new_listener do not go together, as the kernel can return only one of a thread and a
    descriptor;
    give the policy tsync_esrch as well

conflicting_flags/recv
    wait_killable_recv says how a listener waits, and there is none;
    give the policy new_listener as well

no_ctypes
    this Python cannot call the C library ({failure});
    use one that is built with ctypes and linked dynamically, and let limits and filters in force
    permit to load _ctypes, or import it before they are; in a subinterpreter with a GIL of its
    own, use Python 3.13, or install the filter before, in the main interpreter of the same thread

no_seccomp/system
    filters are Linux's, and this is {system};
    install them where supported() says that it can be done

no_seccomp
    the kernel, or a sandbox around this process, has no seccomp(2);
    use Linux 3.17 or newer built with CONFIG_SECCOMP_FILTER, and permit the call

no_filters
    the kernel has no seccomp filters;
    use one that is built with CONFIG_SECCOMP_FILTER

forbidden
    a sandbox around this process forbids seccomp(2) ({error});
    have it permit the call

pretended
    something around this process answers {call} as done without doing it;
    run outside that sandbox, tracer or emulator

lacks_flag
    the kernel lacks the filter flags {flags};
    use a newer kernel, or take them out of the policy's flags

flags_apart
    the kernel takes each of the filter flags but not all of them together ({flags});
    take some of them out of the policy's flags

lacks_action
    the kernel does not grant the action {action} ({error});
    use a newer kernel, or another action in the policy

unlogged/actions
    this kernel is told not to log the action log, so that nobody would hear of what the filter
    would refuse;
    add it again: sysctl kernel.seccomp.actions_logged

unlogged/audit
    this kernel has no audit subsystem, so that nobody would hear of what the filter would refuse;
    use one that is built with CONFIG_AUDIT

unlogged/boot
    this kernel was started with audit=0, so that nobody would hear of what the filter would refuse;
    take that out of its command line

no_new_privs/set
    no_new_privs cannot be set ({error});
    let the sandbox around this process permit prctl(PR_SET_NO_NEW_PRIVS)

no_new_privs/ask
    prctl(PR_GET_NO_NEW_PRIVS) fails ({error});
    use Linux 3.5 or newer, or let the sandbox around this process permit the call

no_privilege
    without no_new_privs the kernel wants the capability CAP_SYS_ADMIN;
    say `no_new_privs: true` in the policy, or run with that capability

rejected
    the kernel, or a sandbox around this process, rejects the program of {length} instructions as
    malformed;
    generate the filter again, and have the sandbox permit seccomp(2)

memory
    {length} instructions more do not fit beside the earlier filters of this process (32768 in
    all), or the kernel is short of memory;
    install fewer or shorter filters

second_listener
    an earlier filter of this process has a listener, and there can be one only;
    take new_listener out of the flags of one of the two policies, or start the process again if a
    signal handler's exception ended an earlier install()

diverging_thread/named
    thread {tid} of this process has a filter of its own, so that not all threads can be confined
    together;
    install the filter before that thread installs one, or before it starts

diverging_thread
    a thread of this process has a filter of its own, so that not all threads can be confined
    together;
    install the filter before any other thread installs one

other
    the kernel refuses it ({error});
    look the error up in seccomp(2)

no_module
    a file of the filter or its runtime cannot be imported ({failure});
    let all that was generated lie together, and let limits and filters in force permit to open it,
    or import it before they are

no_proc
    {path} cannot be read ({error});
    mount /proc, and let filters permit to open it

no_mode
    {path} does not tell the seccomp mode;
    use a kernel that is built with CONFIG_SECCOMP, and a /proc that is the kernel's

no_notification
    the kernel, or a sandbox around this process, has none ({error});
    use Linux 5.0 or newer, and permit seccomp(2)

no_listener
    the confined process ended, or sent something else, before it sent its listener;
    see why its install() failed; its filter must allow sendmsg

gone
    the call does not wait any more: it was answered, or a signal ended it or its caller;
    pass it over

unreadable/memory
    it has no {size} bytes at {address};
    answer the call with EFAULT, as the kernel would

unreadable/string
    what is at {address} has no end within {limit} bytes;
    answer the call with ENAMETOOLONG, as the kernel would

unreadable/process
    {path} cannot be read ({error});
    run the supervisor as the same user and as an ancestor, with /proc mounted

refused
    the kernel refuses it ({error});
    see seccomp_unotify(2): EINVAL may mean that the kernel is too old for it
"""


def _words(error: SeccompError) -> "dict[str, str]":
    """Return errno_name, reason and remedy of an error."""
    import errno
    import os

    number = error.errno or 0
    # This one has a second name, which is not the kernel's.
    names = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
    words = {"errno_name": names.get(number, str(number))}
    if not error.cause:  # somebody else's
        return {**words, "reason": str(error.args[1]), "remedy": ""}
    label = f"{error.cause}/{error.case}" if error.case else error.cause
    _, _, entry = ("\n" + _REFUSALS).partition(f"\n{label}\n")
    text = " ".join(entry.partition("\n\n")[0].replace(";\n", "\0").split())
    facts = {name: _spelled(label, name, fact) for name, fact in error.facts.items()}
    reason, _, remedy = text.format(error=os.strerror(number), **facts).partition("\0 ")
    return {**words, "reason": reason, "remedy": remedy}


def _spelled(label: str, name: str, fact: object) -> str:
    """Return a fact as people know it."""
    text = str(fact)
    if label == "lacks_flag":
        bits = int(text, 16)
        return ", ".join(one for bit, one in enumerate(_FLAG_NAMES) if bits >> bit & 1)
    if label == "lacks_action":
        return _ACTION_NAMES.get(text, text)
    if name == "kind":
        return f"{text[:2]}-bit {'little' if text.endswith('le') else 'big'}-endian"
    return ", ".join(fact) if isinstance(fact, list) else text
