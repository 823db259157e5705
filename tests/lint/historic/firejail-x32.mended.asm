abi x86_64
  ld arch
  jeq AUDIT_ARCH_X86_64 else foreign
  ld nr
  jge 0x40000000 -> foreign
  jeq init_module -> refused
  jeq finit_module -> refused
  ret allow
refused:
  ret errno(EPERM)
foreign:
  ret kill_thread
