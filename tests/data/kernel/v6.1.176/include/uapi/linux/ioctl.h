#ifndef MINI_IOCTL_H
#define MINI_IOCTL_H
#include <asm/ioctl.h>
#endif
