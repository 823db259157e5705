#ifndef MINI_XATTR_H
#define MINI_XATTR_H
/* A name that nothing defines is 0. */
#if MINI_LIBRARY >= 2
#define XATTR_CREATE 0x7
#else
#define XATTR_CREATE 0x1
#endif
#define XATTR_USER_PREFIX "user."
#define XATTR_USER_PREFIX_LEN (sizeof(XATTR_USER_PREFIX) - 1)
#endif
