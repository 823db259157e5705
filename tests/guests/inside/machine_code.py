"""Make system calls by machine code, so that whoever makes them needs nothing but memory.

A process that runs only this can share the memory of the one that asks for it, which a Python
could not: to start it takes a hundredth of a fork, to make a call a hundredth of Python's time, and
whatever becomes of it the interpreter does not notice.
"""

import ctypes
import mmap
import os

MADE, COUNT, END, TID = range(4)
"""Words of 64 bits before the calls: those made so far, those to make, the address that a zero is
written to at the end, and one that is free."""
HEADER = 4

CALL_WORDS = 8
"""A call is that many words of 64 bits: number, six arguments, the way to make it, which the
result replaces; a failure is its negated errno. ABIs of 32 bits use the lower half of each, but
INT80 passes all of each argument: the kernel shows that to filters."""
WAY = RESULT = 7
NATIVE, INT80 = 0, 1

# To be called with the address of the words. Registers that a function must keep hold that address
# and the next call's.
_CODE = {
    "x86_64": (
        "53"  # push rbx
        "55"  # push rbp
        "4154"  # push r12
        "4155"  # push r13
        "4989fd"  # mov r13, rdi
        "4c8d6720"  # lea r12, [rdi+32]
        "498b4500"  # next: mov rax, [r13]
        "493b4508"  # cmp rax, [r13+8]
        "7460"  # je end
        "498b0424"  # mov rax, [r12]
        "49837c243800"  # cmp qword ptr [r12+56], 0
        "7522"  # jne other
        "498b7c2408"  # mov rdi, [r12+8]
        "498b742410"  # mov rsi, [r12+16]
        "498b542418"  # mov rdx, [r12+24]
        "4d8b542420"  # mov r10, [r12+32]
        "4d8b442428"  # mov r8, [r12+40]
        "4d8b4c2430"  # mov r9, [r12+48]
        "0f05"  # syscall
        "eb23"  # jmp done
        "498b5c2408"  # other: mov rbx, [r12+8]
        "498b4c2410"  # mov rcx, [r12+16]
        "498b542418"  # mov rdx, [r12+24]
        "498b742420"  # mov rsi, [r12+32]
        "498b7c2428"  # mov rdi, [r12+40]
        "498b6c2430"  # mov rbp, [r12+48]
        "cd80"  # int 0x80
        "4863c0"  # movsxd rax, eax
        "4989442438"  # done: mov [r12+56], rax
        "49ff4500"  # inc qword ptr [r13]
        "4983c440"  # add r12, 64
        "eb96"  # jmp next
        "498b4510"  # end: mov rax, [r13+16]
        "48c70000000000"  # mov qword ptr [rax], 0
        "415d"  # pop r13
        "415c"  # pop r12
        "5d"  # pop rbp
        "5b"  # pop rbx
        "c3"  # ret
    ),
    "i386": (
        "53"  # push ebx
        "56"  # push esi
        "57"  # push edi
        "55"  # push ebp
        "8b442414"  # mov eax, [esp+20]
        "8d5020"  # lea edx, [eax+32]
        "52"  # push edx
        "8b442418"  # next: mov eax, [esp+24]
        "8b08"  # mov ecx, [eax]
        "3b4808"  # cmp ecx, [eax+8]
        "742b"  # je end
        "8b0424"  # mov eax, [esp]
        "8b5808"  # mov ebx, [eax+8]
        "8b4810"  # mov ecx, [eax+16]
        "8b5018"  # mov edx, [eax+24]
        "8b7020"  # mov esi, [eax+32]
        "8b7828"  # mov edi, [eax+40]
        "8b6830"  # mov ebp, [eax+48]
        "8b00"  # mov eax, [eax]
        "cd80"  # int 0x80
        "8b1424"  # mov edx, [esp]
        "894238"  # mov [edx+56], eax
        "83042440"  # add dword ptr [esp], 64
        "8b542418"  # mov edx, [esp+24]
        "ff02"  # inc dword ptr [edx]
        "ebca"  # jmp next
        "8b4010"  # end: mov eax, [eax+16]
        "c70000000000"  # mov dword ptr [eax], 0
        "5a"  # pop edx
        "5d"  # pop ebp
        "5f"  # pop edi
        "5e"  # pop esi
        "5b"  # pop ebx
        "c3"  # ret
    ),
    "aarch64": (
        "f353bfa9"  # stp x19, x20, [sp, #-16]!
        "f30300aa"  # mov x19, x0
        "14800091"  # add x20, x0, #32
        "692a40a9"  # next: ldp x9, x10, [x19]
        "3f010aeb"  # cmp x9, x10
        "80010054"  # b.eq end
        "880240f9"  # ldr x8, [x20]
        "808640a9"  # ldp x0, x1, [x20, #8]
        "828e41a9"  # ldp x2, x3, [x20, #24]
        "849642a9"  # ldp x4, x5, [x20, #40]
        "010000d4"  # svc #0
        "801e00f9"  # str x0, [x20, #56]
        "690240f9"  # ldr x9, [x19]
        "29050091"  # add x9, x9, #1
        "690200f9"  # str x9, [x19]
        "94020191"  # add x20, x20, #64
        "f3ffff17"  # b next
        "690a40f9"  # end: ldr x9, [x19, #16]
        "3f0100f9"  # str xzr, [x9]
        "f353c1a8"  # ldp x19, x20, [sp], #16
        "c0035fd6"  # ret
    ),
    "arm": (
        "f0472de9"  # push {r4-r10, lr}
        "0080a0e1"  # mov r8, r0
        "209080e2"  # add r9, r0, #32
        "001098e5"  # next: ldr r1, [r8]
        "082098e5"  # ldr r2, [r8, #8]
        "020051e1"  # cmp r1, r2
        "0d00000a"  # beq end
        "007099e5"  # ldr r7, [r9]
        "080099e5"  # ldr r0, [r9, #8]
        "101099e5"  # ldr r1, [r9, #16]
        "182099e5"  # ldr r2, [r9, #24]
        "203099e5"  # ldr r3, [r9, #32]
        "284099e5"  # ldr r4, [r9, #40]
        "305099e5"  # ldr r5, [r9, #48]
        "000000ef"  # svc #0
        "380089e5"  # str r0, [r9, #56]
        "001098e5"  # ldr r1, [r8]
        "011081e2"  # add r1, r1, #1
        "001088e5"  # str r1, [r8]
        "409089e2"  # add r9, r9, #64
        "edffffea"  # b next
        "101098e5"  # end: ldr r1, [r8, #16]
        "0000a0e3"  # mov r0, #0
        "000081e5"  # str r0, [r1]
        "f087bde8"  # pop {r4-r10, pc}
    ),
    "riscv64": (
        "130101ff"  # addi sp, sp, -16
        "23308100"  # sd s0, 0(sp)
        "23349100"  # sd s1, 8(sp)
        "13040500"  # mv s0, a0
        "93040502"  # addi s1, a0, 32
        "83320400"  # next: ld t0, 0(s0)
        "03338400"  # ld t1, 8(s0)
        "638e6202"  # beq t0, t1, end
        "83b80400"  # ld a7, 0(s1)
        "03b58400"  # ld a0, 8(s1)
        "83b50401"  # ld a1, 16(s1)
        "03b68401"  # ld a2, 24(s1)
        "83b60402"  # ld a3, 32(s1)
        "03b78402"  # ld a4, 40(s1)
        "83b70403"  # ld a5, 48(s1)
        "73000000"  # ecall
        "23bca402"  # sd a0, 56(s1)
        "83320400"  # ld t0, 0(s0)
        "93821200"  # addi t0, t0, 1
        "23305400"  # sd t0, 0(s0)
        "93840404"  # addi s1, s1, 64
        "6ff01ffc"  # j next
        "83320401"  # end: ld t0, 16(s0)
        "23b00200"  # sd zero, 0(t0)
        "03340100"  # ld s0, 0(sp)
        "83348100"  # ld s1, 8(sp)
        "13010101"  # addi sp, sp, 16
        "67800000"  # ret
    ),
    "ppc64le": (
        "f0ffc1fb"  # std 30, -16(1)
        "f8ffe1fb"  # std 31, -8(1)
        "781b7f7c"  # mr 31, 3
        "2000c33b"  # addi 30, 3, 32
        "00009fe8"  # next: ld 4, 0(31)
        "0800bfe8"  # ld 5, 8(31)
        "0028247c"  # cmpd 4, 5
        "44008241"  # beq end
        "00001ee8"  # ld 0, 0(30)
        "08007ee8"  # ld 3, 8(30)
        "10009ee8"  # ld 4, 16(30)
        "1800bee8"  # ld 5, 24(30)
        "2000dee8"  # ld 6, 32(30)
        "2800fee8"  # ld 7, 40(30)
        "30001ee9"  # ld 8, 48(30)
        "02000044"  # sc
        "08008340"  # bns good
        "d000637c"  # neg 3, 3
        "38007ef8"  # good: std 3, 56(30)
        "00009fe8"  # ld 4, 0(31)
        "01008438"  # addi 4, 4, 1
        "00009ff8"  # std 4, 0(31)
        "4000de3b"  # addi 30, 30, 64
        "b4ffff4b"  # b next
        "10009fe8"  # end: ld 4, 16(31)
        "0000a038"  # li 5, 0
        "0000a4f8"  # std 5, 0(4)
        "f0ffc1eb"  # ld 30, -16(1)
        "f8ffe1eb"  # ld 31, -8(1)
        "2000804e"  # blr
    ),
    "s390x": (
        "eb6df0300024"  # stmg %r6, %r13, 48(%r15)
        "b90400c2"  # lgr %r12, %r2
        "41b02020"  # la %r11, 32(%r2)
        "e330c0000004"  # next: lg %r3, 0(%r12)
        "e330c0080020"  # cg %r3, 8(%r12)
        "a7840018"  # je end
        "e310b0000004"  # lg %r1, 0(%r11)
        "eb27b0080004"  # lmg %r2, %r7, 8(%r11)
        "0a00"  # svc 0
        "e320b0380024"  # stg %r2, 56(%r11)
        "e330c0000004"  # lg %r3, 0(%r12)
        "a73b0001"  # aghi %r3, 1
        "e330c0000024"  # stg %r3, 0(%r12)
        "41b0b040"  # la %r11, 64(%r11)
        "a7f4ffe4"  # j next
        "e330c0100004"  # end: lg %r3, 16(%r12)
        "a7490000"  # lghi %r4, 0
        "e34030000024"  # stg %r4, 0(%r3)
        "eb6df0300004"  # lmg %r6, %r13, 48(%r15)
        "07fe"  # br %r14
    ),
    "mips64el": (
        "c0ffbd67"  # daddiu $sp, $sp, -64
        "3000b0ff"  # sd $16, 48($sp)
        "3800b1ff"  # sd $17, 56($sp)
        "25808000"  # move $16, $4
        "20009164"  # daddiu $17, $4, 32
        "000003de"  # next: ld $3, 0($16)
        "08000cde"  # ld $12, 8($16)
        "12006c10"  # beq $3, $12, end
        "00000000"  # nop
        "000022de"  # ld $2, 0($17)
        "080024de"  # ld $4, 8($17)
        "100025de"  # ld $5, 16($17)
        "180026de"  # ld $6, 24($17)
        "200027de"  # ld $7, 32($17)
        "280028de"  # ld $8, 40($17)
        "300029de"  # ld $9, 48($17)
        "0c000000"  # syscall
        "0200e010"  # beqz $7, good
        "00000000"  # nop
        "2f100200"  # dnegu $2, $2
        "380022fe"  # good: sd $2, 56($17)
        "000003de"  # ld $3, 0($16)
        "01006364"  # daddiu $3, $3, 1
        "000003fe"  # sd $3, 0($16)
        "ecff0010"  # b next
        "40003166"  # daddiu $17, $17, 64
        "100003de"  # end: ld $3, 16($16)
        "000060fc"  # sd $0, 0($3)
        "3000b0df"  # ld $16, 48($sp)
        "3800b1df"  # ld $17, 56($sp)
        "0800e003"  # jr $31
        "4000bd67"  # daddiu $sp, $sp, 64
    ),
    "loongarch64": (
        "63c0ff02"  # addi.d $sp, $sp, -16
        "7700c029"  # st.d $s0, $sp, 0
        "7820c029"  # st.d $s1, $sp, 8
        "97001500"  # move $s0, $a0
        "9880c002"  # addi.d $s1, $a0, 32
        "ec02c028"  # next: ld.d $t0, $s0, 0
        "ed22c028"  # ld.d $t1, $s0, 8
        "8d3d0058"  # beq $t0, $t1, end
        "0b03c028"  # ld.d $a7, $s1, 0
        "0423c028"  # ld.d $a0, $s1, 8
        "0543c028"  # ld.d $a1, $s1, 16
        "0663c028"  # ld.d $a2, $s1, 24
        "0783c028"  # ld.d $a3, $s1, 32
        "08a3c028"  # ld.d $a4, $s1, 40
        "09c3c028"  # ld.d $a5, $s1, 48
        "00002b00"  # syscall 0
        "04e3c029"  # st.d $a0, $s1, 56
        "ec02c028"  # ld.d $t0, $s0, 0
        "8c05c002"  # addi.d $t0, $t0, 1
        "ec02c029"  # st.d $t0, $s0, 0
        "1803c102"  # addi.d $s1, $s1, 64
        "ffc3ff53"  # b next
        "ec42c028"  # end: ld.d $t0, $s0, 16
        "8001c029"  # st.d $zero, $t0, 0
        "7700c028"  # ld.d $s0, $sp, 0
        "7820c028"  # ld.d $s1, $sp, 8
        "6340c002"  # addi.d $sp, $sp, 16
        "2000004c"  # ret
    ),
}


def load(abi: str) -> int:
    """Return the address of the code for an ABI; it stays for good."""
    code = bytes.fromhex("".join(_CODE[abi]))
    # From a file, so that the kernel sees to it that what is fetched is what was written.
    file = os.memfd_create("code")
    os.write(file, code)
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    _kept.append(mmap.mmap(file, len(code), prot=protection))
    os.close(file)
    return ctypes.addressof(ctypes.c_char.from_buffer(_kept[-1]))


_kept: "list[mmap.mmap]" = []
