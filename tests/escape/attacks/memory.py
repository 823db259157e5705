"""Memory: to execute what was not executable before the filter."""

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Callable, Generator

from escape.attack import attack, by_numbers, outside
from escape.scene import HIGH, IS_64_BIT, Foiled, Scene, Unavailable

Steps = Generator[None, None, None]

PAGE = mmap.PAGESIZE
READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE, ANONYMOUS = mmap.MAP_SHARED, mmap.MAP_PRIVATE, mmap.MAP_ANONYMOUS
FIXED = 0x10
NOWHERE = (1 << (64 if IS_64_BIT else 32)) - 1  # -1, for a descriptor that is none
MAYMOVE, MREMAP_FIXED, DONTUNMAP = 1, 2, 4
READ_IMPLIES_EXEC = 0x0400000


def _must_be(scene: Scene, address: int) -> None:
    """Write the payload and execute it."""
    scene.put(address)
    scene.must_execute(address)


@attack(compute_only="memory")
def map_all_at_once(scene: Scene) -> Steps:
    scene.payload()
    yield
    _must_be(scene, scene.map(0, PAGE, READ | WRITE | EXEC, PRIVATE | ANONYMOUS, NOWHERE, 0))


@attack(compute_only="memory")
def map_with_garbage_above(scene: Scene) -> Steps:
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    scene.payload()
    protection = HIGH | READ | WRITE | EXEC
    yield
    try:
        address = scene.map(0, PAGE, protection, PRIVATE | ANONYMOUS, NOWHERE, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:  # on powerpc
            raise Unavailable("the kernel refuses bits that it does not know") from error
        raise
    _must_be(scene, address)


@attack(compute_only="memory")
def map_executable_only(scene: Scene) -> Steps:
    memory = _file_with_payload(scene)
    yield
    scene.must_execute(scene.map(0, PAGE, EXEC, PRIVATE, memory, 0))


@attack(compute_only="memory")
def map_a_file(scene: Scene) -> Steps:
    memory = _file_with_payload(scene)
    yield
    scene.must_execute(scene.map(0, PAGE, READ | EXEC, SHARED, memory, 0))


@attack(compute_only="memory")
def map_over_what_it_has(scene: Scene) -> Steps:
    scene.payload()
    address = scene.memory()
    flags = PRIVATE | ANONYMOUS | FIXED
    yield
    _must_be(scene, scene.map(address, PAGE, READ | WRITE | EXEC, flags, NOWHERE, 0))


@attack(compute_only="memory")
def map_data_over_code(scene: Scene) -> Steps:
    """If the place kept its protection, this would do. It does not, anywhere."""
    address = scene.code(scene.payload())
    yield
    scene.map(address, PAGE, READ | WRITE, PRIVATE | ANONYMOUS | FIXED, NOWHERE, 0)
    scene.call("mprotect", address, PAGE, READ | WRITE | EXEC)
    _must_be(scene, address)


@attack(compute_only="memory")
def protect(scene: Scene) -> Steps:
    address = scene.memory()
    scene.put(address)
    yield
    scene.call("mprotect", address, PAGE, READ | EXEC)
    scene.must_execute(address)


@attack(compute_only="memory")
def protect_executable_only(scene: Scene) -> Steps:
    address = scene.memory()
    scene.put(address)
    yield
    scene.call("mprotect", address, PAGE, EXEC)
    scene.must_execute(address)


@attack(compute_only="memory")
def protect_with_garbage_above(scene: Scene) -> Steps:
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    address = scene.memory()
    scene.put(address)
    yield
    # The kernel takes all 64 bits of prot, and knows none of these: EINVAL. On its way to 32 bits
    # some entrance might lose them.
    try:
        scene.call("mprotect", address, PAGE, HIGH | READ | EXEC)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel refuses bits that it does not know") from error
        raise
    scene.must_execute(address)


@attack(compute_only="memory")
def protect_with_a_key(scene: Scene) -> Steps:
    address = scene.memory()
    scene.put(address)
    yield
    scene.call("pkey_mprotect", address, PAGE, READ | EXEC, NOWHERE)
    scene.must_execute(address)


@attack(compute_only="memory")
def protect_in_a_thread_that_ran_before(scene: Scene) -> Steps:
    in_thread = scene.early_thread()
    address = scene.memory()
    scene.put(address)
    yield
    in_thread(lambda: scene.call("mprotect", address, PAGE, READ | EXEC))
    scene.must_execute(address)


@attack(compute_only="memory")
def code_becomes_writable(scene: Scene) -> Steps:
    """Code that could only be read until then, rewritten, and made executable again."""
    address = scene.code(bytes(8))
    scene.call("mprotect", address, PAGE, READ | EXEC)
    scene.payload()
    yield
    scene.call("mprotect", address, PAGE, READ | WRITE)
    scene.put(address)
    scene.call("mprotect", address, PAGE, READ | EXEC)
    scene.must_execute(address)


def _file_with_payload(scene: Scene, *, before: int = 0) -> int:
    """Return a memory file with the payload after ``before`` bytes."""
    memory = os.memfd_create("code")
    os.ftruncate(memory, before + PAGE)
    os.pwrite(memory, scene.payload(), before)
    return memory


def _mapped_code(scene: Scene, memory: int, size: int, flags: int = PRIVATE) -> int:
    """Map the file's first ``size`` bytes as code where there is room behind them."""
    place = scene.map(0, 8 * PAGE, 0,
                       PRIVATE | ANONYMOUS, NOWHERE, 0)  # fmt: skip
    scene.call("munmap", place, 8 * PAGE)
    return scene.map(place, size, READ | EXEC, flags | FIXED, memory, 0)


@attack(compute_only="memory")
def grow_a_mapping_of_code(scene: Scene) -> Steps:
    """The part of a file behind the page that was mapped becomes executable."""
    memory = _file_with_payload(scene, before=PAGE)
    address = _mapped_code(scene, memory, PAGE)
    yield
    new = scene.call("mremap", address, PAGE, 2 * PAGE, MAYMOVE, 0)
    scene.must_execute(new + PAGE)


@attack(compute_only="memory")
def grow_a_mapping_of_code_in_place(scene: Scene) -> Steps:
    memory = _file_with_payload(scene, before=PAGE)
    address = _mapped_code(scene, memory, PAGE)
    yield
    scene.must_execute(scene.call("mremap", address, PAGE, 2 * PAGE, 0, 0) + PAGE)


@attack(compute_only="memory")
def grow_by_a_file_that_grows(scene: Scene) -> Steps:
    """The attacker writes the code himself, through a descriptor that he has."""
    memory = os.memfd_create("code")
    os.ftruncate(memory, PAGE)
    address = _mapped_code(scene, memory, PAGE, SHARED)
    payload = scene.payload()
    yield
    os.ftruncate(memory, 2 * PAGE)
    os.pwrite(memory, payload, PAGE)
    scene.must_execute(scene.call("mremap", address, PAGE, 2 * PAGE, MAYMOVE, 0) + PAGE)


@attack(compute_only="memory")
def grow_with_garbage_above(scene: Scene) -> Steps:
    if not IS_64_BIT:
        raise Unavailable("registers have no more than 32 bits")
    memory = _file_with_payload(scene, before=PAGE)
    address = _mapped_code(scene, memory, PAGE)
    yield
    try:
        new = scene.call("mremap", address, PAGE, 2 * PAGE, HIGH | MAYMOVE, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel refuses bits that it does not know") from error
        raise
    scene.must_execute(new + PAGE)


@attack(compute_only="memory")
def duplicate_a_mapping_of_code(scene: Scene) -> Steps:
    """An old size of 0 leaves the old mapping and makes a second one of a shared file."""
    memory = _file_with_payload(scene)
    address = _mapped_code(scene, memory, PAGE, SHARED)
    yield
    new = scene.call("mremap", address, 0, PAGE, MAYMOVE, 0)
    scene.must_execute(new)


@attack(compute_only="memory")
def move_code_and_leave_a_hole(scene: Scene) -> Steps:
    """MREMAP_DONTUNMAP: twice as much memory is executable as before."""
    address = scene.code(scene.payload())
    yield
    try:
        new = scene.call("mremap", address, PAGE, PAGE, MAYMOVE | DONTUNMAP, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unavailable("the kernel does not know MREMAP_DONTUNMAP") from error
        raise
    scene.must_execute(new)
    _must_be(scene, address)


@attack(compute_only="memory")
def move_code_over_data(scene: Scene) -> Steps:
    address = scene.code(scene.payload())
    data = scene.memory()
    yield
    scene.call("mremap", address, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, data)
    scene.must_execute(data)


@attack(compute_only="memory")
def move_data_over_code(scene: Scene) -> Steps:
    """The place was executable, what comes there is not: mprotect(2) has to help."""
    address = scene.code(bytes(8))
    data = scene.memory()
    scene.put(data)
    yield
    scene.call("mremap", data, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, address)
    scene.call("mprotect", address, PAGE, READ | EXEC)
    scene.must_execute(address)


@attack(compute_only="memory")
def remap_other_pages_into_code(scene: Scene) -> Steps:
    """remap_file_pages(2), which keeps the protection and changes what of the file is there."""
    memory = _file_with_payload(scene, before=PAGE)
    address = scene.map(0, 2 * PAGE, READ | EXEC, SHARED, memory, 0)
    scene.call("mprotect", address + PAGE, PAGE, 0)
    yield
    scene.call("remap_file_pages", address, PAGE, 0, 1, 0)
    scene.must_execute(address)


@attack(compute_only="memory")
def a_segment(scene: Scene) -> Steps:
    segment = scene.call("shmget", 0, PAGE, 0o1700)
    scene.call("shmat", segment, 0, 0)
    scene.call("shmctl", segment, 0, 0)  # IPC_RMID: it goes when nobody is attached any more
    payload = scene.payload()
    yield
    address = scene.call("shmat", segment, 0, 0o100000)  # SHM_EXEC
    ctypes.memmove(address, payload, len(payload))
    scene.must_execute(address)


@attack(compute_only="memory")
def reading_implies_executing(scene: Scene) -> Steps:
    scene.payload()
    yield
    scene.call("personality", READ_IMPLIES_EXEC)
    _must_be(scene, scene.map(0, PAGE, READ | WRITE, PRIVATE | ANONYMOUS, NOWHERE, 0))


@attack(compute_only="memory")
def a_stack_that_is_code_grows(scene: Scene) -> Steps:
    """PROT_GROWSDOWN makes all of the stack executable, as the loader does for old libraries."""
    with open("/proc/self/maps") as file:
        page = next(int(line.split("-")[0], 16) for line in file if "[stack]" in line)
    payload = scene.payload()
    yield
    scene.call("mprotect", page, PAGE, READ | WRITE | EXEC | 0x01000000)
    ctypes.memmove(page, payload, len(payload))  # far below what is in use
    scene.must_execute(page)


def _write_by_proc(memory: int, content: bytes, address: int) -> None:
    try:
        os.pwrite(memory, content, address)
    except OSError as error:
        if error.errno == errno.EIO:
            raise Unavailable("/proc/PID/mem does not write to what is read-only here") from error
        raise


@attack(compute_only="memory")
def write_to_code_by_proc(scene: Scene) -> Steps:
    address = scene.code(bytes(8))
    scene.call("mprotect", address, PAGE, READ | EXEC)
    payload = scene.payload()
    yield
    _write_by_proc(os.open("/proc/self/mem", os.O_RDWR), payload, address)
    scene.must_execute(address)


@attack(compute_only="memory")
def write_to_code_by_process_vm_writev(scene: Scene) -> Steps:
    """It heeds protections where /proc/self/mem does not, so the code must be writable."""
    address = scene.code(bytes(8))
    payload = scene.payload()
    source = ctypes.create_string_buffer(payload, len(payload))
    yield
    mine = struct.pack("@PN", ctypes.addressof(source), len(payload))
    its = struct.pack("@PN", address, len(payload))
    scene.call("process_vm_writev", os.getpid(), mine, 1, its, 1, 0)
    scene.must_execute(address)


@attack(compute_only="memory", abis=("x86_64",))
def map_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    scene.payload()
    yield
    address = call("mmap2", 0, PAGE, READ | WRITE | EXEC, PRIVATE | ANONYMOUS, 0xFFFFFFFF)
    _must_be(scene, address & 0xFFFFFFFF)


@attack(compute_only="memory", abis=("x86_64",))
def protect_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    address = scene.low(scene.payload())
    yield
    call("mprotect", address, PAGE, READ | EXEC)
    scene.must_execute(address)


@attack(compute_only="memory", abis=("x86_64",))
def old_map_by_int_0x80(scene: Scene) -> Steps:
    call = scene.int80()
    words = scene.low(
        struct.pack("=6I", 0, PAGE, 7, PRIVATE | ANONYMOUS, 0xFFFFFFFF, 0) + scene.payload()
    )
    yield
    address = call("mmap", words) & 0xFFFFFFFF
    _must_be(scene, address)


@attack(compute_only="memory", abis=("i386",))
def map_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    scene.payload()
    yield
    address = call("mmap", 0, PAGE, READ | WRITE | EXEC, PRIVATE | ANONYMOUS | 0x40, NOWHERE)
    _must_be(scene, address & 0xFFFFFFFF)


@attack(compute_only="memory", abis=("i386",))
def protect_by_a_far_call(scene: Scene) -> Steps:
    call = scene.far_call()
    address = scene.low(scene.payload())
    yield
    call("mprotect", address, PAGE, READ | EXEC)
    scene.must_execute(address)


@attack(compute_only="memory")
def a_segment_by_ipc(scene: Scene) -> Steps:
    """The one call of old for all of System V IPC: here SHMGET, SHMAT and SHMCTL."""
    payload = scene.payload()
    where = ctypes.c_ulong()
    yield
    segment = scene.call("ipc", 23, 0, PAGE, 0o1700, 0)
    scene.call("ipc", 21, segment, 0o100000, where, 0)
    scene.call("ipc", 24, segment, 0, 0, 0)  # IPC_RMID: it goes when nobody is attached any more
    ctypes.memmove(where.value, payload, len(payload))
    scene.must_execute(where.value)


@attack(compute_only="memory", abis=("i386",))
def old_map(scene: Scene) -> Steps:
    """mmap of i386 and m68k, whose one argument points to the six."""
    words = struct.pack("=6I", 0, PAGE, 7, PRIVATE | ANONYMOUS, 0xFFFFFFFF, 0)
    scene.payload()
    yield
    _must_be(scene, scene.call("mmap", words))


@by_numbers(compute_only="memory")
def protect_memory(scene: Scene, call: "Callable[..., int]") -> Steps:
    address = scene.low(scene.payload())
    yield
    call("mprotect", address, PAGE, READ | EXEC)
    scene.must_execute(address)


@attack(compute_only="memory")
def load_a_library(scene: Scene) -> Steps:
    with open("/proc/self/maps") as file:
        loaded = file.read()
    names = ("libgcc_s.so.1", "librt.so.1", "libutil.so.1", "libanl.so.1", "libnsl.so.1")
    fresh = [name for name in names if name not in loaded]
    yield
    try:
        ctypes.CDLL(fresh[0])
    except OSError as error:  # of the loader, without an errno
        raise Foiled(str(error)) from error


@attack(compute_only="memory")
def uselib(scene: Scene) -> Steps:
    yield
    try:
        scene.call("uselib", b"/nowhere\0")
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Unavailable("no library of the old kind is at hand") from error
        raise


# --- Outside -------------------------------------------------------------------------------------


@outside(compute_only="descriptors")
def write_to_code_by_a_descriptor_of_its_file(scene: Scene) -> Steps:
    memory = os.memfd_create("code")
    os.ftruncate(memory, PAGE)
    address = scene.map(0, PAGE, READ | EXEC, SHARED, memory, 0)
    payload = scene.payload()
    yield
    os.pwrite(memory, payload, 0)
    scene.must_execute(address)


@outside(compute_only="descriptors")
def write_to_code_by_a_descriptor_of_proc(scene: Scene) -> Steps:
    address = scene.code(bytes(8))
    scene.call("mprotect", address, PAGE, READ | EXEC)
    memory = os.open("/proc/self/mem", os.O_RDWR)
    payload = scene.payload()
    yield
    _write_by_proc(memory, payload, address)
    scene.must_execute(address)


@outside(compute_only="memory it has", web_worker="memory")
def write_to_memory_that_can_be_both(scene: Scene) -> Steps:
    """Memory that could be written and executed before can be afterwards."""
    address = scene.code(bytes(8))
    yield
    _must_be(scene, address)


@outside(compute_only="memory it has")
def reading_implied_executing_before(scene: Scene) -> Steps:
    scene.payload()
    scene.call("personality", READ_IMPLIES_EXEC)
    yield
    _must_be(scene, scene.map(0, PAGE, READ | WRITE, PRIVATE | ANONYMOUS, NOWHERE, 0))


@outside(web_worker="memory")
def map_code(scene: Scene) -> Steps:
    yield
    _must_be(scene, scene.map(0, PAGE, READ | WRITE | EXEC, PRIVATE | ANONYMOUS, NOWHERE, 0))
