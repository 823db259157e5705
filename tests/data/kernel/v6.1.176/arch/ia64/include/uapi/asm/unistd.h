/* A base, and an alias before what it stands for. */
#include <asm/break.h>
#define __BREAK_SYSCALL __IA64_BREAK_SYSCALL
#define __NR_Linux 1024
#define __NR_umount __NR_umount2
#include <asm/unistd_64.h>
