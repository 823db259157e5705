#define O_DIRECTORY 040000
#include <asm-generic/fcntl.h>
