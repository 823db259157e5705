; Firejail until October 2015: a list of what is refused, that looks at the architecture.
; x32 has the same one, and numbers with bit 30.
; link: https://github.com/netblue30/firejail/issues/87
; finds: foreign-abi
abi x86_64
  ld arch
  jeq AUDIT_ARCH_X86_64 else foreign
  ld nr
  jeq init_module -> refused
  jeq finit_module -> refused
  ret allow
refused:
  ret errno(EPERM)  ; here
foreign:
  ret kill_thread
