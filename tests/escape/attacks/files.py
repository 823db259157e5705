"""Files: to open, make, change or remove them, and to go by their paths."""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.scene import ANOTHER_USER, HIGH, IS_64_BIT, Foiled, Scene, Unavailable

Steps = Generator[None, None, None]

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
SIGNAL_SET = 16 if os.uname().machine.startswith("mips") else 8
"""Bytes of the kernel's ``sigset_t``."""


def _path(path: str) -> bytes:
    return path.encode() + b"\0"


def _must_have(scene: Scene, number: int) -> None:
    """Check that a descriptor is of "old", open for writing."""
    os.pwrite(number, b"CONTENT", 0)
    assert os.pread(number, 7, 0) in (b"CONTENT", b"")


# --- Opening -------------------------------------------------------------------------------------


@attack(compute_only="names")
def read(scene: Scene) -> Steps:
    yield
    assert os.read(os.open(scene.old, os.O_RDONLY), 7) == b"content"


@attack(compute_only="names")
def read_below_a_directory_that_it_has(scene: Scene) -> Steps:
    folder = os.open(scene.folder, os.O_RDONLY)
    yield
    os.open("old", os.O_RDONLY, dir_fd=folder)


@attack(compute_only="names")
def read_by_the_old_call(scene: Scene) -> Steps:
    yield
    scene.call("open", _path(scene.old), os.O_RDONLY, 0)


@attack(compute_only="names", web_worker="files")
def open_by_openat2(scene: Scene) -> Steps:
    how = struct.pack("=QQQ", os.O_RDWR, 0, 0)
    yield
    os.write(scene.call("openat2", AT_FDCWD, _path(scene.old), how, len(how)), b"x")


@attack(compute_only="names", web_worker="files")
def open_by_a_handle(scene: Scene) -> Steps:
    scene.privileged()
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128), 136)
    mount = ctypes.c_int()
    try:
        scene.call("name_to_handle_at", AT_FDCWD, _path(scene.old), handle, mount, 0)
    except OSError as error:
        raise Unavailable("the file system has no handles") from error
    folder = os.open(scene.folder, os.O_RDONLY)
    yield
    os.write(scene.call("open_by_handle_at", folder, handle, os.O_RDWR), b"x")


@attack(compute_only="names")
def ask_for_a_handle(scene: Scene) -> Steps:
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128), 136)
    mount = ctypes.c_int()
    yield
    try:
        scene.call("name_to_handle_at", AT_FDCWD, _path(scene.old), handle, mount, 0)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unavailable("the file system has no handles") from error
        raise


@attack(compute_only="names")
def open_a_tree(scene: Scene) -> Steps:
    yield
    os.close(scene.call("open_tree", AT_FDCWD, _path(scene.folder), 0))


def _opened(name: str, flags: int, *, garbage: bool = False, directory: bool = False) -> None:
    def body(scene: Scene) -> Steps:
        if garbage and not IS_64_BIT:
            raise Unavailable("registers have no more than 32 bits")
        path = scene.new if flags & os.O_CREAT else scene.old
        if directory:
            path = scene.folder
        words = (AT_FDCWD, _path(path), flags | (HIGH if garbage else 0), 0o600)
        yield
        scene.call("openat", *words)
        if flags & os.O_CREAT:
            assert os.path.exists(path)
        elif flags & os.O_TRUNC:
            assert os.stat(path).st_size == 0

    body.__name__ = f"open_to_{name}"
    attack(web_worker="files", compute_only="names")(body)


_opened("write", os.O_WRONLY)
_opened("read_and_write", os.O_RDWR)
_opened("do_neither", 3)
_opened("append", os.O_WRONLY | os.O_APPEND)
_opened("truncate", os.O_RDONLY | os.O_TRUNC)
_opened("write_and_truncate", os.O_WRONLY | os.O_TRUNC)
_opened("create", os.O_RDONLY | os.O_CREAT)
_opened("create_exclusively", os.O_RDONLY | os.O_CREAT | os.O_EXCL)
_opened("create_and_write", os.O_RDWR | os.O_CREAT)
_opened("write_synchronously", os.O_WRONLY | os.O_SYNC | os.O_CLOEXEC)
_opened("write_with_garbage_above", os.O_WRONLY, garbage=True)
_opened("create_with_garbage_above", os.O_RDONLY | os.O_CREAT, garbage=True)


