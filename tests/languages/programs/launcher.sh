# needs: gcc
# needs: make
cat > main.c <<'END'
#include <errno.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rlimit limit;

    if (argc != 2 || argv[1][0] != '-' || dup(9) != -1)
        return 1;
    if (getrlimit(RLIMIT_CORE, &limit) || limit.rlim_max)
        return 2;
    if (mkdir("there", 0700) == 0 || errno != EROFS)
        return 3;
    puts("confined");
    fflush(stdout);
    personality(0x123456789UL);
    return 4;
}
END
gcc main.c -o main && make -s -C filters/demo CFLAGS="-Werror -pedantic" && exec filters/demo/demo -- ./main - 9<main.c
