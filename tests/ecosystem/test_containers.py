"""Containers under exported profiles; and their filters, as the kernel gives them back."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import containers
import engines
import libseccomp
import pytest
from audit_records import recorded
from bundles import COMMANDS, configure, lay_out
from command import ROOT, inside
from engines import Engine
from pages import follow
from seccompgen.core.abis import ABIS
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not libseccomp.is_here(), reason="needs python3-seccomp, on x86_64"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starts containers, as root"),
]
BARE = ["/bin/echo", "it starts"]
PAGE = ROOT / "docs" / "oci.md"
ENGINES = {"docker": ("docker", "dockerd"), "podman": ("podman", "crun")}

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


@pytest.fixture(scope="module", params=COMMANDS)
def runtime(request: pytest.FixtureRequest) -> str:
    """Give runc, then crun, where they are and start containers that have no profile."""
    name: str = request.param
    if not shutil.which(name):
        pytest.skip(f"no {name}")
    with TemporaryDirectory() as place:
        bundle = Path(place)
        lay_out(bundle)
        configure(bundle, BARE)
        starts(name, run(name, bundle))
    return name


@pytest.fixture(scope="module")
def daemon() -> Iterator[Engine]:
    """Docker, with one daemon for all tests; in a short place, for its sockets."""
    needs("docker")
    with TemporaryDirectory() as place, engines.docker(Path(place) / "docker") as docker:
        yield usable(docker)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Docker, then Podman."""
    if request.param == "docker":
        yield request.getfixturevalue("daemon")
    else:
        needs("podman")
        with TemporaryDirectory() as place, engines.podman(Path(place) / "podman") as podman:
            yield usable(podman)


def needs(engine: str) -> None:
    for tool in ENGINES[engine]:
        if not shutil.which(tool):
            pytest.skip(f"no {tool}")


def usable(engine: Engine) -> Engine:
    """Return an engine that starts containers that have no profile."""
    with TemporaryDirectory() as place:
        lay_out(Path(place))
        options = ("--rm", "--security-opt", "seccomp=unconfined")
        said = engine.run(*options, root=Path(place) / "rootfs", command=BARE)
        starts(engine.name, {*said.splitlines()})
    return engine


def starts(name: str, said: set[str]) -> None:
    """Skip where a machine, itself a container perhaps, lets nobody start one."""
    if said != {"it starts"}:
        pytest.skip(f"{name} starts no container here: {'; '.join(sorted(said))}")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    lay_out(tmp_path)
    return tmp_path


def profile(bundle: Path, policy: str) -> Any:
    (bundle / "demo.yml").write_text(policy)
    run = inside("build", "demo.yml", "--format", "oci", "-o", ".", cwd=bundle)
    assert run.code == 0, run.err
    return json.loads((bundle / "demo.x86_64.json").read_text())