@attack(web_worker="files", compute_only="making")
def a_file_without_a_name(scene: Scene) -> Steps:
    yield
    os.write(os.open(scene.folder, os.O_RDWR | os.O_TMPFILE), b"x")


@attack(web_worker="files", compute_only="names")
def open_its_own_descriptor_anew(scene: Scene) -> Steps:
    """A descriptor for reading, opened for writing by its link in /proc."""
    number = os.open(scene.old, os.O_RDONLY)
    yield
    _must_have(scene, os.open(f"/proc/self/fd/{number}", os.O_RDWR))


@attack(web_worker="files", compute_only="names")
def open_by_the_old_call(scene: Scene) -> Steps:
    yield
    _must_have(scene, scene.call("open", _path(scene.old), os.O_RDWR, 0))


@attack(web_worker="files", compute_only="names")
def create_by_the_old_call(scene: Scene) -> Steps:
    yield
    scene.call("creat", _path(scene.new), 0o600)


@attack(web_worker="files", compute_only="names", abis=("x86_64",))
def open_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    path = scene.low(_path(scene.old))
    yield
    _must_have(scene, call("open", path, os.O_RDWR, 0))


@attack(web_worker="files", compute_only="names", abis=("i386",))
def open_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    path = scene.low(_path(scene.old))
    yield
    _must_have(scene, call("open", path, os.O_RDWR, 0))


@by_numbers(web_worker="files", compute_only="names")
def open_a_file(scene: Scene, call: "Callable[..., int]") -> Steps:
    path = scene.low(_path(scene.old))
    yield
    _must_have(scene, call("open", path, os.O_RDWR, 0))


@attack(web_worker="files", compute_only="names")
def map_for_writing_what_is_open_for_reading(scene: Scene) -> Steps:
    """A file that can be mapped and written could be changed. The kernel says EACCES by itself."""
    number = os.open(scene.old, os.O_RDONLY)
    yield
    import mmap

    try:
        mmap.mmap(number, 7, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise Unavailable("the kernel maps nothing for writing that is not open so") from error
        raise


@attack(web_worker="files", compute_only="names")
def open_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    yield
    in_thread(lambda: os.open(scene.old, os.O_RDWR))


# --- Calls that take a path ----------------------------------------------------------------------

Change = Callable[[Scene, int, socket.socket], object]

_CHANGES: "dict[str, Change]" = {
    "unlink": lambda s, folder, unix: os.unlink(s.old),
    "unlink_by_number": lambda s, folder, unix: s.call("unlink", _path(s.old)),
    "rename": lambda s, folder, unix: os.rename(s.old, s.new),
    "rename_by_number": lambda s, folder, unix: s.call("rename", _path(s.old), _path(s.new)),
    "renameat2": lambda s, folder, unix: s.call(
        "renameat2", AT_FDCWD, _path(s.old), AT_FDCWD, _path(s.new), 0
    ),
    "link": lambda s, folder, unix: os.link(s.old, s.new),
    "symlink": lambda s, folder, unix: os.symlink(s.old, s.new),
    "mkdir": lambda s, folder, unix: os.mkdir(s.new),
    "make_a_fifo": lambda s, folder, unix: os.mkfifo(s.new),
    "mknod_by_number": lambda s, folder, unix: s.call(
        "mknodat", AT_FDCWD, _path(s.new), 0o100600, 0
    ),
    "truncate_by_path": lambda s, folder, unix: os.truncate(s.old, 0),
    "chmod": lambda s, folder, unix: os.chmod(s.old, 0o777),
    "fchmodat2": lambda s, folder, unix: s.call("fchmodat2", AT_FDCWD, _path(s.old), 0o777, 0),
    "chown": lambda s, folder, unix: os.chown(s.old, os.getuid(), os.getgid()),
    "timestamps_by_path": lambda s, folder, unix: os.utime(s.old, (1, 1)),
    "timestamps_by_number": lambda s, folder, unix: s.call(
        "utimensat", AT_FDCWD, _path(s.old), 0, 0
    ),
    "set_an_attribute": lambda s, folder, unix: os.setxattr(s.old, "user.x", b"x"),
    "bind_a_name": lambda s, folder, unix: unix.bind(s.new),
}  # fmt: skip

_LOOKS: "dict[str, Change]" = {
    "stat": lambda s, folder, unix: os.stat(s.old),
    "statx": lambda s, folder, unix: s.call("statx", AT_FDCWD, _path(s.old), 0, 0xFFF, bytes(256)),
    "access": lambda s, folder, unix: s.call("faccessat", AT_FDCWD, _path(s.old), 0),
    "readlink": lambda s, folder, unix: os.readlink("/proc/self/exe"),
    "list": lambda s, folder, unix: os.listdir(s.folder),
    "list_what_it_has": lambda s, folder, unix: s.call("getdents64", folder, bytes(4096), 4096),
    "where_am_i": lambda s, folder, unix: os.getcwd(),
    "file_system": lambda s, folder, unix: os.statvfs(s.folder),
    "attribute": lambda s, folder, unix: s.call("listxattr", _path(s.old), 0, 0),
    "watch": lambda s, folder, unix: s.call(
        "inotify_add_watch", s.call("inotify_init1", 0), _path(s.folder), 0x100
    ),
    "watch_all": lambda s, folder, unix: s.call("fanotify_init", 0x200, 0),
    "quota": lambda s, folder, unix: s.call("quotactl", 0x800001 << 8, 0, 0, 0),
}  # fmt: skip

_MOVES: "dict[str, Change]" = {
    "change_directory": lambda s, folder, unix: os.chdir(s.folder),
    "change_directory_by_descriptor": lambda s, folder, unix: os.fchdir(folder),
    "change_root": lambda s, folder, unix: os.chroot(s.folder),
}


def _simple(name: str, change: "Change", **against: str) -> None:
    def body(scene: Scene) -> Steps:
        folder = os.open(scene.folder, os.O_RDONLY)
        unix = socket.socket(socket.AF_UNIX)
        if name in {"change_root", "watch_all"}:
            scene.privileged()
        yield
        try:
            change(scene, folder, unix)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ESRCH, errno.EINVAL) and name in {
                "set_an_attribute",
                "attribute",
                "quota",
            }:
                raise Unavailable(f"not on this machine: {error.strerror}") from error
            raise

    body.__name__ = name
    attack(abis=(), **against)(body)


