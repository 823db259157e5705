#ifndef MINI_GENERIC_POSIX_TYPES_H
#define MINI_GENERIC_POSIX_TYPES_H
#ifndef __kernel_long_t
typedef long __kernel_long_t;
typedef unsigned long __kernel_ulong_t;
#endif
typedef __kernel_long_t __kernel_old_time_t;
typedef unsigned short __kernel_sa_family_t;
#endif
