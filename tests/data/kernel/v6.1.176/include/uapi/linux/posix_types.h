#ifndef MINI_LINUX_POSIX_TYPES_H
#define MINI_LINUX_POSIX_TYPES_H
#include <asm/posix_types.h>
#endif
