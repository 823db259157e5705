#ifndef MINI_GENERIC_TYPES_H
#define MINI_GENERIC_TYPES_H
#include <asm-generic/int-ll64.h>
#endif
