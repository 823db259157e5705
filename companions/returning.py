"""Calls that may return another value than 0 on success: a number, a descriptor, an address.

Source: "Return value" of each call in section 2 of the manual. All others return 0 on success.
"""

# fmt: off
RETURN_NUMBERS = frozenset({
    "_llseek", "_newselect", "accept", "accept4", "add_key", "alarm", "arch_prctl", "bpf", "brk",
    "clone", "clone3", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",
    "fanotify_init", "fcntl", "fcntl64", "fgetxattr", "flistxattr", "fork", "fsmount", "fsopen",
    "fspick", "futex", "futex_time64", "futex_waitv", "getcwd", "getdents", "getdents64",
    "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom",
    "getsid", "gettid", "getuid", "getuid32", "getxattr", "inotify_add_watch", "inotify_init",
    "inotify_init1", "io_getevents", "io_pgetevents", "io_submit", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioctl", "ipc", "keyctl", "landlock_create_ruleset",
    "lgetxattr", "listxattr", "llistxattr", "lseek", "membarrier", "memfd_create", "memfd_secret",
    "mmap", "mmap2", "mq_open", "mq_timedreceive", "mremap", "msgctl", "msgget", "msgrcv",
    "name_to_handle_at", "open", "open_by_handle_at", "open_tree", "openat", "openat2",
    "perf_event_open", "personality", "pidfd_getfd", "pidfd_open", "pkey_alloc", "poll", "ppoll",
    "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "process_madvise",
    "process_vm_readv", "process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64",
    "pwritev", "pwritev2", "read", "readlink", "readlinkat", "readv", "recv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "request_key", "restart_syscall",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getscheduler",
    "seccomp", "select", "semctl", "semget", "send", "sendfile", "sendfile64", "sendmmsg",
    "sendmsg", "sendto", "set_tid_address", "setsid", "shmat", "shmctl", "shmget", "signalfd",
    "signalfd4", "socket", "socketcall", "splice", "syslog", "tee", "time", "timer_getoverrun",
    "timerfd_create", "times", "umask", "userfaultfd", "vfork", "vmsplice", "wait4", "waitpid",
    "write", "writev",
})
# fmt: on
