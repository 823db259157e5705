#ifndef MINI_EVENTPOLL_H
#define MINI_EVENTPOLL_H
#include <linux/fcntl.h>
#include <linux/types.h>
#define EPOLL_CLOEXEC O_CLOEXEC
#define EPOLL_CTL_ADD 1
#define EPOLLET ((__poll_t)(1U << 31))
#define EPOLL_PACKED __attribute__((packed))
#endif
