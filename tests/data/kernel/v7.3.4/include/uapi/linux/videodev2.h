#ifndef MINI_VIDEODEV2_H
#define MINI_VIDEODEV2_H
#include <linux/ioctl.h>
#include <linux/types.h>
enum v4l2_priority { V4L2_PRIORITY_UNSET = 0, V4L2_PRIORITY_BACKGROUND = 1, };
struct v4l2_rect { __s32 left; __s32 top; __u32 width; __u32 height; };
struct v4l2_clip {
	struct v4l2_rect c;
	struct v4l2_clip __user *next; /* points to another of itself */
};
struct v4l2_standard_part { __u8 name[24]; union { __u16 a[2]; struct { __u32 b : 5, c : 27; }; }; } __attribute__ ((packed));
#define VIDIOC_G_PRIORITY _IOR('V', 67, __u32)
#endif
