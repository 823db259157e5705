# starts: usr/bin/dash usr/bin/echo
cat >some.py <<'END'
import json, os, select, signal, socket, subprocess, sys, tempfile, threading, time

with tempfile.TemporaryDirectory() as name:
    os.makedirs(f"{name}/a/b")
    with open(f"{name}/a/file", "w") as file:
        json.dump(list(range(1000)), file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{name}/a/file", f"{name}/a/other")
    os.symlink("other", f"{name}/a/link")
    print(sorted(os.listdir(f"{name}/a")), len(json.load(open(f"{name}/a/link"))))
    print([sorted(directories) for _, directories, _ in os.walk(name)])
server = socket.create_server(("127.0.0.1", 0))
def serve():
    peer, _ = server.accept()
    peer.sendall(peer.recv(10).upper())
    peer.close()
threads = [threading.Thread(target=serve)]
threads[0].start()
client = socket.create_connection(server.getsockname())
client.sendall(b"some")
select.select([client], [], [], 5)
print(client.recv(10))
threads[0].join()
signal.signal(signal.SIGUSR1, lambda *_: print("signal"))
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 5)
print(subprocess.run(["echo", "child"], capture_output=True).stdout)
print(subprocess.run("echo shell", shell=True, cwd="/", start_new_session=True).returncode)
if not (child := os.fork()):
    time.sleep(0.1)
    os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with tempfile.TemporaryDirectory() as name, open(f"{name}/file", "w+b") as file:
    fd, made = file.fileno(), os.memfd_create("some")
    os.posix_fallocate(fd, 0, 1000)
    os.pwritev(fd, [b"some", b"more"], 0)
    print(os.preadv(fd, [bytearray(4), bytearray(4)], 0), os.copy_file_range(fd, fd, 4, 0, 500))
    print(os.sendfile(made, fd, 0, 8), os.statvfs(name).f_namemax, os.fstat(made).st_size)
    os.lockf(fd, os.F_LOCK, 0); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED); os.fdatasync(fd)
    os.truncate(f"{name}/file", 3); os.utime(fd, ns=(1, 1)); os.fchmod(fd, 0o600); os.fchown(fd, 0, 0)
    os.mkfifo(f"{name}/fifo"); os.link(f"{name}/file", f"{name}/hard"); os.sync()
    print(sorted(one.name for one in os.scandir(name)), os.access(name, os.R_OK))
    os.setxattr(name, "user.some", b"x"); print(os.listxattr(name), os.getxattr(name, "user.some"))
event, timer = os.eventfd(1), os.timerfd_create(time.CLOCK_MONOTONIC)
os.timerfd_settime(timer, initial=0.01)
with select.epoll() as poll:
    poll.register(event, select.EPOLLIN)
    poll.register(timer, select.EPOLLIN)
    print(os.eventfd_read(event), len(poll.poll(5)), len(os.read(timer, 8)))
one, two = socket.socketpair()
socket.send_fds(one, [b"fd"], [event])
print(socket.recv_fds(two, 10, 1)[0], two.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
udp.sendto(b"udp", udp.getsockname())
print(udp.recvfrom(10)[0], socket.gethostbyname("localhost"), [one for _, one in socket.if_nameindex()])
print(os.sched_getaffinity(0) != set(), os.sched_yield(), os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0) >= 0)
print(os.posix_spawn("/bin/echo", ["echo"], {}) > 0, os.wait()[1], os.getloadavg() != (), os.umask(18))
watched = os.pidfd_open(os.getpid())
signal.pidfd_send_signal(watched, 0)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
print(signal.sigtimedwait([signal.SIGUSR2], 5).si_signo == signal.SIGUSR2)
leader, follower = os.openpty()
print(os.isatty(follower), os.ttyname(follower).startswith("/dev/pts/"), os.get_blocking(leader))
reading, writing = os.pipe()
os.write(writing, b"x" * 10)
print(os.read(reading, 20), os.urandom(4) != os.urandom(4), os.cpu_count() > 0)
END
"$PROGRAM" -u some.py
"$PROGRAM" -c 'print(input(), 2 ** 100)' <some.py
"$PROGRAM" -m compileall -q some.py && ls __pycache__
