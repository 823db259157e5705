/* 64-bit programs; those of 32 bits look at arm. */
#include <asm/unistd_64.h>
