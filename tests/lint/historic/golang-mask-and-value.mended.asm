abi x86_64
  ld arch
  jeq AUDIT_ARCH_X86_64 else foreign
  ld nr
  jge 0x40000000 -> foreign
  jeq clone3 -> unknown
  jeq unshare -> refused
  jeq clone else others
  ld args[0].lo
  and 0x7e020000
  jeq 0 else refused
others:
  ret allow
refused:
  ret errno(EPERM)
unknown:
  ret errno(ENOSYS)
foreign:
  ret kill_process
