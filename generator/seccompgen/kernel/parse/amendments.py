"""Facts about entry points that tables and declarations lack: aliases, names, bits that are read.

They are upstream's, each with its source in the kernel tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_IMPLEMENTED = frozenset({"sys_ni_syscall", "sys_nis_syscall", "sys32_unimplemented", "-"})
"""Entry points that answer ENOSYS, which show nothing about the call's arguments."""

ALIASES: Mapping[str, str] = {
    # Assembler wrappers that save registers and call the entry point (arch/*/kernel/entry*.S).
    "__sys_clone": "sys_clone",
    "__sys_clone3": "sys_clone3",
    "__sys_fork": "sys_fork",
    "__sys_sysmips": "sys_sysmips",
    "__sys_vfork": "sys_vfork",
    "alpha_clone": "sys_clone",
    "alpha_clone3": "sys_clone3",
    "alpha_fork": "sys_fork",
    "alpha_vfork": "sys_vfork",
    "sparc_clone": "sys_clone",
    "sparc_clone3": "sys_clone3",
    "sparc_exit": "sys_exit",
    "sparc_exit_group": "sys_exit_group",
    "sparc_fork": "sys_fork",
    "sparc_vfork": "sys_vfork",
    "sys32_execve": "compat_sys_execve",
    "sys32_execveat": "compat_sys_execveat",
    "sys64_execve": "sys_execve",
    "sys64_execveat": "sys_execveat",
    "sys_clone_wrapper": "sys_clone",
    "sys_clone3_wrapper": "sys_clone3",
    "sys_fork_wrapper": "sys_fork",
    "sys_vfork_wrapper": "sys_vfork",
    "sys_rt_sigreturn_wrapper": "sys_rt_sigreturn",
    "sys_sigreturn_wrapper": "sys_sigreturn",
    # arch/arm/kernel/entry-common.S corrects the size that old C libraries pass.
    "sys_fstatfs64_wrapper": "sys_fstatfs64",
    "sys_statfs64_wrapper": "sys_statfs64",
    # arch/parisc/kernel/sys_parisc.c translates flags.
    "parisc_compat_signalfd4": "compat_sys_signalfd4",
    "parisc_eventfd2": "sys_eventfd2",
    "parisc_inotify_init1": "sys_inotify_init1",
    "parisc_madvise": "sys_madvise",
    "parisc_pipe2": "sys_pipe2",
    "parisc_signalfd4": "sys_signalfd4",
    "parisc_timerfd_create": "sys_timerfd_create",
    "parisc_userfaultfd": "sys_userfaultfd",
}
"""Entry points with the parameters of another one."""

CLONE_NAMES: Mapping[str, str] = {
    "": "flags newsp parent_tid child_tid tls",
    "CLONE_BACKWARDS": "flags newsp parent_tid tls child_tid",
    "CLONE_BACKWARDS2": "newsp flags parent_tid child_tid tls",
    "CLONE_BACKWARDS3": "flags newsp stack_size parent_tid child_tid tls",
}
"""The orders of clone's arguments, by the Kconfig symbol of the architecture (kernel/fork.c)."""

CLONE_WRAPPERS: Mapping[str, str] = {
    # sparc_clone() takes arguments out of registers (arch/sparc/kernel/process.c).
    "sparc": "CLONE_BACKWARDS",
}
"""The orders of architectures with their own clone, regardless of their Kconfig symbols."""

