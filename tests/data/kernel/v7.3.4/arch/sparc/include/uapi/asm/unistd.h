/* The kernel itself knows time as 231 of sparc64, too; user space has no such name there. */
#ifndef MINI_SPARC_UNISTD_H
#define MINI_SPARC_UNISTD_H
#ifdef __arch64__
#include <asm/unistd_64.h>
#else
#include <asm/unistd_32.h>
#endif
#ifdef __KERNEL__
#define __NR_time 231
#endif
#endif
