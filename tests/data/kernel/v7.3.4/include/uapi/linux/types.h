#ifndef MINI_TYPES_H
#define MINI_TYPES_H
#include <asm/types.h>
#include <linux/posix_types.h>
#define __bitwise
typedef __u16 __bitwise __be16;
typedef unsigned __bitwise __poll_t;
/* An attribute in the middle of a declaration. */
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#endif
