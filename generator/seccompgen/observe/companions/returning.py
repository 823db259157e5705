"""Calls whose success may be another result than 0: a number, a descriptor, an address.

Source: "Return value" of each call in section 2 of the manual. A success of all others is 0.
"""

RETURN_NUMBERS = frozenset(
    (
        "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 sendfile "
        "sendfile64 splice tee vmsplice copy_file_range getrandom getdents getdents64 lseek "
        "_llseek open openat openat2 creat socket accept accept4 dup dup2 dup3 fcntl fcntl64 "
        "pidfd_open pidfd_getfd epoll_create epoll_create1 epoll_wait epoll_pwait epoll_pwait2 "
        "eventfd eventfd2 signalfd signalfd4 timerfd_create inotify_init inotify_init1 "
        "inotify_add_watch memfd_create memfd_secret userfaultfd perf_event_open bpf "
        "io_uring_setup io_uring_enter io_uring_register io_submit io_getevents io_pgetevents "
        "fanotify_init landlock_create_ruleset fsopen fspick fsmount open_tree name_to_handle_at "
        "open_by_handle_at mq_open mq_timedreceive clone clone3 fork vfork wait4 waitpid poll "
        "ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 recv recvfrom recvmsg "
        "recvmmsg recvmmsg_time64 send sendto sendmsg sendmmsg socketcall ipc mmap mmap2 mremap "
        "brk shmat shmget shmctl semget semctl msgget msgrcv msgctl getcwd readlink readlinkat "
        "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr getpid getppid gettid "
        "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getpgid getpgrp "
        "getsid setsid umask personality prctl arch_prctl ptrace keyctl add_key request_key "
        "futex futex_time64 futex_waitv sched_getscheduler sched_getaffinity getgroups "
        "getgroups32 sched_get_priority_min sched_get_priority_max getpriority alarm ioctl "
        "membarrier set_tid_address process_vm_readv process_vm_writev process_madvise "
        "pkey_alloc syslog seccomp times time timer_getoverrun restart_syscall"
    ).split()
)
