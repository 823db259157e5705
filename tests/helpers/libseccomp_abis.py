"""Programs by libseccomp, of the same rules, for the ABIs that it knows besides the machine's own.

It translates names itself, so that its numbers are tested with it. Where it answers calls that no
kernel makes in a way of its own, a guard says so: a program that, stacked on both, decides these
calls. What is left must be the same for every call there is, which the provers decide.

- x86_64 and x32: numbers with bit 31 are a foreign ABI's to it, to us unknown.
- MIPS: numbers of another MIPS ABI's table, by which the kernel finds that ABI's handler, are
  foreign to us, to it unknown.
- The upper half of arguments of 32-bit ABIs it never looks at; so rules for these compare 32 bits.
- What goes through socketcall and ipc as well gets rules for these from it, so is not asked of it.
- Across byte orders libseccomp 2.6.0 spoils the answers that it copies into the reach of long jumps
  (0x7ffc0000 becomes 0xfc7f), so policies for big-endian ABIs must be short.
- It takes switch_endian, of powerpc, for sys_debug_setcontext where the machine has neither: it has
  one number, -10191, for both.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import libseccomp
from oracle import ABIS, U32, U64, action_value
from proving import TABLES
from seccompgen.compile import compile_policy
from seccompgen.core import abis as architectures
from seccompgen.core.program import Instruction, decode
from seccompgen.verify import Code, Operation, Stack
from strategies import loaded, plain_tables

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from seccompgen.verify.stack import FilterSemantics

KILL = "kill_process"
NAMES = {
    "x86_64": "X86_64",
    "x32": "X32",
    "i386": "X86",
    "arm": "ARM",
    "aarch64": "AARCH64",
    "riscv64": "RISCV64",
    "loongarch64": "LOONGARCH64",
    "s390x": "S390X",
    "m68k": "M68K",
    "ppc64le": "PPC64LE",
    "ppc64": "PPC64",
    "ppc": "PPC",
    "mips": "MIPS",
    "mips64": "MIPS64",
    "mips64n32": "MIPS64N32",
    "mipsel": "MIPSEL",
    "mips64el": "MIPSEL64",
    "mips64n32el": "MIPSEL64N32",
    "parisc": "PARISC",
    "parisc64": "PARISC64",
}
"""Our names for ABIs, and how libseccomp's binding calls them."""

# Each in a process of its own, as in ``libseccomp``. Rules that it refuses are told by their place.
_EXPORT = """
import json, os, seccomp, signal, sys, tempfile
out = []
for arch, level, default, bad_arch, rules in json.load(sys.stdin):
    with tempfile.TemporaryFile() as file:
        if not os.fork():
            signal.alarm(20)
            f = seccomp.SyscallFilter(default)
            f.set_attr(seccomp.Attr.CTL_OPTIMIZE, level)
            f.set_attr(seccomp.Attr.ACT_BADARCH, bad_arch - (bad_arch >> 31 << 32))  # a C int
            wanted = getattr(seccomp.Arch, arch)
            if wanted != seccomp.system_arch():
                f.remove_arch(seccomp.Arch())  # first: not both byte orders at once
                f.add_arch(wanted)
            refused = []
            for place, (action, name, conditions) in enumerate(rules):
                compare = [seccomp.Arg(i, getattr(seccomp, op), *k) for i, op, k in conditions]
                try:
                    f.add_rule_exactly(action, name, *compare)
                except (RuntimeError, OSError, ValueError):
                    refused.append(place)
            file.write(json.dumps(refused).encode() + b"\\n")
            file.flush()
            f.export_bpf(file)
            os._exit(0)
        _, status = os.wait()
        assert status in (0, signal.SIGALRM), (arch, status)
        file.seek(0)
        refused = json.loads(file.readline() or b"[]")
        program = file.read().hex() if status == 0 else ""
        out.append([program, refused])
json.dump(out, sys.stdout)
"""


class Peer(NamedTuple):
    """``code`` is libseccomp's, for what ``policy`` says; ``refused`` names it would not take."""

    abi: str
    level: int
    policy: dict[str, Any]
    code: Code
    refused: tuple[str, ...]


