/* Reads a file by libuv's loop, and tries to change something, unless there is another argument.
 *
 * Each line that it writes is what it tried, and the result: negative for an errno. */
#include <fcntl.h>
#include <stdio.h>
#include <uv.h>

static uv_loop_t loop;
static uv_fs_t request;
static int finished;

static void done(uv_fs_t *one)
{
    (void)one;
    finished = 1;
}

static int result_of(const char *what, int started)
{
    int result;

    for (finished = started < 0; !finished;)
        uv_run(&loop, UV_RUN_ONCE);
    result = started < 0 ? started : (int)request.result;
    uv_fs_req_cleanup(&request);
    printf("%s %d\n", what, result < 0 ? result : 0);
    return result;
}

#define TRY(what, call, ...) result_of(what, uv_fs_##call(&loop, &request, __VA_ARGS__, done))

int main(int argc, char **argv)
{
    char bytes[64];
    uv_buf_t buffer = uv_buf_init(bytes, sizeof(bytes));
    const char *path = argc > 1 ? argv[1] : "";
    int file;

    /* Since 1.49 libuv wants to be asked. */
    if (uv_loop_init(&loop) || uv_loop_configure(&loop, UV_LOOP_USE_IO_URING_SQPOLL))
        return 2;
    file = TRY("open", open, path, O_RDONLY, 0);
    TRY("read", read, file, &buffer, 1, 0);
    TRY("stat", stat, path);
    TRY("close", close, file);
    if (argc > 2)
        return 0;
    TRY("open to write", open, path, O_WRONLY, 0);
    TRY("create", open, "/tmp/created", O_WRONLY | O_CREAT, 0600);
    TRY("mkdir", mkdir, "/tmp/made", 0700);
    TRY("rename", rename, path, "/tmp/renamed");
    TRY("unlink", unlink, path);
    return 0;
}
