"""minijail's own compiler makes of policies in production what our reader makes of them."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import corpus
import pytest
from drawn_minijail import drawn_minijail
from longer import few_and_many, long_but
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.verify import Code, Proof, meaning, prove

MINIJAIL = corpus.SHARED.parent / "peers" / "minijail"
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not MINIJAIL.exists(), reason="minijail's sources are not beside the project"
    ),
]
COLLECTION = Path(os.environ.get("MINIJAIL_POLICIES", "/nonexistent"))
"""A directory with more policies, such as a checkout of ChromiumOS's platform2."""
_ABIS = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
POLICIES = [
    *((path, "x86_64") for path in sorted(corpus.SHARED.glob("omegajail/*.policy"))),
    *(
        (path, abi)
        for abi in ("x86_64", "aarch64")
        for path in sorted(corpus.SHARED.glob(f"crosvm/{abi}/*.policy"))
    ),
]
MORE = [
    (path, _ABIS[found[0]])
    for path in sorted(COLLECTION.rglob("*.policy"))
    if (found := re.search("|".join(_ABIS), str(path.relative_to(COLLECTION))))
]


def compiled(policy: Path, abi: str, output: Path) -> Code | str:
    """Return the program that minijail's compiler makes, or what it says."""
    command = [
        *(sys.executable, str(MINIJAIL / "tools" / "compile_seccomp_policy.py")),
        *("--arch-json", str(MINIJAIL / f"constants.{abi}.json"), str(policy), str(output)),
        *(["--denylist"] if "@denylist" in policy.read_text() else []),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr.strip().rpartition("\n")[2]
    program = decode(output.read_bytes(), ABIS[abi])
    if "@denylist" in policy.read_text():
        # This compiler gives a denylist's foreign calls EPERM, libminijail kills as everywhere.
        program = (*program[:2], replace(program[2], k=0), *program[3:])
    return Code(program, ABIS[abi].byte_order)


def compared(policy: Path, abi: str, output: Path) -> str:
    """Return how both take a policy: 'equal', 'refused' by both, or what differs."""
    theirs = compiled(policy, abi, output)
    try:
        ours, notes = load_policy(policy, TABLES, Reading("minijail", abis=(abi,)))
    except InputError as error:
        return "refused" if isinstance(theirs, str) else f"refused by ours: {error}"
    if isinstance(theirs, str):
        return f"refused by theirs: {theirs}"
    found = prove(meaning(ours, ABIS[abi], TABLES), theirs)
    if any(one.kind is Problem.TOOLS_DIFFER for one in notes):
        return "equal" if isinstance(found, Proof) else "differs, as a note says"
    return "equal" if isinstance(found, Proof) else f"differs: {found}"


@pytest.mark.parametrize(
    ("policy", "abi"), long_but(POLICIES[::5], POLICIES, "all policies", long=len(POLICIES))
)
def test_policies_in_production(policy: Path, abi: str, tmp_path: Path) -> None:
    """What is included by its place on a device is beside the file here."""
    shutil.copytree(policy.parent, tmp_path, dirs_exist_ok=True)
    for one in tmp_path.glob("*.policy"):
        one.write_text(one.read_text().replace("/usr/share/policy/crosvm/", "./"))
    assert compared(tmp_path / policy.name, abi, tmp_path / "program") == "equal"


@pytest.mark.skipif(not MORE, reason="MINIJAIL_POLICIES names no directory with policies")
@pytest.mark.parametrize(("policy", "abi"), MORE or [(COLLECTION, "x86_64")])
def test_a_collection(policy: Path, abi: str, tmp_path: Path) -> None:
    """One `condition; return` alone is read as libminijail reads it, and a note says so."""
    found = compared(policy, abi, tmp_path / "program")
    assert found in {"equal", "refused", "differs, as a note says"}, found


ODD = {
    "read: return SIGSYS": "equal",
    "read[arch=armv7]: allow\nread: allow": "equal",
    "{read[arch=armv7,x86_64], write[arch=armv7]}: allow": "equal",
    "read: allow\nread: allow": "refused",
    "read: return NOTHING": "refused",
    "read[what=x86_64]: allow": "refused by ours",
    "@include ./c++.policy": "equal",
}


@pytest.mark.parametrize("text", ODD)
def test_what_is_seldom_written(text: str, tmp_path: Path) -> None:
    (tmp_path / "c++.policy").write_text("write: allow\n")
    policy = tmp_path / "a+b.policy"
    policy.write_text(f"{text}\n")
    assert compared(policy, "x86_64", tmp_path / "program").startswith(ODD[text])


@pytest.mark.parametrize("abi", ["x86_64", "aarch64", "riscv64"])
@few_and_many(12, 120, "number")
def test_drawn_policies(abi: str, number: int, tmp_path: Path) -> None:
    """Ours refuses rules that no call reaches, and numbers that no register holds."""
    draw, equal = random.Random(f"minijail {abi}"), 0
    for _ in range(number):
        policy = tmp_path / "drawn.policy"
        policy.write_text(drawn_minijail(draw, {"aarch64": "arm64"}.get(abi, abi)))
        found = compared(policy, abi, tmp_path / "program")
        taken = ("can never", "does not fit", "as a note says")
        assert found in {"equal", "refused"} or any(one in found for one in taken), (
            policy.read_text(),
            found,
        )
        assert not found.startswith("refused by theirs"), (policy.read_text(), found)
        equal += found == "equal"
    assert equal > number / 3
