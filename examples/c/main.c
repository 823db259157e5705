/* Start a command confined: untrusted_install() in the child of vfork(), which allocates nothing. */

#define _DEFAULT_SOURCE
#include "untrusted.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words)
{
    int status;
    pid_t child;

    if (count < 2)
        return 2;
    child = vfork();
    if (child == 0) {
        if (untrusted_install() == 0)
            execvp(words[1], words + 1);
        _exit(125); /* neither confined nor executed */
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror(words[1]);
        return 1;
    }
    printf("host: exit code %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 0;
}
