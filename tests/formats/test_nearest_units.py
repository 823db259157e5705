"""Drop-ins for systemd that are near to a policy: what they permit besides, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.foreign import Reading
from seccompgen.core.model import ActionKind
from seccompgen.formats import load_policy
from seccompgen.formats.systemd import reader as systemd
from seccompgen.formats.systemd.nearest import nearest_units
from seccompgen.formats.writing import write_files
from seccompgen.pipeline.build import build_policy, proved_program
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.built import Built

X86_64 = ABIS["x86_64"]
HEAD = """
arches: [x86_64]
kernel: v7.3
default_action: errno(EPERM)
bad_arch_action: kill_thread
syscalls:
- {action: errno(ENOSYS), names: [clone3]}
- {action: allow, names: [execve, write, exit_group, listns]}
- {action: allow, names: [clone], when: not flags & 0x7E020000}
"""
FAMILIES = "- {action: allow, names: [socket], when: 'family in {AF_UNIX, AF_INET}'}\n"
CODE = "- {action: allow, names: [mmap], when: not prot & PROT_WRITE or not prot & PROT_EXEC}\n"
ALLOW, EPERM, ENOSYS = (
    ActionKind.ALLOW.value,
    ActionKind.ERRNO.value | 1,
    ActionKind.ERRNO.value | 38,
)


def built(directory: Path, text: str) -> Built:
    path = directory / "demo.yml"
    path.write_text(text)
    return nearest_units([build_policy(path, TABLES)], TABLES, None, proved_program)[0]


def drop_in(directory: Path, text: str) -> str:
    """Return the nearest drop-in of a policy."""
    (content,) = write_files("systemd", built(directory, text), TABLES, None).values()
    return content.decode()


def answers(content: str, *calls: tuple[str, tuple[int, ...]]) -> list[int]:
    """Return what a drop-in answers, by our reader of units."""
    reading = Reading(abis=("x86_64",), systemd=257)
    draft = systemd.read(content, "demo.conf", reading, TABLES)
    policy, _ = load_policy(draft.document(), TABLES)
    means = meaning(policy, X86_64, TABLES)
    return [means.answer(named_call("x86_64", name, *args)) for name, args in calls]


def settings(content: str) -> list[str]:
    return [
        line for line in content.splitlines() if line.startswith(("Restrict", "Memory", "Lock"))
    ]


def test_what_arguments_decide_is_permitted_and_refused_by_other_settings(tmp_path: Path) -> None:
    content = drop_in(tmp_path, HEAD + FAMILIES + CODE)
    assert settings(content) == [
        "RestrictNamespaces=yes",
        "RestrictAddressFamilies=AF_INET AF_UNIX",
        "MemoryDenyWriteExecute=yes",
    ]
    calls = [
        ("clone", (0x3D0F00,)),
        ("clone", (0x10000000,)),
        ("clone", (0x80000000,)),
        ("socket", (1,)),
        ("socket", (16,)),
        ("socket", (2, 3)),
        ("connect", ()),
        ("listns", ()),
    ]
    # Raw sockets are what no setting can tell from others.
    enough = [ALLOW, EPERM, ALLOW, ALLOW, ActionKind.ERRNO.value | 97, ALLOW, EPERM, ENOSYS]
    assert answers(content, *calls) == enough


@pytest.mark.parametrize(
    ("rule", "lost"),
    [
        ("- {action: allow, names: [mprotect], when: prot & PROT_EXEC}", "Memory"),
        ("- {action: allow, names: [mmap], when: prot & PROT_EXEC}", "Memory"),
        ("- {action: allow, names: [unshare], when: unshare_flags & CLONE_NEWUSER}", "RestrictNam"),
        ("- {action: allow, names: [setns]}", "RestrictNam"),
    ],
)
def test_a_setting_that_refuses_what_the_policy_permits_is_left_out(
    rule: str, lost: str, tmp_path: Path
) -> None:
    found = settings(drop_in(tmp_path, f"{HEAD}{FAMILIES}{CODE}{rule}\n"))
    assert len(found) == 2
    assert not any(line.startswith(lost) for line in found)


def test_notes_and_comments_say_what_differs(tmp_path: Path) -> None:
    one = built(tmp_path, HEAD + FAMILIES)
    whole, absent = (note.message for note in one.notes)
    assert "permitted with any: clone, socket; a part of that is refused by RestrictN" in whole
    assert absent == "systemd 257 does not know these, and answers ENOSYS: listns"
    content = " ".join(line.removeprefix("# ") for line in one.unit_lines)
    assert whole in content
    assert absent in content


def test_what_settings_can_say_stays_as_it_is(tmp_path: Path) -> None:
    text = HEAD.replace(", listns", "").rpartition("- {action: allow, names: [clone]")[0]
    one = built(tmp_path, text)
    assert not one.notes
    assert not one.unit_lines
    other = inside("build", "demo.yml", "--nearest", "-o", "out", cwd=tmp_path)
    assert other.code == 2
    assert "--nearest is for --format systemd" in other.err
