/* Whoever asks for 31-bit gets the 64-bit table: the ABI is gone. */
#include <asm/unistd_64.h>
