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
reading, writing = os.pipe()
os.write(writing, b"x" * 10)
print(os.read(reading, 20), os.urandom(4) != os.urandom(4), os.cpu_count() > 0)
END
"$PROGRAM" -u some.py
"$PROGRAM" -c 'print(input(), 2 ** 100)' <some.py
"$PROGRAM" -m compileall -q some.py && ls __pycache__
