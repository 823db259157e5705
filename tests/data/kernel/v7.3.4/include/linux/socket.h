/* The kernel's own, whose names libraries repeat. */
#ifndef MINI_SOCKET_H
#define MINI_SOCKET_H
#include <linux/types.h>
struct sockaddr;
#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_LOCAL 1 /* by POSIX */
#define AF_INET 2
#define PF_INET AF_INET
#define MSG_DONTWAIT 0x40
#define MSG_CMSG_CLOEXEC 0x40000000
#if defined(CONFIG_COMPAT)
#define MSG_CMSG_COMPAT 0x80000000
#else
#define MSG_CMSG_COMPAT 0
#endif
#define SOL_TCP 6
#endif
