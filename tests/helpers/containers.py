"""The programs that container runtimes make of a seccomp profile, by libseccomp itself.

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
from seccompgen.core.program import decode
from seccompgen.core.word import ARCH, NR
from seccompgen.verify import Code, Difference, Meaning, meaning, oracle, prove

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

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


def difference(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, program: bytes, unknown: Iterable[str] = ()
) -> Difference | None:
    """Return a call that ``program`` does not answer as ``policy`` says; None is proof of none.

    Two things are set aside. Names that libseccomp does not know have no rule, so that they get the
    profile's default action. On x86_64 some builds of libseccomp take all numbers from 2**31 on,
    which no kernel gives to a call, for x32's.
    """
    origin, through = policy.default_origin, oracle.FieldTest(ARCH, "==", abi.audit_arch)
    cases = list(meaning(policy, abi, tables).cases)
    numbers = frozenset(tables.tables[abi.name].numbers[name] for name in unknown)
    ret = policy.unknown_action.ret(abi)
    if numbers:
        cases.insert(0, oracle.Case((through, oracle.OneOf(NR, numbers)), ret, origin))
    nowhere = oracle.FieldTest(NR, ">=", 1 << 31), oracle.FieldTest(NR, "!=", 0xFFFFFFFF)
    x32 = oracle.Case((through, *nowhere), policy.bad_arch_action.ret(abi), origin)
    code = Code(decode(program, abi), abi.byte_order)
    sides = [cases, [x32, *cases]] if abi.name == "x86_64" else [cases]
    found = [prove(Meaning(abi, tuple(side)), code) for side in sides]
    differ = [one for one in found if isinstance(one, Difference)]
    return differ[0] if len(differ) == len(found) else None
