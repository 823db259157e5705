#ifndef MINI_KCOV_H
#define MINI_KCOV_H
#include <linux/types.h>
struct kcov_remote_arg {
	__u32 mode, area;
	__u32 count;
	__aligned_u64 common;
	__aligned_u64 handles[];
};
#define KCOV_INIT_TRACE _IOR('c', 1, unsigned long)
#define KCOV_ENABLE _IO('c', 100)
#define KCOV_REMOTE_ENABLE _IOW('c', 102, struct kcov_remote_arg)
#endif
