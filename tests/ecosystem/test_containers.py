"""Containers under exported profiles; and their filters, as the kernel gives them back."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import containers
import libseccomp
import pytest
from command import ROOT, inside
from pages import follow
from seccompgen.architectures import ABIS
from seccompgen.build import shipped_tables
from seccompgen.policy import load_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not libseccomp.is_here(), reason="needs python3-seccomp, on x86_64"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starts containers, as root"),
]
runtimes = pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name}"))
        for name in ("runc", "crun")
    ],
)
# crun wants one hierarchy of control groups; in a mount namespace of its own it sees one.
ALONE = (
    "unshare -m sh -c 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; "
    'exec "$@"\' sh'
)
COMMANDS = {"runc": "runc", "crun": f"{ALONE} crun --cgroup-manager=disabled"}

POLICY = """
arches: [x86_64]
default_action: allow
unknown_action: errno(ENOSYS)
bad_arch_action: kill_thread
syscalls:
- action: errno(EROFS)
  names_with_args:
  - {name: chmod, arguments: [{argument: 1, operation: NotEqual, value: 0o700, width: 32}]}
- {action: errno(EXDEV), names: [mkdir, mkdirat]}
- {action: errno(ENOTTY), names: [setns]}
- {action: kill_process, names: [sethostname]}
"""
SCRIPT = """
chmod 700 /tmp && echo done
chmod 755 /tmp
mkdir /tmp/a
hostname there
echo $?
"""
SEEN = {
    *("done", "chmod: /tmp: Read-only file system", "Bad system call", "159"),
    "mkdir: can't create directory '/tmp/a': Invalid cross-device link",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A container that has busybox and nothing else."""
    binaries = tmp_path / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    for name in ("tmp", "dev", "proc"):
        (tmp_path / "rootfs" / name).mkdir()
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("needs busybox-static")
    shutil.copy(busybox, binaries)
    for name in ("sh", "mkdir", "chmod", "hostname", "sleep", "echo"):
        (binaries / name).symlink_to("busybox")
    return tmp_path


def configure(bundle: Path, args: list[str], **more: Any) -> None:
    namespaces = [{"type": name} for name in ("pid", "mount", "ipc", "uts", "network")]
    seccomp = more.pop("seccomp", None)
    document = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {
                kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")
            },
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": namespaces, **({"seccomp": seccomp} if seccomp else {})},
        **more,
    }
    (bundle / "config.json").write_text(json.dumps(document))


def profile(bundle: Path, policy: str) -> Any:
    (bundle / "demo.yml").write_text(policy)
    run = inside("build", "demo.yml", "--format", "oci", "-o", ".", cwd=bundle)
    assert run.code == 0, run.err
    return json.loads((bundle / "demo.x86_64.json").read_text())


def run(runtime: str, bundle: Path) -> set[str]:
    """Return the lines it prints, which come by two pipes."""
    name = f"seccompgen-{os.getpid()}"
    done = subprocess.run(
        ["sh", "-c", f"{COMMANDS[runtime]} run {name} 2>&1"],
        cwd=bundle,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return {line for line in done.stdout.splitlines() if "hybrid mode" not in line}


@runtimes
def test_a_container_is_held_to_the_policy(runtime: str, bundle: Path) -> None:
    configure(bundle, ["/bin/sh", "-c", SCRIPT], seccomp=profile(bundle, POLICY))
    assert run(runtime, bundle) == SEEN


@pytest.mark.skipif(not shutil.which("crun"), reason="no crun")
def test_crun_takes_the_program_itself(bundle: Path) -> None:
    """By an annotation, without libseccomp: for what a profile cannot say."""
    (bundle / "demo.yml").write_text(POLICY.replace("kill_thread", "kill_process"))
    assert inside("build", "demo.yml", "--format", "bpf", "-o", ".", cwd=bundle).code == 0
    program = (bundle / "demo.x86_64.bpf").read_bytes()
    data = base64.b64encode(program).decode()
    configure(bundle, ["/bin/sh", "-c", SCRIPT], annotations={"run.oci.seccomp_bpf_data": data})
    assert run("crun", bundle) == SEEN


# --- what is really in force ---------------------------------------------------------------------


@contextlib.contextmanager
def running(runtime: str, bundle: Path) -> Iterator[int]:
    """Start a container in the background; give the process that is its first."""
    name = f"seccompgen-{os.getpid()}"
    command = ["sh", "-c", f"exec {COMMANDS[runtime]} run --pid-file pid {name}"]
    process = subprocess.Popen(
        command, cwd=bundle, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    pid = bundle / "pid"
    try:
        deadline = time.monotonic() + 30
        while not (pid.exists() and pid.read_text()) or b"/bin/sleep" not in Path(
            f"/proc/{pid.read_text()}/cmdline"
        ).read_bytes().split(b"\0"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield int(pid.read_text())
    finally:
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), 9)
        process.wait(30)


def filter_of(pid: int) -> bytes:
    """Return the newest filter of a process (PTRACE_SECCOMP_GET_FILTER, ptrace(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    seize, interrupt, get_filter, detach = 0x4206, 0x4207, 0x420C, 17
    assert libc.ptrace(seize, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        assert libc.ptrace(interrupt, pid, None, None) == 0
        os.waitpid(pid, 0x40000000)  # __WALL
        length = libc.ptrace(get_filter, pid, None, None)
        if length == -1:
            pytest.skip(f"this kernel does not show filters: {os.strerror(ctypes.get_errno())}")
        program = ctypes.create_string_buffer(length * 8)
        assert libc.ptrace(get_filter, pid, None, program) == length
    finally:
        libc.ptrace(detach, pid, None, None)
    return program.raw


POLICIES = {
    "enosys": POLICY,
    "stock": f"include: [{ROOT}/policies/no_network.yml]\narches: [x86_64]\n"
    "bad_arch_action: kill_thread\n",
    "permissive": POLICY.replace("errno(ENOSYS)", "allow"),
}


@runtimes
@pytest.mark.parametrize("name", POLICIES)
def test_the_filter_in_force_is_the_policy(runtime: str, name: str, bundle: Path) -> None:
    """Proved of what the kernel gives back, for every call that can be made.

    But for names that the libseccomp here does not know: the profile's default action is theirs.
    """
    document = profile(bundle, POLICIES[name])
    configure(bundle, ["/bin/sleep", "60"], seccomp=document)
    with running(runtime, bundle) as pid:
        program = filter_of(pid)
    tables, abi = shipped_tables(), ABIS["x86_64"]
    policy, _ = load_policy(bundle / "demo.yml", tables)
    _, unknown = containers.loaded(document, tables.tables["x86_64"].numbers)
    assert containers.difference(policy, abi, tables, program, unknown) is None


@pytest.mark.skipif(not shutil.which("runc"), reason="no runc")
def test_the_page_does_what_it_shows(tmp_path: Path) -> None:
    for tool in ("busybox", "jq"):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")
    assert follow("oci.md", tmp_path) == 5
