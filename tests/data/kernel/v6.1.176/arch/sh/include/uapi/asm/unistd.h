/* All in the table. */
#include <asm/unistd_32.h>
