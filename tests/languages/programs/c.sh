# needs: gcc
cat > main.c <<'END'
#include <errno.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include "demo.h"
#include "demo.h"

int main(void)
{
    if (demo_install() != 0)
        return 1;
    if (mkdir("there", 0700) == 0 || errno != EROFS)
        return 2;
    puts("confined");
    fflush(stdout);
    personality(0x123456789UL);
    return 3;
}
END
gcc -std=c99 -Wall -Wextra -Werror -pedantic -Ifilters main.c -o main && exec ./main
