; libseccomp's Go binding until December 2021 documented mask and value in the wrong order. Under
; a mask of 0 no clone is permitted.
; link: https://github.com/seccomp/libseccomp-golang/issues/49
; finds: mask-never-matches process-twin
abi x86_64
  ld arch
  jeq AUDIT_ARCH_X86_64 else foreign
  ld nr
  jge 0x40000000 -> foreign
  jeq clone3 -> unknown
  jeq unshare -> refused
  jeq clone else others
  ld args[0].lo
  and 0
  jeq 0x7e020000 else refused  ; here
others:
  ret allow
refused:
  ret errno(EPERM)
unknown:
  ret errno(ENOSYS)
foreign:
  ret kill_process
