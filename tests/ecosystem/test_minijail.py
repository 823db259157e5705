"""minijail's own compiler makes of policies in production what our reader makes of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import corpus
import pytest
from longer import long_but
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.verify import Code, Proof, meaning, prove

if TYPE_CHECKING:
    from pathlib import Path

MINIJAIL = corpus.SHARED.parent / "peers" / "minijail"
pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(
        not MINIJAIL.exists(), reason="minijail's sources are not beside the project"
    ),
]
POLICIES = [
    *((path, "x86_64") for path in sorted(corpus.SHARED.glob("omegajail/*.policy"))),
    *(
        (path, abi)
        for abi in ("x86_64", "aarch64")
        for path in sorted(corpus.SHARED.glob(f"crosvm/{abi}/*.policy"))
    ),
]


def compiled(policy: Path, abi: str, output: Path) -> Code | str:
    """Return the program that minijail's compiler makes, or what it says."""
    command = [
        *(sys.executable, str(MINIJAIL / "tools" / "compile_seccomp_policy.py")),
        *("--arch-json", str(MINIJAIL / f"constants.{abi}.json"), str(policy), str(output)),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr.strip().rpartition("\n")[2]
    return Code(decode(output.read_bytes(), ABIS[abi]), ABIS[abi].byte_order)


def compared(policy: Path, abi: str, output: Path) -> str:
    """Return how both take a policy: 'equal', 'refused' by both, or what differs."""
    theirs = compiled(policy, abi, output)
    try:
        ours, _ = load_policy(policy, TABLES, Reading("minijail", abis=(abi,)))
    except InputError as error:
        return "refused" if isinstance(theirs, str) else f"refused by ours: {error}"
    if isinstance(theirs, str):
        return f"refused by theirs: {theirs}"
    found = prove(meaning(ours, ABIS[abi], TABLES), theirs)
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
