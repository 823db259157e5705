/* Time system calls under a filter.
 *
 *   timing FILTER PASSES NR,ARG,... ...
 *
 * FILTER is a file of struct sock_filter, or "-" for none. A child takes the filter and makes the
 * calls one after the other, PASSES times over; printed are nanoseconds for one call, and then
 * what each call returned in a pass before.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CALLS = 256, MOST_INSTRUCTIONS = 4096 };

struct call {
	long nr, args[6];
};

/* What the child leaves for its parent: the filter may allow no call that could tell it. */
struct report {
	int done;
	double nanoseconds;
	long results[MOST_CALLS];
};

static struct call calls[MOST_CALLS];
static int count;

/* Not through libc, whose wrapper costs as much as a short filter. */
static inline long make(const struct call *call)
{
	register long r10 __asm__("r10") = call->args[3];
	register long r8 __asm__("r8") = call->args[4];
	register long r9 __asm__("r9") = call->args[5];
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(call->nr), "D"(call->args[0]), "S"(call->args[1]),
			   "d"(call->args[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void confine(const char *file)
{
	static struct sock_filter filter[MOST_INSTRUCTIONS];
	struct sock_fprog program = { .filter = filter };
	int descriptor = open(file, O_RDONLY);
	ssize_t size = read(descriptor, filter, sizeof filter);

	if (size <= 0)
		fail(file);
	close(descriptor);
	program.len = size / sizeof *filter;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("prctl");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		fail("seccomp");
}

static void measure(struct report *report, long passes)
{
	double start;

	for (int i = 0; i < count; i++)
		report->results[i] = make(&calls[i]);
	start = now();
	for (long pass = 0; pass < passes; pass++)
		for (int i = 0; i < count; i++)
			make(&calls[i]);
	report->nanoseconds = (now() - start) / passes / count;
	report->done = 1;
}

int main(int argc, char **argv)
{
	struct report *report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	if (argc < 4 || argc - 3 > MOST_CALLS || report == MAP_FAILED) {
		fprintf(stderr, "usage: timing FILTER PASSES NR,ARG,... ...\n");
		return 2;
	}
	for (count = 0; count < argc - 3; count++) {
		char *rest = argv[count + 3];

		calls[count].nr = strtol(rest, &rest, 0);
		for (int i = 0; i < 6 && *rest == ','; i++)
			calls[count].args[i] = strtoul(rest + 1, &rest, 0);
	}
	now(); /* libc finds the vDSO before the filter is in force */
	if (fork() == 0) {
		if (strcmp(argv[1], "-"))
			confine(argv[1]);
		measure(report, strtol(argv[2], NULL, 0));
		_exit(0);
	}
	wait(&status);
	if (!report->done) {
		fprintf(stderr, "the child did not get through: wait status %#x\n", status);
		return 1;
	}
	printf("%.3f", report->nanoseconds);
	for (int i = 0; i < count; i++)
		printf(" %ld", report->results[i]);
	printf("\n");
	return 0;
}
