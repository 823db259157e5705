"""Have processes refused, under systemd, and report what kernel, auditd and journald wrote of it.

The file ``cases.json`` has a list of [name, properties of the unit, command]. All are run twice:
before the audit daemon and systemd-coredump run, so that the kernel prints its records, and after.
"""

import json
import os
import struct
import subprocess
import time

_PT_NOTE, _NT_SIGINFO = 4, 0x53494749


def main() -> bytes:
    """Return a JSON object of texts by the name of what wrote them."""
    if os.getpid() == 1:
        os.execv("/usr/lib/systemd/systemd", ["systemd"])
    with open("/trial/cases.json") as file:
        cases = json.load(file)
    _set("kernel/core_pattern", "")  # first without systemd-coredump
    _set("kernel/printk_ratelimit", "0")  # or the kernel drops records of a guest that is quick
    _make_calls(cases, "")
    texts = {"dmesg.txt": _output("dmesg")}
    _output("systemctl", "start", "auditd", "systemd-coredump.socket")
    _send_cores_to_systemd()
    _make_calls(cases, "-audited")
    time.sleep(2)  # the daemon writes when it can
    with open("/var/log/audit/audit.log") as file:
        texts["audit.log"] = file.read()
    texts["ausearch-i.txt"] = _output("ausearch", "-i", "-m", "SECCOMP", "--input-logs")
    texts["ausearch.txt"] = _output("ausearch", "-m", "SECCOMP", "--input-logs")
    for form in ("short", "json"):
        texts[f"journal-{form}.txt"] = _output("journalctl", "--no-pager", "-o", form)
    every = "COREDUMP_SIGNAL=31"
    texts["coredumpctl-list.txt"] = _output("coredumpctl", "--no-pager", "list", every)
    texts["coredumpctl-info.txt"] = _output("coredumpctl", "--no-pager", "info", every)
    texts["status.txt"] = "".join(
        _output("systemctl", "status", "--no-pager", f"refused-{case[0]}{suffix}")
        for suffix in ("", "-audited")
        for case in cases
    )
    cores = {}
    for case in cases:
        unit = f"COREDUMP_UNIT=refused-{case[0]}-audited.service"
        _output("coredumpctl", "dump", unit, "-o", "/tmp/core")
        if os.path.exists("/tmp/core"):
            cores[case[0]] = _siginfo("/tmp/core").hex()
            os.remove("/tmp/core")
    texts["core-siginfo.json"] = json.dumps(cores, indent=1)
    return json.dumps(texts).encode()


def _send_cores_to_systemd() -> None:
    """Do what systemd-sysctl would at boot."""
    with open("/usr/lib/sysctl.d/50-coredump.conf") as file:
        for line in file:
            key, equals, value = line.partition("=")
            if equals and not key.startswith("#"):
                _set(key.strip().replace(".", "/"), value.strip())


def _set(name: str, value: str) -> None:
    with open("/proc/sys/" + name, "w") as setting:
        setting.write(value)


def _make_calls(cases: "list[tuple[str, list[str], list[str]]]", suffix: str) -> None:
    for name, properties, command in cases:
        words = [word for one in properties for word in ("-p", one)]
        words += ["-p", "Type=oneshot"]  # so that it is waited for
        _output("systemd-run", "-q", f"--unit=refused-{name}{suffix}", *words, *command)


def _siginfo(path: str) -> bytes:
    """Return the note NT_SIGINFO of a 64-bit core file: the siginfo_t of the signal (core(5))."""
    with open(path, "rb") as file:
        core = file.read()
    (headers,) = struct.unpack_from("<Q", core, 32)
    size, count = struct.unpack_from("<HH", core, 54)
    for header in range(headers, headers + size * count, size):
        kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", core, header)
        end = at + length
        while kind == _PT_NOTE and at < end:
            name, described, note = struct.unpack_from("<III", core, at)
            start = at + 12 + -(-name // 4) * 4
            if note == _NT_SIGINFO:
                return core[start : start + described]
            at = start + -(-described // 4) * 4
    raise ValueError(f"{path} has no siginfo")


def _output(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "COLUMNS": "200"}
    given = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        errors="replace",
        check=False,
    )
    return given.stdout
