#define O_CREAT 0x0100
#define O_NONBLOCK 0x0080
#include <asm-generic/fcntl.h>
