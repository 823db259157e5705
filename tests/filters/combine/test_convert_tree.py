"""Directories of foreign policies, converted with their includes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside, snapshot
from proving import TABLES
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.filters.combine.convert_tree import convert_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

X86_64 = Reading(abis=("x86_64",))
TREE = {
    "common.policy": "# All devices.\n@frequency ./common.frequency\nread: 1\nwrite: 1\n",
    "common.frequency": "read: 1\nwrite: 7\n",
    "devices/net.policy": "@include ./../common.policy\n\n# Packets.\nsendto: arg3 == MSG_OOB\n",
    "devices/block.policy": "# Discs.\n\n@include ./../common.policy\n",
    "vmm.json": """{"api": {"mismatch_action": "trap", "match_action": "allow",
        "filter": [{"syscall": "accept4"}]}, "vcpu": {"mismatch_action": "trap",
        "match_action": "allow", "filter": [{"syscall": "ioctl"}]}}""",
    "notes.txt": "Nothing that a filter could be.\n",
    ".hidden.policy": "read: 1\n",
}


def written(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_tree_keeps_its_includes(tmp_path: Path) -> None:
    """Every policy is proved with what it includes."""
    found = convert_tree(written(tmp_path, TREE), TABLES, X86_64)
    texts = {str(path): one.text for path, one in found.items()}
    assert texts.keys() == {
        "common.yml", "devices/net.yml", "devices/block.yml", "vmm/api.yml", "vmm/vcpu.yml"
    }  # fmt: skip
    assert texts["devices/block.yml"] == "# Discs.\n\ninclude: [../common.yml]\nsyscalls: []\n"
    assert (
        texts["devices/net.yml"]
        == """\
include: [../common.yml]
syscalls:
# Packets.
- action: allow
  names: [sendto]
  when: u64(flags) == MSG_OOB
"""
    )
    assert "syscalls:\n# All devices.\n- action: allow\n" in texts["common.yml"]
    counted = {str(path): one.profile for path, one in found.items() if one.profile}
    assert counted == {"common.yml": {"read": 1, "write": 7}}


def test_what_an_include_would_change_is_written_out(tmp_path: Path) -> None:
    files = {
        "common.policy": "read: arg0 <= 1; allow\n",
        "other.policy": "read: { arg0 == 1; return EPERM }\n@include ./common.policy\n",
    }
    found = convert_tree(written(tmp_path, files), TABLES, X86_64)
    texts = {str(path): one.text for path, one in found.items()}
    assert "include" not in texts["other.yml"]
    assert texts["other.yml"].count("names: [read]") == 2


def test_the_errors_of_all_files_are_reported_and_nothing_is_written(tmp_path: Path) -> None:
    wrong = {"common.policy": "raed: 1\n", "devices/odd.policy": "write: return EWRONG\n"}
    tree = written(tmp_path / "in", TREE | wrong)
    with pytest.raises(InputError) as raised:
        convert_tree(tree, TABLES, X86_64)
    said = " ".join(map(str, raised.value.diagnostics))
    assert ("'raed'" in said, "EWRONG" in said) == (True, True)
    run = inside("convert", "in", "-o", "out/", "--for", "x86_64", cwd=tmp_path)
    assert (run.code, (tmp_path / "out").exists()) == (2, False)
    for name in ("empty", "twins"):
        (tmp_path / name).mkdir()
    assert (
        "has no policy of another format"
        in inside("convert", "empty", "-o", "o/", cwd=tmp_path).err
    )
    written(tmp_path / "twins", {"a.policy": "read: 1\n", "a.conf": "write: 1\n"})
    assert "would both become a.yml" in inside("convert", "twins", "-o", "o/", cwd=tmp_path).err
    assert "say with -o DIR/" in inside("convert", "in", cwd=tmp_path).err


@pytest.mark.long("runs commands on many filters")
def test_a_converted_tree_is_equal_where_it_lies(tmp_path: Path) -> None:
    written(tmp_path / "in", TREE)
    assert inside("convert", "in", "-o", "out/", "--for", "x86_64", cwd=tmp_path).code == 0
    assert snapshot(tmp_path / "out").keys() >= {"common.profile", "devices/net.yml", "vmm/api.yml"}
    for name in ("common", "devices/net", "devices/block"):
        pair = (f"in/{name}.policy", f"out/{name}.yml", "--for", "x86_64")
        assert inside("equiv", *pair, cwd=tmp_path).code == 0
