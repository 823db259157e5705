"""Programs: to have this process, or a descendant, become another program."""

import ctypes
import errno
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.attacks.sockets import libc_prctl
from escape.scene import ESCAPED, Foiled, Scene, Unavailable, raise_errno, until
from escape.tracing import traced, traced_to_change

Steps = Generator[None, None, None]

AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x100


def _vector(scene: Scene, words: "list[str]") -> "ctypes.Array[ctypes.c_char_p]":
    vector = (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
    scene.keep(vector)
    return vector


def _low_vector(scene: Scene, word: str = "I") -> "tuple[int, int]":
    """Return the addresses of the shell's path and of its arguments, for ABIs of 32 bits."""
    words = [scene.low(argument.encode() + b"\0") for argument in scene.shell()]
    vector = scene.low(struct.pack(f"={len(words) + 1}{word}", *words, 0))
    return scene.low(b"/bin/sh\0"), vector


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute(scene: Scene) -> Steps:
    yield
    os.execv("/bin/sh", scene.shell())


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_by_number(scene: Scene) -> Steps:
    vector = _vector(scene, scene.shell())
    yield
    scene.call("execve", b"/bin/sh\0", vector, 0)


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_at_a_directory(scene: Scene) -> Steps:
    vector = _vector(scene, scene.shell())
    folder = os.open("/bin", os.O_RDONLY)
    yield
    scene.call("execveat", folder, b"sh\0", vector, 0, 0)


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_a_descriptor(scene: Scene) -> Steps:
    vector = _vector(scene, scene.shell())
    shell = os.open("/bin/sh", os.O_RDONLY)
    yield
    scene.call("execveat", shell, b"\0", vector, 0, AT_EMPTY_PATH)


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_a_descriptor_without_access(scene: Scene) -> Steps:
    vector = _vector(scene, scene.shell())
    shell = os.open("/bin/sh", os.O_PATH)
    yield
    scene.call("execveat", shell, b"\0", vector, 0, AT_EMPTY_PATH)


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_memory(scene: Scene) -> Steps:
    memory = os.memfd_create("program", 0)
    with open("/bin/sh", "rb") as file:
        os.write(memory, file.read())
    yield
    os.execve(memory, scene.shell(), {})


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_by_a_link_in_proc(scene: Scene) -> Steps:
    shell = os.open("/bin/sh", os.O_RDONLY)
    yield
    os.execv(f"/proc/self/fd/{shell}", scene.shell())


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_a_script(scene: Scene) -> Steps:
    path = scene.folder + "/script"
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\nexit {ESCAPED}\n")
    os.chmod(path, 0o700)
    yield
    os.execv(path, [path])


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_with_garbage_above(scene: Scene) -> Steps:
    vector = _vector(scene, scene.shell())
    shell = os.open("/bin/sh", os.O_RDONLY)
    if ctypes.sizeof(ctypes.c_long) == 4:
        raise Unavailable("registers have no more than 32 bits")
    yield
    scene.call("execveat", 1 << 32 | shell, b"\0", vector, 0, 1 << 32 | AT_EMPTY_PATH)


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_in_a_fork(scene: Scene) -> Steps:
    yield
    scene.in_fork(lambda: os.execv("/bin/sh", scene.shell()))


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def spawn(scene: Scene) -> Steps:
    """By vfork(2), or clone(2) with CLONE_VM."""
    arguments = scene.shell()
    yield
    child = os.posix_spawn("/bin/sh", arguments, {})
    if os.WEXITSTATUS(os.waitpid(child, 0)[1]) != ESCAPED:
        raise Foiled("the child has not become the shell")


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def run(scene: Scene) -> Steps:
    arguments = ["/bin/sh", *scene.shell()[1:]]
    yield
    assert subprocess.run(arguments, check=False).returncode == ESCAPED


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def system(scene: Scene) -> Steps:
    command = scene.shell()[-1]
    yield
    status = os.system(command)
    if status in {127 << 8, -1}:
        raise Foiled("system(3) could not start a shell")
    assert os.WEXITSTATUS(status) == ESCAPED


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    yield
    in_thread(lambda: os.execv("/bin/sh", scene.shell()))


@attack(no_exec="programs", compute_only="making", web_worker="programs", abis=("x86_64",))
def execute_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    path, vector = _low_vector(scene)
    yield
    call("execve", path, vector, 0)


@attack(no_exec="programs", compute_only="making", web_worker="programs", abis=("x86_64",))
def execute_at_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    path, vector = _low_vector(scene)
    yield
    call("execveat", AT_FDCWD & 0xFFFFFFFF, path, vector, 0, 0)


@by_numbers(no_exec="programs", compute_only="making", web_worker="programs")
def execute_a_program(scene: Scene, call: "Callable[..., int]") -> Steps:
    path, vector = _low_vector(scene)
    yield
    call("execve", path, vector, 0)


@by_numbers(no_exec="programs", compute_only="making", web_worker="programs")
def execute_at(scene: Scene, call: "Callable[..., int]") -> Steps:
    path, vector = _low_vector(scene)
    yield
    try:
        call("execveat", AT_FDCWD & 0xFFFFFFFF, path, vector, 0, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:  # as the flags there are not 0
            raise Unavailable("o32 has a fifth argument on the stack") from error
        raise


@attack(no_exec="programs", compute_only="making", web_worker="programs", abis=("x86_64",))
def execute_x86_64s_number_with_x32s_bit(scene: Scene) -> Steps:
    """Kernels up to 5.3 took 59 | 1 << 30 for execve(2) of x86_64."""
    vector = _vector(scene, scene.shell())
    yield
    scene.by_number(scene.numbers["execve"] | 1 << 30, b"/bin/sh\0", vector, 0)


@attack(no_exec="programs")
def execute_under_a_listener_of_its_own(scene: Scene) -> Steps:
    """A second filter that notifies, and a listener that lets the call go on: errno counts more."""
    notify = struct.pack(
        "=HBBIHBBIHBBIHBBI",
        *(0x20, 0, 0, 0),
        *(0x15, 0, 1, scene.numbers["execve"]),
        *(6, 0, 0, 0x7FC00000),
        *(6, 0, 0, 0x7FFF0000),
    )
    program = ctypes.create_string_buffer(notify, len(notify))
    described = struct.pack("@HP", 4, ctypes.addressof(program))
    yield
    libc_prctl(scene, 38, 1)
    listener = scene.call("seccomp", 1, 8, described)
    child = os.fork()
    if child == 0:
        try:
            os.execv("/bin/sh", scene.shell())
        except OSError as error:
            os._exit(error.errno or 1)
    import fcntl
    import select

    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(os.pidfd_open(child), select.POLLIN)
    if any(number == listener for number, _ in poll.poll()):
        asked = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, asked)
        fcntl.ioctl(listener, 0xC0182101, asked[:8] + struct.pack("=qiI", 0, 0, 1))
    code = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    if code != ESCAPED:
        raise OSError(code, os.strerror(code))


@attack(no_exec="programs")
def execute_by_a_tracer_that_suspends_filters(scene: Scene) -> Steps:
    scene.privileged()
    yield
    code = traced(scene, lambda: os.execv("/bin/sh", scene.shell()), options=1 << 21)
    if code:
        raise OSError(code, os.strerror(code))


@attack(no_exec="programs")
def execute_by_a_tracer_that_changes_the_number(scene: Scene) -> Steps:
    vector = _vector(scene, scene.shell())
    path = ctypes.create_string_buffer(b"/bin/sh\0")
    scene.keep(path)
    yield
    addresses = (ctypes.addressof(path), ctypes.addressof(vector), 0)
    code = traced_to_change(scene, "getppid", "execve", addresses)
    if code:
        raise OSError(code, os.strerror(code))


@attack(no_exec="programs", compute_only="making", web_worker="programs")
def execute_in_new_namespaces(scene: Scene) -> Steps:
    yield

    def body() -> None:
        scene.call("unshare", 0x10000000)  # CLONE_NEWUSER
        os.execv("/bin/sh", scene.shell())

    scene.in_fork(body)


@attack(no_exec="programs")
def execute_by_clone3(scene: Scene) -> Steps:
    arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    yield
    child = scene.call("clone3", arguments, len(arguments))
    if child == 0:
        try:
            os.execv("/bin/sh", scene.shell())
        except OSError as error:
            os._exit(error.errno or 1)
    code = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    if code != ESCAPED:
        raise OSError(code, os.strerror(code))


@attack(no_exec="programs", compute_only="making", web_worker="programs", abis=("i386",))
def execute_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    path, vector = _low_vector(scene, "Q")
    yield
    call("execve", path, vector, 0)


@attack(no_exec="programs", abis=("s390x",))
def execute_by_a_number_in_the_instruction(scene: Scene) -> Steps:
    """``svc 11``, which has the number where ``svc 0`` has a register."""
    execute = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_void_p] * 3)(
        scene.code(bytes((0x0A, scene.numbers["execve"], 0x07, 0xFE)))
    )
    path = ctypes.c_char_p(b"/bin/sh")
    vector = _vector(scene, scene.shell())
    yield
    raise_errno(-execute(path, ctypes.addressof(vector), 0))