def run(runtime: str, bundle: Path, by: str = "") -> set[str]:
    """Return the lines it prints, which come by two pipes."""
    name = f"seccompgen-{os.getpid()}"
    done = subprocess.run(
        ["sh", "-c", f"{by}{COMMANDS[runtime]} run {name} 2>&1"],
        cwd=bundle,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return {line for line in done.stdout.splitlines() if "hybrid mode" not in line}


def test_a_container_is_held_to_the_policy(runtime: str, bundle: Path) -> None:
    configure(bundle, ["/bin/sh", "-c", SCRIPT], seccomp=profile(bundle, POLICY))
    assert run(runtime, bundle) == SEEN


def test_under_a_report_only_profile_all_is_done_and_the_kernel_has_a_record(
    runtime: str, bundle: Path
) -> None:
    (bundle / "demo.yml").write_text(POLICY)
    words = ("build", "demo.yml", "--report-only", "--format", "oci", "-o", ".")
    assert inside(*words, cwd=bundle).code == 0
    reports = json.loads((bundle / "demo_report_only.x86_64.json").read_text())
    configure(bundle, ["/bin/sh", "-c", "mkdir /tmp/a && echo done"], seccomp=reports)
    with recorded() as records:
        assert run(runtime, bundle) == {"done"}
    (bundle / "records").write_text(records.text("/bin/busybox"))
    told = inside("explain", "--audit", "records", "demo.yml", "--json", cwd=bundle)
    (one,) = json.loads(told.out)["calls"]
    assert (one["syscall"], one["only_logged"], one["rules"][0]["action"]) == (
        *("mkdir", True),
        "errno(EXDEV)",
    )


@pytest.mark.parametrize("runtime", ["crun"], indirect=True)
def test_crun_takes_the_program_itself(runtime: str, bundle: Path) -> None:
    """By an annotation, without libseccomp: for what a profile cannot say."""
    (bundle / "demo.yml").write_text(POLICY.replace("kill_thread", "kill_process"))
    assert inside("build", "demo.yml", "--format", "bpf", "-o", ".", cwd=bundle).code == 0
    program = (bundle / "demo.x86_64.bpf").read_bytes()
    data = base64.b64encode(program).decode()
    configure(bundle, ["/bin/sh", "-c", SCRIPT], annotations={"run.oci.seccomp_bpf_data": data})
    assert run(runtime, bundle) == SEEN


def test_an_engine_holds_a_container_to_the_policy(engine: Engine, bundle: Path) -> None:
    profile(bundle, POLICY)
    options = ("--rm", "--security-opt", f"seccomp={bundle}/demo.x86_64.json")
    said = engine.run(*options, root=bundle / "rootfs", command=["/bin/sh", "-c", SCRIPT])
    assert set(said.splitlines()) == SEEN


def test_containerd_holds_a_container_to_the_policy(daemon: Engine, bundle: Path) -> None:
    """By Docker's own; it reads the file as it does for Kubernetes (contrib/seccomp)."""
    if not shutil.which("ctr"):
        pytest.skip("no ctr")
    profile(bundle, POLICY)
    command = ["ctr", "--address", str(daemon.directory / "exec/containerd/containerd.sock"), "run"]
    command += ["--rm", "--fifo-dir", str(bundle / "fifo"), "--cgroup", "", "--seccomp"]
    command += ["--seccomp-profile", str(bundle / "demo.x86_64.json")]
    command += ["--rootfs", str(bundle / "rootfs"), "demo", "/bin/sh", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert {*done.stdout.splitlines(), *done.stderr.splitlines()} == SEEN


def test_another_errno_is_another_profile(runtime: str, bundle: Path) -> None:
    """To crun's cache as well, whose key has all of a profile but that."""
    for number in (errno.EXDEV, errno.EBUSY):
        document = profile(bundle, POLICY.replace("EXDEV", str(number)))
        configure(bundle, ["/bin/sh", "-c", "mkdir /tmp/a"], seccomp=document)
        (said,) = run(runtime, bundle)
        assert said == f"mkdir: can't create directory '/tmp/a': {os.strerror(number)}"


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
        while not (pid.exists() and pid.read_text() and sleeps(int(pid.read_text()))):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield int(pid.read_text())
    finally:
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), 9)
        process.wait(30)


@contextlib.contextmanager
def running_by(engine: Engine, bundle: Path) -> Iterator[int]:
    """Start a container as above, by an engine."""
    profiled = f"seccomp={bundle}/demo.x86_64.json"
    options = ("--detach", "--name", "demo", "--security-opt", profiled)
    said = engine.run(*options, root=bundle / "rootfs", command=["/bin/sleep", "60"])
    try:
        told = engine("inspect", "--format", "{{.State.Pid}}", "demo")
        assert told.strip().isdecimal(), said + told
        deadline = time.monotonic() + 30
        while not sleeps(int(told)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield int(told)
    finally:
        engine("kill", "demo")
        engine("rm", "--force", "demo")


def sleeps(pid: int) -> bool:
    """Tell whether the runtime has become the container's program."""
    return b"/bin/sleep" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def filter_of(pid: int) -> bytes:
    """Return the newest filter of a process (PTRACE_SECCOMP_GET_FILTER, ptrace(2))."""
    assert "\nSeccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text(), "no filter is in force"
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
    "stock": f"include: [{ROOT}/policies/sandboxed_code.yml]\narches: [x86_64]\n"
    "bad_arch_action: kill_thread\n",
    "permissive": POLICY.replace("errno(ENOSYS)", "allow"),
}


