"""Whole programs of a few instructions, for another ABI than that of the process.

Standard library only, Python 3.9 or newer.
"""

import struct

_MACHINES = {"x86_64": 62, "i386": 3, "aarch64": 183, "arm": 40, "mipsel": 8}
_FLAGS = {"arm": 0x05000000, "mipsel": 0x70001000}
"""``e_flags``: EABI 5; o32 on a MIPS32 of release 2."""

PROGRAMS = {
    # mov edi, 2; mov esi, 1; xor edx, edx; mov eax, 41; syscall; mov edi, eax; neg edi;
    # test eax, eax; js +5; mov edi, 77; mov eax, 60; syscall
    "i386": (
        "x86_64",
        "bf02000000 be01000000 31d2 b829000000 0f05 89c7 f7df 85c0 7805 bf4d000000 b83c000000 0f05",
    ),
    # mov ebx, 2; mov ecx, 1; xor edx, edx; mov eax, 359; int 0x80; mov ebx, eax; neg ebx;
    # test eax, eax; js +5; mov ebx, 77; mov eax, 1; int 0x80
    "x86_64": (
        "i386",
        "bb02000000 b901000000 31d2 b867010000 cd80 89c3 f7db 85c0 7805 bb4d000000 b801000000 cd80",
    ),
    # mov r0, 2; mov r1, 1; mov r2, 0; ldr r7, nr; svc 0; cmp r0, 0; rsblt r0, r0, 0;
    # movge r0, 77; mov r7, 1; svc 0; nr: .word 281
    "aarch64": (
        "arm",
        "0200a0e3 0110a0e3 0020a0e3 14709fe5 000000ef 000050e3 000060b2 4d00a0a3 0170a0e3 000000ef"
        " 19010000",
    ),
    # mov w0, 2; mov w1, 1; mov w2, 0; mov w8, 198; svc 0; neg w1, w0; mov w2, 77; cmp x0, 0;
    # csel w0, w1, w2, lt; mov w8, 93; svc 0
    "arm": (
        "aarch64",
        "40008052 21008052 02008052 c8188052 010000d4 e103004b a2098052 1f0000f1 20b0821a a80b8052"
        " 010000d4",
    ),
    # li $4, 2; li $5, 2; li $6, 0; li $2, 4183; syscall; move $4, $2; bnez $7, +2; nop; li $4, 77;
    # li $2, 4001; syscall
    "mips64el": (
        "mipsel",
        "02000424 02000524 00000624 57100224 0c000000 25204000 0200e014 00000000 4d000424 a10f0224"
        " 0c000000",
    ),
}
"""By ABI, another one and its code: it makes a TCP socket, and exits with ESCAPED, or the errno."""


def elf(abi: str, code: bytes) -> bytes:
    """Return an executable file that holds ``code``; see elf(5)."""
    wide = abi in {"x86_64", "aarch64"}
    base, header = 0x400000, 64 + 56 if wide else 52 + 32
    size = header + len(code)
    identification = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    start, flags = base + header, _FLAGS.get(abi, 0)
    machine = _MACHINES[abi]
    if wide:
        head = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, start, 64, 0, flags, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    else:
        head = struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, start, 52, 0, flags, 52, 32, 1, 0, 0, 0)
        segment = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x10000)
    return identification + head + segment + code
