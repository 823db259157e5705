#ifndef MINI_USBDEVICE_FS_H
#define MINI_USBDEVICE_FS_H
#include <linux/ioctl.h>
struct usbdevfs_bulktransfer {
	unsigned int ep, len;
	unsigned int timeout;
	void *data;
};
struct usbdevfs_ioctl {
	int ifno;
	int ioctl_code;
	void __user *data;
};
#define USBDEVFS_BULK _IOWR('U', 2, struct usbdevfs_bulktransfer)
#define USBDEVFS_BULK32 _IOWR('U', 2, struct usbdevfs_bulktransfer32)
#define USBDEVFS_IOCTL _IOWR('U', 18, struct usbdevfs_ioctl)
#endif