def prove(program: bytes, document: Any, policy_path: Path) -> None:
    """Prove that a filter in force is the policy, for every call that can be made.

    But for names that the libseccomp here does not know: the profile's default action is theirs.
    """
    tables, abi = shipped_tables(), ABIS["x86_64"]
    policy, _ = load_policy(policy_path, tables)
    _, unknown = containers.loaded(document, tables.tables["x86_64"].numbers)
    assert containers.difference(policy, abi, tables, program, unknown) is None


@pytest.mark.parametrize("name", POLICIES)
def test_the_filter_in_force_is_the_policy(runtime: str, name: str, bundle: Path) -> None:
    document = profile(bundle, POLICIES[name])
    configure(bundle, ["/bin/sleep", "60"], seccomp=document)
    with running(runtime, bundle) as pid:
        program = filter_of(pid)
    prove(program, document, bundle / "demo.yml")


@pytest.mark.parametrize("name", POLICIES)
def test_the_filter_in_force_by_an_engine(engine: Engine, name: str, bundle: Path) -> None:
    document = profile(bundle, POLICIES[name])
    with running_by(engine, bundle) as pid:
        program = filter_of(pid)
    prove(program, document, bundle / "demo.yml")


# --- what a runtime does under the filter --------------------------------------------------------

ALLOWLIST = """
include: [runtime.yml]
arches: [x86_64]
default_action: errno(EPERM)
unknown_action: errno(ENOSYS)
bad_arch_action: kill_thread
syscalls:
- action: allow
  names: [brk, arch_prctl, mmap, munmap, mprotect, set_tid_address, set_robust_list, rseq,
    prlimit64, readlinkat, getrandom, getuid, geteuid, getgid, getegid, read, fstat,
    ioctl, rt_sigaction]
"""


def test_an_allowlist_with_what_the_page_says_that_runtimes_do(
    engine: Engine, bundle: Path
) -> None:
    """Without one of these the container does not start, and nothing runs unconfined."""
    (text,) = re.findall(r"^# runtime\.yml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    profiled = f"seccomp={bundle}/demo.x86_64.json"
    options = ("--rm", "--security-opt", profiled, "--security-opt", "no-new-privileges")
    for needed, starts in ((text, True), (text.replace("execve, ", ""), False)):
        (bundle / "runtime.yml").write_text(needed)
        profile(bundle, ALLOWLIST)
        said = engine.run(*options, root=bundle / "rootfs", command=["/bin/echo", "it", "runs"])
        assert (said == "it runs\n") == starts, said
        assert ("it runs" in said) == starts


@pytest.mark.parametrize("flags", ["", "log"])
def test_flags_are_those_of_the_policy(runtime: str, flags: str, bundle: Path) -> None:
    """Or runc refuses the profile: 1.1 knows no flags, and sets none."""
    if not shutil.which("strace"):
        pytest.skip("no strace")
    document = profile(bundle, f"{POLICY}\nflags: [{flags}]\n")
    configure(bundle, ["/bin/echo", "it runs"], seccomp=document)
    said = run(runtime, bundle, "strace -f -e trace=prctl,seccomp -o trace ")
    if said != {"it runs"}:
        assert flags
        assert "seccomp flags are not yet supported by runc" in said.pop()
        return
    how = r"PR_SET_SECCOMP, SECCOMP_MODE_FILTER|SECCOMP_SET_MODE_FILTER, (\w+), \{len"
    (set_,) = re.findall(how, (bundle / "trace").read_text())
    assert set_ == "SECCOMP_FILTER_FLAG_LOG" if flags else set_ in {"", "0"}


@pytest.mark.parametrize("runtime", ["runc"], indirect=True)
@pytest.mark.skipif(not shutil.which("jq"), reason="no jq")
def test_the_page_does_what_it_shows(tmp_path: Path, daemon: Engine, runtime: str) -> None:
    assert runtime
    needs("podman")
    with TemporaryDirectory() as place, engines.podman(Path(place) / "podman") as podman:
        usable(podman)
        assert follow(PAGE.name, tmp_path, {**daemon.env, **podman.env}) == 8
