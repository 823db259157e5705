"""Programs that people run, held to what was recorded of them, several times, however they end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ecosystem.test_record import NGINX, redis_session, under_load
from enforced import ENDINGS, ITSELF, THREADS, Workload, enforced, hold, recorded
from longer import long_but
from running_kernel import i386_call, require_x86_64
from servers import free_port, get

if TYPE_CHECKING:
    from collections.abc import Sequence

require_x86_64()
pytestmark = pytest.mark.ecosystem


def program(name: str) -> str:
    found = shutil.which(name, path=f"/usr/bin:/bin:/usr/sbin:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is missing")
    return found


SHELLS = {
    "pipelines": """
        seq 1 2000 | sort -r | sed -n 1,100p | wc -l
        echo "$(seq 1 50 | tr 1 x | grep -c x)"
        (sleep 0.1; exit 3) & job=$!
        wait $job; echo $?
        for n in 1 2 3; do true & done; wait
        echo ready; read line; echo bye
    """,
    "trap": """
        child() { while :; do sleep 0.05; done; }
        child & pid=$!
        trap 'kill $pid; wait $pid 2>/dev/null; echo told; exit 9' INT TERM
        sleep 0.02 & wait $!
        echo ready; read line
        kill $pid; wait $pid 2>/dev/null; echo bye
    """,
}


# mksh loses a SIGTERM that arrives while it forks, under strace as well: that child never ends.
SHELLS_AND_SCRIPTS = [
    (shell, script)
    for shell in ("busybox", "bash", "mksh", "zsh")
    for script in SHELLS
    if (shell, script) != ("mksh", "trap")
]


@pytest.mark.parametrize(("shell", "script"), SHELLS_AND_SCRIPTS)
def test_shells(shell: str, script: str, tmp_path: Path) -> None:
    words = [program(shell), *(["sh"] if shell == "busybox" else []), "-c", SHELLS[script]]
    endings = [ending for ending in ENDINGS if ending == ITSELF or script == "trap"]
    hold(Workload(words, settles=0.2), tmp_path, endings)


SCRIPTS = {
    "perl": """
$| = 1;
$SIG{TERM} = sub { print qq(told\\n); exit 5 };
print qq(ready\\n);
while (<STDIN>) {}
print qq(bye\\n);
""",
    "ruby": """
$stdout.sync = true
trap('TERM') { exit 5 }
Thread.new { loop { sleep 0.01 } }
puts 'ready'
begin
  STDIN.read
rescue Interrupt
  exit 6
end
puts 'bye'
""",
    "lua5.4": "print('ready') io.stdout:flush() io.read('a') print('bye')",
    "gawk": 'BEGIN { print "ready"; fflush() } { } END { print "bye" }',
    "node": """
const timer = setInterval(() => {}, 5);
process.on('SIGTERM', () => process.exit(5));
require('fs').readFile('/etc/passwd', () => console.log('ready'));
process.stdin.on('end', () => { clearInterval(timer); console.log('bye') }).resume();
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_interpreters(name: str, tmp_path: Path) -> None:
    words = [program(name), *([] if name == "gawk" else ["-e"]), SCRIPTS[name]]
    hold(Workload(words, settles=0.4), tmp_path)


