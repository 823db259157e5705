/* The guard lets the header be read again by whoever defines __SYSCALL. */
#if !defined(MINI_ARC_UNISTD_H) || defined(__SYSCALL)
#define MINI_ARC_UNISTD_H
#define __ARCH_WANT_RENAMEAT
#define __ARCH_WANT_STAT64
#define __ARCH_WANT_SET_GET_RLIMIT
#define __ARCH_WANT_SYS_CLONE3
#define __ARCH_WANT_TIME32_SYSCALLS
#include <asm-generic/unistd.h>
#define NR_syscalls __NR_syscalls
#define __NR_sysfs (__NR_arch_specific_syscall + 3)
#define __NR_cacheflush (__NR_arch_specific_syscall + 0)
#define __NR_arc_settls (__NR_arch_specific_syscall + 1)
#define __NR_arc_usr_cmpxchg (__NR_arch_specific_syscall + 4)
#undef __SYSCALL
#endif
