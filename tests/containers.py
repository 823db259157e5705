"""What container runtimes make of a seccomp profile, by libseccomp itself.

The script does as runc and crun do (libcontainer/seccomp, libcrun/seccomp.c), written anew: default
action, architectures, each name resolved, rules of the default action skipped, several comparisons
of one argument as rules of their own. Only that a name may be given by its number: that of a call
newer than the libseccomp that is installed.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from libseccomp import PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXPORT = """
import json, os, seccomp, sys, tempfile
profile, numbers, level = json.load(sys.stdin)
actions = {
    "SCMP_ACT_KILL_PROCESS": seccomp.KILL_PROCESS, "SCMP_ACT_KILL_THREAD": seccomp.KILL,
    "SCMP_ACT_TRAP": seccomp.TRAP, "SCMP_ACT_LOG": seccomp.LOG, "SCMP_ACT_ALLOW": seccomp.ALLOW,
}
def action(holder, name, data):
    if holder[name] == "SCMP_ACT_ERRNO":
        return 0x50000 | holder.get(data, 1)
    if holder[name] == "SCMP_ACT_TRACE":
        return 0x7ff00000 | holder.get(data, 1)
    assert data not in holder
    return actions[holder[name]]
default = action(profile, "defaultAction", "defaultErrnoRet")
f = seccomp.SyscallFilter(default)
(arch,) = profile["architectures"]
arch = getattr(seccomp.Arch, arch.removeprefix("SCMP_ARCH_"))
native = arch & 0xffffffff == seccomp.system_arch()
if not native:
    f.remove_arch(seccomp.Arch())
    f.add_arch(arch)
f.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
f.set_attr(seccomp.Attr.CTL_NNP, 0)
unknown = []
for rule in profile["syscalls"]:
    does = action(rule, "action", "errnoRet")
    if does == default:
        continue
    for name in rule["names"]:
        try:
            number = seccomp.resolve_syscall(arch, name)
        except Exception:
            number = -1
        if number < 0:
            unknown.append(name)
            if not native:
                continue
            call, add = numbers[name], f.add_rule_exactly
        else:
            through = [numbers.get(many) for many in ("socketcall", "ipc")]
            assert number in (numbers[name], *through), (name, number)
            call, add = name, f.add_rule
        compare = [
            seccomp.Arg(a["index"], getattr(seccomp, a["op"].removeprefix("SCMP_CMP_")),
                        a["value"], a.get("valueTwo", 0))
            for a in rule.get("args", ())
        ]
        if len({a["index"] for a in rule.get("args", ())}) < len(compare):
            for one in compare:
                add(does, call, one)
        else:
            add(does, call, *compare)
with tempfile.TemporaryFile() as file:
    f.export_bpf(file)
    file.seek(0)
    json.dump([file.read().hex(), sorted(set(unknown))], sys.stdout)
"""


def loaded(
    profile: Mapping[str, Any], numbers: Mapping[str, int], level: int = 1
) -> tuple[bytes, list[str]]:
    """Return the program of ``profile``, and the names that the libseccomp here does not know.

    For the ABI of the machine those are taken by ``numbers``; for others they have no rule.
    """
    done = subprocess.run(
        [str(PYTHON), "-c", _EXPORT],
        input=json.dumps([profile, numbers, level]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    program, unknown = json.loads(done.stdout)
    return bytes.fromhex(program), unknown
