"""Declarations of entry points that no header of the kernel declares.

Facts are upstream's, each with its source in the kernel tree. They are written in C, with
upstream's types and macros, and parsed like headers. They apply to all tags that have the entry
point. If a 64-bit value is passed in two arguments, these have the names that the kernel's macros
give them: ``pos_lo`` and ``pos_hi``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DECLARATIONS: Mapping[str, str] = {
    "": """
        /* fs/notify/fanotify/fanotify_user.c, which headers declare it twice, with other names */
        long sys_fanotify_mark(int fanotify_fd, unsigned int flags, u64 mask, int dfd,
                const char __user *pathname);
        long compat_sys_fanotify_mark(int fanotify_fd, unsigned int flags, SC_ARG64(mask), int dfd,
                const char __user *pathname);
        /* ipc/sem.c, ipc/msg.c, ipc/shm.c */
        long compat_sys_old_semctl(int semid, int semnum, int cmd, int arg);
        long compat_sys_old_msgctl(int msqid, int cmd, void __user *buf);
        long compat_sys_old_shmctl(int shmid, int cmd, void __user *buf);
        /* arch/x86/kernel/signal_64.c and others, all without an argument */
        long compat_sys_x32_rt_sigreturn(void);
        long compat_sys_rt_sigreturn(void);
        long compat_sys_sigreturn(void);
        long sys32_rt_sigreturn(void);
        long sys32_sigreturn(void);
        long sysn32_rt_sigreturn(void);
        long sys_rt_sigreturn(void);
        long sys_sigreturn(void);
    """,
    "alpha": """
        /* arch/alpha/kernel/osf_sys.c */
        long sys_osf_brk(unsigned long brk);
        long sys_osf_fstat(int fd, struct osf_stat __user *buf);
        long sys_osf_fstatfs(unsigned long fd, struct osf_statfs __user *buffer,
                unsigned long bufsiz);
        long sys_osf_fstatfs64(unsigned long fd, struct osf_statfs64 __user *buffer,
                unsigned long bufsiz);
        long sys_osf_getdirentries(unsigned int fd, struct osf_dirent __user *dirent,
                unsigned int count, long __user *basep);
        long sys_osf_getdomainname(char __user *name, int namelen);
        long sys_osf_getpriority(int which, int who);
        long sys_osf_getrusage(int who, struct rusage32 __user *ru);
        long sys_osf_getsysinfo(unsigned long op, void __user *buffer, unsigned long nbytes,
                int __user *start, void __user *arg);
        long sys_osf_gettimeofday(struct timeval32 __user *tv, struct timezone __user *tz);
        long sys_osf_lstat(char __user *name, struct osf_stat __user *buf);
        long sys_osf_mmap(unsigned long addr, unsigned long len, unsigned long prot,
                unsigned long flags, unsigned long fd, unsigned long off);
        long sys_osf_mount(unsigned long typenr, const char __user *path, int flag,
                void __user *data);
        long sys_osf_proplist_syscall(enum pl_code code, union pl_args __user *args);
        long sys_osf_select(int n, fd_set __user *inp, fd_set __user *outp, fd_set __user *exp,
                struct timeval32 __user *tvp);
        long sys_osf_set_program_attributes(unsigned long text_start, unsigned long text_len,
                unsigned long bss_start, unsigned long bss_len);
        long sys_osf_setsysinfo(unsigned long op, void __user *buffer, unsigned long nbytes,
                int __user *start, void __user *arg);
        long sys_osf_settimeofday(struct timeval32 __user *tv, struct timezone __user *tz);
        long sys_osf_sigstack(struct sigstack __user *uss, struct sigstack __user *uoss);
        long sys_osf_stat(char __user *name, struct osf_stat __user *buf);
        long sys_osf_statfs(const char __user *pathname, struct osf_statfs __user *buffer,
                unsigned long bufsiz);
        long sys_osf_statfs64(char __user *pathname, struct osf_statfs64 __user *buffer,
                unsigned long bufsiz);
        long sys_osf_sysinfo(int command, char __user *buf, long count);
        long sys_osf_usleep_thread(struct timeval32 __user *sleep,
                struct timeval32 __user *remain);
        long sys_osf_utimes(const char __user *filename, struct timeval32 __user *tvs);
        long sys_osf_utsname(char __user *name);
        long sys_osf_wait4(pid_t pid, int __user *ustatus, int options,
                struct rusage32 __user *ur);
        long sys_old_adjtimex(struct timex32 __user *txc_p);
        long sys_sethae(unsigned long val);
        long sys_alpha_pipe(void);
        long sys_getpagesize(void);
        /* arch/alpha/kernel/signal.c */
        long sys_osf_sigprocmask(int how, unsigned long newmask);
        long sys_osf_sigaction(int sig, const struct osf_sigaction __user *act,
                struct osf_sigaction __user *oact);
        long sys_rt_sigaction(int sig, const struct sigaction __user *act,
                struct sigaction __user *oact, size_t sigsetsize, void __user *restorer);
        /* arch/alpha/kernel/systbls.S, entry.S */
        long sys_getdtablesize(void);
        long sys_getxgid(void);
        long sys_getxpid(void);
        long sys_getxuid(void);
    """,
    "arc": """
        /* arch/arc/mm/cache.c */
        long sys_cacheflush(uint32_t start, uint32_t sz, uint32_t flags);
        /* arch/arc/kernel/process.c */
        long sys_arc_settls(void *user_tls_data_ptr);
        long sys_arc_usr_cmpxchg(int __user *uaddr, int expected, int new);
    """,
    "arm": """
        /* arch/arm/kernel/sys_oabi-compat.c, entry-common.S: halves in any registers */
        long sys_oabi_pread64(unsigned int fd, char __user *buf, size_t count,
                compat_arg_u64(pos));
        long sys_oabi_pwrite64(unsigned int fd, const char __user *buf, size_t count,
                compat_arg_u64(pos));
        long sys_oabi_truncate64(const char __user *path, compat_arg_u64(length));
        long sys_oabi_ftruncate64(unsigned int fd, compat_arg_u64(length));
        long sys_oabi_readahead(int fd, compat_arg_u64(offset), size_t count);
        /* arch/arm64/kernel/sys32.c */
        long compat_sys_aarch32_statfs64(const char __user *path, compat_size_t sz,
                struct compat_statfs64 __user *buf);
        long compat_sys_aarch32_fstatfs64(unsigned int fd, compat_size_t sz,
                struct compat_statfs64 __user *buf);
        long compat_sys_aarch32_mmap2(unsigned long addr, unsigned long len, unsigned long prot,
                unsigned long flags, unsigned long fd, unsigned long pgoff);
        long compat_sys_aarch32_pread64(unsigned int fd, char __user *buf, size_t count,
                u32 __pad, arg_u32p(pos));
        long compat_sys_aarch32_pwrite64(unsigned int fd, const char __user *buf, size_t count,
                u32 __pad, arg_u32p(pos));
        long compat_sys_aarch32_truncate64(const char __user *path, u32 __pad, arg_u32p(length));
        long compat_sys_aarch32_ftruncate64(unsigned int fd, u32 __pad, arg_u32p(length));
        long compat_sys_aarch32_readahead(int fd, u32 __pad, arg_u32p(offset), size_t count);
        long compat_sys_aarch32_fadvise64_64(int fd, int advice, arg_u32p(offset),
                arg_u32p(len));
        long compat_sys_aarch32_sync_file_range2(int fd, unsigned int flags, arg_u32p(offset),
                arg_u32p(nbytes));
        long compat_sys_aarch32_fallocate(int fd, int mode, arg_u32p(offset), arg_u32p(len));
        /* arch/arm/kernel/traps.c: arm_syscall(), arch/arm64/kernel/sys_compat.c */
        long arm_breakpoint(void);
        long arm_cacheflush(unsigned long start, unsigned long end, unsigned long flags);
        long arm_usr26(void);
        long arm_usr32(void);
        long arm_set_tls(unsigned long value);
        long arm_get_tls(void);
    """,
    "csky": """
        /* arch/csky/mm/syscache.c */
        long sys_cacheflush(void __user *addr, unsigned long bytes, int cache);
        /* arch/csky/kernel/syscall_table.c puts csky_fadvise64_64 in its place */
        long sys_fadvise64_64(int fd, int advice, loff_t offset, loff_t len);
        long sys_sync_file_range(int fd, unsigned int flags, loff_t offset, loff_t nbytes);
    """,
    "hexagon": """
        /* arch/hexagon/kernel/syscalltab.c puts hexagon_fadvise64_64 in its place */
        long sys_fadvise64_64(int fd, int advice, SC_ARG64(offset), SC_ARG64(len));
        long sys_sync_file_range(int fd, unsigned int flags, loff_t offset, loff_t nbytes);
    """,
    "m68k": """
        /* arch/m68k/kernel/sys_m68k.c, declared since v6.7 */
        long sys_cacheflush(unsigned long addr, int scope, int cache, unsigned long len);
        long sys_atomic_cmpxchg_32(unsigned long newval, int oldval, int d3, int d4, int d5,
                unsigned long __user *mem);
        long sys_getpagesize(void);
        long sys_get_thread_area(void);
        long sys_set_thread_area(unsigned long tp);
        long sys_atomic_barrier(void);
    """,
    "mips": """
        /* arch/mips/kernel/linux32.c */
        long sys_32_truncate64(const char __user *path, unsigned long __dummy, unsigned long a2,
                unsigned long a3);
        long sys_32_ftruncate64(unsigned long fd, unsigned long __dummy, unsigned long a2,
                unsigned long a3);
        long sys_32_llseek(unsigned int fd, unsigned int offset_high, unsigned int offset_low,
                loff_t __user *result, unsigned int whence);
        long sys_32_pread(unsigned long fd, char __user *buf, size_t count,
                unsigned long unused, unsigned long a4, unsigned long a5);
        long sys_32_pwrite(unsigned int fd, const char __user *buf, size_t count, u32 unused,
                unsigned long a4, unsigned long a5);
        long sys_32_personality(unsigned long personality);
        long sys32_readahead(int fd, u32 pad0, unsigned long a2, unsigned long a3,
                size_t count);
        long sys32_fallocate(int fd, int mode, unsigned offset_a2, unsigned offset_a3,
                unsigned len_a4, unsigned len_a5);
        long sys32_fadvise64_64(int fd, int __pad, unsigned long a2, unsigned long a3,
                unsigned long a4, unsigned long a5, int flags);
        long sys32_sync_file_range(int fd, int __pad, unsigned long a2, unsigned long a3,
                unsigned long a4, unsigned long a5, int flags);
        /* arch/mips/kernel/signal32.c, signal.c, signal_o32.c */
        long sys_32_sigaction(long sig, const struct compat_sigaction __user *act,
                struct compat_sigaction __user *oact);
        long sys_sigsuspend(sigset_t __user *uset);
        long sys32_sigsuspend(compat_sigset_t __user *uset);
        /* arch/mips/kernel/syscall.c */
        long sysm_pipe(void);
        long sys_mips_mmap(unsigned long addr, unsigned long len, unsigned long prot,
                unsigned long flags, unsigned long fd, off_t off);
        long sys_mips_mmap2(unsigned long addr, unsigned long len, unsigned long prot,
                unsigned long flags, unsigned long fd, unsigned long pgoff);
        long sys_set_thread_area(unsigned long addr);
        long sys_sysmips(long cmd, long arg1, long arg2);
        long sys_cachectl(char *addr, int nbytes, int op);
        /* arch/mips/mm/cache.c */
        long sys_cacheflush(unsigned long addr, unsigned long bytes, unsigned int cache);
    """,
    "parisc": """
        /* arch/parisc/kernel/cache.c */
        long sys_cacheflush(unsigned long addr, unsigned long bytes, unsigned int cache);
        /* arch/parisc/kernel/sys_parisc.c: the high half comes first */
        long parisc_pread64(unsigned int fd, char __user *buf, size_t count,
                unsigned int pos_hi, unsigned int pos_lo);
        long parisc_pwrite64(unsigned int fd, const char __user *buf, size_t count,
                unsigned int pos_hi, unsigned int pos_lo);
        long parisc_truncate64(const char __user *path, unsigned int length_hi,
                unsigned int length_lo);
        long parisc_ftruncate64(unsigned int fd, unsigned int length_hi,
                unsigned int length_lo);
        long parisc_readahead(int fd, unsigned int offset_hi, unsigned int offset_lo,
                size_t count);
        long parisc_fadvise64_64(int fd, unsigned int offset_hi, unsigned int offset_lo,
                unsigned int len_hi, unsigned int len_lo, int advice);
        long parisc_sync_file_range(int fd, u32 offset_hi, u32 offset_lo, u32 nbytes_hi,
                u32 nbytes_lo, unsigned int flags);
        long parisc_fallocate(int fd, int mode, u32 offset_hi, u32 offset_lo, u32 len_hi,
                u32 len_lo);
        long parisc_personality(unsigned long personality);
    """,
    "powerpc": """
        /* arch/powerpc/kernel/syscalls.c */
        long sys_mmap(unsigned long addr, size_t len, unsigned long prot, unsigned long flags,
                unsigned long fd, off_t off);
        /* arch/powerpc/kernel/sys_ppc32.c, which headers declare for one configuration */
        long sys_ppc_fallocate(int fd, int mode, u32 offset1, u32 offset2, u32 len1, u32 len2);
        /* arch/powerpc/mm/book3s64/subpage_prot.c */
        long sys_subpage_prot(unsigned long addr, unsigned long len, u32 __user *map);
    """,
    "riscv": """
        /* arch/riscv/kernel/sys_riscv.c, sys_hwprobe.c */
        long sys_riscv_flush_icache(uintptr_t start, uintptr_t end, uintptr_t flags);
        long sys_riscv_hwprobe(struct riscv_hwprobe __user *pairs, size_t pair_count,
                size_t cpusetsize, unsigned long __user *cpus, unsigned int flags);
    """,
    "s390": """
        /* arch/s390/kernel/syscall.c, runtime_instr.c, guarded_storage.c, sthyi.c */
        long sys_s390_ipc(unsigned int call, int first, unsigned long second,
                unsigned long third, void __user *ptr);
        long sys_s390_personality(unsigned int personality);
        long sys_s390_runtime_instr(int command, int signum);
        long sys_s390_guarded_storage(int command, struct gs_cb __user *gs_cb);
        long sys_s390_sthyi(unsigned long function_code, void __user *buffer,
                u64 __user *return_code, unsigned long flags);
        /* arch/s390/pci/pci_mmio.c */
        long sys_s390_pci_mmio_read(unsigned long mmio_addr, void __user *user_buffer,
                size_t length);
        long sys_s390_pci_mmio_write(unsigned long mmio_addr, const void __user *user_buffer,
                size_t length);
        /* arch/s390/kernel/compat_linux.c, until v6.18 */
        long compat_sys_s390_stat64(const char __user *filename,
                struct stat64_emu31 __user *statbuf);
        long compat_sys_s390_lstat64(const char __user *filename,
                struct stat64_emu31 __user *statbuf);
        long compat_sys_s390_fstat64(unsigned int fd, struct stat64_emu31 __user *statbuf);
        long compat_sys_s390_fstatat64(unsigned int dfd, const char __user *filename,
                struct stat64_emu31 __user *statbuf, int flag);
        long compat_sys_s390_truncate64(const char __user *path, u32 length_hi, u32 length_lo);
        long compat_sys_s390_ftruncate64(unsigned int fd, u32 length_hi, u32 length_lo);
        long compat_sys_s390_mmap2(struct mmap_arg_struct_emu31 __user *arg);
        long compat_sys_s390_fadvise64_64(struct fadvise64_64_args __user *args);
        long compat_sys_s390_chown16(const char __user *filename, u16 user, u16 group);
        long compat_sys_s390_lchown16(const char __user *filename, u16 user, u16 group);
        long compat_sys_s390_fchown16(unsigned int fd, u16 user, u16 group);
        long compat_sys_s390_setregid16(u16 rgid, u16 egid);
        long compat_sys_s390_setgid16(u16 gid);
        long compat_sys_s390_setreuid16(u16 ruid, u16 euid);
        long compat_sys_s390_setuid16(u16 uid);
        long compat_sys_s390_setresuid16(u16 ruid, u16 euid, u16 suid);
        long compat_sys_s390_setresgid16(u16 rgid, u16 egid, u16 sgid);
        long compat_sys_s390_setfsuid16(u16 uid);
        long compat_sys_s390_setfsgid16(u16 gid);
    """,
    "sh": """
        /* arch/sh/kernel/sys_sh.c, sys_sh32.c */
        long sys_sh_pipe(void);
        long sys_cacheflush(unsigned long addr, unsigned long len, int op);
        long sys_pread_wrapper(unsigned int fd, char __user *buf, size_t count, long dummy,
                loff_t pos);
        long sys_pwrite_wrapper(unsigned int fd, const char __user *buf, size_t count,
                long dummy, loff_t pos);
        long sys_fadvise64_64_wrapper(int fd, SC_ARG64(offset), SC_ARG64(len), int advice);
        long sys_sh_sync_file_range6(int fd, SC_ARG64(offset), SC_ARG64(nbytes),
                unsigned int flags);
    """,
    "sparc": """
        /* arch/sparc/kernel/sys_sparc_32.c, sys_sparc_64.c, sys_sparc32.c, sys32.S */
        long sys_sparc_pipe(void);
        long sys_getpagesize(void);
        long sys_getdomainname(char __user *name, int len);
        long sys_kern_features(void);
        long sys_memory_ordering(unsigned long model);
        long sys_utrap_install(utrap_entry_t type, utrap_handler_t new_p, utrap_handler_t new_d,
                utrap_handler_t __user *old_p, utrap_handler_t __user *old_d);
        long sys_sparc64_personality(unsigned long personality);
        long sys_sparc_adjtimex(struct __kernel_timex __user *txc_p);
        long sys_sparc_clock_adjtime(const clockid_t which_clock,
                struct __kernel_timex __user *tx);
        long sys_sparc_ipc(unsigned int call, int first, unsigned long second,
                unsigned long third, void __user *ptr, long fifth);
        long sys_64_munmap(unsigned long addr, size_t len);
        long sys_64_mremap(unsigned long addr, unsigned long old_len, unsigned long new_len,
                unsigned long flags, unsigned long new_addr);
        long sys_sparc_remap_file_pages(unsigned long start, unsigned long size,
                unsigned long prot, unsigned long pgoff, unsigned long flags);
        long sys_sparc_sigaction(int sig, struct old_sigaction __user *act,
                struct old_sigaction __user *oact);
        long compat_sys_sparc_sigaction(int sig, struct compat_old_sigaction __user *act,
                struct compat_old_sigaction __user *oact);
        long sys_rt_sigaction(int sig, const struct sigaction __user *act,
                struct sigaction __user *oact, void __user *restorer, size_t sigsetsize);
        long compat_sys_rt_sigaction(int sig, struct compat_sigaction __user *act,
                struct compat_sigaction __user *oact, void __user *restorer,
                compat_size_t sigsetsize);
        long compat_sys_stat64(const char __user *filename,
                struct compat_stat64 __user *statbuf);
        long compat_sys_lstat64(const char __user *filename,
                struct compat_stat64 __user *statbuf);
        long compat_sys_fstat64(unsigned int fd, struct compat_stat64 __user *statbuf);
        long compat_sys_fstatat64(unsigned int dfd, const char __user *filename,
                struct compat_stat64 __user *statbuf, int flag);
        long compat_sys_fadvise64(int fd, compat_arg_u64(offset), compat_size_t len,
                int advice);
        long sys32_mmap2(unsigned long addr, unsigned long len, unsigned long prot,
                unsigned long flags, unsigned long fd, unsigned long pgoff);
        /* arch/sparc/kernel/entry.S, syscalls.S: execve with an empty environment */
        long sunos_execv(const char __user *filename, const char __user *const __user *argv);
    """,
    "x86": """
        /* arch/x86/kernel/process_64.c, ioport.c, ldt.c, tls.c, vm86_32.c */
        long sys_arch_prctl(int option, unsigned long arg2);
        long compat_sys_arch_prctl(int option, unsigned long arg2);
        long sys_ioperm(unsigned long from, unsigned long num, int turn_on);
        long sys_iopl(unsigned int level);
        long sys_modify_ldt(int func, void __user *ptr, unsigned long bytecount);
        long sys_set_thread_area(struct user_desc __user *u_info);
        long sys_get_thread_area(struct user_desc __user *u_info);
        long sys_vm86old(struct vm86_struct __user *user_vm86);
        long sys_vm86(unsigned long cmd, unsigned long arg);
        /* arch/x86/kernel/sys_ia32.c */
        long sys_ia32_truncate64(const char __user *path, unsigned long length_lo,
                unsigned long length_hi);
        long sys_ia32_ftruncate64(unsigned int fd, unsigned long length_lo,
                unsigned long length_hi);
        long sys_ia32_pread64(unsigned int fd, char __user *buf, u32 count, u32 pos_lo,
                u32 pos_hi);
        long sys_ia32_pwrite64(unsigned int fd, const char __user *buf, u32 count, u32 pos_lo,
                u32 pos_hi);
        long sys_ia32_fadvise64_64(int fd, __u32 offset_lo, __u32 offset_hi, __u32 len_lo,
                __u32 len_hi, int advice);
        long sys_ia32_readahead(int fd, unsigned int offset_lo, unsigned int offset_hi,
                size_t count);
        long sys_ia32_sync_file_range(int fd, unsigned int offset_lo, unsigned int offset_hi,
                unsigned int nbytes_lo, unsigned int nbytes_hi, int flags);
        long sys_ia32_fadvise64(int fd, unsigned int offset_lo, unsigned int offset_hi,
                size_t len, int advice);
        long sys_ia32_fallocate(int fd, int mode, unsigned int offset_lo,
                unsigned int offset_hi, unsigned int len_lo, unsigned int len_hi);
    """,
    "xtensa": """
        /* arch/xtensa/kernel/syscall.c, signal.c */
        long xtensa_shmat(int shmid, char __user *shmaddr, int shmflg);
        long xtensa_fadvise64_64(int fd, int advice, unsigned long long offset,
                unsigned long long len);
        long xtensa_rt_sigreturn(void);
    """,
}
"""Declarations by architecture; those under the empty name apply if it has none of its own."""
