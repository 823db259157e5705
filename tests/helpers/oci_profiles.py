"""Profiles for containers as a runtime hands them to libseccomp, by code of its own.

It knows what is written in JSON by runtime-spec and by moby, and nothing of ours.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libseccomp
import libseccomp_abis
from libseccomp_abis import seen_otherwise
from oracle import U32
from proving import TABLES
from seccompgen.core import abis as architectures
from seccompgen.core.program import Instruction, decode
from seccompgen.verify import Code, Operation, Stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.verify.stack import FilterSemantics

_ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_NAMES = libseccomp_abis.NAMES | {"s390": "S390"}
_GO = {"x86_64": "amd64", "i386": "x86", "aarch64": "arm64"}
DOCKER = {
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
        *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
}

# Each in a process of its own; a rule that libseccomp refuses ends it.
_EXPORT = """
import json, os, seccomp, signal, sys, tempfile
out = []
def signed(action):
    return action - (action >> 31 << 32)
for arches, default, rules, level in json.load(sys.stdin):
    with tempfile.TemporaryFile() as file:
        if not os.fork():
            signal.alarm(20)
            f = seccomp.SyscallFilter(signed(default))
            f.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
            wanted = [getattr(seccomp.Arch, arch) for arch in arches]
            if seccomp.system_arch() not in wanted:
                f.remove_arch(seccomp.Arch())
            for arch in wanted:
                if arch != seccomp.system_arch():
                    f.add_arch(arch)
            for action, name, conditions in rules:
                try:
                    seccomp.resolve_syscall(seccomp.Arch(), name)
                except ValueError:
                    continue
                compare = [seccomp.Arg(i, getattr(seccomp, op), *k) for i, op, k in conditions]
                try:
                    f.add_rule(signed(action), name, *compare)
                except (RuntimeError, OSError, ValueError):
                    os._exit(3)
            f.export_bpf(file)
            os._exit(0)
        _, status = os.wait()
        file.seek(0)
        out.append(file.read().hex() if status == 0 else "")
json.dump(out, sys.stdout)
"""


def kept(entry: dict[str, Any], host: str, caps: set[str]) -> bool:
    """Return True if Docker keeps a rule in a container with ``caps``; every kernel is new."""
    machine = _GO.get(host, host)
    needs, without = entry.get("includes") or {}, entry.get("excludes") or {}
    return (
        not set(without.get("caps", ())) & caps
        and machine not in without.get("arches", ())
        and not without.get("minKernel")
        and set(needs.get("caps", ())) <= caps
        and (not needs.get("arches") or machine in needs["arches"])
    )


def rules_of(profile: dict[str, Any], host: str, caps: set[str], *, splits: bool) -> list[Any]:
    """Return what a runtime adds: actions, names and comparisons."""
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    found = []
    for entry in profile["syscalls"]:
        ret = action(entry["action"], entry.get("errnoRet"))
        if ret == default or not kept(entry, host, caps):
            continue
        compared = [
            (
                one["index"],
                one["op"].removeprefix("SCMP_CMP_"),
                [one.get("value", 0), one.get("valueTwo", 0)]
                if "MASKED" in one["op"]
                else [one.get("value", 0)],
            )
            for one in entry.get("args") or ()
        ]
        twice = len({one[0] for one in compared}) < len(compared)
        ways = [[one] for one in compared] if splits and twice else [compared]
        for name in entry.get("names") or [entry["name"]]:
            found += [(ret, name, way) for way in ways]
    return found


def action(name: str, number: int | None) -> int:
    takes = name in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}
    return _ACTIONS[name] | ((1 if number is None else number) if takes else 0)


def programs(
    wanted: list[tuple[dict[str, Any], str, list[str]]], *, caps: set[str], level: int = 1
) -> list[Code | None]:
    """Return libseccomp's program for each profile, host and the other ABIs of its filter.

    None where it refuses a rule, or does not finish.
    """
    requests = [
        [
            [_NAMES[abi] for abi in (host, *others)],
            action(profile["defaultAction"], profile.get("defaultErrnoRet")),
            rules_of(profile, host, caps, splits=True),
            level,
        ]
        for profile, host, others in wanted
    ]
    done = subprocess.run(
        [str(libseccomp.PYTHON), "-c", _EXPORT],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Code | None] = []
    for (_, host, _), text in zip(wanted, json.loads(done.stdout), strict=True):
        abi = architectures.ABIS[host]
        found.append(Code(decode(bytes.fromhex(text), abi), abi.byte_order) if text else None)
    return found


def loads_number(code: Code) -> bool:
    """Return True if a program loads the number where it has found the ABI to be one of its own.

    libseccomp 2.6.0 forgets to where the first call that it looks for is none of the ABI's, so that
    it compares numbers with the audit value.
    """
    instructions = code.instructions
    return all(
        (instructions[at + 1 + one.jt].code, instructions[at + 1 + one.jt].k) == (0x20, 0)
        for at, one in enumerate(instructions)
        if one.code == 0x15 and one.k in {abi.audit_arch for abi in architectures.ABIS.values()}
    )


def unspoiled(code: Code, answers: Iterable[int]) -> Code:
    """Return a program with its answers as they were meant: one of ``answers`` each.

    Across byte orders libseccomp 2.6.0 turns those around that it copies into the reach of jumps.
    """
    turned = {int.from_bytes(one.to_bytes(4, "little"), "big"): one for one in answers}
    assert not turned.keys() & set(answers) - {0}
    found = tuple(
        replace(one, k=turned.get(one.k, one.k)) if one.code == 0x06 else one
        for one in code.instructions
    )
    return replace(code, instructions=found)


def but_what_it_sees_in_its_own_way(side: FilterSemantics, abis: Sequence[str]) -> FilterSemantics:
    """Return ``side`` with those calls of a filter for ``abis`` decided that libseccomp misjudges.

    All calls of an ABI that the kernel of the tables no longer has are such.
    """
    abi = architectures.ABIS[abis[0]]
    instructions: list[Instruction] = []
    for arch in dict.fromkeys(architectures.ABIS[name].audit_arch for name in abis):
        own = [name for name in abis if architectures.ABIS[name].audit_arch == arch]
        gone = [(0, U32)] if own[0] not in TABLES.tables else []
        body = []
        for first, last in dict.fromkeys([*gone, *(r for n in own for r in seen_otherwise(n))]):
            body += [
                Instruction(0x35, 0, 2, first),  # jge
                Instruction(0x25, 1, 0, last),  # jgt
                Instruction(0x06, 0, 0, _ACTIONS["SCMP_ACT_KILL_PROCESS"]),
            ]
        if body:
            load_nr, load_arch = Instruction(0x20, 0, 0, 0), Instruction(0x20, 0, 0, 4)
            instructions += [load_arch, Instruction(0x15, 0, len(body) + 1, arch), load_nr, *body]
    instructions.append(Instruction(0x06, 0, 0, _ACTIONS["SCMP_ACT_ALLOW"]))
    over = Code(tuple(instructions), abi.byte_order)
    return Stack(Operation.INTERSECT, (side, over))