for _name, _change in _CHANGES.items():
    _simple(_name, _change, compute_only="names", web_worker="files")
for _name, _change in _LOOKS.items():
    _simple(_name, _change, compute_only="names")
for _name, _change in _MOVES.items():
    _simple(_name, _change, compute_only="names")


# --- Making --------------------------------------------------------------------------------------


def _queue(scene: Scene) -> None:
    """Make a message queue, and remove it: it would outlive the process."""
    name = b"seccompgen-%d\0" % os.getpid()
    scene.call("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, 0)
    scene.call("mq_unlink", name)


def _ipc(scene: Scene, get: str, control: str, *words: int) -> None:
    """Make an object of System V IPC, and remove it: it would outlive the process."""
    scene.call(control, scene.call(get, *words), 0, 0)  # IPC_RMID


_MAKES: "dict[str, Callable[[Scene, int, int], object]]" = {
    "memory_file": lambda s, one, two: os.memfd_create("x"),
    "secret_memory": lambda s, one, two: s.call("memfd_secret", 0),
    "make_a_pipe": lambda s, one, two: os.pipe(),
    "make_an_event": lambda s, one, two: s.call("eventfd2", 0, 0),
    "make_an_epoll": lambda s, one, two: s.call("epoll_create1", 0),
    "make_a_timer_descriptor": lambda s, one, two: s.call("timerfd_create", 1, 0),
    "make_a_signal_descriptor": lambda s, one, two: s.call(
        "signalfd4", -1, bytes(16), SIGNAL_SET, 0
    ),
    "make_a_unix_socket": lambda s, one, two: socket.socket(socket.AF_UNIX),
    "make_a_unix_socket_by_number": lambda s, one, two: s.call("socket", 1, 1, 0),
    "make_a_pair": lambda s, one, two: socket.socketpair(),
    "make_a_queue": lambda s, one, two: _queue(s),
    "make_a_segment": lambda s, one, two: _ipc(s, "shmget", "shmctl", 0, 4096, 0o1600),
    "make_messages": lambda s, one, two: _ipc(s, "msgget", "msgctl", 0, 0o1600),
    "make_semaphores": lambda s, one, two: _ipc(s, "semget", "semctl", 0, 1, 0o1600),
    "make_a_segment_by_ipc": lambda s, one, two: s.call(
        "ipc", 24, s.call("ipc", 23, 0, 4096, 0o1600, 0), 0, 0, 0
    ),
    "make_messages_by_ipc": lambda s, one, two: s.call(
        "ipc", 14, s.call("ipc", 13, 0, 0o1600, 0, 0), 0, 0, 0
    ),
    "make_semaphores_by_ipc": lambda s, one, two: s.call(
        "ipc", 3, s.call("ipc", 2, 0, 1, 0o1600, 0), 0, 0, bytes(8)
    ),
    "make_a_timer": lambda s, one, two: s.call("timer_create", 1, 0, bytes(8)),
    "make_an_aio_context": lambda s, one, two: s.call("io_setup", 1, bytes(8)),
    "make_a_userfaultfd": lambda s, one, two: s.call("userfaultfd", 1),
    "make_a_landlock_ruleset": lambda s, one, two: s.call(
        "landlock_create_ruleset", struct.pack("=Q", 1), 8, 0
    ),
    "allocate_a_key": lambda s, one, two: s.call("pkey_alloc", 0, 0),
    "copy_within_a_file": lambda s, one, two: s.call(
        "copy_file_range", one, 0, one, struct.pack("=q", 3), 1, 0
    ),
}  # fmt: skip


def _made(name: str, make: "Callable[[Scene, int, int], object]") -> None:
    def body(scene: Scene) -> Steps:
        one, two = os.open(scene.old, os.O_RDWR), os.memfd_create("x")
        yield
        try:
            make(scene, one, two)
        except OSError as error:
            missing = {
                "allocate_a_key": (errno.ENOSPC, errno.EINVAL),
                "make_a_landlock_ruleset": (errno.EOPNOTSUPP,),
                "make_a_userfaultfd": (errno.EINVAL,),  # before Linux 5.11
            }
            if error.errno in missing.get(name, ()):
                raise Unavailable(f"not on this machine: {error.strerror}") from error
            raise

    body.__name__ = name
    attack(compute_only="making")(body)


for _name, _make in _MAKES.items():
    _made(_name, _make)


# --- Outside -------------------------------------------------------------------------------------


@outside(compute_only="descriptors", web_worker="descriptors")
def write_to_what_is_open(scene: Scene) -> Steps:
    number = os.open(scene.old, os.O_RDWR)
    yield
    os.write(number, b"CONTENT")
    os.ftruncate(number, 0)


@outside(compute_only="descriptors", web_worker="descriptors")
def overwrite_what_is_open_to_append(scene: Scene) -> Steps:
    number = os.open(scene.old, os.O_RDWR | os.O_APPEND)
    yield
    import fcntl

    fcntl.fcntl(number, fcntl.F_SETFL, 0)
    os.pwrite(number, b"C", 0)
    assert os.pread(number, 9, 0) == b"Content"


@outside(web_worker="reading")
def read_any_file(scene: Scene) -> Steps:
    yield
    assert os.read(os.open(scene.old, os.O_RDONLY), 7) == b"content"
    os.open("/proc/self/environ", os.O_RDONLY)


@outside(web_worker="reading")
def read_the_memory_of_another(scene: Scene) -> Steps:
    word = ctypes.c_int(0x12345678)
    pid = scene.neighbour().pid
    yield
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    assert os.pread(memory, 4, ctypes.addressof(word)) == struct.pack("@i", 0x12345678)


@outside(web_worker="reading")
def opening_makes_a_terminal(scene: Scene) -> Steps:
    if not os.path.exists("/dev/ptmx"):
        raise Unavailable("there is no /dev/ptmx")
    before = len(os.listdir("/dev/pts"))
    yield
    os.open("/dev/ptmx", os.O_RDONLY)
    if len(os.listdir("/dev/pts")) <= before:
        raise Foiled("no terminal came")


@outside(web_worker="timestamps")
def change_the_timestamps_of_what_is_open(scene: Scene) -> Steps:
    yield
    number = os.open(scene.old, os.O_RDONLY)
    os.utime(number, (1, 1))
    assert os.stat(scene.old).st_mtime == 1


@outside(web_worker="timestamps")
def change_the_timestamps_of_what_another_owns(scene: Scene) -> Steps:
    """To now: for that, to be permitted to write is enough."""
    scene.privileged()
    os.chmod(scene.old, 0o666)
    os.utime(scene.old, (1, 1))
    number = os.open(scene.old, os.O_RDONLY)
    os.setresgid(ANOTHER_USER, ANOTHER_USER, ANOTHER_USER)
    os.setresuid(ANOTHER_USER, ANOTHER_USER, ANOTHER_USER)
    yield
    os.utime(number)
    assert os.fstat(number).st_mtime > 1