def peers(policies: Iterable[tuple[str, int, dict[str, Any]]]) -> list[Peer]:
    """Return what libseccomp makes of policies, each for an ABI and at an optimisation level.

    Those that it does not finish are left out.
    """
    asked = list(policies)
    requests = []
    for abi, level, policy in asked:
        default = action_value(policy["default_action"], abi)
        requests.append([NAMES[abi], level, default, action_value(KILL, abi), _rules(policy, abi)])
    done = subprocess.run(
        [str(libseccomp.PYTHON), "-c", _EXPORT],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = []
    answers = json.loads(done.stdout)
    for (abi, level, policy), (text, places) in zip(asked, answers, strict=True):
        if text:
            facts = architectures.ABIS[abi]
            code = Code(decode(bytes.fromhex(text), facts), facts.byte_order)
            names = {_rules(policy, abi)[place][1] for place in places}
            own = _without(policy, names)
            found.append(Peer(abi, level, own, code, tuple(sorted(names))))
    return found


def _rules(policy: dict[str, Any], abi: str) -> list[tuple[int, str, list[Any]]]:
    rules: list[tuple[int, str, list[Any]]] = []
    for group in policy["syscalls"]:
        action = action_value(group["action"], abi)
        rules += [(action, name, []) for name in group.get("names", ())]
        for entry in group.get("names_with_args", ()):
            comparisons = [
                (
                    one["argument"],
                    libseccomp.OPERATIONS[one["operation"]],
                    [one["mask"], one["value"]] if "mask" in one else [one["value"]],
                )
                for one in entry["arguments"]
            ]
            rules.append((action, entry["name"], comparisons))
    return rules


def _without(policy: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Leave out the groups, each of one name, that ask for ``names``."""
    groups = [
        group
        for group in policy["syscalls"]
        if not names.intersection(group.get("names", ()))
        if not names & {entry["name"] for entry in group.get("names_with_args", ())}
    ]
    return {**policy, "syscalls": groups}


def compiled(peer: Peer) -> Code:
    abi = architectures.ABIS[peer.abi]
    return Code(compile_policy(loaded(peer.policy), abi, TABLES).instructions, abi.byte_order)


def guarded(abi: str, code: FilterSemantics) -> FilterSemantics:
    """Return ``code`` with the calls decided for it that libseccomp sees in its own way."""
    ranges = seen_otherwise(abi)
    if not ranges:
        return code
    instructions = [Instruction(0x20, 0, 0, 0)]  # ld nr
    for first, last in ranges:
        instructions += [
            Instruction(0x35, 0, 2, first),  # jge
            Instruction(0x25, 1, 0, last),  # jgt
            Instruction(0x06, 0, 0, action_value(KILL, abi)),
        ]
    instructions.append(Instruction(0x06, 0, 0, action_value("allow", abi)))
    guard = Code(tuple(instructions), architectures.ABIS[abi].byte_order)
    return Stack(Operation.INTERSECT, (code, guard))


def seen_otherwise(abi: str) -> list[tuple[int, int]]:
    """Return the ranges of numbers that libseccomp takes for another ABI's than we do."""
    if abi in {"x86_64", "x32"}:
        return [(0x80000000, U32 - 1)]
    if abi.startswith("mips"):
        tables = [plain_tables()[other].values() for other in ABIS[abi].same_kernel]
        return [(min(numbers), max(numbers)) for numbers in tables]
    return []


# --- policies that it can express ----------------------------------------------------------------

MISTAKEN = {"switch_endian"}
MULTIPLEXERS = {"socketcall", "ipc"}
MULTIPLEXED = {
    *("socket", "bind", "connect", "listen", "accept", "accept4", "getsockname", "getpeername"),
    *("socketpair", "send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt"),
    *("sendmsg", "recvmsg", "recvmmsg", "sendmmsg", "semop", "semget", "semctl", "semtimedop"),
    *("semtimedop_time64", "msgsnd", "msgrcv", "msgget", "msgctl", "shmat", "shmdt", "shmget"),
    *("shmctl", "recvmmsg_time64"),
}
WIDE = (0, 1, 5, U32, 2**32, 2**32 + 5, 2**63, U64, 0x1234567800000001, 0x12345678)
NARROW = (0, 1, 5, U32, 2**31, 2**31 - 1, 0x12345678)


def random_policy(abi: str, rng: random.Random, most: int, conditional: int) -> dict[str, Any]:
    """Draw a policy on up to ``most`` calls; ``conditional`` of them look at arguments."""
    table = plain_tables()[abi]
    numbers: set[int] = set()
    names = []
    for name in sorted(table):
        if name in MULTIPLEXERS | MISTAKEN or (MULTIPLEXERS & table.keys() and name in MULTIPLEXED):
            continue
        if table[name] not in numbers:  # of aliases only one
            numbers.add(table[name])
            names.append(name)
    names = rng.sample(names, min(most, len(names)))
    actions = ["allow", "errno(3)", "log", "trap", "kill_thread", "trace(7)"]
    rng.shuffle(actions)
    groups: list[dict[str, Any]] = []
    for name in names[:conditional]:
        arguments = rng.sample(range(6), rng.randint(1, 3))
        listed = [_comparison(abi, rng, argument) for argument in arguments]
        entry = {"name": name, "arguments": listed}
        groups.append({"action": rng.choice(actions[1:]), "names_with_args": [entry]})
    groups += [{"action": rng.choice(actions[1:]), "names": [name]} for name in names[conditional:]]
    return {
        "arches": [abi],
        "default_action": actions[0],
        "bad_arch_action": KILL,
        "syscalls": groups,
    }


def _comparison(abi: str, rng: random.Random, argument: int) -> dict[str, Any]:
    wide = architectures.ABIS[abi].bits == 64
    entry: dict[str, Any] = {
        "argument": argument,
        "operation": rng.choice([*libseccomp.OPERATIONS]),
        "value": rng.choice(WIDE if wide else NARROW),
    }
    most = U64 if wide else U32
    if not wide:
        entry["width"] = 32
    # What can never hold, or always, is an error to us.
    if entry["operation"] in {"LessThan", "GreaterOrEqual"}:
        entry["value"] = max(entry["value"], 1)
    if entry["operation"] in {"GreaterThan", "LessOrEqual"}:
        entry["value"] = min(entry["value"], most - 1)
    if entry["operation"] == "MaskedEqual":
        entry["mask"] = rng.choice([entry["value"] | 0xF0F0, most & 0xFF00000000000FF0 | 1])
        entry["value"] &= entry["mask"]
    return entry
