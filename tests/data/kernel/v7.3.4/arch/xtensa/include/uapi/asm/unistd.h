/* Macros that look a little like calls, and are none. */
#include <asm/unistd_32.h>
#define __ARCH_WANT_SYS_OLDUMOUNT
#define SYS_XTENSA_ATOMIC_SET 1 /* set variable */
