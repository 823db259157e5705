"""The same policy gives the same bytes, whatever the process that compiles it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drawing import bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many
from strategies import compiled, compiled_file, plain_tables, policies

HELPERS = Path(__file__).parents[1] / "helpers"

COMPILE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from strategies import compiled_file
for abi, program in compiled_file(Path(sys.argv[1])).items():
    print(abi, program.hex())
"""

POLICY = {
    "arches": ["x86_64", "s390x"],
    "compat_arches": ["i386", "x32"],
    "default_action": "errno",
    "unknown_action": "errno(ENOSYS)",
    "multiplexed": "errno",
    "syscalls": [
        {"action": "allow", "names": ["read", "write", "close", "futex", "mmap", "munmap"]},
        {
            "action": "allow",
            "names_with_args": [
                {
                    "name": name,
                    "arguments": [
                        {
                            "argument": n % 6,
                            "operation": "Equal",
                            "value": n * 0x9E3779B97F4A7C15 % 2**64,
                            "width": 64,
                        },
                        {"argument": 5 - n % 6, "operation": "BitsSet", "value": 2**n, "width": 64},
                    ],
                }
                for name in ("ioctl", "fcntl", "prctl", "socket", "clone")
                for n in range(8)
            ],
        },
        {"action": "log", "names": ["ioctl", "prctl"]},
    ],
}


def in_another_process(path: Path, hash_seed: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(path), str(HELPERS)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.long("compiles many programs")
def test_the_same_bytes_under_any_hash_seed(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    here = {abi: program.hex() for abi, program in compiled_file(path).items()}
    assert list(here) == POLICY["arches"]
    assert in_another_process(path, "1") == here


@few_and_many(2, 5)
def test_the_same_bytes_a_second_time(examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        policy = data.draw(policies(plain_tables(), "x86_64"))
        assert compiled(policy) == compiled(policy)

    examine()
