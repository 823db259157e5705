#ifndef MINI_INT_LL64_H
#define MINI_INT_LL64_H
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef __signed__ int __s32;
typedef unsigned int __u32;
#ifdef __GNUC__
__extension__ typedef unsigned long long __u64;
#endif
#endif
