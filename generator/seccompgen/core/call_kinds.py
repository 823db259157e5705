"""The kind of each system call: the part of the kernel that it is about.

A page of hundreds of calls is read by kind. Unlike a group, a kind is for reading alone: no policy
can name it, and a better one may move a call. Each call has one kind, by what people use it for.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class Kind(Enum):
    """A kind of calls: its title. They are in the order in which they are shown."""

    FILES = "Files and directories"
    DESCRIPTORS = "Open descriptors"
    NETWORK = "Network"
    PROCESSES = "Processes and threads"
    MEMORY = "Memory"
    SIGNALS = "Signals"
    TIME = "Clocks and timers"
    IPC = "Pipes, queues, shared memory"
    IDENTITY = "Users, groups, limits"
    SYSTEM = "Facts about the machine"
    SANDBOX = "Confinement and keys"
    WATCHING = "Watching other processes"
    ADMINISTRATION = "Administration of the kernel"
    MULTIPLEXED = "Many calls behind one number"
    OBSOLETE = "Gone or never there"
    OTHER = "Not yet sorted"
    UNNAMED = "Numbers without a name"


_PLACEHOLDER = re.compile("(available|reserved|unused)[0-9]+")
CALLS = {
    Kind.FILES: """
        access cachestat chdir chmod chown chown32 copy_file_range creat faccessat faccessat2
        fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fgetxattr file_getattr
        file_setattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
        fstatfs64 ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat
        inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lchown32 lgetxattr link
        linkat listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat
        mknod mknodat name_to_handle_at newfstatat oldfstat oldlstat oldstat open open_by_handle_at
        openat openat2 osf_chflags osf_fchflags osf_fpathconf osf_fstat osf_fstatfs osf_fstatfs64
        osf_getdirentries osf_getfh osf_getfsstat osf_lstat osf_old_creat osf_old_fstat
        osf_old_lstat osf_old_open osf_old_stat osf_pathconf osf_proplist_syscall osf_revoke
        osf_stat osf_statfs osf_statfs64 osf_utimes readdir readlink readlinkat removexattr
        removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 statfs
        statfs64 statx symlink symlinkat truncate truncate64 umask unlink unlinkat ustat utime
        utimensat utimensat_time64 utimes
    """,
    Kind.DESCRIPTORS: """
        _llseek _newselect arm_fadvise64_64 arm_sync_file_range close close_range dup dup2 dup3
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 fadvise64 fadvise64_64 fcntl fcntl64 fdatasync fsync
        getdtablesize io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
        io_submit io_uring_enter io_uring_register io_uring_setup ioctl llseek lseek osf_fdatasync
        osf_select poll ppoll ppoll_time64 pread64 preadv preadv2 pselect6 pselect6_time64 pwrite64
        pwritev pwritev2 read readahead readv select sendfile sendfile64 splice sync sync_file_range
        sync_file_range2 syncfs tee vmsplice write writev
    """,
    Kind.NETWORK: """
        accept accept4 bind connect getpeername getsockname getsockopt listen osf_naccept
        osf_ngetpeername osf_ngetsockname osf_nrecvfrom osf_nrecvmsg osf_nsendmsg recv recvfrom
        recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket
        socketpair
    """,
    Kind.PROCESSES: """
        arc_gettls arc_settls arc_usr_cmpxchg arch_prctl atomic_barrier atomic_cmpxchg_32 clone
        clone3 exec_with_loader execv execve execveat exit exit_group fork futex futex_requeue
        futex_time64 futex_wait futex_waitv futex_wake get_robust_list get_thread_area get_tls
        getpgid getpgrp getpid getppid getpriority getrusage getsid gettid getxpid ioprio_get
        ioprio_set membarrier nice or1k_atomic osf_alt_setsid osf_execve osf_getrusage osf_msleep
        osf_mwakeup osf_old_getpgrp osf_old_wait osf_pid_block osf_pid_unblock osf_priocntlset
        osf_set_program_attributes osf_uswitch osf_wait4 osf_waitid personality pidfd_open prctl
        rseq rseq_slice_yield sched_get_affinity sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_rr_get_interval_time64 sched_set_affinity sched_setaffinity sched_setattr
        sched_setparam sched_setscheduler sched_yield set_robust_list set_thread_area
        set_tid_address set_tls setns setpgid setpgrp setpriority setsid spu_create spu_run
        swapcontext unshare vfork wait4 waitid waitpid
    """,
    Kind.MEMORY: """
        brk cachectl cacheflush get_mempolicy madvise map_shadow_stack mbind memfd_secret
        memory_ordering migrate_pages mincore mlock mlock2 mlockall mmap mmap2 move_pages mprotect
        mremap mseal msync munlock munlockall munmap osf_alt_plock osf_memcntl osf_mincore
        osf_mremap osf_mvalid osf_old_vadvise osf_plock osf_sbrk osf_sstk pkey_alloc pkey_free
        pkey_mprotect process_madvise remap_file_pages riscv_flush_icache set_mempolicy
        set_mempolicy_home_node subpage_prot userfaultfd
    """,
    Kind.SIGNALS: """
        kill osf_alt_sigpending osf_old_killpg osf_old_sigaction osf_old_sigblock osf_old_sigreturn
        osf_old_sigsetmask osf_old_sigvec osf_signal osf_sigprocmask osf_sigsendset osf_sigstack
        osf_sigwaitprim pause pidfd_send_signal process_mrelease restart_syscall rt_sigaction
        rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sgetmask sigaction sigaltstack signal signalfd
        signalfd4 sigpending sigprocmask sigreturn sigsuspend ssetmask tgkill tkill
    """,
    Kind.TIME: """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
        clock_gettime64 clock_nanosleep clock_nanosleep_time64 clock_settime clock_settime64
        getitimer gettimeofday nanosleep old_adjtimex osf_adjtime osf_getitimer osf_gettimeofday
        osf_ntp_adjtime osf_ntp_gettime osf_setitimer osf_settimeofday osf_usleep_thread
        osf_utc_adjtime osf_utc_gettime setitimer settimeofday stime time timer_create timer_delete
        timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd
        timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
    """,
    Kind.IPC: """
        memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
        mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd osf_shmat pipe pipe2
        semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
    """,
    Kind.IDENTITY: """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
        getresgid getresgid32 getresuid getresuid32 getrlimit getuid getuid32 getxgid getxuid
        osf_getlogin osf_setlogin prlimit64 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
        setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32
        setreuid setreuid32 setrlimit setuid setuid32 ugetrlimit ulimit
    """,
    Kind.SYSTEM: """
        getcpu getdomainname gethostname getpagesize getrandom kern_features listmount listns
        oldolduname olduname osf_getaddressconf osf_getdomainname osf_gethostid osf_getsysinfo
        osf_subsys_info osf_sysinfo osf_table osf_utsname riscv_hwprobe s390_sthyi statmount sysfs
        sysinfo uname usr26 usr32 xtensa
    """,
    Kind.SANDBOX: """
        add_key keyctl landlock_add_rule landlock_create_ruleset landlock_restrict_self
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr request_key seccomp
    """,
    Kind.WATCHING: """
        kcmp lookup_dcookie osf_old_vtrace osf_profil perf_event_open perfctr pidfd_getfd
        process_vm_readv process_vm_writev profil ptrace s390_runtime_instr sys_debug_setcontext
        uprobe uretprobe
    """,
    Kind.ADMINISTRATION: """
        _sysctl acct bpf chroot delete_module fanotify_init fanotify_mark fchroot finit_module
        fsconfig fsmount fsopen fspick init_module ioperm iopl kexec_file_load kexec_load modify_ldt
        mount mount_setattr move_mount nfsservctl oldumount open_tree open_tree_attr osf_audcntl
        osf_audgen osf_exportfs osf_fuser osf_getmnt osf_kloadcall osf_kmodcall osf_mount osf_nfssvc
        osf_oldquota osf_reboot osf_security osf_set_speculative osf_sethostid osf_setsysinfo
        osf_swapctl osf_swapon osf_uadmin pciconfig_iobase pciconfig_read pciconfig_write pivot_root
        quotactl quotactl_fd reboot rtas s390_guarded_storage s390_pci_mmio_read s390_pci_mmio_write
        setdomainname sethae sethostname swapoff swapon switch_endian syslog sysmips umount umount2
        uselib utrap_install vhangup vm86 vm86old
    """,
    Kind.MULTIPLEXED: "ipc multiplexer osf_syscall socketcall syscall",
    Kind.OBSOLETE: """
        afs_syscall bdflush break breakpoint create_module dipc ftime get_kernel_syms getpmsg gtty
        idle lock mpx osf_afs_syscall osf_asynch_daemon osf_msfs_syscall prof putpmsg query_module
        security spill stty tuxcall vserver
    """,
}
"""The names of the calls of each kind."""


@lru_cache(maxsize=1)
def _kinds() -> dict[str, Kind]:
    return {name: kind for kind, names in CALLS.items() for name in names.split()}


def kind_of_call(name: str) -> Kind:
    """Return the kind of the call ``name``; OTHER for one that came with a later kernel.

    A number that has no name, but rules in a policy, is UNNAMED.
    """
    if name.isdecimal():
        return Kind.UNNAMED
    if _PLACEHOLDER.fullmatch(name):
        return Kind.OBSOLETE
    return _kinds().get(name, Kind.OTHER)