# --- Outside -------------------------------------------------------------------------------------


@outside(no_exec="code")
def code_of_its_own(scene: Scene) -> Steps:
    yield
    address = scene.code(scene.payload())
    scene.must_execute(address)


@outside(no_exec="code")
def a_shared_object(scene: Scene) -> Steps:
    yield
    with open("/proc/self/maps") as file:
        loaded = file.read()
    for name in ("libgcc_s.so.1", "librt.so.1", "libutil.so.1", "libanl.so.1", "libnsl.so.1"):
        if name not in loaded:
            try:
                ctypes.CDLL(name)
            except OSError:
                continue
            return
    raise Unavailable("no library is at hand that is not loaded yet")


@outside(no_exec="others")
def a_program_started_by_another(scene: Scene) -> Steps:
    """As cron or systemd do; here, one that looks for a file."""

    def serve() -> None:
        while not os.path.exists(scene.new):
            time.sleep(0.002)
        subprocess.run(["/bin/sh", "-c", f"echo ran >{scene.new}.ran"], check=True)

    scene.neighbour(serve)
    yield
    with open(scene.new, "w"):
        pass
    until(lambda: os.path.exists(scene.new + ".ran"), "nothing was started")


@outside(no_exec="others")
def a_program_started_by_memory_of_another(scene: Scene) -> Steps:
    word = ctypes.c_int(0)

    def serve() -> None:
        while not word.value:
            time.sleep(0.002)
        subprocess.run(["/bin/sh", "-c", f"echo ran >{scene.new}.ran"], check=True)

    pid = scene.neighbour(serve).pid
    yield
    memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    os.pwrite(memory, struct.pack("@i", 1), ctypes.addressof(word))
    until(lambda: os.path.exists(scene.new + ".ran"), "nothing was started")
