/* A program that uses a ring for its open files and for one database, and tries to do more.
 *
 * Each line that it writes is what it tried, and the result: negative for an errno. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

/* A PostgreSQL client's first message: 41 bytes, version 3.0, user and database postgres. */
static const char STARTUP[] = "\0\0\0\x29\0\3\0\0user\0postgres\0database\0postgres\0";

static struct io_uring ring;


/* Say what came of the only entry of the ring, and return it. */
static int result_of(const char *what)
{
    struct io_uring_cqe *cqe;
    int result;

    if (io_uring_submit(&ring) < 0 || io_uring_wait_cqe(&ring, &cqe) < 0)
        exit(3);
    result = cqe->res;
    io_uring_cqe_seen(&ring, cqe);
    printf("%s %d\n", what, result < 0 ? result : 0);
    return result;
}

#define TRY(what, prepare, ...) \
    (prepare(io_uring_get_sqe(&ring), __VA_ARGS__), result_of(what))

static void called(const char *what, long result)
{
    printf("call %s %d\n", what, result < 0 ? -errno : 0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in6 database = {AF_INET6, htons(5432), 0, IN6ADDR_LOOPBACK_INIT, 0};
    struct sockaddr_in6 other = {AF_INET6, htons(5433), 0, IN6ADDR_LOOPBACK_INIT, 0};
    struct sockaddr_in inet = {AF_INET, htons(5432), {htonl(INADDR_LOOPBACK)}, {0}};
    struct open_how how = {0};
    char bytes[512] = "";
    int file, sock, another, sock4;

    file = open(argc > 1 ? argv[1] : "", O_RDONLY);
    if (file < 0)
        return 2;
    if (client_install() != 0) {
        printf("install %d\n", -errno);
        return 1;
    }
    if (io_uring_queue_init(8, &ring, 0) < 0)
        return 3;

    TRY("read", io_uring_prep_read, file, bytes, 7, 0);
    sock = TRY("socket", io_uring_prep_socket, AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
    TRY("connect", io_uring_prep_connect, sock, (struct sockaddr *)&database, sizeof(database));
    TRY("write", io_uring_prep_write, sock, STARTUP, sizeof(STARTUP), 0);
    TRY("answer", io_uring_prep_read, sock, bytes, sizeof(bytes), 0);
    printf("its answer %c\n", bytes[0]);

    another = TRY("another socket", io_uring_prep_socket, AF_INET6, SOCK_STREAM, 0, 0);
    sock4 = TRY("socket of IPv4", io_uring_prep_socket, AF_INET, SOCK_STREAM, 0, 0);
    TRY("another port", io_uring_prep_connect, another, (struct sockaddr *)&other, sizeof(other));
    TRY("another address", io_uring_prep_connect, sock4, (struct sockaddr *)&inet, sizeof(inet));
    TRY("datagrams", io_uring_prep_socket, AF_INET6, SOCK_DGRAM, 0, 0);
    TRY("unix", io_uring_prep_socket, AF_UNIX, SOCK_STREAM, 0, 0);
    TRY("send", io_uring_prep_send, sock, STARTUP, 1, MSG_FASTOPEN);
    TRY("openat", io_uring_prep_openat, AT_FDCWD, argv[1], O_RDONLY, 0);
    TRY("openat2", io_uring_prep_openat2, AT_FDCWD, argv[1], &how);
    TRY("unlinkat", io_uring_prep_unlinkat, AT_FDCWD, argv[1], 0);
    TRY("accept", io_uring_prep_accept, another, NULL, NULL, 0);

    called("open", open(argv[1], O_RDONLY));
    called("socket", socket(AF_INET6, SOCK_STREAM, 0));
    called("connect", connect(another, (struct sockaddr *)&other, sizeof(other)));
    called("sendto", sendto(another, "", 1, 0, (struct sockaddr *)&other, sizeof(other)));
    printf("call register %d\n", io_uring_register_personality(&ring));
    return 0;
}
