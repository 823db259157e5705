#ifndef MINI_KFD_H
#define MINI_KFD_H
#include <linux/ioctl.h>
#include <linux/types.h>
/* As long as it is, it ends in four bytes more wherever 64 bits are aligned to eight. */
struct kfd_ioctl_criu_args {
	__u64 devices, objects, data;
	__u64 size;
	__u32 count, more, pid, op;
	__u32 last;
};
#define AMDKFD_IOCTL_BASE 'K'
#define AMDKFD_IOWR(nr, type) _IOWR(AMDKFD_IOCTL_BASE, nr, type)
#define AMDKFD_IOC_CRIU_OP AMDKFD_IOWR(0x22, struct kfd_ioctl_criu_args)
#endif