# Each as a shell runs it, in a directory of its own.
TOOLS = {
    "tclsh": """
        exec tclsh <<'END'
        puts [exec echo hello | tr h j]; puts ready; flush stdout
        after 400 {set over 1}; vwait over; puts bye
END
    """,
    "sqlite3": """
        sqlite3 one.db 'create table t(a); insert into t values (1), (2);'
        echo ready; read line
        sqlite3 one.db 'pragma journal_mode=wal; select sum(a) from t; vacuum;'
        rm one.db
    """,
    "make": r"""
        printf 'all: a b c d\n%%: ; @sleep 0.02 && echo $@ > $@.o\n' > Makefile
        make -s -j 3; cat *.o; rm *.o
        echo ready; read line; make -s -j 4 a b; rm *.o Makefile
    """,
    "xargs": """
        seq 1 40 | xargs -P 4 -n 1 sh -c 'exit $(($0 % 2))'; echo $?
        find /etc -maxdepth 1 -name 'pass*' -print0 | xargs -0 -n 1 basename | sort -u | head -n 1
        echo ready; read line; echo bye
    """,
    "git": """
        export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='@0 +0000'
        export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
        git init -q r; cd r; echo text > file; git add file
        git -c user.name=n -c user.email=e commit -q -m message
        echo ready; read line
        git log --format=%H; git gc -q; cd ..; rm -rf r
    """,
    "timeout": """
        timeout 0.05 sleep 10; echo $?
        timeout -s INT 0.05 sh -c 'trap "echo told; exit 4" INT; while :; do sleep 0.01; done'
        echo $?
        mkfifo fifo; cat fifo & echo through > fifo; wait; rm fifo
        echo ready; read line; echo bye
    """,
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools(name: str, tmp_path: Path) -> None:
    program(name)
    script = 'set -e; cd "$(mktemp -d "$0/XXXXXX")"; set +e' + TOOLS[name]
    hold(Workload(["/bin/sh", "-c", script, tmp_path], settles=0.1), tmp_path, [ITSELF])


PYTHONS = {
    "asyncio": """
import asyncio, signal, sys
async def main():
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT): loop.add_signal_handler(number, over.set)
    loop.add_reader(sys.stdin, over.set)
    child = await asyncio.create_subprocess_exec("sleep", "0.02")
    await child.wait()
    await asyncio.to_thread(sum, range(1000))
    print("ready", flush=True)
    await over.wait()
    print("bye")
asyncio.run(main())
""",
    "pool": """
import concurrent.futures, os, select, signal, sys
numbers = []
if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: numbers.append(number))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(abs, range(-1000, 0))) == 500500
        print("ready", flush=True)
        while not numbers and not select.select([sys.stdin], [], [], 0.01)[0]:
            pool.submit(os.getpid).result()
    sys.exit(sum(numbers))
""",
    # The handlers only take a note: an exception that one raises within subprocess may leave a lock
    # of it taken, and then the end waits for ever, with a filter or without.
    "subprocesses": """
import select, signal, subprocess, sys
numbers = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: numbers.append(number))
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
subprocess.run(["sh", "-c", "echo ready | tr x y"])
while not numbers and not select.select([sys.stdin], [], [], 0.01)[0]: subprocess.run(["true"])
child.terminate(); child.wait()
sys.exit(sum(numbers))
""",
}


@pytest.mark.parametrize("name", PYTHONS)
def test_python(name: str, tmp_path: Path) -> None:
    hold(Workload([sys.executable, "-I", "-c", PYTHONS[name]], settles=0.4), tmp_path)


APPLICATION = """
import threading
lock = threading.Lock()
def app(environ, start):
    with lock: start("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
SIGNALS = ("SIGTERM", "SIGINT")


@pytest.mark.parametrize(
    ("server", "ending"),
    long_but(
        [("gunicorn", "SIGTERM"), ("uvicorn", "SIGTERM")],
        [("gunicorn", "SIGTERM"), ("uvicorn", "SIGTERM"), ("gunicorn-threads", "SIGINT")],
        "the same server with threads",
    ),
)
def test_servers_of_python(server: str, ending: str, tmp_path: Path) -> None:
    pytest.importorskip(server.partition("-")[0])
    (tmp_path / "app.py").write_text(APPLICATION)
    port = free_port()
    words: Sequence[str] = [sys.executable, "-m", "uvicorn", "--port", str(port), "app:asgi"]
    if server != "uvicorn":
        kind = ["-k", "gthread", "--threads", "4"] if "threads" in server else []
        words = [
            sys.executable,
            "-m",
            "gunicorn",
            "-w",
            "2",
            *kind,
            "-b",
            f"127.0.0.1:{port}",
            "app:app",
        ]
    words = [*words, "--log-level", "critical"]

    def use() -> object:
        return under_load(port, ["/"])

    served = Workload(words, port, use, times=4, at_once=1, settles=1.5, directory=tmp_path)
    hold(served, tmp_path, [ending])


def test_redis(tmp_path: Path) -> None:
    port = free_port()
    words = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--dir"]
    words += [str(tmp_path), "--loglevel", "warning", "--logfile", str(tmp_path / "log")]
    made = Workload(words, port, lambda: redis_session(port), times=4, at_once=1, settles=0.5)
    hold(made, tmp_path, SIGNALS)


def test_nginx_is_reloaded(tmp_path: Path) -> None:
    nginx, port = program("nginx"), free_port()
    place = Path("/tmp") / tmp_path.name
    with contextlib.ExitStack() as stack:
        place.mkdir(mode=0o755)
        stack.callback(shutil.rmtree, place)
        (place / "www").mkdir()
        (place / "www" / "file.txt").write_text("hello\n" * 1000)
        (place / "nginx.conf").write_text(NGINX.format(directory=place, port=port))
        options = ["-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]

        def use() -> object:
            before = get(port, "/file.txt")
            subprocess.run([nginx, *options, "-s", "reload"], check=True, capture_output=True)
            return before, under_load(port, ["/file.txt", "/missing"])[0]

        made = Workload([nginx, *options], port, use, times=4, at_once=1, settles=1.0)
        hold(made, tmp_path, SIGNALS)


GO = """
package main
import ("fmt"; "os"; "os/signal"; "os/exec"; "syscall"; "io"; "runtime"; "time")
func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	over := make(chan bool)
	go func() { io.Copy(io.Discard, os.Stdin); over <- true }()
	done := make(chan int)
	for n := 0; n < 8; n++ { go func() {
		x := 0
		for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); { x++ }
		runtime.GC()
		done <- x
	}() }
	for n := 0; n < 8; n++ { <-done }
	out, _ := exec.Command("echo", "ready").Output()
	fmt.Print(string(out))
	select { case <-told: os.Exit(5); case <-over: fmt.Println("bye") }
}
"""
RUST = """
use std::{io::Read, sync::{Arc, Mutex}, thread, time::Duration};
fn main() {
    let sum = Arc::new(Mutex::new(0u64));
    let all: Vec<_> = (0..8).map(|n| { let sum = sum.clone();
        thread::spawn(move || for _ in 0..50 {
            *sum.lock().unwrap() += n;
            thread::sleep(Duration::from_micros(50))
        })
    }).collect();
    for one in all { one.join().unwrap() }
    println!("ready");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    println!("bye");
}
"""
JAVA = """
public class Main {
    public static void main(String[] words) throws Exception {
        Thread[] all = new Thread[8];
        for (int n = 0; n < 8; n++) {
            all[n] = new Thread(() -> { String s = ""; for (int m = 0; m < 500; m++) s += m; });
            all[n].start();
        }
        for (Thread one : all) one.join();
        System.gc();
        System.out.println("ready");
        while (System.in.read() >= 0) { }
        System.out.println("bye");
    }
}
"""
CXX = """
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>
int main()
{
    std::mutex lock;
    std::condition_variable changed;
    int turn = 0;
    std::vector<std::thread> all;
    for (int n = 0; n < 6; n++)
        all.emplace_back([&, n] {
            std::unique_lock<std::mutex> held(lock);
            changed.wait(held, [&] { return turn == n; });
            turn++;
            changed.notify_all();
        });
    for (auto &one : all) one.join();
    std::puts("ready");
    std::fflush(stdout);
    while (std::getchar() != EOF) { }
    std::puts("bye");
}
"""
COMPILED = {
    "go": (GO, "main.go", "go build -o {out} {source}"),
    "rust": (RUST, "main.rs", "rustc -O -o {out} {source}"),
    "c++": (CXX, "main.cc", "g++ -O1 -pthread -o {out} {source}"),
    "c++ static": (CXX, "main.cc", "g++ -O1 -static -pthread -o {out} {source}"),
    "java": (JAVA, "Main.java", "javac -d {out}.d {source}"),
}


@pytest.mark.parametrize(
    "language", long_but(COMPILED.keys() - {"java"}, COMPILED, "a minute under the tracer")
)
def test_compiled_programs(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, name, line = COMPILED[language]
    source, out = tmp_path / name, tmp_path / "program"
    source.write_text(text)
    words = line.format(source=source, out=out).split()
    monkeypatch.setenv("GOPATH", str(tmp_path / "GOPATH"))
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    if language == "java":
        command = [program("java"), "-Xmx64m", "-XX:-UsePerfData", str(source)]
    else:
        subprocess.run([program(words[0]), *words[1:]], check=True, timeout=300)
        command = [str(out)]
    hold(Workload(command, settles=0.4), tmp_path)


I386 = """
static int call(int nr, long a, const void *b, long c)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result)
        : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(8) : "memory");
    return result;
}
static volatile int over;
static void told(int number) { over = number; }
__asm__("back: popl %eax; movl $119, %eax; int $0x80");
void back(void);
struct action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask[2];
};
void _start(void)
{
    struct action action = { told, 0x04000000, back, { 0, 0 } };
    call(174, 15, &action, 0);
    call(174, 2, &action, 0);
    int end[2] = { 0, 1 };
    for (int ready = 0; !over; ready = 1) {
        if (call(168, (long)end, (void *)1, 10) > 0)
            break;
        if (!ready)
            call(4, 1, "ready\\n", 6);
    }
    call(252, over, 0, 0);
}
"""


def test_a_program_of_32_bits(tmp_path: Path) -> None:
    """Its handlers return by sigreturn, which a recording that they end does not show otherwise."""
    i386_call()
    (tmp_path / "program.c").write_text(I386)
    options = "-m32 -static -nostdlib -ffreestanding -fno-pie -no-pie -O1 -fno-stack-protector"
    out = tmp_path / "program"
    subprocess.run(
        [program("gcc"), *options.split(), "-o", out, tmp_path / "program.c"], check=True
    )
    made = Workload([out])
    hold(made, tmp_path)
    policy = tmp_path / "unsignalled.yml"
    assert recorded(policy, made, ITSELF).code == 0
    for outcome in enforced(policy, made, "SIGTERM", 10):
        assert outcome.code == 15, policy.read_text()


@pytest.mark.parametrize("options", [["-static"], []], ids=["static", "dynamic"])
def test_a_program_of_32_bits_with_a_libc(options: list[str], tmp_path: Path) -> None:
    i386_call()
    (tmp_path / "program.c").write_text(THREADS)
    out = tmp_path / "program"
    source = tmp_path / "program.c"
    words = [program("gcc"), "-m32", "-pthread", *options, "-o", str(out), str(source)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("gcc makes none: install libc6-dev-i386, and lib32gcc of gcc's version")
    hold(Workload([out], settles=0.3), tmp_path)
