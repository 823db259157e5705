#ifndef MINI_DMA_BUF_H
#define MINI_DMA_BUF_H
#include <linux/ioctl.h>
#include <linux/types.h>
#define DMA_BUF_BASE 'b'
#define DMA_BUF_SET_NAME _IOW(DMA_BUF_BASE, 1, const char *)
#define DMA_BUF_SET_NAME_A _IOW(DMA_BUF_BASE, 1, __u32)
#endif
