#define RLIMIT_NOFILE 5
#define RLIMIT_NPROC 8
#ifndef __mips64
#define RLIM_INFINITY 0x7fffffffUL
#endif
#include <asm-generic/resource.h>
