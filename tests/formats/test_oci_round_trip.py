"""Profiles that we write come back as the policies that they were, read as crun reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from corpus import NAMES, corpus, production, translated
from longer import long_but
from proving import TABLES
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.settings import FilterFlag
from seccompgen.formats import load_policy
from seccompgen.formats.oci.writer import architecture, profile, render_profile
from seccompgen.verify import Difference, meaning, prove
from stock_policies import STOCK

if TYPE_CHECKING:
    from pathlib import Path

CONTAINER = {"bad_arch_action": "kill_thread"}
EVERY_ACTION = """
arches: [x86_64, aarch64, riscv64, loongarch64, ppc64le, ppc64, s390x]
default_action: trace(65535)
unknown_action: errno(ENOSYS)
bad_arch_action: kill_thread
flags: [log]
syscalls:
- {action: errno(4094), names: [ptrace]}
- {action: errno(0), names: [sync]}
- {action: errno(EDEADLOCK), names: [sethostname]}
- {action: trace(7), names: [chdir]}
- {action: trap, names: [reboot]}
- {action: log, names: [acct]}
- {action: kill_process, names: [bpf]}
- {action: kill_thread, names: [setns]}
- {action: allow, names: [read], arches: [x86_64, s390x]}
- action: allow
  names_with_args:
  - {name: write, when: fd < 3}
  - {name: openat, when: u64(flags) >= 0x100000000}
  - {name: personality, when: "u32(arg0) in {0, 8, 0xffffffff}"}
"""


def came_back(path: Path, where: Path) -> tuple[set[str], dict[str, str]]:
    """Return the ABIs of which the profile is the policy, and why others have none."""
    policy, _ = load_policy(path, TABLES)
    same, refused = set(), {}
    for abi in policy.arches:
        if not architecture(abi):
            continue
        try:
            text = render_profile(profile(policy, abi, TABLES))
        except InputError as error:
            refused[abi.name] = str(error)
            continue
        written = where / f"back.{abi.name}.json"
        written.write_bytes(text)
        again, _ = load_policy(written, TABLES, Reading(runtime=Runtime.CRUN, abis=(abi.name,)))
        found = prove(meaning(policy, abi, TABLES), meaning(again, abi, TABLES))
        assert not isinstance(found, Difference), (abi.name, found)
        same.add(abi.name)
        # TSYNC, which runtimes refuse and do not need, is left out.
        assert again.flags == policy.flags & ~FilterFlag.TSYNC
    return same, refused


@pytest.mark.few(6, "compiles many policies")
@pytest.mark.parametrize(
    "name",
    long_but(
        [one for one in NAMES if one not in production()], NAMES, "policies of others", long=16
    ),
)
def test_a_realistic_policy_comes_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({**translated(corpus()[name]), **CONTAINER}))
    assert came_back(path, tmp_path) == ({"x86_64"}, {})


@pytest.mark.skipif(not production(), reason="needs ../shared/corpus")
def test_the_corpus_is_whole() -> None:
    assert len(production().keys() & set(NAMES)) == 49


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=[] if path.stem == "no_network" else [pytest.mark.long("larger policies")],
        )
        for path in STOCK
    ],
)
def test_a_stock_policy_comes_back(path: Path, tmp_path: Path) -> None:
    """Or it says that a call could be made through socketcall, which a profile cannot tell."""
    ours = tmp_path / "policy.yml"
    ours.write_text(f"include: [{path}]\n{json.dumps(CONTAINER)[1:-1]}\n")
    same, refused = came_back(ours, tmp_path)
    assert {"x86_64", "aarch64", "riscv64", "loongarch64"} <= same
    assert same | refused.keys() >= {"ppc64le", "ppc64"}
    assert all("socketcall also makes other calls" in why for why in refused.values())


@pytest.mark.long("renders and compiles many modules")
def test_every_action_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(EVERY_ACTION)
    same, refused = came_back(path, tmp_path)
    assert same == {"x86_64", "aarch64", "riscv64", "loongarch64", "ppc64le", "ppc64", "s390x"}
    assert not refused


@pytest.mark.parametrize("action", ["errno(4095)", "user_notif", "trap(3)"])
def test_what_no_runtime_takes_is_refused(action: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    flags = "flags: [new_listener]\n" if action == "user_notif" else ""
    path.write_text(
        f"arches: [x86_64]\ndefault_action: allow\nbad_arch_action: kill_thread\n{flags}"
        f"syscalls: [{{action: {action}, names: [ptrace]}}]\n"
    )
    same, refused = came_back(path, tmp_path)
    assert not same
    assert f"an OCI profile cannot express {action.removesuffix('(0)')}" in refused["x86_64"]
