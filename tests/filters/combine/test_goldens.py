"""Policies that others maintain, converted: each golden in tests/data/converted was read aloud.

Sources of others are in ../shared/corpus, our own in tests/data/formats. If a golden changes, read
it: it must be what its maintainer would commit in our language.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from proving import TABLES
from seccompgen.core.foreign import Reading
from seccompgen.filters.combine.convert import convert
from seccompgen.filters.combine.convert_tree import convert_tree

DATA = Path(__file__).parents[2] / "data"
CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
X86_64 = Reading(abis=("x86_64",))


class Golden(NamedTuple):
    """A source, and how it is read."""

    name: str
    source: Path
    reading: Reading = X86_64


def crosvm(name: str) -> Path:
    return CORPUS / "crosvm" / "x86_64" / f"{name}.policy"


BOTH = frozenset({"high_bits", "unused_numbers"})
FIRECRACKER = CORPUS / "seccompiler" / "firecracker-x86_64.json"
OPERATOR = Reading(thread="profile-complain-block-high-risk")
OTHERS = [
    Golden("gpu_common", crosvm("gpu_common")),
    *(Golden(f"firecracker_{one}", FIRECRACKER, Reading(thread=one)) for one in ("api", "vmm")),
    Golden("firecracker_vcpu", FIRECRACKER, Reading(thread="vcpu")),
    Golden("docker", CORPUS / "oci" / "moby-default.json", Reading(losses=BOTH)),
    Golden("podman", CORPUS / "oci" / "podman.json", Reading(losses=BOTH)),
    Golden("nsjail", CORPUS / "nsjail" / "chromium-with-net-wayland.cfg"),
    Golden("incus", CORPUS / "lxc" / "incus_every-intercept-compat.seccomp"),
    Golden("operator", CORPUS / "k8s" / "spo_seccompprofile.yaml", OPERATOR),
]
FORMATS = DATA / "formats"
OWN = [
    Golden("own_daemon", FORMATS / "minijail" / "service.policy"),
    Golden("own_vmm", FORMATS / "seccompiler" / "vmm.json", Reading(thread="main")),
    Golden("own_server", FORMATS / "kafel" / "web.kafel"),
    Golden("own_unit", FORMATS / "systemd" / "web.service"),
    Golden("own_container", FORMATS / "oci" / "docker.json"),
]


def golden(name: str) -> str:
    return (DATA / "converted" / f"{name}.yml").read_text()


@pytest.mark.parametrize("one", OWN, ids=lambda one: one.name)
def test_our_own_samples_read_well(one: Golden) -> None:
    assert convert(one.source, TABLES, one.reading).text == golden(one.name)


@pytest.mark.long("converts and proves whole profiles")
@pytest.mark.parametrize("one", OTHERS, ids=lambda one: one.name)
def test_policies_of_others_read_well(one: Golden) -> None:
    if not one.source.exists():
        pytest.skip(f"{one.source.name} is not in ../shared/corpus")
    assert convert(one.source, TABLES, one.reading).text == golden(one.name)


@pytest.mark.long("converts and proves whole profiles")
def test_a_device_includes_what_its_source_includes(tmp_path: Path) -> None:
    if not CORPUS.exists():
        pytest.skip("../shared/corpus is absent")
    for name in ("gpu_common", "wl_device"):
        shutil.copy(crosvm(name), tmp_path)
    found = convert_tree(tmp_path, TABLES, X86_64)
    assert found[Path("wl_device.yml")].text == golden("wl_device")


@pytest.mark.long("converts and proves whole profiles")
@pytest.mark.parametrize(
    "name",
    [
        *("crosvm/x86_64/gpu_common.policy", "omegajail/java.policy"),
        *("snapd/template_HEAD_defaultTemplate.src", "lxc/lxc_HEAD_common.seccomp"),
    ],
)
def test_no_comment_is_lost(name: str) -> None:
    source = CORPUS / name
    if not source.exists():
        pytest.skip("../shared/corpus is absent")
    text = " ".join(convert(source, TABLES, X86_64).text.replace("#", " ").split())
    comments = re.findall(r"(?m)(?:^|\s)#+[ \t]*(\S.*)$", source.read_text())
    assert comments
    words = (" ".join(one.replace("#", " ").split()) for one in comments)
    assert [one for one in words if one not in text] == []
