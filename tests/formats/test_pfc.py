"""libseccomp's pseudo filter code means what the program means that it exports beside."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import libseccomp
import libseccomp_abis
import pytest
from proving import TABLES, meaning_of
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy
from seccompgen.verify import Code, Operation, Proof, Stack, meaning, prove

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.verify.stack import FilterSemantics

needs_libseccomp = pytest.mark.skipif(
    not libseccomp.is_here(), reason="no python3-seccomp for x86_64 here"
)
TRIED = ["x86_64", "x32", "i386", "arm", "aarch64", "riscv64", "s390x", "ppc64le", "mips64el"]


def with_more_rules(policy: dict[str, Any], abi: str, rng: random.Random) -> dict[str, Any]:
    """Add rules for calls that have conditions already: then the order of tests counts."""
    groups = list(policy["syscalls"])
    for group in policy["syscalls"]:
        for entry in group.get("names_with_args", ()):
            other = libseccomp_abis.random_policy(abi, rng, 1, 1)["syscalls"][0]
            if rng.random() < 0.7:
                arguments = other["names_with_args"][0]["arguments"]
                added = {"name": entry["name"], "arguments": arguments}
                groups.append({"action": group["action"], "names_with_args": [added]})
    return {**policy, "syscalls": groups}


def in_force(file: Path, abi: str) -> FilterSemantics:
    """Return what the pseudo filter code in ``file`` means."""
    policy, _ = load_policy(file, TABLES)
    assert [one.name for one in policy.arches] == [abi]
    return meaning(policy, ABIS[abi], TABLES)


def same(file: Path, abi: str, other: FilterSemantics) -> bool:
    """Return whether ``file`` means what ``other`` does, but for numbers that are no calls."""
    guard = libseccomp_abis.guarded(abi, Code((), "little"))
    parts = guard.parts[1:] if isinstance(guard, Stack) else ()
    ours, theirs = (
        Stack(Operation.INTERSECT, (one, *parts)) for one in (in_force(file, abi), other)
    )
    return isinstance(prove(ours, theirs), Proof)


@pytest.mark.few(3, "reads many policies")
@needs_libseccomp
@pytest.mark.parametrize("abi", TRIED)
def test_means_the_program(abi: str, tmp_path: Path) -> None:
    rng = random.Random(f"pfc {abi}")
    asked = [(abi, level, libseccomp_abis.random_policy(abi, rng, 12, 6)) for level in (1, 2)]
    peers = libseccomp_abis.peers(asked)
    assert peers
    for i, peer in enumerate(peers):
        file = tmp_path / f"{i}.pfc"
        file.write_text(peer.pseudo_code)
        assert same(file, abi, peer.code), peer.pseudo_code


@pytest.mark.few(2, "reads many policies")
@needs_libseccomp
@pytest.mark.parametrize("abi", ["x86_64", "arm", "s390x"])
def test_means_the_rules_where_the_program_does_not(abi: str, tmp_path: Path) -> None:
    """Several rules for one call: the pseudo code is right, libseccomp's program not always.

    Where a test of another argument fails, libseccomp 2.6.0 goes on with the next rule and still
    has that argument in the accumulator. So the referee is what the rules say.
    """
    rng = random.Random(f"pfc rules {abi}")
    asked = []
    for _ in range(3):
        policy = libseccomp_abis.random_policy(abi, rng, 8, 4)
        asked.append((abi, 1, with_more_rules(policy, abi, rng)))
    peers = libseccomp_abis.peers(asked)
    assert peers
    for i, peer in enumerate(peers):
        file = tmp_path / f"{i}.pfc"
        file.write_text(peer.pseudo_code)
        assert same(file, abi, meaning_of(peer.policy, abi)), peer.pseudo_code


@pytest.mark.parametrize("number", ["007", "0x", "9" * 11, "٣"])
def test_a_number_that_is_none_is_an_error_at_its_line(number: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pfc"
    text = "# pseudo filter code start\n# filter for arch x86_64 (3221225534)\n"
    file.write_text(f"{text}if ($arch == 3221225534)\n  if ($syscall == {number})\n")
    with pytest.raises(InputError) as caught:
        load_policy(file, TABLES)
    assert {one.position.line for one in caught.value.diagnostics if one.position} & {3, 4}
