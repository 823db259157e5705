#ifndef MINI_GENERIC_IOCTL_H
#define MINI_GENERIC_IOCTL_H
#ifndef _IOC_SIZEBITS
#define _IOC_SIZEBITS 14
#endif
#ifndef _IOC_NONE
#define _IOC_NONE 0U
#endif
#ifndef _IOC_WRITE
#define _IOC_WRITE 1U
#endif
#ifndef _IOC_READ
#define _IOC_READ 2U
#endif
#define _IOC(dir, type, nr, size) \
	(((dir) << (16 + _IOC_SIZEBITS)) | ((size) << 16) | ((type) << 8) | (nr))
#define _IO(type, nr) _IOC(_IOC_NONE, (type), (nr), 0)
#define _IOR(type, nr, what) _IOC(_IOC_READ, (type), (nr), (sizeof(what)))
#define _IOW(type, nr, what) _IOC(_IOC_WRITE, (type), (nr), (sizeof(what)))
#define _IOWR(type, nr, what) _IOC(_IOC_READ | _IOC_WRITE, (type), (nr), (sizeof(what)))
#endif
