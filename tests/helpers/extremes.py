"""Policies at the ends of what an install function has to do, for the tests of all languages."""

BARE = """
arches: [x86_64, riscv32]
default_action: allow
bad_arch_action: errno(ENOSYS)
no_new_privs: false
syscalls:
- {action: errno(EROFS), names: [mkdirat]}
"""
"""No action that the kernel is asked for, no no_new_privs, no flags."""

LISTENING = """
arches: [x86_64, riscv32]
default_action: allow
flags: [new_listener, wait_killable_recv]
syscalls:
- {action: user_notif, names: [mkdirat]}
"""
"""The policies whose install function returns a listener."""
