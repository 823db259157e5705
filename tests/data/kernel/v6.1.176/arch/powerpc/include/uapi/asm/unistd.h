/* Two widths, one table. */
#ifndef __powerpc64__
#include <asm/unistd_32.h>
#else
#include <asm/unistd_64.h>
#endif
