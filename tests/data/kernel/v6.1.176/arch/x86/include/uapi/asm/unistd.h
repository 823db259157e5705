/* Three ABIs look into this header. */
#ifndef MINI_X86_UNISTD_H
#define MINI_X86_UNISTD_H
#define __X32_SYSCALL_BIT 0x40000000
#ifndef __KERNEL__
#  ifdef __i386__
#    include <asm/unistd_32.h>
#  elif defined(__ILP32__) // x32: narrow pointers on x86_64
#    include <asm/unistd_x32.h>
#  else
#    include <asm/unistd_64.h>
#  endif
#endif
#endif
