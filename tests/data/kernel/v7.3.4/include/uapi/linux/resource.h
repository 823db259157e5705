#ifndef MINI_RESOURCE_H
#define MINI_RESOURCE_H
#define PRIO_MIN (-20)
#include <asm/resource.h>
#endif