NAMES: Mapping[str, str] = {
    # From SYSCALL_DEFINE in the given file, because the declaration contains only types.
    "sys_io_submit": "ctx_id nr iocbpp",  # fs/aio.c
    "sys_pselect6": "n inp outp exp tsp sig",  # fs/select.c
    "sys_pselect6_time32": "n inp outp exp tsp sig",
    "sys_ppoll": "ufds nfds tsp sigmask sigsetsize",
    "sys_ppoll_time32": "ufds nfds tsp sigmask sigsetsize",
    "sys_rt_sigaction": "sig act oact sigsetsize",  # kernel/signal.c
    "sys_sigaction": "sig act oact",
    "sys_socket": "family type protocol",  # net/socket.c
    "sys_socketpair": "family type protocol usockvec",
    "sys_bind": "fd umyaddr addrlen",
    "sys_listen": "fd backlog",
    "sys_accept": "fd upeer_sockaddr upeer_addrlen",
    "sys_accept4": "fd upeer_sockaddr upeer_addrlen flags",
    "sys_connect": "fd uservaddr addrlen",
    "sys_getsockname": "fd usockaddr usockaddr_len",
    "sys_getpeername": "fd usockaddr usockaddr_len",
    "sys_sendto": "fd buff len flags addr addr_len",
    "sys_recvfrom": "fd ubuf size flags addr addr_len",
    "sys_send": "fd buff len flags",
    "sys_recv": "fd ubuf size flags",
    "sys_shutdown": "fd how",
    "sys_old_readdir": "fd dirent count",  # fs/readdir.c
    "sys_uname": "name",  # kernel/sys.c
    "sys_olduname": "name",
    "compat_sys_truncate": "path length",  # fs/open.c
    "compat_sys_ftruncate": "fd length",
    "compat_sys_lseek": "fd offset whence",  # fs/read_write.c
    "compat_sys_ipc": "call first second third ptr fifth",  # ipc/syscall.c
}
"""The parameter names of entry points whose declarations have none."""

_NARROWER = (
    # kernel/fork.c: args.flags = (lower_32_bits(clone_flags) & ~CSIGNAL); CSIGNAL's bits as well.
    (32, "flags", "sys_clone"),
    # kernel/exit.c: do_exit((error_code & 0xff) << 8).
    (8, "error_code", "sys_exit sys_exit_group"),
    # kernel/sys.c: xchg(&current->fs->umask, mask & S_IRWXUGO), so nine bits.
    (16, "mask", "sys_umask"),
    # fs/read_write.c: fdget() takes an unsigned int; arch/mips/kernel/linux32.c,
    # arch/alpha/kernel/osf_sys.c: so do ksys_pread64(), ksys_ftruncate() and fd_statfs().
    (32, "fd", "sys_readv sys_writev sys_preadv sys_pwritev sys_preadv2 sys_pwritev2"),
    (32, "fd", "compat_sys_preadv64 compat_sys_pwritev64"),
    (32, "fd", "compat_sys_preadv64v2 compat_sys_pwritev64v2"),
    (32, "fd", "sys_32_pread sys_32_ftruncate64 sys_osf_fstatfs sys_osf_fstatfs64"),
    # lib/iov_iter.c: import_iovec() takes the count as an unsigned int.
    (32, "vlen", "sys_readv sys_writev sys_preadv sys_pwritev sys_preadv2 sys_pwritev2"),
    (32, "vlen", "compat_sys_preadv64 compat_sys_pwritev64"),
    (32, "vlen", "compat_sys_preadv64v2 compat_sys_pwritev64v2 sys_process_madvise"),
    (32, "nr_segs", "sys_vmsplice"),
    (32, "liovcnt", "sys_process_vm_readv sys_process_vm_writev"),
    # mm/mmap.c: ksys_mmap_pgoff() calls fget(fd), which takes an unsigned int.
    (32, "fd", "sys_mmap sys_mmap2 sys_mmap_pgoff sys_mips_mmap sys_mips_mmap2 sys_osf_mmap"),
    (32, "fd", "sys32_mmap2 compat_sys_mmap2 compat_sys_aarch32_mmap2"),
    # mm/mempolicy.c: kernel_mbind() copies the mode to an int.
    (32, "mode", "sys_mbind"),
    # kernel/ptrace.c: find_get_task_by_vpid() takes a pid_t.
    (32, "pid", "sys_ptrace"),
    # ipc/mqueue.c: do_mq_open() takes a umode_t.
    (16, "mode", "compat_sys_mq_open"),
    # include/linux/syscalls.h: ksys_personality() takes an unsigned int.
    (32, "personality", "sys_ppc64_personality compat_sys_ppc64_personality"),
    (32, "personality", "sys_32_personality parisc_personality sys_sparc64_personality"),
)
NARROWER: Mapping[tuple[str, str], int] = {
    (entry, name): bits for bits, name, entries in _NARROWER for entry in entries.split()
}
"""The number of bits that the kernel reads if the type has more, by entry point and parameter."""

PRIVATE_CALLS: Mapping[str, Mapping[str, str]] = {
    "arm": {
        name: f"arm_{name}"
        for name in ("breakpoint", "cacheflush", "get_tls", "set_tls", "usr26", "usr32")
    }
}
"""Calls that no table has, each with a name for its entry point, by architecture."""
