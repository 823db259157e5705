; systemd before 233 refused mmap by its protection for MemoryDenyWriteExecute=. On i386 mmap has
; one argument, an address, and libraries call mmap2.
; link: https://github.com/systemd/systemd/pull/5254
; finds: no-such-argument
abi i386
  ld arch
  jeq AUDIT_ARCH_I386 else foreign
  ld nr
  jeq shmat -> refused
  jeq personality -> refused
  jeq ipc -> ipc
  jeq mprotect -> protect
  jeq pkey_mprotect -> protect
  jeq mmap else permitted
  ld args[2].lo
  and 6
  jeq 6 -> refused  ; here
permitted:
  ret allow
protect:
  ld args[2].lo
  jset 4 -> refused
  ret allow
ipc:
  ld args[0].lo
  and 0xffff
  jeq 21 -> refused
  ret allow
refused:
  ret errno(EPERM)
foreign:
  ret kill_process
