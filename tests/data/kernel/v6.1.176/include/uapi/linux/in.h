#ifndef MINI_IN_H
#define MINI_IN_H
#include <linux/types.h>
/* Names twice: as numbers of an enum, and as macros that stand for themselves. */
enum {
	IPPROTO_IP = 0,
#define IPPROTO_IP IPPROTO_IP
	IPPROTO_ICMP = 1,
#define IPPROTO_ICMP IPPROTO_ICMP
	IPPROTO_TCP = 6,
#define IPPROTO_TCP IPPROTO_TCP
	IPPROTO_RAW = 255,
	IPPROTO_SMC,
};
#define IP_TOS 1
#define INADDR_BROADCAST ((unsigned long int) 0xffffffff)
#define INADDR_LOOPBACK 0x7f000001
#endif
