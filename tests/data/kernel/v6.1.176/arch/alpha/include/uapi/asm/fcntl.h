#define O_CREAT 01000
#define O_NONBLOCK 00004
#define O_DIRECTORY 0100000
#define O_CLOEXEC 010000000
#define __O_TMPFILE 0100000000
#include <asm-generic/fcntl.h>
