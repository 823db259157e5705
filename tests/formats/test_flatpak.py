"""Flatpak's metadata and manifests: which calls their features leave refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.model import Action, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from seccompgen.core.model import ResolvedPolicy

DATA = Path(__file__).parents[1] / "data" / "formats" / "flatpak"
ALLOW, KILL = ActionKind.ALLOW.value, ActionKind.KILL_THREAD.value
EPERM, ENOSYS, NO_FAMILY = (
    Action.errno(name).ret(ABIS["x86_64"]) for name in ("EPERM", "ENOSYS", "EAFNOSUPPORT")
)
X86_64 = ("x86_64",)


def answer(policy: ResolvedPolicy, abi: str, call: str, *args: int, machine: str = "x86_64") -> int:
    """Return the answer to a call through ``abi`` on a machine."""
    return meaning(policy, ABIS[machine], TABLES).answer(named_call(abi, call, *args))


def read(path: Path, text: str, abis: tuple[str, ...] = X86_64) -> ResolvedPolicy:
    path.write_text(text)
    return load_policy(path, TABLES, Reading("flatpak", abis=abis))[0]


@pytest.mark.parametrize(
    ("features", "call", "expected"),
    [
        ("", ("mount",), EPERM),
        ("", ("clone3",), ENOSYS),
        ("", ("clone", 0x10000000), EPERM),
        ("", ("clone", 0x20000000), ALLOW),
        ("", ("ioctl", 0, 0x5412), EPERM),
        ("", ("ioctl", 0, 0x100005412), EPERM),
        ("", ("ioctl", 0, 0x541C), EPERM),
        ("", ("ioctl", 0, 0x5413), ALLOW),
        ("", ("ptrace",), EPERM),
        ("devel;", ("ptrace",), ALLOW),
        ("devel;!devel;", ("ptrace",), EPERM),
        ("!devel;devel;", ("ptrace",), ALLOW),
        ("", ("personality", 0), ALLOW),
        ("", ("personality", 0xFFFFFFFF), EPERM),
        ("", ("personality", 1 << 32), EPERM),
        ("devel", ("personality", 8), ALLOW),
        ("", ("modify_ldt",), EPERM),
        ("multiarch", ("modify_ldt",), ALLOW),
        ("", ("socket", 16), ALLOW),
        ("", ("socket", 3), NO_FAMILY),
        ("", ("socket", 1 << 32 | 1), NO_FAMILY),
        ("", ("socket", 31), NO_FAMILY),
        ("bluetooth", ("socket", 31), ALLOW),
        ("bluetooth", ("socket", 29), NO_FAMILY),
        ("canbus;", ("socket", 29), ALLOW),
        ("multiarch", ("socket", 3), ALLOW),
    ],
)
def test_features_choose_the_filter(
    tmp_path: Path, features: str, call: tuple[str, *tuple[int, ...]], expected: int
) -> None:
    """Measured: the answers are those of flatpak 1.16.6."""
    other = "[Environment]\nfeatures=multiarch;devel;bluetooth\n"
    policy = read(tmp_path / "metadata", f"[Context]\nfeatures={features}\n{other}")
    assert answer(policy, "x86_64", *call) == expected


def test_another_abi_is_killed_without_multiarch(tmp_path: Path) -> None:
    for features, of_i386, of_arm in (("", KILL, KILL), ("multiarch", ALLOW, ALLOW)):
        text = f"[Context]\nfeatures={features}\n"
        policy = read(tmp_path / "metadata", text, ("x86_64", "aarch64"))
        assert answer(policy, "i386", "read") == of_i386
        assert answer(policy, "arm", "read", machine="aarch64") == of_arm
        assert answer(policy, "x32", "read") == KILL


def test_with_multiarch_i386_has_the_same_rules(tmp_path: Path) -> None:
    policy = read(tmp_path / "metadata", "[Context]\nfeatures=multiarch;\n")
    calls: dict[tuple[str, *tuple[int, ...]], int] = {
        ("umount",): EPERM, ("umount2",): EPERM, ("clone3",): ENOSYS,
        ("personality", 1 << 32): ALLOW, ("personality", 1): EPERM, ("socketcall", 1): ALLOW,
    }  # fmt: skip
    for call, expected in calls.items():
        assert answer(policy, "i386", *call) == expected


def test_missing_families_are_noted_where_multiarch_is(tmp_path: Path) -> None:
    path = tmp_path / "org.x.yml"
    path.write_text("id: org.x\nruntime: y\nfinish-args:\n- --share=ipc\n- --allow=multiarch\n")
    _, notes = load_policy(path, TABLES)
    (note,) = notes
    assert note.kind is Problem.MISSING_PART
    assert str(note.position) == f"{path}:5:3"


def test_a_manifest_says_what_its_metadata_would(tmp_path: Path) -> None:
    for name, words in {
        "org.example.Game.yml": "devel;multiarch;",
        "org.example.Bus.json": "canbus;",
        "metadata": "bluetooth;",
    }.items():
        policy, _ = load_policy(DATA / name, TABLES)
        same = read(tmp_path / "metadata", f"[Context]\nfeatures={words}\n", ("x86_64", "aarch64"))
        for family in (3, 29, 31):
            found = [answer(one, "x86_64", "socket", family) for one in (policy, same)]
            assert found[0] == found[1], (name, family)
        assert answer(policy, "x86_64", "ptrace") == answer(same, "x86_64", "ptrace"), name


def test_an_unknown_feature_is_ignored_in_metadata_and_wrong_in_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "metadata"
    path.write_text("[Context]\nfeatures=devel;develop;\n")
    _, notes = load_policy(path, TABLES)
    assert [(one.kind, str(one.position)) for one in notes] == [
        (Problem.IGNORED_TEXT, f"{path}:2:16")
    ]


def test_errors_have_a_line_and_a_column() -> None:
    for name, expected in {
        "feature.yml": "3:3 4:3", "list.yml": "2:14", "metadata": "3:1 5:1", "number.json": "2:35",
    }.items():  # fmt: skip
        with pytest.raises(InputError) as caught:
            load_policy(DATA / "invalid" / name, TABLES, Reading("flatpak"))
        places = [one.position for one in caught.value.diagnostics if one.position]
        assert " ".join(f"{one.line}:{one.column}" for one in places) == expected


def test_an_abi_whose_filter_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "metadata", "[Context]\n", ("s390x",))
    assert [one.kind for one in caught.value.diagnostics] == [Problem.UNKNOWN_ABI]
