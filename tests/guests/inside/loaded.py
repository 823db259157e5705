"""Have systemd start units, and read the programs that it installed from their processes.

A unit's process is ``/trial/spin``, which makes no call, so that no filter ends it. What it runs
under is asked for by ptrace(2), PTRACE_SECCOMP_GET_FILTER: the oldest filter has the index 0, as
get_nth_filter() of kernel/seccomp.c counts.
"""

import ctypes
import glob
import json
import os
import signal
import subprocess

_SEIZE, _INTERRUPT, _GET_FILTER = 0x4206, 0x4207, 0x420C
_MOST = 4096
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def main() -> bytes:
    """Return a JSON object by unit: its programs as hexadecimal, the oldest first, or why not."""
    if os.getpid() == 1:
        os.execv("/usr/lib/systemd/systemd", ["systemd"])
    with open("/trial/units.json") as file:
        units = json.load(file)
    told = {}
    for name, unit in units["files"].items():
        with open(f"/run/systemd/system/{name}.service", "w") as written:
            written.write(unit)
    names = [f"{name}.service" for name in units["files"]]
    _output("systemctl", "daemon-reload")
    said = _output("systemctl", "start", *names)
    for name, properties in units["runs"].items():
        words = [word for one in properties for word in ("-p", one)]
        said += _output("systemd-run", "-q", f"--unit={name}", *words, "/trial/spin")
    processes = _processes()
    for name in (*units["files"], *units["runs"]):
        pid = processes.get(f"{name}.service")
        told[name] = _programs(pid) if pid else None
    journal = _output("journalctl", "--no-pager", "-o", "cat", "-b")
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name
    unknown = [name for name in units["names"] if resolve(name.encode()) == -1]
    release = _output("systemctl", "--version").split()[1]
    report = {"release": release, "units": told, "unknown": unknown, "said": said + journal}
    return json.dumps(report).encode()


def _processes() -> "dict[str, int]":
    """Return the process of each unit that runs ``/trial/spin``."""
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            if os.readlink(f"{path}/exe") == "/trial/spin":
                with open(f"{path}/cgroup") as file:
                    found[file.read().strip().rpartition("/")[2]] = int(path[6:])
        except OSError:
            pass  # a thread of the kernel's, or it ended
    return found


def _programs(pid: int) -> "dict[str, object]":
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    _ptrace(_SEIZE, pid, 0, None)
    _ptrace(_INTERRUPT, pid, 0, None)
    os.waitpid(pid, 0)
    programs: list[str] = []
    buffer = ctypes.create_string_buffer(8 * _MOST)
    for index in range(int(status["Seccomp_filters"])):
        length = _ptrace(_GET_FILTER, pid, index, buffer)
        programs.append(buffer.raw[: 8 * length].hex())
    os.kill(pid, signal.SIGKILL)
    return {"programs": programs, "no_new_privs": status["NoNewPrivs"] == "1"}


def _ptrace(request: int, pid: int, address: int, data: object) -> int:
    result: int = _libc.ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")
    return result


def _output(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
    given = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        errors="replace",
        text=True,
        check=False,
    )
    return given.stdout
