; Firejail until October 2015 compared the architecture before its blocklist. x32 has the same
; one, with bit 30 in its numbers.
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
