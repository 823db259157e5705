"""Whatever a policy file holds: a policy, or diagnostics; never a traceback."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from seccompgen.core.errors import SeccompgenError
from seccompgen.pipeline.build import build_policies, shipped_tables
from seccompgen.pipeline.files import filter_files

TABLES = shipped_tables()
SLOW = settings(max_examples=100, deadline=None, derandomize=True)

GOOD = {
    "description": "x",
    "arches": ["x86_64", "s390x"],
    "compat_arches": ["i386"],
    "default_action": "errno(EACCES)",
    "unknown_action": "errno(ENOSYS)",
    "bad_arch_action": "kill_thread",
    "no_new_privs": True,
    "flags": ["log"],
    "include": [],
    "install_on_import": False,
    "syscalls": [
        {"action": "allow", "names": ["read", "write"], "optional": True},
        {
            "action": "trap(1)",
            "names_with_args": [
                {
                    "name": "socket",
                    "arguments": [
                        {"argument": 0, "operation": "MaskedEqual", "value": 2, "mask": 3},
                        {"argument": 1, "operation": "Equal", "value": 2, "width": 32},
                    ],
                }
            ],
        },
    ],
}


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            found += paths(inner, (*path, i))
    return found


WORDS = (
    "allow", "errno()", "errno(-1)", "trap(99999)", "user_notif", "x86_64", "Equal",
    "new_listener", "read", "read\nwrite", "\u2028",
)  # fmt: skip
ODD: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**65),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
    st.sampled_from(WORDS),
)


@st.composite
def mutated(draw: st.DrawFn) -> object:
    policy = json.loads(json.dumps(GOOD))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(policy)))
        odd = draw(ODD)
        if not path:
            return odd
        holder = policy
        for step in path[:-1]:
            holder = holder[step]
        if draw(st.booleans()):
            holder[path[-1]] = odd
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = odd
        else:
            holder.append(odd)
    return policy


def try_to_build(content: bytes, ending: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"fuzzed.{ending}"
        path.write_bytes(content)
        try:
            built = build_policies([path], TABLES)
        except SeccompgenError as error:
            assert error.diagnostics
            for diagnostic in error.diagnostics:
                assert diagnostic.message
                assert diagnostic.position is None or diagnostic.position.file.startswith(directory)
            return
        for path, source in filter_files(built, TABLES, Path(directory)).items():
            compile(source, path, "exec")


@pytest.mark.long("reads many policies")
@SLOW
@given(mutated(), st.sampled_from(["json", "yml"]))
@example(GOOD, "json")
@example({"seccomp": GOOD}, "yml")
@example({**GOOD, "description": '\U00010000\0\r\u2028\\"""'}, "json")
@example({**GOOD, "description": "\ud800"}, "json")
@example({**GOOD, "include": ["a\nb.yml", "\0", "a\0/b.yml", "/", "x" * 5000]}, "json")
def test_a_mutated_policy(policy: object, ending: str) -> None:
    try_to_build(json.dumps(policy).encode(), ending)


@SLOW
@given(st.binary(max_size=60), st.sampled_from(["yml", "json", "toml"]))
@example(b"\x00", "yml")
@example(b"\xef\xbb\xbf", "toml")
@example(b"%YAML 9.9\n--- a", "yml")
@example(b"a: !!binary x", "yml")
@example(b"--- a\n--- b", "yml")
@example(b"? [a]\n: b", "yml")
@example(b"<<: {a: b}", "yml")
@example(b"- 1e999999", "yml")
@example(b"a: 0x", "yml")
@example(b"a: 0b2", "yml")
@example(b"[" * 3000, "toml")
@example(b"x = " + b"[" * 3000, "toml")
def test_arbitrary_bytes(content: bytes, ending: str) -> None:
    try_to_build(content, ending)


PIECES = (
    "default_action", ":", " ", "\n", "- ", "allow", "syscalls", "{", "}", "[", "]", ",", "names",
    "read", "&a", "*a", "!!int", "'", '"', "|", ">", "#", "?", "  ", "0x1", "~", "%", "@", "\t",
    "---",
)  # fmt: skip
YAML_WORDS = st.sampled_from(PIECES)


@pytest.mark.long("reads many policies")
@SLOW
@given(st.lists(YAML_WORDS, max_size=25).map("".join), st.sampled_from(["yml", "toml"]))
def test_what_almost_looks_like_a_policy(text: str, ending: str) -> None:
    try_to_build(text.encode(), ending)
