/*
 * A system call through the i386 entry of an x86_64 kernel, from 64-bit code.
 *
 * Build as a shared object with -mno-red-zone: the push below writes under the stack pointer.
 * Returns what the kernel left in eax: a result, or an errno as a negative number. All of an
 * argument's 64 bits are in its register, of which the call gets the lower half.
 */
int i386_call(int nr, long a, long b, long c, long d, long e, long f)
{
	int result;

	__asm__ volatile("pushq %%rbp\n\t"
			 "movq %[f], %%rbp\n\t"
			 "int $0x80\n\t"
			 "popq %%rbp"
			 : "=a"(result)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "r"(f)
			 : "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}
