caps.drop all
seccomp.keep @basic-io,@file-system,mmap,munmap,brk,exit_group,$231,rt_sigreturn,!unlink,socket
protocol unix
