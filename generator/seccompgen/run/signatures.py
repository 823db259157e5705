"""The arguments of system calls, for people: by the name of the call.

Facts from section 2 of the manual. A call that is not here is shown by its numbers. Kinds:

=========  =====================================================================================
fd         a descriptor; shown with what it refers to
dirfd      the same, or AT_FDCWD
path, str  the address of a string that ends with NUL
argv       the address of an array of such
addr       the address of a struct sockaddr, whose length is the next argument
data       the address of bytes, whose length is the next argument
int, pid   a signed number of 32 bits
size       a number that counts
mode       permissions of a file, in octal
sig        a signal
flags      a number whose bits, or whose value, have names
ptr        an address
=========  =====================================================================================
"""

from __future__ import annotations

_BY_KINDS = {
    "": "getpid gettid getppid getuid geteuid getgid getegid getpgrp setsid fork vfork pause sync "
    "vhangup munlockall sched_yield rt_sigreturn sigreturn inotify_init",
    "int": "exit exit_group epoll_create setuid setgid setfsuid setfsgid alarm nice",
    "fd": "close fchdir fsync fdatasync syncfs dup",
    "fd fd": "dup2",
    "fd fd flags": "dup3 close_range pidfd_getfd",
    "path": "chdir rmdir unlink chroot swapoff acct",
    "path mode size": "mknod",
    "path mode": "mkdir chmod creat",
    "path flags mode": "open",
    "path flags": "access swapon umount2",
    "path size": "truncate truncate64",
    "path ptr": "stat lstat stat64 lstat64 statfs utime utimes",
    "path size ptr": "statfs64",
    "path path": "rename link symlink pivot_root",
    "path ptr size": "readlink",
    "path int int": "chown lchown chown32 lchown32",
    "path argv ptr": "execve",
    "path path str flags str": "mount",
    "dirfd path argv ptr flags": "execveat",
    "dirfd path flags mode": "openat",
    "dirfd path ptr size": "openat2 readlinkat",
    "dirfd path mode": "mkdirat fchmodat",
    "dirfd path mode size": "mknodat",
    "dirfd path mode flags": "fchmodat2",
    "dirfd path flags": "unlinkat faccessat name_to_handle_at",
    "dirfd path flags flags": "faccessat2",
    "dirfd path dirfd path": "renameat",
    "dirfd path dirfd path flags": "renameat2 linkat move_mount",
    "path dirfd path": "symlinkat",
    "dirfd path int int flags": "fchownat",
    "dirfd path ptr flags": "newfstatat fstatat64 utimensat",
    "dirfd path flags flags ptr": "statx",
    "dirfd path ptr": "futimesat",
    "dirfd path flags ptr size": "open_tree_attr mount_setattr",
    "str flags": "memfd_create fsopen delete_module",
    "fd ptr": "fstat fstat64 fstatfs",
    "fd mode": "fchmod",
    "fd int int": "fchown fchown32",
    "fd size": "ftruncate ftruncate64",
    "fd ptr size": "read getdents getdents64 readv writev",
    "fd data size": "write",
    "fd data size size": "pwrite64",
    "fd ptr size size": "pread64",
    "fd ptr size size size": "preadv pwritev preadv2 pwritev2",
    "fd size flags": "lseek",
    "fd flags ptr": "ioctl fcntl fcntl64",
    "fd flags": "flock inotify_rm_watch setns",
    "fd fd ptr size": "sendfile sendfile64",
    "fd ptr fd ptr size flags": "splice copy_file_range",
    "fd flags size size": "fallocate",
    "fd path flags": "inotify_add_watch",
    "fd flags fd ptr": "epoll_ctl",
    "fd ptr int int": "epoll_wait",
    "fd ptr int int ptr size": "epoll_pwait",
    "ptr size int": "poll",
    "ptr size ptr ptr size": "ppoll",
    "int ptr ptr ptr ptr": "select _newselect",
    "int ptr ptr ptr ptr ptr": "pselect6",
    "ptr": "pipe uname times sysinfo time set_tid_address brk",
    "ptr flags": "pipe2",
    "flags": "umask epoll_create1 inotify_init1 personality unshare mlockall timerfd_create",
    "flags flags": "eventfd2 fanotify_init userfaultfd",
    "flags flags int": "socket",
    "flags flags int ptr": "socketpair",
    "fd addr size": "bind connect",
    "fd int": "listen shutdown",
    "fd ptr ptr": "accept getsockname getpeername",
    "fd ptr ptr flags": "accept4",
    "fd data size flags addr size": "sendto",
    "fd ptr size flags ptr ptr": "recvfrom",
    "fd ptr flags": "sendmsg recvmsg",
    "fd ptr size flags": "sendmmsg vmsplice signalfd4",
    "fd ptr size flags ptr": "recvmmsg",
    "fd flags flags ptr size": "setsockopt",
    "fd flags flags ptr ptr": "getsockopt",
    "flags ptr": "socketcall arch_prctl getrlimit setrlimit getrusage clock_gettime clock_getres "
    "clock_settime",
    "pid sig": "kill tkill",
    "pid pid sig": "tgkill",
    "pid sig ptr": "rt_sigqueueinfo",
    "fd sig ptr flags": "pidfd_send_signal",
    "pid flags": "pidfd_open",
    "fd fd size flags": "tee",
    "sig ptr ptr size": "rt_sigaction",
    "flags ptr ptr size": "rt_sigprocmask",
    "ptr size": "rt_sigsuspend rt_sigpending munmap mlock clone3 getcwd getgroups setgroups "
    "sethostname setdomainname set_robust_list",
    "ptr ptr": "nanosleep sigaltstack gettimeofday settimeofday",
    "flags flags ptr ptr": "clock_nanosleep",
    "flags ptr ptr ptr ptr": "clone",
    "flags flags ptr": "seccomp bpf",
    "flags ptr ptr ptr": "prctl",
    "flags pid ptr ptr": "ptrace",
    "pid ptr flags ptr": "wait4",
    "flags pid ptr flags ptr": "waitid",
    "pid": "getpgid getsid sched_getscheduler",
    "pid pid": "setpgid",
    "pid flags ptr ptr": "prlimit64",
    "pid size ptr": "sched_setaffinity sched_getaffinity",
    "pid flags ptr": "sched_setscheduler",
    "pid ptr size ptr size flags": "process_vm_readv process_vm_writev",
    "int int": "setreuid setregid",
    "int int int": "setresuid setresgid",
    "ptr ptr ptr": "getresuid getresgid",
    "ptr size flags": "mprotect madvise msync getrandom mincore",
    "ptr size flags flags": "pkey_mprotect mlock2",
    "ptr size flags flags fd size": "mmap mmap2",
    "ptr size size flags ptr": "mremap",
    "ptr flags int ptr ptr int": "futex",
    "ptr size str": "init_module",
    "fd str flags": "finit_module",
    "path str ptr size flags": "setxattr lsetxattr",
    "path str ptr size": "getxattr lgetxattr",
    "path str": "removexattr lremovexattr",
    "fd str": "fremovexattr",
    "flags ptr flags ptr": "keyctl",
    "str str ptr size int": "add_key",
    "str str str int": "request_key",
    "ptr pid int fd flags": "perf_event_open",
    "size ptr": "io_uring_setup io_setup",
    "fd size size flags ptr size": "io_uring_enter",
    "fd flags ptr size": "io_uring_register",
    "fd flags ptr ptr": "timerfd_settime",
    "flags pid": "getpriority ioprio_get",
    "flags pid int": "setpriority",
    "flags pid flags": "ioprio_set",
    "flags flags flags str": "reboot",
    "fd flags ptr flags": "landlock_add_rule",
}

SIGNATURES: dict[str, tuple[str, ...]] = {
    name: tuple(kinds.split()) for kinds, names in _BY_KINDS.items() for name in names.split()
}
"""The kinds of a call's arguments, in order."""
