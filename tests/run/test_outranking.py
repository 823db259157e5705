"""A listener that has every call made, below ``run --trace --by ptrace`` or above it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from tracing import NOTIFY, PTRACE, PYTHON, run

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

POLICY = """
default_action: allow
syscalls:
- action: errno(EACCES)
  names: [mkdir, mkdirat]
"""

LISTENING = """
import ctypes, fcntl, json, mmap, os, signal, socket, struct, sys, threading
body, path = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
seen = []

def call(nr, *args):
    result = libc.syscall(nr, *args)
    return result if result >= 0 else -ctypes.get_errno()

def listen(flags, *numbers):
    code = [(0x20, 0, 0, 0)]
    for nr in numbers:
        code += [(0x15, 0, 1, nr), (6, 0, 0, 0x7FC00000)]
    data = b"".join(struct.pack("=HBBI", *one) for one in [*code, (6, 0, 0, 0x7FFF0000)])
    kept = ctypes.create_string_buffer(data, len(data))
    libc.prctl(38, 1, 0, 0, 0)
    return call(317, 1, flags, struct.pack("@HP", len(data) // 8, ctypes.addressof(kept)))

def answer(listener):
    while True:
        asked = bytearray(80)
        try:
            fcntl.ioctl(listener, 0xC0502100, asked)
            seen.append(struct.unpack_from("=i", asked, 16)[0])
            fcntl.ioctl(listener, 0xC0182101, bytes(asked[:8]) + struct.pack("=qiI", 0, 0, 1))
        except OSError:
            pass

def answered(listener):
    threading.Thread(target=answer, args=(listener,), daemon=True).start()

def forbidden():
    return call(83, path.encode(), 0o700)

def in_child(body):
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        socket.send_fds(theirs, [b"x"], [listen(8, 39, 83, 258)])
        body()
        os._exit(0)
    theirs.close()
    answered(socket.recv_fds(ours, 1, 1)[1][0])
    os.waitpid(pid, 0)
    say(sorted(set(seen)))
    os._exit(0)

def say(*what):
    print(json.dumps(what), flush=True)

def everything():
    say(call(39) == os.getpid(), forbidden())
    say(call(56, 0x00800000 | 17, 0, 0, 0, 0), call(435, bytes(88), 88))
    caught, parent = [], os.getppid()
    signal.signal(signal.SIGALRM, lambda *_: caught.append(call(104)))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    back, there = os.pipe()
    right = True
    while len(caught) < 5:
        os.write(there, b"x")
        right = right and os.read(back, 1) == b"x" and call(110) == parent
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(right, set(caught) == {os.getgid()})
    if os.fork() == 0:
        say(forbidden())
        os._exit(0)
    os.wait()
    os.execv("/bin/mkdir", ["mkdir", path])

def by_a_thread():
    thread = threading.Thread(target=os.execv, args=("/bin/mkdir", ["mkdir", path]))
    thread.start()
    thread.join()

def by_i386():
    code = mmap.mmap(-1, 8192, flags=0x22 | 0x40, prot=7)  # MAP_32BIT
    at = ctypes.addressof(ctypes.c_char.from_buffer(code))
    # push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; pop rbx; ret
    code.write(bytes.fromhex("5389f889f389d1cd805bc3").ljust(4096) + path.encode() + bytes(1))
    i386 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)(at)
    say(i386(20, 0, 0) == os.getpid(), i386(39, at + 4096, 0o700), i386(64, 0, 0) == os.getppid())

def for_all_threads(later=False):
    go, said = threading.Event(), []
    waits = threading.Thread(target=lambda: (go.wait(), said.append(forbidden())))
    runs = threading.Thread(target=lambda: [None for _ in iter(go.is_set, True)])
    waits.start(), runs.start()
    if later:
        answered(listen(8, 83))
        listen(1)
    else:
        answered(listen(1 | 8 | 16, 83))
    go.set(), waits.join(), runs.join()
    say(said, seen)
    os._exit(0)

def for_all_threads_later():
    for_all_threads(True)

def beside_one_that_is_not_traced():
    stack = ctypes.create_string_buffer(1 << 16)
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    top = ctypes.c_void_p(ctypes.addressof(stack) + (1 << 16))
    # CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, UNTRACED
    libc.clone(pause, top, 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x800000, None)
    say(listen(1 | 8 | 16, 83), listen(8, 83) > 0)
    os._exit(0)

if body.startswith(("for_all", "beside")):
    globals()[body]()
in_child(globals()[body])
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yml"
    path.write_text(POLICY)
    return path


def listening(
    policy: Path, body: str, how: list[str] = PTRACE, made: int = 0
) -> tuple[list[Any], list[dict[str, Any]], str]:
    """Run the program; return what it said, what was refused, and what else was told."""
    place = policy.parent / "made"
    done = run(*how, "--json", policy, "--", PYTHON, "-c", LISTENING, body, place)
    assert done.code == 0, done.err
    assert place.exists() is bool(made)
    lines = done.err.splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    said = [json.loads(line) for line in done.out.splitlines()]
    return said, told, "\n".join(line for line in lines if not line.startswith("{"))


def test_no_refused_call_is_made_and_each_is_told(policy: Path) -> None:
    """Of the thread, of a child, and of a program that it executes; also between signals."""
    said, told, rest = listening(policy, "everything")
    # ENOSYS: CLONE_UNTRACED, and clone3.
    assert said == [[True, -13], [-38, -38], [True, True], [-13], [[39]]]
    assert [one["syscall"] for one in told] == ["mkdir"] * 3
    assert [one["name"] for one in told][2] == "mkdir"
    assert "installs a filter with a listener, which could let refused calls be made" in rest
    assert rest.count("seccompgen:") == 1


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("body", ["for_all_threads", "for_all_threads_later"])
def test_a_listener_for_all_threads(policy: Path, body: str) -> None:
    """Also where a filter without one is for all: it brings along those that its thread has."""
    said, told, _ = listening(policy, body)
    assert said == [[[-13], []]]
    assert [one["syscall"] for one in told] == ["mkdir"]


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_program_that_a_thread_executes(policy: Path) -> None:
    said, told, _ = listening(policy, "by_a_thread")
    assert said == [[[]]]
    assert [one["syscall"] for one in told] == ["mkdir"]


@pytest.mark.long("runs programs under a tracer again and again")
def test_a_call_of_another_abi(policy: Path) -> None:
    kernel.i386_call()
    policy.write_text(f"compat_arches: [i386]\n{POLICY}")
    said, told, _ = listening(policy, "by_i386")
    assert said == [[True, -13, True], [[39]]]
    assert [one["abi"] for one in told] == ["i386"]


@pytest.mark.long("runs programs under a tracer again and again")
def test_where_a_thread_is_not_traced_no_listener_hears_it(policy: Path) -> None:
    said, _, _ = listening(policy, "beside_one_that_is_not_traced")
    assert said == [[-16, True]]  # EBUSY


@pytest.mark.long("runs programs under a tracer again and again")
def test_what_is_let_through_is_told_once(policy: Path) -> None:
    said, told, _ = listening(policy, "for_all_threads", ["--permissive", *PTRACE[1:]], made=1)
    assert said == [[[0], [83]]]
    assert [one["made"] for one in told] == [True]


@pytest.mark.few(1, "runs programs under a tracer again and again")
def test_behind_a_startup_marker(policy: Path) -> None:
    said, told, rest = listening(policy, "for_all_threads", ["--trace", "--startup-marker"])
    assert said == [[[-13], []]]
    assert [one["syscall"] for one in told] == ["mkdir"]
    assert "installs a filter with a listener, so that this is put in force as well" in rest


@pytest.mark.few(1, "runs programs under a tracer again and again")
def test_a_listener_above(policy: Path) -> None:
    """It lets all calls be made that it is asked about: one of `run --permissive`."""
    place = policy.parent / "made"
    outer: list[str | Path] = [
        "--permissive",
        *NOTIFY[1:],
        policy,
        "--",
        PYTHON,
        "-m",
        "seccompgen",
        "run",
        "--trace",
    ]
    done = run(*outer, policy, "--", "sh", "-c", f"mkdir {place} || exit 5")
    assert done.code == 5, done.err
    assert not place.exists()
    assert "seccompgen: refused: mkdir[" in done.err
    assert "a listener above this process could let refused calls be made" in done.err
